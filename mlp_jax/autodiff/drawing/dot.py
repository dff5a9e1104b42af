"""A graph in the language of Graphviz."""

from mlp_jax.autodiff.dag import DAG
from mlp_jax.autodiff.drawing.diagram import FILL, LINE, diagram_of


def to_dot(graph: DAG) -> str:
    """A digraph for Graphviz: gradients in orange and dashed, values that their rules read dotted, outputs doubled.

    >>> from mlp_jax.autodiff import trace
    >>> print(to_dot(trace(lambda x: x * 2, 1.0)))
    digraph {
        node [fontname="Helvetica", fontsize=11, style=filled, shape=box]
        n0 [label="x: float32[]\\ninput", fillcolor="#dbeafe", color="#1d4ed8", shape=ellipse]
        n1 [label="J: float32[]\\nmul(x, 2)", fillcolor="#ffffff", color="#1f2937", peripheries=2]
        n0 -> n1 [color="#1f2937"]
    }
    """
    diagram = diagram_of(graph)
    lines = ["digraph {", '    node [fontname="Helvetica", fontsize=11, style=filled, shape=box]']
    for k, node in enumerate(diagram.nodes):
        more = ", shape=ellipse" if node.kind == "input" else ', style="filled,dashed"' if node.is_added else ""
        more += ", peripheries=2" if node.is_output else ""
        label, fill, line = "\\n".join(map(_escaped, node.lines)), FILL[node.kind], LINE[node.kind]
        lines.append(f'    n{k} [label="{label}", fillcolor="{fill}", color="{line}"{more}]')
    for u, v, kind in diagram.edges:
        more = {"forward": "", "gradient": ", style=dashed", "reading": ", style=dotted"}[kind]
        lines.append(f'    n{u} -> n{v} [color="{LINE[kind]}"{more}]')
    return "\n".join([*lines, "}"])


def _escaped(text: str) -> str:
    """In a label of Graphviz, a backslash and a quote are escaped, and & begins the name of a character."""
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
