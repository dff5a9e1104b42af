"""A graph as text, as a Mermaid flowchart, in the language of Graphviz, and as a picture in SVG.

A drawing has a box for each variable: its name, dtype and shape, and the operation that made it with its arguments.
Inputs are round, outputs have a double frame. What a gradient added is apart, in orange and dashed; an edge is dotted
where a bprop rule reads a value of the forward graph.
"""

import math
import re
from dataclasses import dataclass
from graphlib import CycleError
from typing import Any
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from mlp_jax.autodiff.dag import DAG as Graph
from mlp_jax.autodiff.dag import ancestors, format_constant, type_name
from mlp_jax.autodiff.layout import HEIGHT, Placement, Point, mirrored_rows, place
from mlp_jax.autodiff.variable import Variable


def to_text(graph: Graph) -> str:
    """A line for each variable: name, dtype and shape, operation and inputs; then the outputs and the notes."""

    def count(n: int, what: str) -> str:
        return f"{n} {what}{'s' * (n != 1)}"

    operations = sum(v.operation is not None for v in graph.variables)
    lines = [
        f"graph: {count(len(graph.inputs), 'input')}, {count(operations, 'operation')}, "
        f"{count(len(graph.outputs), 'output')}"
    ]
    for v in graph.variables:
        origin = f" = {_origin(graph, v)}" if v.operation else ""
        lines.append(f"  {graph.names[v]}: {type_name(v)}{origin}")
    lines.append(f"returns {', '.join(graph.output_names)}")
    return "\n".join([*lines, *graph.notes])


def _origin(graph: Graph, v: Variable) -> str:
    """The operation with its arguments, as in sum(x, axis=0)."""
    if v.operation is None:
        return "input"
    arguments = [graph.names[u] if _is_own(graph, u) else format_constant(u) for u in v.inputs]
    arguments += [f"{key}={value}" for key, value in v.attributes.items()]
    return f"{v.operation.name}({', '.join(arguments)})"


def _is_own(graph: Graph, u: Any) -> bool:
    return isinstance(u, Variable) and u in graph.names


# --- nodes and edges, as all drawings have them -----------------------------------------------------


@dataclass(frozen=True)
class _Node:
    """A variable; or a constant, which has no name.

    Attributes:
        name: of the variable.
        type: dtype and shape.
        origin: the operation with its arguments.
        kind: input, constant or operation.
        is_added: whether a gradient added it to the graph.
        is_output: whether the function returns it.
    """

    name: str
    type: str
    origin: str
    kind: str
    is_added: bool = False
    is_output: bool = False

    @property
    def lines(self) -> tuple[str, str]:
        """What is written in the box."""
        return ": ".join(_short(part, 24) for part in (self.name, self.type) if part), _short(self.origin, 36)

    @property
    def colour(self) -> str:
        """A key of _FILL and _LINE."""
        return self.kind if self.kind != "operation" else "gradient" if self.is_added else "forward"


@dataclass(frozen=True)
class _Diagram:
    """Nodes, edges between their numbers, and for the number of ∂J/∂v that of v."""

    nodes: list[_Node]
    edges: list[tuple[int, int]]
    partner: dict[int, int]

    def kind(self, edge: tuple[int, int]) -> str:
        """Forward, gradient, or reading: a value of the forward graph in a bprop rule."""
        source, target = (self.nodes[k].is_added for k in edge)
        return "forward" if not target else "gradient" if source else "reading"


def _diagram(graph: Graph) -> _Diagram:
    added, outputs = _added_by_gradients(graph), {v for v in graph.outputs if isinstance(v, Variable)}
    nodes: list[_Node] = []
    edges: list[tuple[int, int]] = []
    number: dict[Variable, int] = {}
    for v in graph.variables:
        arrays = [u for u in v.inputs if not _is_own(graph, u) and getattr(u, "shape", None)]
        sources = [*(number[u] for u in graph.inputs_of(v)), *range(len(nodes), len(nodes) + len(arrays))]
        nodes += [_Node("", type_name(u), "constant", "constant", v in added) for u in arrays]
        edges += [(source, len(nodes)) for source in sources]
        number[v] = len(nodes)
        kind = "operation" if v.operation else "input"
        nodes.append(_Node(graph.names[v], type_name(v), _origin(graph, v), kind, v in added, v in outputs))
    constants = [format_constant(x) for x in graph.outputs if not isinstance(x, Variable)]
    nodes += [_Node("", x, "constant", "constant", is_output=True) for x in constants]
    partner = {number[g]: number[v] for g, (_, v) in graph.gradients.items() if {g, v} <= number.keys()}
    return _Diagram(nodes, edges, partner)


def _added_by_gradients(graph: Graph) -> set[Variable]:
    """All but the inputs and what the differentiated variables depend on."""
    if not graph.gradients:
        return set()
    later: set[Variable] = set()
    for v in graph.variables:
        if v in graph.gradients or not later.isdisjoint(graph.inputs_of(v)):
            later.add(v)
    differentiated = (z for z, _ in graph.gradients.values() if z not in later)
    return set(graph.variables) - {*graph.inputs, *ancestors(differentiated)}


def _clean(text: str) -> str:
    """One line without the control characters that XML forbids."""
    return re.sub("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", " ".join(text.split()))


def _short(text: str, length: int) -> str:
    """Of a long text the beginning and the end."""
    text = _clean(text)
    head = length * 2 // 3
    return text if len(text) <= length else f"{text[:head]}…{text[head + 1 - length :]}"


# --- Mermaid and Graphviz -------------------------------------------------------------------------

_FILL = {"input": "#dbeafe", "constant": "#eeeeee", "forward": "#ffffff", "gradient": "#ffedd5"}
_LINE = {"input": "#1d4ed8", "constant": "#9ca3af", "forward": "#1f2937", "gradient": "#c2410c", "reading": "#6b7280"}


def to_mermaid(graph: Graph) -> str:
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
    diagram = _diagram(graph)
    lines = ["flowchart TD"]
    for k, node in enumerate(diagram.nodes):
        label = "<br/>".join(_escape_mermaid(line) for line in node.lines)
        before, after = ("[[", "]]") if node.is_output else ("([", "])") if node.kind == "input" else ("[", "]")
        lines.append(f'    n{k}{before}"{label}"{after}:::{node.colour}')
    for u, v in diagram.edges:
        lines.append(f"    n{u} {'-->' if diagram.kind((u, v)) == 'forward' else '-.->'} n{v}")
    for kind in dict.fromkeys(node.colour for node in diagram.nodes):
        dashes = ",stroke-dasharray:6 3" if kind == "gradient" else ""
        lines.append(f"    classDef {kind} fill:{_FILL[kind]},stroke:{_LINE[kind]},color:#111{dashes}")
    return "\n".join(lines)


def _escape_mermaid(text: str) -> str:
    return re.sub(r"[!-'*;<>?@\\^`{-~]", lambda match: f"#{ord(match.group())};", text)


def to_dot(graph: Graph) -> str:
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
    diagram = _diagram(graph)
    lines = ["digraph {", '    node [fontname="Helvetica", fontsize=11, style=filled, shape=box]']
    for k, node in enumerate(diagram.nodes):
        label, colour = "\\n".join(_escape_dot(line) for line in node.lines), node.colour
        more = ", shape=ellipse" if node.kind == "input" else ', style="filled,dashed"' if node.is_added else ""
        more += ", peripheries=2" if node.is_output else ""
        lines.append(f'    n{k} [label="{label}", fillcolor="{_FILL[colour]}", color="{_LINE[colour]}"{more}]')
    for u, v in diagram.edges:
        kind = diagram.kind((u, v))
        more = {"forward": "", "gradient": ", style=dashed", "reading": ", style=dotted"}[kind]
        lines.append(f'    n{u} -> n{v} [color="{_LINE[kind]}"{more}]')
    return "\n".join([*lines, "}"])


def _escape_dot(text: str) -> str:
    """In a label of Graphviz, a backslash and a quote are escaped, and & begins the name of a character."""
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


# --- SVG ------------------------------------------------------------------------------------------

_DASHES = {"forward": "", "gradient": ' stroke-dasharray="6 3"', "reading": ' stroke-dasharray="1.5 2.5"'}
_LEGEND = {"forward": "forward", "gradient": "gradient", "reading": "a forward value in a bprop rule"}
_MARGIN = 16.0


def to_svg(graph: Graph) -> str:
    """A picture that needs no other program; a tooltip on each box and edge has what is cut short in it.

    Forward edges lead down. The gradients are on the right and lead back up, ∂J/∂v at the height of v, as in figure
    6.11; where that cannot be, as for gradients of gradients, all edges lead down.
    """
    diagram = _diagram(graph)
    placement = _placement(diagram)
    shapes = [_svg_edge(diagram, e, curve) for e, curve in zip(diagram.edges, placement.curves, strict=True)]
    shapes += [_svg_node(node, *centre) for node, centre in zip(diagram.nodes, placement.centres, strict=True)]
    width, height = placement.width, placement.height
    if any(node.is_added for node in diagram.nodes):
        width, height = max(width, 500), height + 2 * _MARGIN
        shapes.append(_svg_legend(height - 4))
    frame = f'width="{width + 2 * _MARGIN:.0f}" height="{height + 2 * _MARGIN:.0f}"'
    corner = f"{-_MARGIN:g}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {frame} viewBox="{corner} {corner} {width + 2 * _MARGIN:.0f} '
            f'{height + 2 * _MARGIN:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
            f'<rect x="{corner}" y="{corner}" {frame} fill="#ffffff"/>',
            *shapes,
            "</svg>",
            "",
        ]
    )


def _placement(diagram: _Diagram) -> Placement:
    widths = [_width(node) for node in diagram.nodes]
    right = {k for k, node in enumerate(diagram.nodes) if node.is_added}
    try:
        if not right.isdisjoint(diagram.partner.values()):
            raise CycleError("gradients of gradients")
        rows = mirrored_rows(len(widths), diagram.edges, right, diagram.partner)
    except CycleError:
        right = set()
        rows = mirrored_rows(len(widths), diagram.edges, right, {})
    return place(widths, rows, diagram.edges, right)


def _width(node: _Node) -> float:
    """Of the box; the viewer's font is unknown, so there is room for a wide one."""
    first, second = map(_text_width, node.lines)
    return max(first + 0.2 * _text_width(_short(node.name, 24)), second, 40.0) + 20  # the name is bold


def _text_width(text: str) -> float:
    return math.fsum(
        12.0 if east_asian_width(c) in "WF" or c in "MWmw@%—…" else 8.7 if c.isupper() else 6.9 for c in text
    )


def _svg_node(node: _Node, x: float, y: float) -> str:
    fill, stroke, dashes = _FILL[node.colour], _LINE[node.colour], _DASHES["gradient" if node.is_added else "forward"]
    kinds = " ".join(["node", node.colour, *["output"] * node.is_output])
    shapes = [f'<g class="{kinds}"><title>{escape(_title(node))}</title>']
    for inset in (0, 2.5) if node.is_output else (0,):
        w, h, radius = _width(node) - 2 * inset, HEIGHT - 2 * inset, (18 if node.kind == "input" else 3) - inset
        shapes.append(
            f'<rect x="{x - w / 2:z.1f}" y="{y - h / 2:z.1f}" width="{w:z.1f}" height="{h:z.1f}" rx="{radius}" '
            f'fill="{fill}" stroke="{stroke}"{dashes}/>'
        )
    name, (first, second) = escape(_short(node.name, 24)), map(escape, node.lines)
    shapes.append(_svg_text(x, y - 4, f'<tspan font-weight="bold">{name}</tspan>{first.removeprefix(name)}', "middle"))
    return "".join([*shapes, _svg_text(x, y + 12, second, "middle"), "</g>"])


def _title(node: _Node) -> str:
    return _clean(f"{node.name}: {node.type} = {node.origin}" if node.name else f"constant {node.type}")


def _svg_text(x: float, y: float, content: str, anchor: str) -> str:
    return f'<text x="{x:z.1f}" y="{y:z.1f}" text-anchor="{anchor}" fill="#111111">{content}</text>'


def _svg_edge(diagram: _Diagram, edge: tuple[int, int], curve: list[Point]) -> str:
    source, target = (_clean(diagram.nodes[k].name or "constant") for k in edge)
    return _svg_arrow(diagram.kind(edge), f"{source} → {target}", curve)


def _svg_arrow(kind: str, title: str, curve: list[Point]) -> str:
    """A curve that ends upright, or to the right, in the head of an arrow."""
    (x0, y0), (x, y) = curve[-2:]
    dx, dy = (0, 7 if y > y0 else -7) if x == x0 else (7, 0)
    start, *others = (f"{px:z.1f} {py:z.1f}" for px, py in [*curve[:-1], (x - dx, y - dy)])
    base = f"{x - dx - dy / 2:z.1f} {y - dy - dx / 2:z.1f}L{x - dx + dy / 2:z.1f} {y - dy + dx / 2:z.1f}"
    return (
        f'<g class="edge {kind}"><title>{escape(title)}</title>'
        f'<path d="M{start}C{" ".join(others)}" fill="none" stroke="{_LINE[kind]}"{_DASHES[kind]}/>'
        f'<path d="M{x:z.1f} {y:z.1f}L{base}z" fill="{_LINE[kind]}"/></g>'
    )


def _svg_legend(y: float) -> str:
    shapes, x = ['<g class="legend">'], 0.0
    for kind, meaning in _LEGEND.items():
        line = _svg_arrow(kind, meaning, [(x, y), (x + 12, y), (x + 24, y), (x + 36, y)])
        shapes += [line.replace("edge", "sample"), _svg_text(x + 44, y + 4, meaning, "start")]
        x += 64 + 7.4 * len(meaning)
    return "".join([*shapes, "</g>"])
