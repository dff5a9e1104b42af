"""Findings in words: the report of a check."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.verify import policy, purposes
from mlp_jax.verify.diagnosis import causes
from mlp_jax.verify.findings import Finding, Judgement, Where, Why, largest
from mlp_jax.verify.report import ON_PURPOSE, Leaf, Verdict
from mlp_jax.verify.table import Table

WHERE = {
    Where.IN_YOUR_PRECISION: "right in float64, but {precision} loses more than half of its digits here",
    Where.OUTSIDE_JIT: "outside jit your rule returns another gradient than compiled",
    Where.BESIDE: "right at these arguments, wrong beside them",
    Where.ALONG: "along a direction in which the function has no kink, all entries together",
}
OF_WRONG_LEAVES = (Why.JAX_IS_WRONG, Why.NOT_LINEAR)
TAILS = (Why.TAIL, Why.APPROXIMATION)


class Description(NamedTuple):
    """What a report says of a judgement."""

    leaves: tuple[Leaf, ...]
    causes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def described(checked: Any, table: Table, judgement: Judgement, cost: str) -> Description:
    """A judgement in words."""
    names = checked.arguments.names
    leaves = [_leaf(table, f, names[f.about]) for f in judgement.leaves]
    outputs = [_output(table, f, checked.output_names[f.about]) for f in judgement.outputs]
    found, notes = tuple(causes(checked, table, judgement)), tuple(_notes(checked, table, judgement))
    notes += (cost,) * bool(cost)
    return Description((*leaves, *outputs), found, notes)


def _leaf(table: Table, f: Finding, name: str) -> Leaf:
    leaf, verdict = table.leaf(f.about), f.verdict
    if table.stops and verdict is Verdict.OK and leaf.yours.size and not leaf.yours.any():
        verdict = Verdict.STOPPED
    size = leaf.size or largest(leaf.yours[: leaf.base])
    return _described(
        f, name, table.leaves[f.about].shape, leaf.precision.name, verdict, size, _reason(table, f, name, verdict)
    )


def _output(table: Table, f: Finding, name: str) -> Leaf:
    values, dtype = table.values[f.about], table.output_precisions[f.about].name
    reason = f"the forward rule returns another value than the function ({f.where})" * (f.verdict is Verdict.PRIMAL)
    return _described(f, name, values.shape, dtype, f.verdict, largest(values), reason)


def _described(
    f: Finding, name: str, shape: tuple[int, ...], dtype: str, verdict: Verdict, size: float, reason: str
) -> Leaf:
    """A finding as a leaf of the report, its errors relative to a size."""
    index = None if f.entry is None else tuple(int(k) for k in np.unravel_index(f.entry, shape))
    error, tolerance = (f.error / size, f.allowed / size) if size else (0.0, None)
    return Leaf(name, shape, dtype, verdict, error, tolerance, index, f.yours, f.right, reason)


def _reason(table: Table, f: Finding, name: str, verdict: Verdict) -> str:
    if verdict in ON_PURPOSE:
        return purposes.in_words(table, f)
    sits = "1 entry sits" if f.entries == 1 else f"{f.entries} entries sit"
    both = " (so is the reference)" if f.right is not None and not np.isfinite(f.right) else ""
    reasons = {
        Verdict.STOPPED: "a stop_gradient: zero",
        Verdict.KINK: f"{sits} at a kink; your values lie between the one-sided slopes",
        Verdict.UNRESOLVED: f"{f.entries or 'all'} entries that neither values nor a reference decide",
        Verdict.NONFINITE: f"{f.entries} entries of yours are not finite{both}",
        Verdict.ZERO_EVERYWHERE: f"you return no gradient for {name}",
        Verdict.RAISED: f"outside jit your rule raises {table.answers.get(('outside_jit',))}",
        Verdict.WRONG: "; ".join(_wrong(table, f)),
    }
    return reasons.get(verdict, "")


def _wrong(table: Table, f: Finding) -> Iterator[str]:
    if f.where in WHERE:
        yield WHERE[f.where].format(precision=table.precisions[f.about].name)
    if Why.NOT_LINEAR in f.why and f.cotangent is not None:
        yield Why.NOT_LINEAR.value.format(factor=table.factors[f.cotangent - table.base])
    if place := _place_of_output(table, f):
        yield f"seen best where 1 arrives at {place} of the output alone"
    if Why.JAX_IS_WRONG in f.why:
        yield Why.JAX_IS_WRONG.value


def _place_of_output(table: Table, f: Finding) -> list[int] | None:
    """Of a matrix whose rows were looked at one by one, the row with the largest error."""
    arriving = table.cotangents[0]
    units: Any = np.flatnonzero([np.count_nonzero(g) == 1 for g in arriving]) if len(table.cotangents) == 1 else []
    if len(units) < 2 or f.where not in (Where.EXACTLY, Where.IN_YOUR_PRECISION):
        return None
    leaf, row = table.leaf(f.about), f.cotangent
    if row not in units and table.reference is not None:
        row = int(units[np.argmax(np.max(np.abs(leaf.own - leaf.reference)[units], axis=1))])
    return np.argwhere(arriving[row])[0].tolist() if row in units else None


def _notes(checked: Any, table: Table, judgement: Judgement) -> Iterator[str]:
    names = checked.arguments.names
    yield f"held to {checked.source}, in float64; first derivatives alone; policy {policy.VERSION}"
    if checked.arguments.constants:
        yield f"not looked at: {', '.join(checked.arguments.constants)}"
    left_out = sum(int((~np.isfinite(v)).sum()) for v in table.values)
    if left_out:
        yield f"{left_out} entries of the outputs are not finite: no gradient of them is looked at"
    for f in judgement.leaves:
        leaf = table.leaf(f.about)
        for why in f.why & set(TAILS):
            seen = np.abs(leaf.reference) > 0
            units = np.max(np.abs(leaf.yours[seen] / leaf.reference[seen] - 1), initial=0) / leaf.precision.eps
            yield f"TAIL: {names[f.about]}: off by {units:.0f} units of the last place {why.value}"
    for why in Why:
        about = [names[f.about] for f in judgement.leaves if why in f.why and why not in TAILS + OF_WRONG_LEAVES]
        if about:
            yield f"{', '.join(about)}: {why.value}"
    zeros = [n for n, x in zip(names, table.leaves, strict=True) if x.size and not x.any()]
    if zeros:
        yield f"{', '.join(zeros)}: 0 everywhere, so what is multiplied by it is not seen"
