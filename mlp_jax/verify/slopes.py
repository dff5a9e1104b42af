"""Slopes at a point from values of the function, on each side of it, with an estimate of their error.

Of φ(t) at t = 4⁻¹ … 4⁻¹⁶ Neville's scheme extrapolates (φ(t) − φ(0)) / t to t → 0, column by column:

    T_k0 = (φ(t_k) − φ(0)) / t_k,    T_kj = T_k,j−1 + (T_k,j−1 − T_k−1,j−1) / (4ʲ − 1)

An entry's error is how much it differs from the two that it is made of, and the noise of φ over the step. The best is
that of the smallest error which no shorter step contradicts: log(1 + eˣ) at x = 10⁶ t has two exact slopes, for steps
above 10⁻⁵ and below. Source: Ridders (1982), Accurate computation of F'(x), Advances in Engineering Software 4.
"""

from typing import NamedTuple

import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.policy import NOISE_STEPS


def times(steps: np.ndarray) -> np.ndarray:
    """Where φ is evaluated: at 0, after it, before it, and so near on both sides that only noise is seen."""
    return np.concatenate([[0.0], steps, -steps, NOISE_STEPS, -NOISE_STEPS])


class Slopes(NamedTuple):
    """The slopes of (directions, cotangents) lines on the left and on the right, and their errors; inf is unknown."""

    left: np.ndarray
    left_error: np.ndarray
    right: np.ndarray
    right_error: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The mean of both sides."""
        return (self.left + self.right) / 2

    @property
    def error(self) -> np.ndarray:
        """The errors of both sides."""
        return self.left_error + self.right_error


def slopes(
    steps: np.ndarray,
    phi: np.ndarray,
    terms: np.ndarray,
    noise: float,
    more_noise: np.ndarray | float = 0.0,
    staircase: float = policy.STAIRCASE,
) -> Slopes:
    """The slopes of lines.

    Args:
        steps: descending.
        phi: (directions, times, cotangents), at `times(steps)`.
        terms: the same of the sums of the sizes of what φ is a sum of.
        noise: the relative noise of a value.
        more_noise: absolute noise (cotangents,) of φ.
        staircase: values that stand still for short steps are noise if their smallest change is this part of them.
    """
    n, m = len(steps), len(NOISE_STEPS)
    at_0, after, before = phi[:, 0], phi[:, 1 : 1 + n], phi[:, 1 + n : 1 + 2 * n]
    sides = []
    with np.errstate(all="ignore"):
        for values, start in ((before, 1 + 2 * n + m), (after, 1 + 2 * n)):
            near = phi[:, start : start + m]
            bend = np.max(np.abs(np.diff(near, 2, axis=1)), axis=1)
            stairs = np.where(
                (near == at_0[:, None]).all(axis=1), _smallest_change(at_0, values, terms[:, 0], staircase), 0
            )
            uncertain = noise * terms[:, 0] + 2 * np.maximum(bend, stairs) + more_noise
            sides.append(_one_sided(steps, at_0, values, uncertain))
    (left, left_error), (right, right_error) = sides
    return Slopes(-left, left_error, right, right_error)


def _smallest_change(at_0: np.ndarray, values: np.ndarray, terms: np.ndarray, staircase: float) -> np.ndarray:
    """The smallest change (directions, cotangents) that values show at all, 0 where that is no noise."""
    change = np.abs(values - at_0[:, None])
    smallest = np.min(np.where(change > 0, change, np.inf), axis=1)
    largest = np.max(np.where(np.isfinite(change), change, 0), axis=1)
    return np.where(smallest <= staircase * np.maximum(terms, largest), smallest, 0)


def _one_sided(
    steps: np.ndarray, at_0: np.ndarray, values: np.ndarray, uncertain: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The slope at 0+ (directions, cotangents) from values at the steps, and its error."""
    raw = (np.moveaxis(values, 1, 0) - at_0) / steps[:, None, None]
    noise = uncertain / steps[:, None, None]
    best, least = np.full(at_0.shape, np.nan), np.full(at_0.shape, np.inf)
    row: list[np.ndarray] = []
    for k in range(len(steps)):
        above, row = row, [raw[k]]
        for j in range(1, min(k, policy.COLUMNS) + 1):
            row.append((4.0**j * row[j - 1] - above[j - 1]) / (4.0**j - 1))
            error = np.maximum(np.abs(row[j] - row[j - 1]), np.abs(row[j] - above[j - 1])) + noise[k]
            far = np.abs(raw[k:] - row[j])
            uncontradicted = (far <= 1.5 * far[0] + 4 * noise[k:] + error).all(axis=0)
            better = np.isfinite(error) & uncontradicted & (error < least)
            best, least = np.where(better, row[j], best), np.where(better, error, least)
    return best, least
