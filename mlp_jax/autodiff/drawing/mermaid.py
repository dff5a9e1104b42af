"""A graph as a Mermaid flowchart."""

import re

from mlp_jax.autodiff.dag import DAG
from mlp_jax.autodiff.drawing.diagram import FILL, LINE, diagram_of


def to_mermaid(graph: DAG) -> str:
    """A flowchart, which Markdown viewers draw: gradients in orange with dotted edges, outputs in double boxes.

    >>> from mlp_jax.autodiff import trace
    >>> print(to_mermaid(trace(lambda x: x * 2, 1.0)))
    flowchart TD
        n0(["x: float32[]<br/>input"]):::input
        n1[["J: float32[]<br/>mul(x, 2)"]]:::forward
        n0 --> n1
        classDef input fill:#dbeafe,stroke:#1d4ed8,color:#111
        classDef forward fill:#ffffff,stroke:#1f2937,color:#111
    """
    diagram = diagram_of(graph)
    lines = ["flowchart TD"]
    for k, node in enumerate(diagram.nodes):
        before, after = ("[[", "]]") if node.is_output else ("([", "])") if node.kind == "input" else ("[", "]")
        lines.append(f'    n{k}{before}"{"<br/>".join(map(_escaped, node.lines))}"{after}:::{node.kind}')
    for u, v, kind in diagram.edges:
        lines.append(f"    n{u} {'-->' if kind == 'forward' else '-.->'} n{v}")
    for kind in dict.fromkeys(node.kind for node in diagram.nodes):
        dashes = ",stroke-dasharray:6 3" if kind == "gradient" else ""
        lines.append(f"    classDef {kind} fill:{FILL[kind]},stroke:{LINE[kind]},color:#111{dashes}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"[!-'*;<>?@\\^`{-~]", lambda match: f"#{ord(match.group())};", text)
