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
    """What else is to be said of a leaf or an output."""

    BLIND = enum.auto()  # rounding in its precision may change it by half of itself
    UNDERFLOWS = enum.auto()  # it is below what its precision holds
    NEGLIGIBLE = enum.auto()  # it differs, by less than anybody sees
    UNSEEN = enum.auto()  # too small beside the value to be seen
    NO_DERIVATIVE = enum.auto()  # entries where none exists
    JAX_IS_WRONG = enum.auto()  # values contradict reverse mode, and it is as yours
    JAX_DIFFERS = enum.auto()  # values contradict reverse mode, and not yours
    TAIL = enum.auto()  # last digits of entries far below the largest
    APPROXIMATION = enum.auto()  # the function is one, and yours the derivative of what it stands for
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
        factor: by which a gradient is scaled on purpose, or the bound to which it is clipped.
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
    factor: float | None = None

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
