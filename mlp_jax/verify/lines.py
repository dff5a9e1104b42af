"""Along lines, through one leaf or through all: what the function's values say of all entries together."""

from dataclasses import replace

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.findings import Finding, Where, Why
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.table import Column, Lines, Table


def contradicted(table: Table, leaf: int | None, carefully: bool = False) -> Finding | None:
    """A finding where values along lines, through one leaf or through all, contradict yours."""
    lines: Lines = table.ask("along", leaf, carefully)
    at = list(range(len(table.leaves))) if leaf is None else [leaf]
    errors = policy.ERROR_FACTOR * lines.slopes.error
    close = policy.ULPS * max(p.eps for p in table.precisions)
    close = max(close, policy.UNTIL_CONVERGED) if table.reference is None else close
    leaves = [table.leaf(i) for i in at]
    # in each entry a part of it, or its tail
    left_open = [np.fmax(close * np.abs(leaf.yours), leaf.tail)[: leaf.base] for leaf in leaves]
    for k in range(len(errors)):
        rows = [lines.directions[i][k].ravel() for i in at]
        terms = sum(row @ leaf.yours[: leaf.base].T for row, leaf in zip(rows, leaves, strict=True))
        sizes = sum(np.abs(row) @ part.T for row, part in zip(rows, left_open, strict=True))
        mine, allowance = np.asarray(terms), np.asarray(sizes) + errors[k]
        right = lines.slopes.middle[k]
        if (np.abs(lines.slopes.left[k] - lines.slopes.right[k]) > allowance).any():
            continue  # a kink, for some cotangent
        decided = allowance <= policy.DECIDED_ALONG * np.maximum(np.abs(right), np.abs(mine))
        if not (decided & (np.abs(mine - right) > allowance)).any():
            continue
        if not carefully:
            return contradicted(table, leaf, carefully=True)
        blur = 0.0  # what rounding in float64 leaves open in the slope of a gradient
        if table.reference is not None:
            spreads = table.ask("rounded", True)[1]
            blur = policy.SPREADS * sum(float(np.nansum(np.abs(spreads[i] * lines.directions[i][k]))) for i in at)
        off = np.where(decided, np.abs(mine - right) - allowance - blur, -1)
        c = int(np.argmax(off))
        if off[c] > 0:
            return Finding(
                leaf or 0, Verdict.WRONG, abs(mine[c] - right[c]), float(allowance[c]), None, c, float(mine[c]),
                float(right[c]), Where.ALONG,
            )  # fmt: skip
    return None


def has_kinks(table: Table, leaf: int | None) -> bool:
    """Whether the slopes on both sides differ along a line through one leaf, or through all."""
    slopes = table.ask("along", leaf, False).slopes
    errors = policy.ERROR_FACTOR * slopes.error
    apart = np.abs(slopes.left - slopes.right) > errors + policy.GROSS * np.maximum(
        np.abs(slopes.left), np.abs(slopes.right)
    )
    return bool((apart & np.isfinite(errors)).any())


def by_directions_alone(leaf: Column) -> Finding:
    """Without a reference, and with too many entries to take in turn."""
    lost = int((~np.isfinite(leaf.yours)).any(axis=0).sum())
    if lost:
        return Finding(leaf.about, Verdict.NONFINITE, entries=lost)
    if (line := contradicted(leaf.table, leaf.about)) is not None:
        return replace(line, about=leaf.about, verdict=Verdict.WRONG if leaf.yours.any() else Verdict.ZERO_EVERYWHERE)
    lines: Lines = leaf.table.ask("along", leaf.about, False)
    errors = policy.ERROR_FACTOR * lines.slopes.error
    mine = np.abs(lines.directions[leaf.about].reshape(len(errors), -1) @ leaf.yours[: leaf.base].T)
    decided = (errors <= policy.DECIDED_ALONG * np.abs(lines.slopes.middle)) | ((mine <= errors) & np.isfinite(errors))
    verdict = Verdict.OK if decided.any(axis=0).all() else Verdict.UNRESOLVED
    return Finding(leaf.about, verdict, where=Where.ALONG, why=frozenset({Why.TOGETHER}))
