"""Rules that are no derivative, on purpose: surrogates for steps, and identities that scale or clip what comes back.

A fault is not excused by looking like one of them: a step has the derivative 0 wherever one looks and other values all
the same, and what is scaled or clipped is exactly that, on a function that hands its argument through.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.findings import Finding, off_by
from mlp_jax.verify.hypotheses import factor, largest, number
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.table import Column, FarPoint, Table, for_all

DOUBTFUL = (Verdict.WRONG, Verdict.UNRESOLVED)


def on_purpose(table: Table, leaves: Sequence[Finding]) -> list[Finding]:
    """The findings, where those on rules that lie on purpose say so."""
    known = table.reference is not None and not (table.named or table.strict)
    return [_meant(table, f) if known and f.verdict in DOUBTFUL else f for f in leaves]


def _meant(table: Table, f: Finding) -> Finding:
    leaf = table.leaf(f.about)
    if not leaf.yours.any() or not _alike(leaf.own, leaf.yours, policy.half_the_digits(leaf.precision)):
        return f
    # what is 0 by a stop_gradient is no step: its values move
    is_linear = _alike(leaf.yours, for_all(table, leaf.yours[: leaf.base]))  # in the cotangent
    if is_linear and not leaf.reference[: leaf.base].any() and not table.stops:
        return replace(f, verdict=Verdict.SURROGATE) if _is_a_step(table.ask("far", f.about)) else f
    if _arriving(table, f.about) is None or not _is_handed_through(table, f.about):
        return f
    c = factor(leaf.yours[: leaf.base], leaf.reference[: leaf.base])
    if c is not None and _alike(leaf.yours, c * leaf.reference):
        return replace(f, verdict=Verdict.SCALED, factor=c)
    bound = next((b for b, clipped in _clipped(table, leaf) if _alike(leaf.yours, clipped)), None)
    return f if bound is None else replace(f, verdict=Verdict.CLIPPED, factor=bound)


def _is_a_step(points: Sequence[FarPoint]) -> bool:
    """Whether the derivative is 0 far away, too, and the values are others."""
    flat = all(np.isfinite(p.gradient).all() and not p.gradient.any() for p in points)
    values = [np.concatenate([v.ravel() for v in p.values]) for p in points]
    return bool(points) and flat and any((v != values[0]).any() for v in values)


def _arriving(table: Table, i: int) -> int | None:
    """The output that is this leaf itself, and so has its gradient."""
    x, right = table.leaves[i], (table.reference or [])[i]
    same = (k for k, v in enumerate(table.values) if np.array_equal(v, x))
    return next((k for k in same if np.array_equal(table.cotangents[k][: table.base], right)), None)


def _is_handed_through(table: Table, i: int) -> bool:
    """Whether an output is the leaf far away, too: a relu is an identity where its argument is positive."""
    k, points = _arriving(table, i), table.ask("far", i)
    return k is not None and bool(points) and all(np.array_equal(p.values[k], p.leaf) for p in points)


def _clipped(table: Table, leaf: Column) -> list[tuple[float, np.ndarray]]:
    """Bounds, and the reference clipped to them: entry by entry, by its norm, by the norm of all leaves together."""
    low, high = np.min(leaf.yours), np.max(leaf.yours)
    found = [(float(high), np.clip(leaf.reference, low, high))]
    for columns in ([leaf], [table.leaf(i) for i in range(len(table.leaves))]):
        yours, right = (np.sqrt(sum(np.sum(g**2, axis=1) for g in part)) for part in (
            [c.yours for c in columns], [c.reference for c in columns]))  # fmt: skip
        shrunk = np.minimum(1, np.max(yours) / np.where(right > 0, right, np.inf))
        found.append((float(np.max(yours)), np.where(right > 0, shrunk, 1)[:, None] * leaf.reference))
    return found


def _alike(yours: np.ndarray, meant: np.ndarray, part: float = policy.AS_MEANT) -> bool:
    """Whether each row is what was meant, beside the row's largest entry."""
    return not off_by(yours, meant, part * np.max(np.abs(meant), axis=1, keepdims=True)).any()


def in_words(table: Table, f: Finding) -> str:
    """What such a gradient is, or resembles."""
    if f.verdict is Verdict.SCALED:
        return f"the function hands it through; its gradient comes back times {number(f.factor or 0.0)}"
    if f.verdict is Verdict.CLIPPED:
        return f"the function hands it through; its gradient comes back clipped at {f.factor:.4g}"
    return f"a step, whose derivative is 0 almost everywhere; yours {_resembles(table, f.about)}"


def _resembles(table: Table, i: int) -> str:
    leaf = table.leaf(i)
    yours = leaf.yours[: leaf.base]
    for g in (c[: leaf.base].reshape(leaf.base, -1) for c in table.cotangents):
        if g.shape != yours.shape:
            continue
        if (c := factor(yours, g)) is not None and _alike(yours, c * g):
            return "is the gradient that arrives (straight through)" + (f", times {number(c)}" if c != 1 else "")
        passed = yours != 0
        if (c := factor(yours[passed], g[passed])) is not None and _alike(yours, np.where(passed, c * g, 0)):
            return "is the gradient that arrives where it is not 0: straight through a mask"
        ratio = np.divide(yours, g, out=np.zeros_like(g), where=g != 0)
        slope = ratio[np.argmax(np.abs(ratio), axis=0), np.arange(ratio.shape[1])]
        if _alike(yours, slope * g):
            return f"is that of another function, entry by entry, with slopes from {min(slope):.3g} to {max(slope):.3g}"
    return f"is that of another function, of size {largest(yours):.3g}"
