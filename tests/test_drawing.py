"""Drawings of graphs: well-formed, complete, legible, the same every time; and the gallery is as the code draws it."""

import random
import re
import runpy
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops
from mlp_jax.autodiff.drawing import layout

SVG = "{http://www.w3.org/2000/svg}"
GALLERY = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "gallery.py"))
SEEDS = range(3)
NASTY = 'a<&amp;"q"\\N #1;`\n\x00[(}|%'


def array(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


def deep_network(X, y, *weights):
    h = X
    for W in weights:
        h = ops.relu(h @ W)
    return ops.mean(ops.squared_error(h, y)) + 0.1 * ops.sum(ops.square(weights[0]))


def deep_gradient():
    graph = ad.trace(deep_network, array(5, 2), array(5, 3), array(2, 4), array(4, 4), array(4, 4), array(4, 3))
    return graph.gradient(wrt=graph.inputs[2:])


def random_function(seed, n):
    def f(a, b, c):
        draw = random.Random(seed)
        values = [a, b, c]
        for _ in range(n):
            u, v = draw.choice(values[-6:]), draw.choice(values[-6:])
            values.append(draw.choice([u * v, u + v, ops.sin(u), ops.exp(v)]))
        return values[-1] * values[-2]

    return f


def second_derivative():
    first = ad.trace(lambda x: ops.exp(ops.sin(x)) * x, 1.0).gradient()
    return first.gradient(wrt=first.inputs[0])


GRAPHS = {
    "one input": lambda: ad.trace(lambda x: x, 1.0),
    "nothing": lambda: ad.trace(lambda: ()),
    "constant output": lambda: ad.trace(lambda x: (x, 5.0, jnp.ones(3)), 1.0),
    "unused inputs": lambda: ad.trace(lambda x, y, z: ops.sum(x * jnp.ones(3)) * 2, array(3), array(2, 2), 1.0),
    "same input twice": lambda: ad.trace(lambda x: x * x, 1.0).gradient(),
    "zero gradients": lambda: ad.trace(lambda x: ops.sign(x), 1.0).gradient(),
    "long names": lambda: ad.trace(
        lambda p: ad.named(p["an encoder"]["its layers"][0] * 2, "Ω" * 60), {"an encoder": {"its layers": [1.0]}}
    ),
    "network": deep_gradient,
    "second derivative": second_derivative,
    **{
        f"random {seed}": lambda seed=seed: ad.trace(random_function(seed, 20), 1.0, 1.0, 1.0).gradient()
        for seed in SEEDS
    },
}


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]()


def kinds_of_edges(graph):
    """For each kind, how many edges there are between variables, with what a gradient added told apart by ancestry."""
    costs = {z for z, _ in graph.gradients.values()}
    forward = set(graph.inputs)
    waiting = [z for z in costs if z not in graph.gradients] if costs else list(graph.variables)
    while waiting:
        v = waiting.pop()
        forward.add(v)
        waiting += graph.inputs_of(v)
    counts = {"forward": 0, "gradient": 0, "reading": 0}
    for v in graph.variables:
        for u in graph.inputs_of(v):
            counts["forward" if v in forward else "reading" if u in forward else "gradient"] += 1
    return counts


def nodes(svg):
    """Title and box (left, top, right, bottom) of each node."""
    found = []
    for g in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if g.get("class").startswith("node"):
            rect = g.find(f"{SVG}rect")
            x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
            found.append((g.find(f"{SVG}title").text, (x, y, x + w, y + h)))
    return found


def edges(svg):
    """Title, kind and the numbers of the curve of each edge."""
    found = []
    for g in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if g.get("class").startswith("edge"):
            numbers = re.findall(r"-?[\d.]+", g.find(f"{SVG}path").get("d"))
            found.append((g.find(f"{SVG}title").text, g.get("class").split()[1], [float(x) for x in numbers]))
    return found


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- SVG ------------------------------------------------------------------------------------------


def test_svg_has_every_variable_and_edge(graph):
    svg = graph.to_svg()
    titles = [title for title, _ in nodes(svg) if not title.startswith("constant")]
    assert [title.partition(": ")[0] for title in titles] == [graph.names[v] for v in graph.variables]
    kinds = [kind for title, kind, _ in edges(svg) if not title.startswith("constant")]
    assert {kind: kinds.count(kind) for kind in ("forward", "gradient", "reading")} == kinds_of_edges(graph)


def test_svg_boxes_do_not_overlap_and_lie_in_the_picture(graph):
    svg = graph.to_svg()
    boxes = [box for _, box in nodes(svg)]
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    x, y, width, height = map(float, ElementTree.fromstring(svg).get("viewBox").split())
    assert all(x < left < right < x + width and y < top < bottom < y + height for left, top, right, bottom in boxes)
    curves = [curve for _, _, curve in edges(svg)]
    assert all(x < min(curve[::2]) and max(curve[::2]) < x + width for curve in curves)
    assert all(y < min(curve[1::2]) and max(curve[1::2]) < y + height for curve in curves)


def test_svg_edges_meet_boxes_side_by_side(graph):
    curves = [curve for _, _, curve in edges(graph.to_svg())]
    assert len({tuple(end) for curve in curves for end in (curve[:2], curve[-2:])}) == 2 * len(curves)


def test_drawings_are_the_same_every_time(graph, request):
    again = GRAPHS[request.node.callspec.params["graph"]]()
    assert again.to_svg() == graph.to_svg()
    assert again.to_dot() == graph.to_dot()
    assert again.to_mermaid() == graph.to_mermaid()


@pytest.mark.parametrize("name", ["network", *(f"random {seed}" for seed in SEEDS)])
def test_gradients_stand_beside_what_they_are_gradients_of(name):
    graph = GRAPHS[name]()
    svg = graph.to_svg()
    boxes = {title.partition(": ")[0]: box for title, box in nodes(svg)}
    pairs = [(graph.names[g], graph.names[v]) for g, (_, v) in graph.gradients.items() if {g, v} <= graph.names.keys()]
    assert len(pairs) > 5
    assert all(boxes[g][1] == boxes[v][1] for g, v in pairs)
    assert max(boxes[v][2] for _, v in pairs) < min(boxes[g][0] for g, _ in pairs)
    for _, kind, curve in edges(svg):
        assert kind == "reading" or (curve[1] < curve[-1]) == (kind == "forward")


def test_gradients_differ_from_the_rest_without_colour():
    svg = GRAPHS["same input twice"]().to_svg()
    lines = re.findall(r'class="edge (\w+)">.*?<path [^>]*?(?:stroke-dasharray="([^"]+)")?/>', svg)
    assert set(lines) == {("forward", ""), ("gradient", "6 3"), ("reading", "1.5 2.5")}
    assert "legend" in svg
    assert "legend" not in GRAPHS["one input"]().to_svg()


def test_long_names_are_cut_short_but_in_the_tooltip():
    svg = GRAPHS["long names"]().to_svg()
    assert f"<title>{'Ω' * 60}: float32[] = mul(p['an encoder']['its layers'][0], 2)</title>" in svg
    assert re.search(r"<tspan[^>]*>Ω+…Ω+</tspan>", svg)
    assert all(right - left < 500 for _, (left, _, right, _) in nodes(svg))


# --- Mermaid and Graphviz -------------------------------------------------------------------------


def test_mermaid_declares_each_node_once_and_dots_the_gradient(graph):
    head, *lines = graph.to_mermaid().splitlines()
    assert head == "flowchart TD"
    declared = re.findall(
        r'^    (n\d+)(?:\["|\[\["|\(\[")[^"]*(?:"\]|"\]\]|"\]\)):::\w+$', "\n".join(lines), re.MULTILINE
    )
    arrows = [line.split() for line in lines if "->" in line]
    assert len(declared) == len(set(declared)) == len(nodes(graph.to_svg()))
    assert all(len(arrow) == 3 and {arrow[0], arrow[2]} <= set(declared) for arrow in arrows)
    kinds = [kind for _, kind, _ in edges(graph.to_svg())]
    assert [arrow[1] for arrow in arrows] == ["-->" if kind == "forward" else "-.->" for kind in kinds]
    assert len(lines) == len(declared) + len(arrows) + sum(line.startswith("    classDef ") for line in lines)


def test_dot_declares_each_node_once_and_dashes_the_gradient(graph):
    head, _, *lines, end = graph.to_dot().splitlines()
    assert (head, end) == ("digraph {", "}")
    quoted = r'"(?:[^"\\]|\\.)*"'
    attributes = rf"\[\w+=(?:{quoted}|\w+)(?:, \w+=(?:{quoted}|\w+))*\]"
    declared = [line.split()[0] for line in lines if re.fullmatch(rf"    n\d+ {attributes}", line)]
    arrows = [line for line in lines if re.fullmatch(rf"    n\d+ -> n\d+ {attributes}", line)]
    assert len(declared) == len(set(declared)) == len(nodes(graph.to_svg()))
    assert len(lines) == len(declared) + len(arrows)
    kinds = [kind for _, kind, _ in edges(graph.to_svg())]
    assert ["dashed" if "dashed" in a else "dotted" if "dotted" in a else "" for a in arrows] == [
        {"forward": "", "gradient": "dashed", "reading": "dotted"}[kind] for kind in kinds
    ]


def test_names_with_special_characters():
    graph = ad.trace(lambda x: ad.named(x * 2, NASTY), 1.0)
    shown = NASTY.replace("\n", " ").replace("\x00", "\ufffd")
    assert nodes(graph.to_svg())[1][0] == f"{shown}: float32[] = mul(x, 2)"
    assert r'label="a<&amp;amp;\"q\"\\N #1;` ' in graph.to_dot()
    assert '[["a#60;#38;amp#59;#34;q#34;#92;N #35;1#59;#96; ' in graph.to_mermaid()


# --- layout ---------------------------------------------------------------------------------------


def random_picture(seed):
    """Edges, widths and the right block of a random graph, and where its boxes and edges go."""
    draw = random.Random(seed)
    count = draw.randrange(2, 60)
    edges = [tuple(sorted(draw.sample(range(count), 2))) for _ in range(draw.randrange(2 * count))]
    right = {k for k in range(count) if k >= count // 2} if seed % 2 else set()
    widths = [draw.uniform(60, 250) for _ in range(count)]
    return edges, widths, right, *layout.lay_out(widths, edges, right, {})


@pytest.mark.parametrize("seed", range(10))
def test_random_layouts_have_no_overlaps_and_no_edges_through_boxes(seed):
    edges, widths, right, centres, curves = random_picture(seed)
    half = layout.HEIGHT / 2
    boxes = [(x - w / 2, y - half, x + w / 2, y + half) for (x, y), w in zip(centres, widths, strict=True)]
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    assert min(box[0] for box in boxes) > -1e-6
    assert min(box[1] for box in boxes) > -1e-6
    for (u, v), curve in zip(edges, curves, strict=True):
        assert u in right or v in right or centres[u][1] < centres[v][1]
        assert u not in right or v not in right or centres[u][1] > centres[v][1]
        assert [abs(y - centres[k][1]) for k, (_, y) in ((u, curve[0]), (v, curve[-1]))] == [half, half]
        assert all(abs(x - centres[k][0]) < widths[k] / 2 for k, (x, _) in ((u, curve[0]), (v, curve[-1])))
        for x, y in points_on(curve):
            assert min(x, y) > -1e-6
            assert not any(a + 1e-6 < x < c - 1e-6 and b + 1e-6 < y < d - 1e-6 for a, b, c, d in boxes)


def points_on(curve):
    for start in range(0, len(curve) - 1, 3):
        p, q, r, s = curve[start : start + 4]
        for t in (k / 16 for k in range(17)):
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            yield tuple(sum(w * point[axis] for w, point in zip(weights, (p, q, r, s), strict=True)) for axis in (0, 1))


# --- the gallery ----------------------------------------------------------------------------------


def test_the_gallery_is_what_the_code_draws_now():
    for path, content in GALLERY["pages"]().items():
        assert path.read_text(encoding="utf-8") == content, f"{path} is old: scripts/run python scripts/gallery.py"
