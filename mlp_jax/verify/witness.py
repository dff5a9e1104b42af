"""What the function's values say: its slopes along lines from a table's point, and its changes over intervals."""

from typing import Any

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.function import Function
from mlp_jax.verify.policy import FLOAT64, half_the_digits
from mlp_jax.verify.rule import RuleUnderTest
from mlp_jax.verify.slopes import Slopes, slopes, times
from mlp_jax.verify.table import Arrays, Lines, Table, entry_sizes, is_float64


def at_entries(function: Function, table: Table, leaf: int, entries: tuple[int, ...], stopped: bool) -> Slopes:
    """Slopes (entries, cotangents) for entries of a leaf; with what is `stopped` free, and held fast."""
    sizes = entry_sizes(table.leaves[leaf]).ravel()[list(entries)]
    directions = [np.zeros((len(entries), *x.shape)) for x in table.leaves]
    directions[leaf].reshape(len(entries), -1)[np.arange(len(entries)), list(entries)] = sizes
    declared = _declared(table, leaf)[:, list(entries)].T * sizes[:, None] if stopped else None
    found = _along(function, table, directions, policy.STEPS, _noise(table), declared)
    return Slopes(*(part / sizes[:, None] for part in found))


def on_lines(function: Function, table: Table, leaf: int | None, carefully: bool, seed: int, stopped: bool) -> Lines:
    """Slopes along ones, and at random, in the sizes of the entries, through one leaf or through all."""
    rng = np.random.default_rng([seed, 1])
    count = 2 if table.reference is not None and leaf is None else policy.DIRECTIONS
    directions = []
    for i, x in enumerate(table.leaves):
        sizes = entry_sizes(x)
        ones = np.full(x.shape, np.sqrt(np.mean(sizes**2)) if x.size else 1.0)
        moved = np.stack([ones, *(sizes * rng.normal(size=(count, *x.shape)))])
        directions.append(moved * (leaf is None or leaf == i))
    if not carefully and table.reference is not None:
        return Lines(directions, _along(function, table, directions, policy.FEW_STEPS, 0.0, None))
    of_leaves = (d.reshape(len(d), -1) @ _declared(table, i).T for i, d in enumerate(directions))
    declared = np.asarray(sum(of_leaves)) if stopped else None
    return Lines(directions, _along(function, table, directions, policy.STEPS, _noise(table), declared))


def chord(function: Function, rule: RuleUnderTest, table: Table, leaf: int, entry: int) -> np.ndarray:
    """The misfit (cotangents,) of the integral for one entry, on the side where it is less; inf if not finite."""
    nodes, weights = np.polynomial.legendre.leggauss(policy.NODES)
    base = table.base_cotangents

    def at(t: float) -> Arrays:
        moved = [x.copy() for x in table.leaves]
        moved[leaf].flat[entry] += t
        return moved

    found = []
    for long in np.array([-1, 1]) * policy.CHORD * entry_sizes(table.leaves[leaf]).flat[entry]:
        gradients = [rule.exact(at(long * (1 + t) / 2), base)[1][leaf] for t in nodes]
        integral = long / 2 * weights @ np.stack([g.reshape(len(g), -1)[:, entry] for g in gradients])
        change = terms = np.zeros_like(integral)
        for g, start, end in zip(base, function.values(at(0)), function.values(at(long)), strict=True):
            size = np.where(start == end, 0, np.fmax(np.abs(start), np.abs(end)))
            change = change + (g * (end - start)).reshape(len(g), -1).sum(axis=1)
            terms = terms + np.abs(g * size).reshape(len(g), -1).sum(axis=1)
        found.append(np.nan_to_num(np.abs(integral - change) / np.maximum(terms, FLOAT64.tiny), nan=np.inf))
    return np.min(found, axis=0)


def _along(
    function: Function,
    table: Table,
    directions: Arrays,
    steps: np.ndarray,
    noise: np.ndarray | float,
    declared: np.ndarray | None,
) -> Slopes:
    """Slopes (directions, cotangents); if what reverse mode says is given, held fast where that is nearer to it."""

    def measured(held: bool) -> Slopes:
        lines: Any = zip(*directions, strict=True)
        found = [function.line(table.leaves, list(line), times(steps), table.base_cotangents, held) for line in lines]
        phi, terms = (np.stack(part) for part in zip(*found, strict=True))
        return slopes(steps, phi, terms, function.noise, noise, function.staircase)

    free = measured(False)
    return free if declared is None else _meant(free, measured(True), declared, function.stops_within)


def _noise(table: Table) -> np.ndarray | float:
    """The noise of ⟨g, f⟩ (cotangents,) in float64, where the values lose digits; as usual (0) where they do not.

    Values that keep half their digits in the user's precision keep far more of those of float64.
    """
    if table.reference is None:
        return 0.0
    deviations = table.ask("native")[0]
    usual = not any(is_float64(p) for p in table.precisions) and all(
        (np.nan_to_num(np.abs(d)) <= half_the_digits(p) * np.abs(np.nan_to_num(v))).all()
        for d, v, p in zip(deviations, table.values, table.output_precisions, strict=True)
    )
    if usual:
        return 0.0
    pairs = zip(table.base_cotangents, table.ask("rounded", True)[0], strict=True)
    squares = [np.nansum((g * s) ** 2, axis=tuple(range(1, g.ndim))) for g, s in pairs]
    return policy.VALUE_NOISE * np.sqrt(np.asarray(sum(squares)))


def _declared(table: Table, leaf: int) -> np.ndarray:
    """What reverse mode says of a leaf (cotangents, entries); where it says nothing, what you say."""
    declared: np.ndarray = (table.yours if table.reference is None else table.reference)[leaf][: table.base]
    return declared.reshape(table.base, -1)


def _meant(free: Slopes, held: Slopes, declared: np.ndarray, some_not_held: bool) -> Slopes:
    """Slopes with what is behind a stop_gradient free or held fast, whichever reverse mode says: both may be meant.

    Solvers stop the gradients of their own factors, and values with those held fast are none of the function's. Where
    the two differ, and reverse mode says neither, nothing is known: some may be meant, and some not. Nor is it where
    some cannot be held fast.
    """
    with np.errstate(all="ignore"):
        close = policy.ERROR_FACTOR * (free.error + held.error) + policy.GROSS * np.abs(free.middle)
        alike = np.abs(free.middle - held.middle) <= close
        tolerance = policy.GROSS * np.abs(declared)
        near = [np.abs(s.middle - declared) <= policy.ERROR_FACTOR * s.error + tolerance for s in (free, held)]
    known = np.select([near[0] if some_not_held else alike | near[0], near[1]], [1, 2], 0)
    parts = zip(free, held, (np.nan, np.inf) * 2, strict=True)
    return Slopes(*(np.select([known == 1, known == 2], [a, b], nothing) for a, b, nothing in parts))
