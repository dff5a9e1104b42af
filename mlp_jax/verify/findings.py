"""What tests say of a table: findings, one for each leaf and output."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlp_jax.verify.report import Verdict
from mlp_jax.verify.table import Column


class Where(enum.StrEnum):
    """In which evaluation an error shows."""

    EXACTLY = "in exact arithmetic"
    IN_YOUR_PRECISION = "in your precision"
    OUTSIDE_JIT = "outside jit"
    BESIDE = "beside these arguments"
    SINGLE_POINT = "at a single point"
    ALONG = "along a direction, all entries together"


class Why(enum.Enum):
    """What else is to be said of a leaf or an output, in words."""

    UNSEEN = "0, or too small beside the value to be seen: any factor would pass at these arguments"
    BLIND = "rounding alone may change entries by half; not tested in that precision, but in float64"
    UNDERFLOWS = "underflows in its precision: not tested there, but in float64"
    NEGLIGIBLE = "differs by less than its precision resolves beside its largest entry"
    NO_DERIVATIVE = "has entries without a derivative: not defined on either side, or infinite"
    TOGETHER = "judged along directions, all entries together: values alone do not tell each of them"
    REFERENCE_WITHOUT_DIGITS = "reverse mode has lost digits here, by as much as yours differs"
    JAX_DIFFERS = "reverse mode without rules differs here; the values are on your side"
    TAIL = "in entries far below its largest"
    APPROXIMATION = "of a function that is an approximation, whose values bear out yours all the same"
    JAX_IS_WRONG = "JAX's derivative of the function is as yours; its values have another"
    NOT_LINEAR = "not linear in the gradient that arrives: compared where that is {factor:g} times as long"


@dataclass(frozen=True)
class Finding:
    """What is said of one leaf or output."""

    about: int  # the number of the leaf or output
    verdict: Verdict  # what was found
    error: float = 0.0  # the largest error, in the unit of the gradient
    allowed: float = 0.0  # what would have passed there
    entry: int | None = None  # the worst entry, by its flat number
    cotangent: int | None = None  # at which it was seen
    yours: float | None = None  # your value there
    right: float | None = None  # the right one
    where: Where = Where.EXACTLY  # in which evaluation
    entries: int = 0  # how many it is about
    why: frozenset[Why] = frozenset()  # what else is to be said
    factor: float | None = None  # by which a gradient is scaled on purpose, or the bound to which it is clipped

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


def worst(column: Column, off: np.ndarray, yours: np.ndarray, right: np.ndarray, allowance: np.ndarray) -> Finding:
    """A finding at the largest error, beside the size of its cotangent, among the entries that are off."""
    error = np.abs(yours - right) / np.where(column.scales > 0, column.scales, 1)
    at = np.unravel_index(int(np.argmax(np.where(off, np.nan_to_num(error, nan=np.inf), -1))), off.shape)
    c, e = map(int, at)
    return Finding(
        column.about, Verdict.WRONG, abs(yours[at] - right[at]), float(np.broadcast_to(allowance, off.shape)[at]), e, c,
        float(yours[at]), float(right[at]), entries=int(off.any(axis=0).sum()),
    )  # fmt: skip


def off_by(yours: np.ndarray, right: np.ndarray, allowance: np.ndarray) -> np.ndarray:
    """What is beyond the allowance, or no number where a number is right, or anything where nothing is known."""
    return ~((np.isfinite(right) & (np.abs(yours - right) <= allowance)) | (np.isinf(right) & (yours == right)))


def largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(np.where(np.isfinite(x), x, 0)), initial=0))
