"""Where the nodes and edges of a drawing go: rows, an order in each row that crosses few edges, coordinates, curves.

The method is that of Sugiyama, Tagawa and Toda (1981). Nodes have numbers and sit in rows. Where an edge passes a row
it has a place of its own, a waypoint, so that it runs through no box. Sorting the rows again and again by the mean
place of the neighbours takes crossings out; then each item moves as near to its neighbours as its row permits. There
are one or two blocks side by side, each placed for itself. Nothing is random: equal graphs have equal drawings.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import accumulate, pairwise

Point = tuple[float, float]
Edge = tuple[int, int]
# For each item the items above and below it to which edges lead, and how strongly they pull it.
_Links = dict[int, list[tuple[int, float]]]

HEIGHT = 40.0  # of a box
SPACE = 18.0  # between boxes in a row
TRACK = 8.0  # between edges that run side by side from block to block
SWEEPS = 40


@dataclass(frozen=True)
class Placement:
    """The middle of each box; a curve for each edge: a start, then two control points and an end for each piece."""

    centres: list[Point]
    curves: list[list[Point]]
    width: float
    height: float


# --- rows -----------------------------------------------------------------------------------------


def mirrored_rows(count: int, edges: Iterable[Edge], right: Collection[int], partner: dict[int, int]) -> list[int]:
    """Rows where edges within the left block lead down and those within the right block up, partners side by side.

    Args:
        count: the number of nodes.
        edges: from node to node.
        right: the nodes of the right block, the gradients.
        partner: for ∂J/∂v in the right block, v in the left.

    Raises:
        graphlib.CycleError: no rows are so.
    """
    unit = [partner.get(k, k) for k in range(count)]
    below: dict[int, list[int]] = {k: [] for k in unit}
    for u, v in edges:
        if u in right and v in right:
            below[unit[v]].append(unit[u])
        elif v not in right:
            below[unit[u]].append(unit[v])
    level = _levels(below)
    top = max(level.values(), default=0)
    bound = {k for u, lower in below.items() for k in ([u, *lower] if lower else [])}
    return [top - level[k] if k in bound else 0 for k in unit]


def _levels(earlier: dict[int, list[int]]) -> dict[int, int]:
    """The longest path to each node; one on which more depend than it depends on stands next to the first of them."""
    order = list(TopologicalSorter(earlier).static_order())
    later: dict[int, list[int]] = {k: [] for k in order}
    level: dict[int, int] = {}
    for k in order:
        level[k] = max((level[j] + 1 for j in earlier[k]), default=0)
        for j in earlier[k]:
            later[j].append(k)
    for k in reversed(order):
        if len(later[k]) > len(earlier[k]):
            level[k] = min(level[j] for j in later[k]) - 1
    return level


# --- places ---------------------------------------------------------------------------------------


def place(
    widths: Sequence[float], rows: Sequence[int], edges: Iterable[Edge], right: Collection[int] = ()
) -> Placement:
    """Boxes of these widths in these rows, those in `right` in a block to the right of the others, and curves."""
    row = list(rows)
    chains = [_chain(row, u, v) for u, v in edges]
    width = [*widths, *[0.0] * (len(row) - len(rows))]
    left = {k for k in range(len(rows)) if k not in right}
    x = _block(left, chains, row, width)
    if right:
        end = max((x[k] + width[k] / 2 for k in x), default=0.0) + SPACE
        tracks = _tracks(chains, right, end)
        end = max(tracks.values(), default=end) + SPACE
        x |= tracks | {k: end + value for k, value in _block(right, chains, row, width).items()}
    tops = _tops(chains, row, x)
    centres = [(x[k], tops[row[k]] + HEIGHT / 2) for k in range(len(rows))]
    curves = _curves(chains, row, width, x, tops)
    lowest = max([tops[-2] + HEIGHT, *(y for curve in curves for _, y in curve)])
    return Placement(centres, curves, max((x[k] + width[k] / 2 for k in x), default=0.0), lowest)


def _chain(row: list[int], u: int, v: int) -> list[int]:
    """The items through which an edge goes: between its ends a waypoint in each row, which is appended to the rows."""
    step = 1 if row[v] > row[u] else -1
    first = len(row)
    row += range(row[u] + step, row[v], step)
    return [u, *range(first, len(row)), v]


def _tracks(chains: list[list[int]], right: Collection[int], start: float) -> dict[int, float]:
    """Edges from block to block go upright between the blocks, all that come from one node on one track."""
    across = [chain for chain in chains if len(chain) > 2 and (chain[0] in right) != (chain[-1] in right)]
    sources = list(dict.fromkeys(chain[0] for chain in across))
    return {k: start + TRACK * sources.index(chain[0]) for chain in across for k in chain[1:-1]}


def _block(nodes: Collection[int], chains: list[list[int]], row: list[int], width: list[float]) -> dict[int, float]:
    """The middle of each node, and of each waypoint of the edges between them, from 0 to the right."""
    within = [chain for chain in chains if chain[0] in nodes and chain[-1] in nodes]
    links: dict[int, list[tuple[int, float]]] = {k: [] for k in nodes}
    links |= {k: [] for chain in within for k in chain[1:-1]}
    for chain in within:
        for a, b in pairwise(chain):
            waypoints = (a != chain[0]) + (b != chain[-1])
            pull = (1.0, 2.0, 8.0)[waypoints]  # long edges shall be straight
            links[a].append((b, pull))
            links[b].append((a, pull))
    order = _depth_first(sorted(links, key=lambda k: row[k]), links)
    grid = [[k for k in order if row[k] == r] for r in sorted({row[k] for k in order})]
    x = _abscissas(_uncrossed(grid, links), links, width)
    start = min((x[k] - width[k] / 2 for k in x), default=0.0)
    return {k: value - start for k, value in x.items()}


def _depth_first(starts: list[int], links: _Links) -> list[int]:
    """The items in an order that keeps neighbours together, the better to begin with."""
    found: dict[int, None] = {}
    waiting = starts[::-1]
    while waiting:
        k = waiting.pop()
        if k not in found:
            found[k] = None
            waiting += [j for j, _ in links[k]]
    return list(found)


def _uncrossed(grid: list[list[int]], links: _Links) -> list[list[int]]:
    """The rows in the order that crosses the fewest edges, of all that the sweeps up and down go through."""
    best, fewest = grid, _crossings(grid, links)
    for sweep in range(SWEEPS):
        grid = [list(row) for row in grid]
        for fixed, row in pairwise(grid if sweep % 2 == 0 else grid[::-1]):
            if sweep % 4 >= 2:
                row.reverse()  # those of equal mean change places
            place = {k: i for i, k in enumerate(fixed)}
            own = {k: i for i, k in enumerate(row)}
            near = {k: [place[j] for j, _ in links[k] if j in place] or [own[k]] for k in row}
            # fsum: from Python 3.12 on sum rounds otherwise, and the picture shall be the same
            row.sort(key=lambda k: math.fsum(near[k]) / len(near[k]))
        if (crossings := _crossings(grid, links)) < fewest:
            best, fewest = grid, crossings
    return best


def _crossings(grid: list[list[int]], links: _Links) -> int:
    count = 0
    for upper, lower in pairwise(grid):
        place = {k: i for i, k in enumerate(lower)}
        ends = [(i, place[j]) for i, k in enumerate(upper) for j, _ in links[k] if j in place]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return count


def _abscissas(grid: list[list[int]], links: _Links, width: list[float]) -> dict[int, float]:
    """The middle of each item: row by row they settle at the mean of their neighbours above and below."""
    x = {k: 0.0 for row in grid for k in row}
    for sweep in range(SWEEPS):
        for row in grid if sweep % 2 == 0 else grid[::-1]:
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


def _tops(chains: list[list[int]], row: list[int], x: dict[int, float]) -> list[float]:
    """The upper end of each row and of what follows the last; rows are further apart where edges go far sideways."""
    reach = [0.0] * (max(row, default=0) + 1)
    for chain in chains:
        for a, b in pairwise(chain):
            upper = min(row[a], row[b])
            reach[upper] = max(reach[upper], abs(x[a] - x[b]))
    return list(accumulate((HEIGHT + min(34 + far / 12, 90) for far in reach), initial=0.0))


# --- curves ---------------------------------------------------------------------------------------


def _curves(
    chains: list[list[int]], row: list[int], width: list[float], x: dict[int, float], tops: list[float]
) -> list[list[Point]]:
    """Upright where an edge passes a row, and aside only between rows, so that it touches no boxes but its own."""
    beside = {e for e, chain in enumerate(chains) if _is_beside(chain[0], chain[-1], row, x)}
    ports = _ports({e: chain for e, chain in enumerate(chains) if e not in beside}, row, width, x)
    curves = []
    for e, chain in enumerate(chains):
        u, v = chain[0], chain[-1]
        if e in beside:
            start, end = x[u] + width[u] / 2, x[v] - width[v] / 2
            y = tops[row[u]] + HEIGHT / 2
            curves.append([(start, y), ((start + end) / 2, y), ((start + end) / 2, y), (end, y)])
            continue
        away, back = HEIGHT * (row[v] >= row[u]), HEIGHT * (row[v] <= row[u])  # where edges leave and enter a row
        points = [(ports[e, u], tops[row[u]] + away)]
        for k in chain[1:-1]:
            points += [(x[k], tops[row[k]] + back), (x[k], tops[row[k]] + away)]
        points.append((ports[e, v], tops[row[v]] + back))
        curves.append(_bend(points, tops[row[u] + 1]))
    return curves


def _is_beside(u: int, v: int, row: list[int], x: dict[int, float]) -> bool:
    return row[u] == row[v] and not any(row[k] == row[u] and x[u] < x[k] < x[v] for k in x)


def _ports(
    chains: dict[int, list[int]], row: list[int], width: list[float], x: dict[int, float]
) -> dict[tuple[int, int], float]:
    """For each edge and its two nodes, where it meets the box: side by side, in the order of where edges come from."""
    ends: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for e, chain in chains.items():
        for k, j in ((chain[0], chain[1]), (chain[-1], chain[-2])):
            ends.setdefault((k, row[j] >= row[k]), []).append((x[j], e))
    ports = {}
    for (k, _), found in ends.items():
        step = min(18.0, (width[k] - 20) / len(found))
        for i, (_, e) in enumerate(sorted(found)):
            ports[e, k] = x[k] + (i - (len(found) - 1) / 2) * step
    return ports


def _bend(points: list[Point], next_top: float) -> list[Point]:
    """Pieces that are upright at all points; between two of one height, a dip towards the next row."""
    curve = points[:1]
    for (x0, y0), (x1, y1) in pairwise(points):
        y = (y0 + y1) / 2 if y0 != y1 else y0 + 0.8 * (next_top - y0)
        curve += [(x0, y), (x1, y), (x1, y1)]
    return curve
