"""From a table of numbers to findings: ordered tests, each a pure function. docs/verify.md derives them.

Each leaf is judged alone, by the tests of one_leaf.py. Then, along directions, the values judge all entries together;
the rule is tried beside kinks, and outside of `jit`. What fails may be no derivative on purpose.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.entries import Outcome
from mlp_jax.verify.findings import Finding, Judgement, Where, Why, off_by, worst
from mlp_jax.verify.lines import contradicted, has_kinks
from mlp_jax.verify.one_leaf import decisions_on, gradient, half_of_its_digits, value, worst_of
from mlp_jax.verify.purposes import on_purpose
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.table import Table


def judge(table: Table) -> Judgement:
    """Findings for all leaves and outputs."""
    outputs = [value(table, k) for k in range(len(table.values))]
    if not any(np.isfinite(v).any() for v in table.values if v.size) and any(v.size for v in table.values):
        return Judgement([Finding(i, Verdict.UNRESOLVED) for i in range(len(table.leaves))], outputs)
    leaves = [gradient(table, i) for i in range(len(table.leaves))]
    for test in (along_directions, beside_kinks, beside_ones, outside_jit):
        if Judgement(leaves, outputs).passes:
            for finding in test(table, leaves):
                leaves[finding.about] = finding
    if not Judgement(leaves, outputs).passes:
        leaves = on_purpose(table, leaves)
        if Judgement(leaves, outputs).passes:
            for finding in outside_jit(table, leaves):
                leaves[finding.about] = finding
    return Judgement(leaves, outputs)


# --- all entries together ---------------------------------------------------------------------------------------------


def along_directions(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """Where the slopes on both sides of a direction are one number, yours must have it."""
    if table.named or any(Why.APPROXIMATION in f.why for f in leaves):
        return []  # values of approximations have slopes of their own
    at_kinks = [f.about for f in leaves if f.verdict is Verdict.KINK]
    together = contradicted(table, None)
    suspects = at_kinks if together is None else [i for i, x in enumerate(table.leaves) if x.size]
    found = [_contradiction(table, i, line) for i in suspects if (line := contradicted(table, i))]
    if not found and together is not None:
        return [replace(together, about=max(suspects, key=lambda i: table.leaves[i].size))]
    return found


def _contradiction(table: Table, i: int, line: Finding) -> Finding:
    """Which entry it is, if one alone shows it."""
    leaf = table.leaf(i)
    as_jax = bool((np.abs(leaf.yours - leaf.reference) <= policy.GROSS * leaf.scales * leaf.sizes).all())
    why = frozenset({Why.JAX_IS_WRONG}) if as_jax else frozenset()
    if leaf.yours.shape[1] <= policy.ENTRIES_WITHOUT_REFERENCE:
        allowance = np.fmax(policy.ULPS * leaf.precision.eps * np.abs(leaf.yours), leaf.tail)
        decisions = decisions_on(leaf, np.full(leaf.yours.shape, True), allowance, leaf.yours.shape[1])
        if wrong := {at: d for at, d in decisions.items() if d.outcome is Outcome.WRONG}:
            return replace(worst_of(leaf, Verdict.WRONG, wrong, allowance), why=why)
    return replace(line, about=i, why=why)


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
    return _beside(table, tuple(i for i, x in enumerate(table.leaves) if x.size and (x == 1).all()))


def _beside(table: Table, moved: tuple[int, ...]) -> list[Finding]:
    for side in (1, -1) if moved else ():
        other = table.ask("beside", moved, side)
        if other is None:  # nothing is finite there
            continue
        found = [gradient(other, i) for i in range(len(other.leaves))]
        if all(f.passes for f in found):
            found = along_directions(other, [])
        wrong = [f for f in found if f.verdict in (Verdict.WRONG, Verdict.ZERO_EVERYWHERE, Verdict.NONFINITE)]
        if wrong:
            return [replace(f, where=Where.BESIDE) for f in wrong]
    return []


def outside_jit(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """Your rule as Python runs it: the same as compiled, but for the order of its sums."""
    answer, found = table.ask("outside_jit"), []
    if isinstance(answer, str):
        return [Finding(0, Verdict.RAISED, where=Where.OUTSIDE_JIT)]
    for i, gradients in enumerate(answer or ()):
        leaf = table.leaf(i)
        column = replace(leaf, yours=leaf.own[:1], own=np.ravel(gradients)[None], reference=leaf.reference[:1])
        column = replace(column, scales=leaf.scales[:1])
        rough = half_of_its_digits(column, np.abs(column.yours)) + 4 * leaf.precision.tiny
        off = off_by(column.own, column.yours, rough) & ~(np.isnan(column.own) & np.isnan(column.yours))
        if off.any():
            # there each result is rounded to its own type, which compiled together they need not be
            rounding = leaf.spread("rounded", False) if table.reference is not None else np.zeros(column.own.shape[1])
            last_digits = policy.ULPS * leaf.precision.eps * np.abs(column.yours)
            rough = 2 * (rough + policy.SPREADS * rounding + last_digits)
            off &= off_by(column.own, column.yours, rough) & ~np.isnan(rough)
        if off.any():
            found.append(replace(worst(column, off, column.own, column.yours, rough), where=Where.OUTSIDE_JIT))
    return found
