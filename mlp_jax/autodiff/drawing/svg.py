"""A graph as a picture in SVG, which needs no other program."""

import math
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from mlp_jax.autodiff.dag import DAG
from mlp_jax.autodiff.drawing.diagram import FILL, LINE, Node, cleaned, diagram_of, shortened
from mlp_jax.autodiff.drawing.layout import HEIGHT, Point, lay_out

_DASHES = {"forward": "", "gradient": ' stroke-dasharray="6 3"', "reading": ' stroke-dasharray="1.5 2.5"'}
_LEGEND = {"forward": "forward", "gradient": "gradient", "reading": "a forward value in a bprop rule"}
_MARGIN = 16


def to_svg(graph: DAG) -> str:
    """A picture; a tooltip on each box and edge has what is cut short in it.

    Forward edges lead down. The gradients are on the right and lead back up, ∂J/∂v at the height of v, as in figure
    6.11; where that cannot be, as for gradients of gradients, all edges lead down.
    """
    diagram = diagram_of(graph)
    nodes, added = diagram.nodes, {k for k, node in enumerate(diagram.nodes) if node.is_added}
    edges = [(u, v) for u, v, _ in diagram.edges]
    centres, curves = lay_out([_width(node) for node in nodes], edges, added, diagram.partner)
    shapes = []
    for (u, v, kind), curve in zip(diagram.edges, curves, strict=True):
        shapes.append(_arrow("edge", kind, " → ".join(nodes[k].name or "constant" for k in (u, v)), curve))
    shapes += [_box(node, *centre) for node, centre in zip(nodes, centres, strict=True)]
    points = [(0.0, HEIGHT), *(point for curve in curves for point in curve)]
    points += [(x + _width(node) / 2, y + HEIGHT / 2) for node, (x, y) in zip(nodes, centres, strict=True)]
    width, height = map(max, zip(*points, strict=True))
    if added:
        width, height = max(width, 500.0), height + 2 * _MARGIN
        shapes.append(_legend(height - 4))
    w, h = f"{width + 2 * _MARGIN:.0f}", f"{height + 2 * _MARGIN:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="-{_MARGIN} -{_MARGIN} {w} {h}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">\n'
        f'<rect x="-{_MARGIN}" y="-{_MARGIN}" width="{w}" height="{h}" fill="#ffffff"/>\n'
        + "".join(f"{shape}\n" for shape in [*shapes, "</svg>"])
    )


def _width(node: Node) -> float:
    """Of the box; the viewer's font is unknown, so there is room for a wide one."""
    name, *lines = (
        math.fsum(12.0 if east_asian_width(c) in "WF" or c in "MWmw@%—…" else 8.7 if c.isupper() else 6.9 for c in text)
        for text in (shortened(node.name, 24), *node.lines)
    )
    return max(lines[0] + 0.2 * name, lines[1], 40.0) + 20  # the name is bold


def _box(node: Node, x: float, y: float) -> str:
    title = f"{node.name}: {node.type} = {node.origin}" if node.name else f"constant {node.type}"
    dashes = _DASHES["gradient" if node.is_added else "forward"]
    shapes = f'<g class="node {node.kind}{" output" * node.is_output}"><title>{escape(cleaned(title))}</title>'
    for inset in (0, 2.5) if node.is_output else (0,):
        w, h, radius = _width(node) - 2 * inset, HEIGHT - 2 * inset, (18 if node.kind == "input" else 3) - inset
        shapes += (
            f'<rect x="{x - w / 2:z.1f}" y="{y - h / 2:z.1f}" width="{w:z.1f}" height="{h:z.1f}" rx="{radius}" '
            f'fill="{FILL[node.kind]}" stroke="{LINE[node.kind]}"{dashes}/>'
        )
    name, first, second = map(escape, (shortened(node.name, 24), *node.lines))
    first = f'<tspan font-weight="bold">{name}</tspan>{first.removeprefix(name)}'
    return f"{shapes}{_text(x, y - 4, first, 'middle')}{_text(x, y + 12, second, 'middle')}</g>"


def _text(x: float, y: float, content: str, anchor: str) -> str:
    return f'<text x="{x:z.1f}" y="{y:z.1f}" text-anchor="{anchor}" fill="#111111">{content}</text>'


def _arrow(role: str, kind: str, title: str, curve: list[Point]) -> str:
    """A curve that ends upright, or to the right, in the head of an arrow."""
    (x0, y0), (x, y) = curve[-2:]
    dx, dy = (0, 7 if y > y0 else -7) if x == x0 else (7, 0)
    start, *others = (f"{px:z.1f} {py:z.1f}" for px, py in [*curve[:-1], (x - dx, y - dy)])
    base = f"{x - dx - dy / 2:z.1f} {y - dy - dx / 2:z.1f}L{x - dx + dy / 2:z.1f} {y - dy + dx / 2:z.1f}"
    return (
        f'<g class="{role} {kind}"><title>{escape(cleaned(title))}</title>'
        f'<path d="M{start}C{" ".join(others)}" fill="none" stroke="{LINE[kind]}"{_DASHES[kind]}/>'
        f'<path d="M{x:z.1f} {y:z.1f}L{base}z" fill="{LINE[kind]}"/></g>'
    )


def _legend(y: float) -> str:
    shapes, x = "", 0.0
    for kind, meaning in _LEGEND.items():
        shapes += _arrow("sample", kind, meaning, [(x, y), (x + 12, y), (x + 24, y), (x + 36, y)])
        shapes += _text(x + 44, y + 4, meaning, "start")
        x += 64 + 7.4 * len(meaning)
    return f'<g class="legend">{shapes}</g>'
