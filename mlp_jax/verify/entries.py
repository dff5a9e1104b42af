"""One entry of a gradient: what its witnesses say of it. Numbers in, an outcome out.

Values are the function: a slope from values that both sides decide, and alike, is the derivative, whatever any rule
says; reverse mode decides where values cannot, and only if its neighbours agree with it.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlp_jax.verify import policy


class Outcome(enum.Enum):
    """What the witnesses say of one entry and cotangent."""

    RIGHT = enum.auto()
    KINK = enum.auto()  # the sides differ, and yours lies between them
    NO_DERIVATIVE = enum.auto()  # on neither side, or an infinite one
    UNSEEN = enum.auto()  # too small for the values to show
    UNDECIDED = enum.auto()
    WRONG = enum.auto()


class Decision(NamedTuple):
    """An outcome."""

    outcome: Outcome  # what is said
    right: float  # the right value, or the nearest that would be
    agreed: bool = False  # whether both witnesses have it
    at_kink: bool = False  # whether the sides differ


class Side(NamedTuple):
    """A one-sided slope from values, and its error; inf if it is not known."""

    slope: float
    error: float


def decide(yours: float, reference: float, allowed: float, sides: Sequence[Side], near: np.ndarray) -> Decision:
    """What one entry of a gradient is worth.

    Args:
        yours: the entry.
        reference: that of reverse mode, or NaN.
        allowed: how much rounding excuses.
        sides: on the left and on the right.
        near: the references at the neighbours; the first half is nearer than the second.
    """
    size = max([abs(x) for x in (yours, *(side.slope for side in sides)) if np.isfinite(x)], default=0.0)
    enough = max(policy.DECIDED * size, allowed)
    known = [side for side in sides if np.isfinite(side.slope) and side.error <= enough]
    if len(known) == 2 and abs(known[0].slope - known[1].slope) <= allowed + known[0].error + known[1].error:
        return _at_a_derivative(yours, reference, allowed, known)
    if known:
        return _at_a_kink(yours, allowed, known, near[np.isfinite(near)])
    if np.isfinite(reference) and _is_smooth(reference, near, allowed):
        right = abs(yours - reference) <= allowed
        return Decision(Outcome.RIGHT if right else Outcome.WRONG, reference)
    if not any(np.isfinite(side.slope) for side in sides) and not np.isfinite(reference) and not abs(yours) > 0:
        return Decision(Outcome.NO_DERIVATIVE, np.nan)
    if np.isinf(reference) and np.isfinite(yours) and _grows(near):
        return Decision(Outcome.NO_DERIVATIVE, reference)
    if _is_approached(yours, near, allowed) or (np.isnan(reference) and _is_within_noise(yours, size, sides)):
        return Decision(Outcome.RIGHT, yours)
    if np.isfinite(reference) and max(abs(yours), abs(reference)) < min((side.error for side in sides), default=0.0):
        return Decision(Outcome.UNSEEN, reference)
    return Decision(Outcome.UNDECIDED, reference)


def decide_by_name(yours: float, reference: float, allowed: float, near: np.ndarray) -> Decision:
    """The same by a reference that the user named: nothing doubts it; at its own kinks all that it has beside them."""
    values = [reference, *near[np.isfinite(near)]]
    low, high = min(values), max(values)
    if high - low > allowed and low - allowed <= yours <= high + allowed:
        return Decision(Outcome.KINK, reference)
    return Decision(Outcome.WRONG if np.isfinite(reference) else Outcome.UNDECIDED, reference, True)


def _at_a_derivative(yours: float, reference: float, allowed: float, known: Sequence[Side]) -> Decision:
    """Both sides have one slope: that is the derivative."""
    low, high = _hull(known)
    middle = (known[0].slope + known[1].slope) / 2
    agreed = bool(low - allowed <= reference <= high + allowed)
    if low - allowed <= yours <= high + allowed:
        if agreed and abs(yours - reference) > allowed:  # the values cannot tell the two apart: reverse mode decides
            return Decision(Outcome.WRONG, reference, True)
        return Decision(Outcome.RIGHT, middle, agreed)
    agreed = agreed or bool(abs(reference - middle) < 0.1 * abs(yours - reference))
    return Decision(_wrong_or_undecided(yours, known), reference if agreed else middle, agreed)


def _at_a_kink(yours: float, allowed: float, known: Sequence[Side], near: np.ndarray) -> Decision:
    """Any value between the slopes is right; where one side is no part of the domain, the slope of the other."""
    low, high = _hull(known)
    if len(known) == 2 and len(near):
        low, high = min(low, near.min()), max(high, near.max())
    if low - allowed <= yours <= high + allowed:
        return Decision(Outcome.KINK if len(known) == 2 else Outcome.RIGHT, yours)
    nearest = low if abs(yours - low) < abs(yours - high) else high
    if np.isnan(yours) and len(known) == 1:
        return Decision(Outcome.UNDECIDED, nearest)
    return Decision(_wrong_or_undecided(yours, known), nearest, at_kink=len(known) == 2)


def _hull(known: Sequence[Side]) -> tuple[float, float]:
    return min(side.slope - side.error for side in known), max(side.slope + side.error for side in known)


def _wrong_or_undecided(yours: float, known: Sequence[Side]) -> Outcome:
    """Wrong, where yours is farther from each slope than any of them is uncertain."""
    clear = max(side.error for side in known) < min(abs(yours - side.slope) for side in known)
    return Outcome.WRONG if clear or np.isnan(yours) else Outcome.UNDECIDED


def _is_smooth(reference: float, near: np.ndarray, allowed: float) -> bool:
    """Whether the reference changes so little to its neighbours that it has no kink and no noise."""
    return bool(np.ptp(near) + np.max(np.abs(near - reference)) <= allowed + policy.GROSS * abs(reference))


def _grows(near: np.ndarray) -> bool:
    """Whether the slopes grow towards the point, as that of √x at 0, which is infinite: no number is right there."""
    close, far = (np.abs(part[np.isfinite(part)]) for part in np.array_split(near, 2))
    return bool(len(close) and len(far) and np.median(close) > policy.GROWTH * np.median(far))


def _is_within_noise(yours: float, size: float, sides: Sequence[Side]) -> bool:
    """Whether values, which are all that there is, know both slopes roughly, and yours is as near as they know them."""
    rough = all(side.error <= policy.DECIDED_ALONG * size for side in sides)
    return rough and all(abs(yours - side.slope) <= side.error for side in sides)


def _is_approached(yours: float, near: np.ndarray, allowed: float) -> bool:
    """Whether the slopes at the neighbours run towards yours as these come nearer."""
    close, far = (part[np.isfinite(part)] for part in np.array_split(near, 2))
    if not (len(close) and len(far) and np.isfinite(yours)):
        return False
    return bool(np.max(np.abs(close - yours)) <= max(policy.APPROACH * np.max(np.abs(far - yours)), allowed))
