"""From a table of numbers to findings: ordered tests, each a pure function. docs/verify.md derives them.

Of each leaf, the first test that knows an answer gives it:

1. `agrees`: your formula, in exact arithmetic, is the reference but for units of the last place, and the run in your
   precision keeps half its digits. Most right rules end here.
2. `is_far_off`: so far that no rounding is an excuse, and two witnesses say so: the reference, and slopes from values.
3. `agrees_up_to_rounding`: within what rounding was measured to do, in exact arithmetic and in your precision.
4. `entry_by_entry`: where yours and the reference differ, slopes from values decide.

Then, along directions, the values judge all entries together; the rule is tried beside kinks, and outside of `jit`.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.entries import Decision, Outcome, Side, decide, decide_by_name
from mlp_jax.verify.policy import FLOAT64, allowed, half_the_digits
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.slopes import Slopes
from mlp_jax.verify.table import (
    Along,
    Beside,
    Column,
    Constants,
    Entries,
    Lines,
    Native,
    Neighbours,
    OtherPieces,
    OutsideJit,
    Rounded,
    Table,
    for_all,
    is_float64,
)


class Where(enum.StrEnum):
    """In which evaluation an error shows."""

    EXACTLY = "in exact arithmetic"
    IN_YOUR_PRECISION = "in your precision"
    OUTSIDE_JIT = "outside jit"
    BESIDE = "beside these arguments"
    ALONG = "along a direction, all entries together"


class Why(enum.Enum):
    """What else is to be said of a leaf or an output."""

    BLIND = enum.auto()  # rounding in its precision may change it by half of itself
    UNDERFLOWS = enum.auto()  # it is below what its precision holds
    NEGLIGIBLE = enum.auto()  # it differs, by less than anybody sees
    UNSEEN = enum.auto()  # too small beside the value to be seen
    NO_DERIVATIVE = enum.auto()  # entries where none exists
    JAX_IS_WRONG = enum.auto()  # values contradict reverse mode, and it is as yours
    JAX_DIFFERS = enum.auto()  # values contradict reverse mode, and not yours
    REFERENCE_WITHOUT_DIGITS = enum.auto()
    NOT_LINEAR = enum.auto()


@dataclass(frozen=True)
class Finding:
    """What is said of one leaf or output.

    Attributes:
        about: the number of the leaf or output.
        verdict: what was found.
        error: the largest error, in the unit of the gradient.
        allowed: what would have passed there.
        entry: the worst entry, by its flat number.
        cotangent: at which it was seen.
        yours: your value there.
        right: the right one.
        where: in which evaluation.
        entries: how many it is about.
        why: what else is to be said.
    """

    about: int
    verdict: Verdict
    error: float = 0.0
    allowed: float = 0.0
    entry: int | None = None
    cotangent: int | None = None
    yours: float | None = None
    right: float | None = None
    where: Where = Where.EXACTLY
    entries: int = 0
    why: frozenset[Why] = frozenset()

    @property
    def passes(self) -> bool:
        """Whether it is as it should be."""
        return self.verdict.passes


class Judgement(NamedTuple):
    """All findings at a point."""

    leaves: list[Finding]
    outputs: list[Finding]

    @property
    def passes(self) -> bool:
        """Whether all do."""
        return all(finding.passes for finding in (*self.leaves, *self.outputs))


def judge(table: Table) -> Judgement:
    """Findings for all leaves and outputs.

    Raises:
        Unanswered: the table lacks a number that a test asks for.
    """
    outputs = [table.once(value, k) for k in range(len(table.values))]
    if not any(np.isfinite(v).any() for v in table.values if v.size) and any(v.size for v in table.values):
        return Judgement([Finding(i, Verdict.UNRESOLVED) for i in range(len(table.leaves))], outputs)
    leaves = [table.once(gradient, i) for i in range(len(table.leaves))]
    for test in (along_directions, beside_kinks, beside_ones, outside_jit):
        if Judgement(leaves, outputs).passes:
            for finding in test(table, leaves):
                leaves[finding.about] = finding
    return Judgement(leaves, outputs)


def value(table: Table, k: int) -> Finding:
    """Whether your forward rule returns the function's value."""
    column = table.output(k)
    if (found := agrees(column) or agrees_up_to_rounding(column)) is not None:
        return found
    errors = _beyond_rounding(column)
    if errors.exact.any():
        found = _worst(column, errors.exact, column.yours, column.reference, errors.exactly)
    elif not (errors.own & _off(column.own, column.reference + _native(column), errors.roughly)).any():
        return _passing(column, errors.why)  # in your precision it is what the function itself is there
    else:
        found = _worst(column, errors.own, column.own, column.yours, errors.roughly)
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
    off = _off(column.yours, column.reference, close)
    negligible = bool(off.any())
    if negligible and (off & _off(column.yours, column.reference, _unresolved(column))).any():
        return None
    if _off(column.own, column.reference, _half_the_digits(column, np.abs(column.reference))).any():
        return None
    return _passing(column, {Why.NEGLIGIBLE} if negligible else set())


def is_far_off(leaf: Column) -> Finding | None:
    """So wrong that rounding is no excuse, by the reference and by values."""
    if leaf.table.reference is None or leaf.table.named:
        return None
    # what is 0 by cancellation is not far off beside its own noise, but beside its terms
    noise = policy.ULPS * leaf.precision.eps * leaf.resolution * leaf.scales
    allowance = policy.GROSS * leaf.scales * leaf.sizes + noise
    off = _off(leaf.yours, leaf.reference, allowance)
    decisions = _decisions(leaf, off, allowance, policy.FIRST_ENTRIES) if off.any() else {}
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
        found = _by_directions_alone(leaf)
    else:
        allowance = policy.UNTIL_CONVERGED * np.abs(leaf.yours) + half_the_digits(FLOAT64) * leaf.scales * leaf.size
        found = _by_entries(leaf, np.full(leaf.yours.shape, True), allowance, leaf.yours.shape[1])
    rough = _half_the_digits(leaf, np.abs(leaf.yours), _largest(leaf.yours[: leaf.base])) + 2 * leaf.precision.tiny
    off = _off(leaf.own, leaf.yours, rough)
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
    exact = _off(column.yours, column.reference, exactly)
    if exact.any() and column.table.reference is not None:
        # what is left of rounding in exact arithmetic: constants that were rounded, and the reference's own digits
        exactly = exactly + column.scales * column.spread(Constants()) + _last_digits(column)
        exact = _off(column.yours, column.reference, exactly)
        if exact.any() and not column.table.named:
            exactly = exactly + column.scales * policy.SPREADS * column.spread(Rounded(True))
            beyond = _off(column.yours, column.reference, exactly)
            why |= {Why.REFERENCE_WITHOUT_DIGITS} if (exact & ~beyond).any() else set()
            exact = beyond
    # where the formula is right, its run in your precision is held to it
    spread = spread_of(column)
    rounding = column.scales * policy.SPREADS * spread
    roughly = np.fmax(rounding, _half_the_digits(column, np.abs(column.yours))) + 2 * precision.tiny
    blind = ~(policy.SPREADS * spread <= policy.BLIND * column.sizes)
    overflows = ~np.isfinite(column.own) & (np.abs(column.yours) + roughly > precision.max / 4)
    lost = (
        ~np.isfinite(column.own) & np.isfinite(column.yours) & (policy.SPREADS * spread < policy.BLIND * column.sizes)
    )
    own = _off(column.own, column.yours, roughly) & ~overflows & ~exact & (~blind | lost)
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
    return np.ravel(column.table.ask(Native())[0][column.about])


def spread_of(column: Column) -> np.ndarray:
    """How much rounding in the user's precision moves each entry (entries,) of the reference."""
    if column.table.reference is None:
        return np.zeros(column.yours.shape[1])
    spread = column.spread(Native())
    if not column.size or not (policy.SPREADS * spread <= policy.USUAL_SPREAD * column.size).all():
        spread = column.spread(Rounded(False))
    # of a float64 the exact arithmetic is no better; there may be coarser types inside, all the same
    return np.fmax(spread, column.spread(Rounded(True))) if is_float64(column.precision) else spread


def _unresolved(column: Column) -> np.ndarray:
    """What cannot matter (cotangents, 1): what float64 leaves open beside the largest entry, and what nobody sees."""
    part = policy.FLOAT64_ULPS * FLOAT64.eps + policy.NEGLIGIBLE * min(column.precision.eps, policy.FLOAT32_EPS)
    return part * column.scales * column.size


def _half_the_digits(column: Column, right: np.ndarray, size: float | None = None) -> np.ndarray:
    """Half the digits of each entry, and the last one of the largest."""
    top = policy.TOP_ULPS * column.precision.eps * column.scales * (column.size if size is None else size)
    return half_the_digits(column.precision) * right + top


def _passing(column: Column, why: set[Why]) -> Finding:
    if 0 < column.size < 2 * column.precision.tiny:
        why = why | {Why.UNDERFLOWS}
    if not column.size and column.yours.size:
        why = why | {Why.UNSEEN}
    error = _largest((column.yours - column.reference)[: column.base])
    return Finding(column.about, Verdict.OK, error, why=frozenset(why))


def _in_your_precision(leaf: Column, off: np.ndarray, allowance: np.ndarray) -> Finding:
    found = _worst(leaf, off, leaf.own, leaf.yours, allowance)
    lost = int((~np.isfinite(leaf.own)).any(axis=0).sum())
    verdict = Verdict.NONFINITE if lost and not np.isfinite(found.yours or 0.0) else Verdict.WRONG
    return replace(found, verdict=verdict, where=Where.IN_YOUR_PRECISION, entries=lost or found.entries)


# --- entry by entry ---------------------------------------------------------------------------------------------------

At = tuple[int, int]  # cotangent, entry


def _decisions(leaf: Column, off: np.ndarray, allowance: np.ndarray, most: int) -> dict[At, Decision]:
    """One for each cotangent at which an entry that was picked is off."""
    allowance = np.fmax(np.broadcast_to(allowance, off.shape), _unresolved(leaf))
    picked, near = _picked(leaf, off, allowance, most), _neighbours(leaf)
    pieces: np.ndarray | None = None
    slopes = None if leaf.table.named else _of_all_cotangents(leaf, leaf.table.ask(Entries(leaf.about, picked)))
    left_out = not all(np.isfinite(v).all() for v in leaf.table.values)
    found = {}
    for k, e in enumerate(picked):
        for c in map(int, np.flatnonzero(off[:, e])):
            numbers = float(leaf.yours[c, e]), float(leaf.reference[c, e]), float(allowance[c, e])
            if slopes is None:
                found[c, e] = decide_by_name(*numbers, near[:, c, e])
                continue
            decision = decide(*numbers, _sides(slopes, k, c), near[:, c, e])
            if decision.at_kink and decision.outcome is not Outcome.KINK and leaf.table.reference is not None:
                pieces = _at_neighbours(leaf, OtherPieces()) if pieces is None else pieces
                decision = decide(*numbers, _sides(slopes, k, c), np.append(near[:, c, e], pieces[:, c, e]))
            if left_out and np.isnan(numbers[0]) and np.isnan(leaf.reference[0, e]) and decision.right == 0:
                decision = Decision(Outcome.NO_DERIVATIVE, np.nan)  # it acts on outputs alone that are left out
            found[c, e] = decision
    return found


def _sides(slopes: Slopes, k: int, c: int) -> list[Side]:
    both = ((slopes.left, slopes.left_error), (slopes.right, slopes.right_error))
    return [Side(float(slope[k, c]), policy.ERROR_FACTOR * float(error[k, c])) for slope, error in both]


def _of_all_cotangents(leaf: Column, slopes: Slopes) -> Slopes:
    """Slopes for all cotangents from the base ones; errors are not negative, and infinite where nothing is known."""
    left, left_error, right, right_error = (
        for_all(leaf.table, np.where(np.isfinite(part), part, np.nan).T).T for part in slopes
    )
    unknown = [np.where(np.isnan(error), np.inf, np.abs(error)) for error in (left_error, right_error)]
    return Slopes(left, unknown[0], right, unknown[1])


def _neighbours(leaf: Column) -> np.ndarray:
    """The references at the neighbours (neighbours, cotangents, entries)."""
    if leaf.table.reference is None:
        return np.full((2, *leaf.yours.shape), np.nan)
    return _at_neighbours(leaf, Neighbours())


def _at_neighbours(leaf: Column, which: Neighbours | OtherPieces) -> np.ndarray:
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
    decisions = _decisions(leaf, off, allowance, most)
    by_outcome = {o: {at: d for at, d in decisions.items() if d.outcome is o} for o in Outcome}
    if by_outcome[Outcome.WRONG]:
        return _wrong(leaf, by_outcome[Outcome.WRONG], off, allowance)
    if by_outcome[Outcome.UNDECIDED]:
        return _worst_of(leaf, Verdict.UNRESOLVED, by_outcome[Outcome.UNDECIDED], allowance)
    why = {Why.NO_DERIVATIVE} if by_outcome[Outcome.NO_DERIVATIVE] else set()
    why |= {Why.UNSEEN} if by_outcome[Outcome.UNSEEN] else set()
    if leaf.table.reference is not None and any(not d.agreed for d in by_outcome[Outcome.RIGHT].values()):
        why.add(Why.JAX_DIFFERS)
    if by_outcome[Outcome.KINK]:
        return replace(_worst_of(leaf, Verdict.KINK, by_outcome[Outcome.KINK], allowance), why=frozenset(why))
    errors = [
        abs(leaf.yours[at] - d.right) for at, d in decisions.items() if at[0] < leaf.base and np.isfinite(d.right)
    ]
    return Finding(leaf.about, Verdict.OK, max(errors, default=0.0), why=frozenset(why))


def _wrong(leaf: Column, decisions: dict[At, Decision], off: np.ndarray, allowance: np.ndarray) -> Finding:
    found = _worst_of(leaf, Verdict.WRONG, decisions, allowance)
    found = replace(found, entries=int(off.any(axis=0).sum()))
    if found.yours is not None and not np.isfinite(found.yours):
        return replace(found, verdict=Verdict.NONFINITE, entries=int((~np.isfinite(leaf.yours)).any(axis=0).sum()))
    if not leaf.yours.any():
        return replace(found, verdict=Verdict.ZERO_EVERYWHERE)
    not_linear = (found.cotangent or 0) >= leaf.base and not off[: leaf.base].any()
    return replace(found, why=frozenset({Why.NOT_LINEAR})) if not_linear else found


def _worst_of(leaf: Column, verdict: Verdict, decisions: dict[At, Decision], allowance: np.ndarray) -> Finding:
    """A finding at the worst of the entries that were decided upon."""
    off, right = np.zeros(leaf.yours.shape, bool), leaf.reference.copy()
    for at, decision in decisions.items():
        off[at], right[at] = True, decision.right
    return replace(_worst(leaf, off, leaf.yours, right, allowance), verdict=verdict)


def _worst(column: Column, off: np.ndarray, yours: np.ndarray, right: np.ndarray, allowance: np.ndarray) -> Finding:
    """A finding at the largest error, beside the size of its cotangent, among the entries that are off."""
    error = np.abs(yours - right) / np.where(column.scales > 0, column.scales, 1)
    at = np.unravel_index(int(np.argmax(np.where(off, np.nan_to_num(error, nan=np.inf), -1))), off.shape)
    c, e = map(int, at)
    return Finding(
        column.about, Verdict.WRONG, abs(yours[at] - right[at]), float(np.broadcast_to(allowance, off.shape)[at]), e, c,
        float(yours[at]), float(right[at]), entries=int(off.any(axis=0).sum()),
    )  # fmt: skip


# --- all entries together ---------------------------------------------------------------------------------------------


def along_directions(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """Where the slopes on both sides of a direction are one number, yours must have it."""
    if table.named:
        return []
    at_kinks = [f.about for f in leaves if f.verdict is Verdict.KINK]
    together = contradicted(table, None)
    suspects = at_kinks if together is None else [i for i, x in enumerate(table.leaves) if x.size]
    found = [_contradiction(table, i, line) for i in suspects if (line := contradicted(table, i))]
    if not found and together is not None:
        return [replace(together, about=max(suspects, key=lambda i: table.leaves[i].size))]
    return found


def contradicted(table: Table, leaf: int | None, carefully: bool = False) -> Finding | None:
    """A finding where values along lines, through one leaf or through all, contradict yours."""
    lines: Lines = table.ask(Along(leaf, carefully))
    at = list(range(len(table.leaves))) if leaf is None else [leaf]
    errors = policy.ERROR_FACTOR * lines.slopes.error
    for k in range(len(errors)):
        terms = sum(lines.directions[i][k].ravel() @ table.leaf(i).yours[: table.base].T for i in at)
        sizes = sum(np.abs(lines.directions[i][k].ravel()) @ np.abs(table.leaf(i).yours[: table.base]).T for i in at)
        mine, rough = np.asarray(terms), np.asarray(sizes)
        close = policy.ULPS * max(p.eps for p in table.precisions)
        close = max(close, policy.UNTIL_CONVERGED) if table.reference is None else close
        allowance = close * rough + errors[k]
        right = lines.slopes.middle[k]
        if (np.abs(lines.slopes.left[k] - lines.slopes.right[k]) > allowance).any():
            continue  # a kink, for some cotangent
        decided = allowance <= policy.DECIDED_ALONG * np.maximum(np.abs(right), np.abs(mine))
        if not (decided & (np.abs(mine - right) > allowance)).any():
            continue
        if not carefully:
            return contradicted(table, leaf, carefully=True)
        off = np.where(decided, np.abs(mine - right) - allowance - _blur(table, at, lines, k), -1)
        c = int(np.argmax(off))
        if off[c] > 0:
            return Finding(
                leaf or 0, Verdict.WRONG, abs(mine[c] - right[c]), float(allowance[c]), None, c, float(mine[c]),
                float(right[c]), Where.ALONG,
            )  # fmt: skip
    return None


def has_kinks(table: Table, leaf: int | None) -> bool:
    """Whether the slopes on both sides differ along a line through one leaf, or through all."""
    slopes = table.ask(Along(leaf)).slopes
    errors = policy.ERROR_FACTOR * slopes.error
    apart = np.abs(slopes.left - slopes.right) > errors + policy.GROSS * np.maximum(
        np.abs(slopes.left), np.abs(slopes.right)
    )
    return bool((apart & np.isfinite(errors)).any())


def _blur(table: Table, at: Sequence[int], lines: Lines, k: int) -> float:
    """What rounding in float64 leaves open in the slope of a gradient along line k."""
    if table.reference is None:
        return 0.0
    spreads = table.ask(Rounded(True))[1]
    return policy.SPREADS * sum(float(np.nansum(np.abs(spreads[i] * lines.directions[i][k]))) for i in at)


def _contradiction(table: Table, i: int, line: Finding) -> Finding:
    """Which entry it is, if one alone shows it."""
    leaf = table.leaf(i)
    as_jax = bool((np.abs(leaf.yours - leaf.reference) <= policy.GROSS * leaf.scales * leaf.sizes).all())
    why = frozenset({Why.JAX_IS_WRONG}) if as_jax else frozenset()
    if leaf.yours.shape[1] <= policy.ENTRIES_WITHOUT_REFERENCE:
        allowance = policy.ULPS * leaf.precision.eps * np.abs(leaf.yours)
        decisions = _decisions(leaf, np.full(leaf.yours.shape, True), allowance, leaf.yours.shape[1])
        if wrong := {at: d for at, d in decisions.items() if d.outcome is Outcome.WRONG}:
            return replace(_worst_of(leaf, Verdict.WRONG, wrong, allowance), why=why)
    return replace(line, about=i, why=why)


def _by_directions_alone(leaf: Column) -> Finding:
    """Without a reference, and with too many entries to take in turn."""
    lost = int((~np.isfinite(leaf.yours)).any(axis=0).sum())
    if lost:
        return Finding(leaf.about, Verdict.NONFINITE, entries=lost)
    if (line := contradicted(leaf.table, leaf.about)) is not None:
        return replace(line, about=leaf.about, verdict=Verdict.WRONG if leaf.yours.any() else Verdict.ZERO_EVERYWHERE)
    lines: Lines = leaf.table.ask(Along(leaf.about))
    errors = policy.ERROR_FACTOR * lines.slopes.error
    mine = np.abs(lines.directions[leaf.about].reshape(len(errors), -1) @ leaf.yours[: leaf.base].T)
    decided = (errors <= policy.DECIDED_ALONG * np.abs(lines.slopes.middle)) | ((mine <= errors) & np.isfinite(errors))
    verdict = Verdict.OK if decided.any(axis=0).all() else Verdict.UNRESOLVED
    return Finding(leaf.about, verdict, where=Where.ALONG)


# --- elsewhere --------------------------------------------------------------------------------------------------------


def beside_kinks(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """The rule where the kinks are not, on both sides: it must be right there."""
    kinks = [f.about for f in leaves if f.verdict is Verdict.KINK]
    if not table.named and has_kinks(table, None):  # yours may be the reference's there, and passes at once
        kinks = [
            f.about for f in leaves if f.about in kinks or (table.leaves[f.about].size and has_kinks(table, f.about))
        ]
    return _beside(table, tuple(kinks))


def beside_ones(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """The rule where what is 1 everywhere is something else: a factor used twice, or not at all, hides at 1."""
    del leaves
    return _beside(table, tuple(i for i, x in enumerate(table.leaves) if x.size and (x == 1).all()))


def _beside(table: Table, moved: tuple[int, ...]) -> list[Finding]:
    for side in (1, -1) if moved else ():
        other = table.ask(Beside(moved, side))
        if other is None:  # nothing is finite there
            continue
        found = [other.once(gradient, i) for i in range(len(other.leaves))]
        if all(f.passes for f in found):
            found = along_directions(other, [])
        wrong = [f for f in found if f.verdict in (Verdict.WRONG, Verdict.ZERO_EVERYWHERE, Verdict.NONFINITE)]
        if wrong:
            return [replace(f, where=Where.BESIDE) for f in wrong]
    return []


def outside_jit(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """Your rule as Python runs it: the same as compiled, but for the order of its sums."""
    del leaves
    answer, found = table.ask(OutsideJit()), []
    if isinstance(answer, str):
        return [Finding(0, Verdict.RAISED, where=Where.OUTSIDE_JIT)]
    for i, gradients in enumerate(answer or ()):
        leaf = table.leaf(i)
        column = replace(leaf, yours=leaf.own[:1], own=np.ravel(gradients)[None], reference=leaf.reference[:1])
        column = replace(column, scales=leaf.scales[:1])
        rough = _half_the_digits(column, np.abs(column.yours)) + 4 * leaf.precision.tiny
        off = _off(column.own, column.yours, rough) & ~(np.isnan(column.own) & np.isnan(column.yours))
        if off.any():
            # there each result is rounded to its own type, which compiled together they need not be
            rounding = leaf.spread(Rounded(False)) if table.reference is not None else np.zeros(column.own.shape[1])
            rough = 2 * (rough + allowed(leaf.precision, column.yours, rounding))
            off &= _off(column.own, column.yours, rough) & ~np.isnan(rough)
        if off.any():
            found.append(replace(_worst(column, off, column.own, column.yours, rough), where=Where.OUTSIDE_JIT))
    return found


# --- small things -----------------------------------------------------------------------------------------------------


def _off(yours: np.ndarray, right: np.ndarray, allowance: np.ndarray) -> np.ndarray:
    """What is beyond the allowance, or no number where a number is right, or anything where nothing is known."""
    return ~((np.isfinite(right) & (np.abs(yours - right) <= allowance)) | (np.isinf(right) & (yours == right)))


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(np.where(np.isfinite(x), x, 0)), initial=0))
