"""One leaf, or one output: of the tests, in their order, the first that knows an answer gives the finding.

1. `agrees`: your formula, in exact arithmetic, is the reference but for units of the last place, and the run in your
   precision keeps half its digits. Most right rules end here.
2. `is_far_off`: so far that no rounding is an excuse, and two witnesses say so: the reference, and slopes from values.
3. `agrees_up_to_rounding`: within what rounding was measured to do, in exact arithmetic and in your precision.
4. `entry_by_entry`: where yours and the reference differ, slopes from values decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.entries import Decision, Outcome, Side, decide, decide_by_name
from mlp_jax.verify.findings import Finding, Where, Why, largest, off_by, worst
from mlp_jax.verify.lines import by_directions_alone
from mlp_jax.verify.policy import FLOAT64, half_the_digits
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.slopes import Slopes
from mlp_jax.verify.table import Column, Table, for_all, is_float64


def value(table: Table, k: int) -> Finding:
    """Whether your forward rule returns the function's value."""
    column = table.output(k)
    if (found := agrees(column) or agrees_up_to_rounding(column)) is not None:
        return found
    errors = _beyond_rounding(column)
    if errors.exact.any():
        found = worst(column, errors.exact, column.yours, column.reference, errors.exactly)
    elif not (errors.own & off_by(column.own, column.reference + _native(column), errors.roughly)).any():
        return _passing(column, errors.why)  # in your precision it is what the function itself is there
    else:
        found = worst(column, errors.own, column.own, column.yours, errors.roughly)
        found = replace(found, where=Where.IN_YOUR_PRECISION)
    return replace(found, verdict=Verdict.PRIMAL)


def gradient(table: Table, i: int) -> Finding:
    """The finding of the first test that knows an answer."""
    leaf = table.leaf(i)
    answers = (found for test in TESTS if (found := test(leaf)) is not None)
    return next(answers)


def agrees(column: Column) -> Finding | None:
    """Yours is the reference but for its last digits, and keeps half of them in your own precision."""
    close = _last_digits(column) + policy.FLOAT64_ULPS * FLOAT64.eps * column.scales * column.size
    off = off_by(column.yours, column.reference, close)
    negligible = bool(off.any())
    if negligible and (off & off_by(column.yours, column.reference, _unresolved(column))).any():
        return None
    if off_by(column.own, column.reference, half_of_its_digits(column, np.abs(column.reference))).any():
        return None
    return _passing(column, {Why.NEGLIGIBLE} if negligible else set())


def is_far_off(leaf: Column) -> Finding | None:
    """So wrong that rounding is no excuse, by the reference and by values."""
    if leaf.table.reference is None or leaf.table.named:
        return None
    # what is 0 by cancellation is not far off beside its own noise, but beside its terms
    noise = policy.ULPS * leaf.precision.eps * leaf.resolution * leaf.scales
    allowance = policy.GROSS * leaf.scales * leaf.sizes + noise
    off = off_by(leaf.yours, leaf.reference, allowance)
    decisions = decisions_on(leaf, off, allowance, policy.FIRST_ENTRIES) if off.any() else {}
    wrong = {at: d for at, d in decisions.items() if d.outcome is Outcome.WRONG and d.agreed}
    return _wrong(leaf, wrong, off, allowance) if wrong else None


def agrees_up_to_rounding(column: Column) -> Finding | None:
    """Within what rounding was measured to do, in exact arithmetic and in your precision."""
    if np.isnan(column.reference).all() and column.yours.size:
        return None
    errors = _beyond_rounding(column)
    return None if errors.exact.any() or errors.own.any() else _passing(column, errors.why)


def entry_by_entry(leaf: Column) -> Finding:
    """Where yours and the reference differ, or where there is none, by slopes from values."""
    if leaf.table.reference is not None:
        errors = _beyond_rounding(leaf)
        if errors.exact.any():
            return _by_entries(leaf, errors.exact, errors.exactly, policy.ENTRIES)
        return _in_your_precision(leaf, errors.own, errors.roughly)
    if leaf.yours.shape[1] > leaf.table.most_entries:
        found = by_directions_alone(leaf)
    else:
        allowance = policy.UNTIL_CONVERGED * np.abs(leaf.yours) + half_the_digits(FLOAT64) * leaf.scales * leaf.size
        found = _by_entries(leaf, np.full(leaf.yours.shape, True), allowance, leaf.yours.shape[1])
        together = by_directions_alone(leaf) if found.verdict is Verdict.UNRESOLVED else found
        found = together if together.verdict is not Verdict.UNRESOLVED else found
    rough = half_of_its_digits(leaf, np.abs(leaf.yours), largest(leaf.yours[: leaf.base])) + 2 * leaf.precision.tiny
    off = off_by(leaf.own, leaf.yours, rough)
    return _in_your_precision(leaf, off, rough) if found.passes and off.any() else found


TESTS: tuple[Callable[[Column], Finding | None], ...] = (agrees, is_far_off, agrees_up_to_rounding, entry_by_entry)


# --- rounding ---------------------------------------------------------------------------------------------------------


class _Beyond(NamedTuple):
    """Which entries (cotangents, entries) are beyond rounding, what was allowed, and what is to be said."""

    exact: np.ndarray
    exactly: np.ndarray
    own: np.ndarray
    roughly: np.ndarray
    why: set[Why]


def _beyond_rounding(column: Column) -> _Beyond:
    precision, why = column.precision, set()
    exactly = np.broadcast_to(_unresolved(column), column.yours.shape)
    exact = off_by(column.yours, column.reference, exactly)
    if exact.any() and column.table.reference is not None:
        # what is left of rounding in exact arithmetic: constants that were rounded, and the reference's own digits
        exactly = exactly + column.scales * column.spread("constants") + _last_digits(column)
        exact = off_by(column.yours, column.reference, exactly)
        if exact.any() and not column.table.named:
            exactly = exactly + column.scales * policy.SPREADS * column.spread("rounded", True)
            beyond = off_by(column.yours, column.reference, exactly)
            why |= {Why.REFERENCE_WITHOUT_DIGITS} if (exact & ~beyond).any() else set()
            exact = beyond
        beyond = exact & off_by(column.yours, column.reference, column.tail)
        if (exact & ~beyond).any():
            exact, why = beyond, why | {Why.TAIL}
    # where the formula is right, its run in your precision is held to it
    spread = spread_of(column)
    rounding = column.scales * policy.SPREADS * spread
    roughly = np.fmax(rounding, half_of_its_digits(column, np.abs(column.yours))) + 2 * precision.tiny
    blind = ~(policy.SPREADS * spread <= policy.BLIND * column.sizes)
    overflows = ~np.isfinite(column.own) & (np.abs(column.yours) + roughly > precision.max / 4)
    lost = (
        ~np.isfinite(column.own) & np.isfinite(column.yours) & (policy.SPREADS * spread < policy.BLIND * column.sizes)
    )
    own = off_by(column.own, column.yours, roughly) & ~overflows & ~exact & (~blind | lost)
    seen = column.sizes > 0
    why |= {Why.BLIND} if seen.any() and np.mean(blind[seen]) > policy.GROSS else set()
    return _Beyond(exact, exactly, own, roughly, why)


def _last_digits(column: Column) -> np.ndarray:
    """Units of the last place of each entry; of float32 where yours are coarser, for nothing is rounded here.

    But in kernels and callbacks: these round to their own types.
    """
    unit, typed = min(column.precision.eps, policy.FLOAT32_EPS), column.table.typed
    return policy.ULPS * (max(unit, typed) * np.abs(column.reference) + typed * column.scales * column.size)


def _native(column: Column) -> np.ndarray:
    """How far the function in the user's precision is from its exact value."""
    return np.ravel(column.table.ask("native")[0][column.about])


def spread_of(column: Column) -> np.ndarray:
    """How much rounding in the user's precision moves each entry (entries,) of the reference."""
    if column.table.reference is None:
        return np.zeros(column.yours.shape[1])
    spread = column.spread("native")
    if not column.size or not (policy.SPREADS * spread <= policy.USUAL_SPREAD * column.size).all():
        spread = column.spread("rounded", False)
    # of a float64 the exact arithmetic is no better; there may be coarser types inside, all the same
    return np.fmax(spread, column.spread("rounded", True)) if is_float64(column.precision) else spread


def _unresolved(column: Column) -> np.ndarray:
    """What cannot matter (cotangents, 1): what float64 leaves open beside the largest entry, and what nobody sees."""
    part = policy.FLOAT64_ULPS * FLOAT64.eps + policy.NEGLIGIBLE * min(column.precision.eps, policy.FLOAT32_EPS)
    return part * column.scales * column.size


def half_of_its_digits(column: Column, right: np.ndarray, size: float | None = None) -> np.ndarray:
    """Half the digits of each entry, and the last one of the largest."""
    units = policy.TOP_ULPS_OF_MANY_BITS if column.precision.eps <= policy.FLOAT32_EPS else policy.TOP_ULPS
    top = units * column.precision.eps * column.scales * (column.size if size is None else size)
    return half_the_digits(column.precision) * right + top


def _passing(column: Column, why: set[Why]) -> Finding:
    if 0 < column.size < 2 * column.precision.tiny:
        why = why | {Why.UNDERFLOWS}
    if not column.size and column.yours.size:
        why = why | {Why.UNSEEN}
    error = largest((column.yours - column.reference)[: column.base])
    return Finding(column.about, Verdict.OK, error, why=frozenset(why))


def _in_your_precision(leaf: Column, off: np.ndarray, allowance: np.ndarray) -> Finding:
    found = worst(leaf, off, leaf.own, leaf.yours, allowance)
    lost = int((~np.isfinite(leaf.own)).any(axis=0).sum())
    verdict = Verdict.NONFINITE if lost and not np.isfinite(found.yours or 0.0) else Verdict.WRONG
    return replace(found, verdict=verdict, where=Where.IN_YOUR_PRECISION, entries=lost or found.entries)


# --- entry by entry ---------------------------------------------------------------------------------------------------

At = tuple[int, int]  # cotangent, entry


def decisions_on(leaf: Column, off: np.ndarray, allowance: np.ndarray, most: int) -> dict[At, Decision]:
    """One for each cotangent at which an entry that was picked is off."""
    allowance = np.fmax(np.broadcast_to(allowance, off.shape), _unresolved(leaf))
    picked, near = _picked(leaf, off, allowance, most), _neighbours(leaf)
    pieces: np.ndarray | None = None
    sides = None if leaf.table.named else _sides(leaf, leaf.table.ask("entries", leaf.about, picked))
    left_out = not all(np.isfinite(v).all() for v in leaf.table.values)
    found = {}
    for k, e in enumerate(picked):
        for c in map(int, np.flatnonzero(off[:, e])):
            numbers = float(leaf.yours[c, e]), float(leaf.reference[c, e]), float(allowance[c, e])
            if sides is None:
                found[c, e] = decide_by_name(*numbers, near[:, c, e])
                continue
            both = [Side(float(slope[k, c]), policy.ERROR_FACTOR * float(error[k, c])) for slope, error in sides]
            decision = decide(*numbers, both, near[:, c, e])
            if decision.at_kink and decision.outcome is not Outcome.KINK and leaf.table.reference is not None:
                pieces = _at_neighbours(leaf, "other_pieces") if pieces is None else pieces
                decision = decide(*numbers, both, np.append(near[:, c, e], pieces[:, c, e]))
            if left_out and np.isnan(numbers[0]) and np.isnan(leaf.reference[0, e]) and decision.right == 0:
                decision = Decision(Outcome.NO_DERIVATIVE, np.nan)  # it acts on outputs alone that are left out
            found[c, e] = decision
    return found


def _sides(leaf: Column, slopes: Slopes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slopes for all cotangents from the base ones; errors are not negative, and infinite where nothing is known."""
    left, left_error, right, right_error = (
        for_all(leaf.table, np.where(np.isfinite(part), part, np.nan).T).T for part in slopes
    )
    both = ((left, left_error), (right, right_error))
    return [(slope, np.where(np.isnan(error), np.inf, np.abs(error))) for slope, error in both]


def _neighbours(leaf: Column) -> np.ndarray:
    """The references at the neighbours (neighbours, cotangents, entries)."""
    if leaf.table.reference is None:
        return np.full((2, *leaf.yours.shape), np.nan)
    return _at_neighbours(leaf, "neighbours")


def _at_neighbours(leaf: Column, which: Literal["neighbours", "other_pieces"]) -> np.ndarray:
    near = leaf.table.ask(which)[leaf.about]
    return for_all(leaf.table, near.reshape(*near.shape[:2], -1))


def _picked(leaf: Column, off: np.ndarray, allowance: np.ndarray, most: int) -> tuple[int, ...]:
    """The entries to look at: those off whose value no neighbour has, the worst, and others evenly."""
    others = np.flatnonzero(off.any(axis=0))
    if len(others) <= most:
        return tuple(map(int, others))
    near, unit = _neighbours(leaf), np.maximum(allowance, np.finfo(float).tiny)
    low, high = np.nanmin(near, axis=0, initial=np.inf), np.nanmax(near, axis=0, initial=-np.inf)
    outside = np.maximum(np.maximum(low - leaf.yours, leaf.yours - high), 0)
    by_neighbours, by_error = (
        np.max(np.where(off, np.nan_to_num(error / unit, nan=1e30, posinf=1e30), 0), axis=0)[others]
        for error in (outside, np.abs(leaf.yours - leaf.reference))
    )
    order = others[np.lexsort((-by_error, -by_neighbours))]
    worst, rest = np.split(order, [(most + 1) // 2])
    evenly = rest[np.linspace(0, len(rest) - 1, most - len(worst)).astype(int)]
    return tuple(sorted({int(e) for e in (*worst, *evenly)}))


def _by_entries(leaf: Column, off: np.ndarray, allowance: np.ndarray, most: int) -> Finding:
    """The finding on a leaf from decisions on its entries: a wrong one counts before one that is undecided."""
    decisions = decisions_on(leaf, off, allowance, most)
    by_outcome = {o: {at: d for at, d in decisions.items() if d.outcome is o} for o in Outcome}
    if wrong := by_outcome[Outcome.WRONG]:
        is_excused = _is_of_an_approximation(leaf, sorted({e for _, e in wrong}))
        return _passing(leaf, {Why.APPROXIMATION}) if is_excused else _wrong(leaf, wrong, off, allowance)
    if by_outcome[Outcome.UNDECIDED]:
        return worst_of(leaf, Verdict.UNRESOLVED, by_outcome[Outcome.UNDECIDED], allowance)
    why = {Why.NO_DERIVATIVE} if by_outcome[Outcome.NO_DERIVATIVE] else set()
    why |= {Why.UNSEEN} if by_outcome[Outcome.UNSEEN] else set()
    if leaf.table.reference is not None and any(not d.agreed for d in by_outcome[Outcome.RIGHT].values()):
        why.add(Why.JAX_DIFFERS)
    if by_outcome[Outcome.KINK]:
        return replace(worst_of(leaf, Verdict.KINK, by_outcome[Outcome.KINK], allowance), why=frozenset(why))
    errors = [
        abs(leaf.yours[at] - d.right) for at, d in decisions.items() if at[0] < leaf.base and np.isfinite(d.right)
    ]
    return Finding(leaf.about, Verdict.OK, max(errors, default=0.0), why=frozenset(why))


def _is_of_an_approximation(leaf: Column, entries: Sequence[int]) -> bool:
    """Whether these entries differ as the truth does from the derivative of an approximation of its values.

    A polynomial of degree n that is off by a last digit has a derivative that is off by up to n² of these, by Markov's
    inequality: its values are right, and so is a rule by the formula that it stands for. Such a rule differs by a few
    units, and its integral is the change from one value to another, each known to a few units of its last place: to a
    few more, where a constant is an exponent.
    """
    is_approximate = leaf.table.reference is not None and leaf.spread("constants").any()
    unit = max(min(leaf.precision.eps, policy.FLOAT32_EPS), leaf.table.typed)
    off = np.abs(leaf.yours - leaf.reference)[:, entries]
    if leaf.table.named or not is_approximate or not (off <= policy.MARKOV * unit * leaf.scales * leaf.size).all():
        return False
    return bool((leaf.table.ask("chords", leaf.about, tuple(entries)) <= 2.5 * policy.ULPS * unit).all())


def _wrong(leaf: Column, decisions: dict[At, Decision], off: np.ndarray, allowance: np.ndarray) -> Finding:
    found = worst_of(leaf, Verdict.WRONG, decisions, allowance)
    found = replace(found, entries=int(off.any(axis=0).sum()))
    if found.yours is not None and not np.isfinite(found.yours):
        return replace(found, verdict=Verdict.NONFINITE, entries=int((~np.isfinite(leaf.yours)).any(axis=0).sum()))
    if not leaf.yours.any():
        return replace(found, verdict=Verdict.ZERO_EVERYWHERE)
    not_linear = (found.cotangent or 0) >= leaf.base and not off[: leaf.base].any()
    return replace(found, why=frozenset({Why.NOT_LINEAR})) if not_linear else found


def worst_of(leaf: Column, verdict: Verdict, decisions: dict[At, Decision], allowance: np.ndarray) -> Finding:
    """A finding at the worst of the entries that were decided upon."""
    off, right = np.zeros(leaf.yours.shape, bool), leaf.reference.copy()
    for at, decision in decisions.items():
        off[at], right[at] = True, decision.right
    return replace(worst(leaf, off, leaf.yours, right, allowance), verdict=verdict)
