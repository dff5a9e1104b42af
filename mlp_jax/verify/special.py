"""Special points: the arguments with one entry replaced by a number at which rules, and JAX's own, are known to break.

At each the whole judgement is made again. Two more tests find what it cannot: a derivative that is another at a single
point than everywhere beside it, and a formula that loses its digits where the derivative itself is well conditioned.
"""

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.findings import Finding, Where, Why
from mlp_jax.verify.function import TracedFunction
from mlp_jax.verify.interpreter import compared_constants
from mlp_jax.verify.policy import Precision, half_the_digits
from mlp_jax.verify.report import Leaf, Verdict
from mlp_jax.verify.table import Arrays, Table

FAULTS = (Verdict.WRONG, Verdict.ZERO_EVERYWHERE, Verdict.NONFINITE, Verdict.PRIMAL)


class Point(NamedTuple):
    """One entry of one leaf, by its flat number, and what stands there."""

    leaf: int
    entry: int
    value: float
    what: str


def at_special_points(
    experiment: Experiment, names: Sequence[str], outputs: Sequence[str], meant: Container[str]
) -> tuple[list[Leaf], str]:
    """A leaf for each fault at a special point, and a note of how many were looked at; what is `meant` is none."""
    leaves, found, looked = [np.asarray(x).astype(np.float64) for x in experiment.leaves], [], 0
    function = experiment.function
    constants = sorted(compared_constants(function.program)) if isinstance(function, TracedFunction) else []
    precisions = [Precision.of(np.asarray(x).dtype) for x in experiment.leaves]
    for point in _points(leaves, precisions, constants, experiment.seed):
        with np.errstate(all="ignore"):
            finding, is_output = _at(experiment, leaves, point)
        looked += finding is not None
        if finding is not None and finding.verdict in FAULTS and (is_output or names[finding.about] not in meant):
            found.append(_leaf(leaves, names, point, finding, outputs if is_output else names))
    return (
        found,
        f"looked at {looked} special points, too: an entry 0, ±1, denormal, tied, or where branches meet",
    )


def _points(leaves: Arrays, precisions: Sequence[Precision], constants: Sequence[float], seed: int) -> Iterator[Point]:
    """Of each leaf one entry: 0, −0, ±1, a denormal, a tie, the constants of comparisons, between and near them."""
    rng = np.random.default_rng([seed, 8])
    meet = np.unique([-1.0, 0.0, 1.0, *(c for c in constants if abs(c) < policy.FARTHEST)])[: policy.MOST_CONSTANTS]
    between = [meet[0] - 1, *(meet[1:] + meet[:-1]) / 2, meet[-1] + 1]
    for i, (x, precision) in enumerate(zip(leaves, precisions, strict=True)):
        if not x.size:
            continue
        near = [c + k * precision.eps**0.75 * (abs(c) or 1) for c in meet for k in (1.3, -2.1)]
        values = [*meet, *between, *near, -0.0, precision.tiny / 4]
        for value in values:
            yield Point(i, int(rng.integers(x.size)), float(value), f"{float(value):.6g}")
        if x.ndim and x.shape[-1] > 1:
            entry = int(rng.integers(x.size))
            row = np.delete(x.reshape(-1, x.shape[-1])[entry // x.shape[-1]], entry % x.shape[-1])
            yield Point(i, entry, float(np.max(row)), "the largest of its row, too")


def _replaced(leaves: Arrays, point: Point, value: float) -> Arrays:
    changed = [x.copy() for x in leaves]
    changed[point.leaf].flat[point.entry] = value
    return changed


def _at(experiment: Experiment, leaves: Arrays, point: Point) -> tuple[Finding | None, bool]:
    """The first fault, and whether it is an output's; None where a value is not finite."""
    table = experiment.table(experiment.given(_replaced(leaves, point, point.value)))
    if not all(np.isfinite(v).all() for v in table.values):
        return None, False
    table.answers["outside_jit",] = None
    _, judgement = experiment.judged(table)
    if 0 < abs(point.value) < table.precisions[point.leaf].tiny:
        at_0 = _beside(experiment, table, point, [-point.value])[0][1] if table.reference is not None else np.zeros(1)
        is_infinite = not np.isfinite(at_0).all()  # no number is right where computers take it for 0
        # computers take what is no normal number for 0, and steps from it show nothing: the formula is judged
        formula = (f for f in judgement.leaves if f.where is Where.EXACTLY and Why.JAX_IS_WRONG not in f.why)
        fault = None if is_infinite else next((f for f in formula if f.verdict in FAULTS), None)
        return fault or Finding(point.leaf, Verdict.OK), False
    for f in judgement.outputs:
        if not f.passes:
            return f, True
    single = _single(experiment, table, point)
    for f in judgement.leaves:
        at_point = f.about == point.leaf and f.entry in (None, point.entry)
        if f.verdict in FAULTS and _is_known(table, f) and not (at_point and single and single.passes):
            return f, False
    return single or _lossy(experiment, table, point) or Finding(point.leaf, Verdict.OK), False


def _is_known(table: Table, f: Finding) -> bool:
    """Whether a right number is known where yours is none: 0 times an infinite slope is nobody's fault."""
    if f.verdict is not Verdict.NONFINITE or f.entry is None:
        return True
    infinite = np.isinf(table.leaf(f.about).reference[0, f.entry])
    return f.right is not None and bool(np.isfinite(f.right)) and not infinite


def _beside(
    experiment: Experiment, table: Table, point: Point, steps: Sequence[float]
) -> list[tuple[Arrays, np.ndarray]]:
    """Values, and the reference (cotangents,) for the entry, some steps aside."""
    found, reference = [], experiment.function.reference
    assert reference
    for step in steps:
        at = _replaced(table.leaves, point, point.value + step)
        values, gradients = reference.exact(at, table.base_cotangents)
        found.append((values, gradients[point.leaf].reshape(table.base, -1)[:, point.entry]))
    return found


def _single(experiment: Experiment, table: Table, point: Point) -> Finding | None:
    """Where the reference is one thing on both sides and another at the point itself, that on both sides is right."""
    if table.reference is None or table.named:
        return None
    step = policy.ASIDE * (abs(point.value) or 1.0)
    beside = _beside(experiment, table, point, [-2 * step, -step, step, 2 * step])
    leaf = table.leaf(point.leaf)
    yours, at = (g[: table.base, point.entry] for g in (leaf.yours, leaf.reference))
    return single_point(
        point.leaf, point.entry, yours, at, np.stack([g for _, g in beside]), _jumps(table, beside, step)
    )


def _jumps(table: Table, beside: Sequence[tuple[Arrays, np.ndarray]], step: float) -> bool:
    """Whether the value is another at the point than beside it, by far more than a slope explains."""
    for k, here in enumerate(table.values):
        left, right = beside[1][0][k], beside[2][0][k]
        middle, change = (left + right) / 2, np.abs(left - beside[0][0][k]) + np.abs(beside[3][0][k] - right)
        if (np.abs(here - middle) > change + step * np.abs(here)).any():
            return True
    return False


def single_point(
    leaf: int, entry: int, yours: np.ndarray, at: np.ndarray, beside: np.ndarray, jumps: bool
) -> Finding | None:
    """What is said of an entry (cotangents,) by the reference there and beside it (two left, two right; cotangents)."""
    right = np.mean(beside, axis=0)
    size = float(np.max(np.abs(right), initial=0))
    same = np.max(np.abs(beside - right), initial=0) <= policy.GROSS * size
    if jumps or not same or not size or np.max(np.abs(at - right)) <= policy.BLIND * policy.DECIDED_ALONG * size:
        return None
    off = np.where(np.isnan(yours), np.inf, np.abs(yours - right))
    c = int(np.argmax(off))
    verdict = Verdict.OK if off[c] <= policy.DECIDED * size else Verdict.WRONG
    return Finding(leaf, verdict, float(off[c]), 0.0, entry, c, float(yours[c]), float(right[c]), Where.SINGLE_POINT)


def _lossy(experiment: Experiment, table: Table, point: Point) -> Finding | None:
    """Where the run in your precision is far off, and the derivative so well conditioned that it need not be."""
    leaf, eps = table.leaf(point.leaf), table.precisions[point.leaf].eps
    if table.reference is None or table.named or not point.value:
        return None
    error = np.abs(leaf.own - leaf.yours)[: table.base, point.entry]
    gross = half_the_digits(leaf.precision) * max(leaf.size, leaf.resolution)
    gross = gross + np.abs(leaf.yours[: table.base, point.entry])
    c = int(np.argmax(error - gross))
    if not error[c] > gross[c]:
        return None
    aside = [g for _, g in _beside(experiment, table, point, [-eps * point.value, eps * point.value])]
    if not policy.SPREADS * max(np.abs(g - leaf.reference[: table.base, point.entry])[c] for g in aside) < error[c]:
        return None
    yours, right = float(leaf.own[c, point.entry]), float(leaf.yours[c, point.entry])
    where = Where.IN_YOUR_PRECISION
    return Finding(point.leaf, Verdict.WRONG, float(error[c]), float(gross[c]), point.entry, c, yours, right, where)


WORDS = {
    Where.SINGLE_POINT: "the derivative on both sides is another",
    Where.IN_YOUR_PRECISION: "right in float64; in your precision far off",
}


def _leaf(leaves: Arrays, leaf_names: Sequence[str], point: Point, f: Finding, names: Sequence[str]) -> Leaf:
    """The finding, named by the point."""
    place = list(map(int, np.unravel_index(point.entry, leaves[point.leaf].shape))) or ""
    name = f"{names[f.about]} at {leaf_names[point.leaf]}{place} = {point.what}"
    return Leaf(name, None, "", f.verdict, f.error, None, (), f.yours, f.right, WORDS.get(f.where, ""))
