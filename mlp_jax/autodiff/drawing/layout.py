"""Where the boxes and edges of a picture go: a row for each box, an order in each row, coordinates, curves.

These are the four steps of Sugiyama, Tagawa and Toda (1981). Boxes have numbers. Where an edge passes a row, it has an
item of its own in that row, without width, so that it runs through no box. Nothing is random, and sums are rounded
once, whatever the version of Python: equal graphs have equal pictures.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate, pairwise

Point = tuple[float, float]
# For each item those above and below it to which edges lead, and how strongly they pull it.
_Links = list[list[tuple[int, float]]]

HEIGHT = 40.0  # of a box
SPACE = 18.0  # between boxes in a row
GAP = 46.0  # between rows
SWEEPS = 40


def lay_out(
    widths: Sequence[float], edges: Sequence[tuple[int, int]], right: Collection[int], partner: Mapping[int, int]
) -> tuple[list[Point], list[list[Point]]]:
    """The middle of each box; and for each edge a curve: its start, then two control points and an end per piece.

    Edges lead down; but those within the right block, where the gradients are, lead up.

    Args:
        widths: of the boxes.
        edges: from box to box.
        right: the boxes of the right block.
        partner: for ∂J/∂v in the right block v, which stands in the same row; a smaller number.
    """
    try:
        row = _rows(len(widths), edges, right, partner)
    except CycleError:  # gradients of gradients would have to lead up and down
        return lay_out(widths, edges, (), {})
    block = [2 * (k in right) for k in range(len(row))]  # 1 is between the two, for edges from the one to the other
    # The orders to begin with follow the numbers of the boxes, but an input stands where it is first used.
    heads, first = {v for _, v in edges}, dict(reversed(edges))
    begin = [float(k) if k in heads else first.get(k, k) - 0.5 for k in range(len(row))]
    chains = []  # for each edge the items through which it goes
    for u, v in edges:
        step = 1 if row[u] < row[v] else -1
        passed = range(row[u] + step, row[v], step)
        chains.append([u, *range(len(row), len(row) + len(passed)), v])
        row += passed
        block += [(block[u] + block[v]) // 2] * len(passed)
        begin += [(u + v) / 2] * len(passed)
    width = [*widths, *[0.0] * (len(row) - len(widths))]
    links: _Links = [[] for _ in row]
    for chain in chains:
        for a, b in pairwise(chain):
            if block[a] == block[b]:
                pull = (1.0, 2.0, 8.0)[(a != chain[0]) + (b != chain[-1])]  # long edges shall be straight
                links[a].append((b, pull))
                links[b].append((a, pull))
    # Gradients are numbered from the cost back. With them the reverse order leaves half as many crossings.
    items = sorted(range(len(row)), key=begin.__getitem__, reverse=bool(right))
    x: dict[int, float] = {}
    for b in range(3):
        rows = [[k for k in items if row[k] == r and block[k] == b] for r in range(max(row, default=0) + 1)]
        found = _abscissas([r for r in rows if r], links, width)
        start = max((x[k] + width[k] / 2 + SPACE for k in x), default=0.0)
        start -= min((found[k] - width[k] / 2 for k in found), default=0.0)
        x |= {k: start + found[k] for k in found}
    centres = [(x[k], row[k] * (HEIGHT + GAP) + HEIGHT / 2) for k in range(len(widths))]
    return centres, _curves(chains, row, width, x)


def _rows(
    count: int, edges: Sequence[tuple[int, int]], right: Collection[int], partner: Mapping[int, int]
) -> list[int]:
    """A row for each box, counted from the top; a CycleError if edges cannot lead down and, in the right block, up."""
    unit: list[int] = []  # partners move as one
    for k in range(count):
        unit.append(unit[partner[k]] if k in partner else k)
    above: dict[int, list[int]] = {k: [] for k in unit}
    below: dict[int, list[int]] = {k: [] for k in unit}
    for u, v in edges:
        if v not in right or u in right:  # an edge from block to block may lead anywhere
            upper, lower = (unit[v], unit[u]) if v in right else (unit[u], unit[v])
            below[upper].append(lower)
            above[lower].append(upper)
    order = list(TopologicalSorter(below).static_order())
    level: dict[int, int] = {}  # counted from the bottom: as low as what is below permits
    for k in order:
        level[k] = max((level[j] + 1 for j in below[k]), default=0)
    for k in reversed(order):  # with more edges above than below, the edges are shorter the higher it stands
        if len(above[k]) > len(below[k]):
            level[k] = min(level[j] for j in above[k]) - 1
    top = max(level.values(), default=0)
    return [top - level[k] if above[k] or below[k] else 0 for k in unit]


def _abscissas(rows: list[list[int]], links: _Links, width: list[float]) -> dict[int, float]:
    """The middle of each item in these rows, which are sorted."""
    # Sweeps down and up put each item at the median of its neighbours in the row before (Eades and Wormald 1994).
    # An even number of them has two medians; taking the left one and the right one in turn undoes more crossings.
    for sweep in range(SWEEPS):
        for before, row in pairwise(rows if sweep % 2 == 0 else rows[::-1]):
            place = {k: i for i, k in enumerate(before)}
            near = {k: sorted(place[j] for j, _ in links[k] if j in place) or [i] for i, k in enumerate(row)}
            row.sort(key=lambda k: near[k][(len(near[k]) - 1 + sweep // 2 % 2) // 2])
    # Then each item settles as near as its row permits to the mean of all its neighbours.
    x = {k: 0.0 for row in rows for k in row}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            weights = [math.fsum(pull for _, pull in links[k]) or 1.0 for k in row]
            wanted = [math.fsum(pull * x[j] for j, pull in links[k]) / w for k, w in zip(row, weights, strict=True)]
            gaps = [(width[j] + width[k]) / 2 + SPACE for j, k in pairwise(row)]
            x.update(zip(row, _settled(wanted, weights, gaps), strict=True))
    return x


def _settled(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """The x nearest to `wanted` in weighted squares with x[i+1] ≥ x[i] + gaps[i]: those in conflict are joined."""
    offsets = list(accumulate(gaps, initial=0.0))
    groups: list[tuple[float, float, int]] = []  # the sum of weights, of weight times place, the number of members
    for place, weight, offset in zip(wanted, weights, offsets, strict=True):
        group = weight, weight * (place - offset), 1
        while groups and groups[-1][1] / groups[-1][0] > group[1] / group[0]:
            w, wx, n = groups.pop()
            group = group[0] + w, group[1] + wx, group[2] + n
        groups.append(group)
    return [o + x for o, x in zip(offsets, [wx / w for w, wx, n in groups for _ in range(n)], strict=True)]


def _curves(chains: list[list[int]], row: list[int], width: list[float], x: dict[int, float]) -> list[list[Point]]:
    """Upright where an edge passes a row, and aside only between rows, so that it touches no boxes but its own."""
    ends: dict[tuple[int, bool], list[tuple[float, int]]] = {}  # the edges at the top and at the bottom of a box
    for e, chain in enumerate(chains):
        for k, j in ((chain[0], chain[1]), (chain[-1], chain[-2])):
            ends.setdefault((k, row[j] >= row[k]), []).append((x[j], e))
    port: dict[tuple[int, int], float] = {}  # where they meet it: side by side, in the order of where they come from
    for (k, _), found in ends.items():
        step = min(18.0, (width[k] - 20) / len(found))
        port |= {(e, k): x[k] + (i - (len(found) - 1) / 2) * step for i, (_, e) in enumerate(sorted(found))}
    curves = []
    for e, chain in enumerate(chains):
        u, v = row[chain[0]], row[chain[-1]]
        enters, leaves = HEIGHT * (u >= v), HEIGHT * (u <= v)  # at which height of a row
        points = [(port.get((e, k), x[k]), row[k] * (HEIGHT + GAP) + y) for k in chain for y in (enters, leaves)]
        curve = points[1:2]
        for (x0, y0), (x1, y1) in pairwise(points[1:-1]):
            y = (y0 + y1) / 2 if y0 != y1 else y0 + 0.8 * GAP  # within a row, a dip towards the next
            curve += [(x0, y), (x1, y), (x1, y1)]
        curves.append(curve)
    return curves
