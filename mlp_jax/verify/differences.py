"""Derivatives by differences in float64, with an estimate of their own error, and the slopes on both sides of a kink.

Along a direction d, φ(t) = f(x + t d) is evaluated at t = 0 and at t = ±h for ten steps h, each an eighth of the one
before. Three derivatives are extrapolated to h → 0, each by Richardson's scheme:

    (φ(h) − φ(−h)) / 2h    central, whose error has the powers h², h⁴, …
    (φ(h) − φ(0)) / h      from the right, with the powers h, h², …
    (φ(0) − φ(−h)) / h     from the left, likewise

Of all entries of the scheme, that one is taken which differs least from its neighbours, noise counted in: a step that
is too long or too short, or that leaves the domain of f, shows as a large difference and is not taken. The noise of f
is read off its values: how they scatter at the shortest steps, and how far they jump where they do not move at all.
Where the slopes from the right and from the left differ by more than their errors, x sits at a kink.

Source: Ridders (1982), Accurate computation of F'(x) and F'(x) F''(x), Advances in Engineering Software 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.compiling import Jit, with_fresh_caches
from mlp_jax.verify.precision import FLOAT64, largest

RATIO = 8.0
# A slope of this part of the function's values does not show in them.
UNSEEN = 1e-9
STEPS = RATIO ** -np.arange(1.0, 11.0)  # 1/8 … 1e-9, in units of the direction


class Slope(NamedTuple):
    """The derivative of each output along a direction, from both sides; an error of infinity decides nothing.

    `unseen` is a slope that hardly shows in the values of the function, or beside its slope a step away.
    """

    left: np.ndarray
    right: np.ndarray
    error: np.ndarray
    unseen: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The derivative, where both sides agree."""
        return (self.left + self.right) / 2

    @property
    def kink(self) -> np.ndarray:
        """Whether the sides differ by more than their errors."""
        return np.abs(self.right - self.left) > 2 * self.error


Ladder = Callable[[list[Any], list[Any]], tuple[np.ndarray, np.ndarray]]


def ladder(f: Callable[[list[Any]], Any], on_jax: bool, jit: Jit) -> Ladder:
    """A function of (x, d) that gives f(x), shape (k,), and f(x ± h d), shape (steps, 2, k); x and d are lists."""
    times = np.stack([STEPS, -STEPS], axis=1).ravel()

    def shifted(x: list[Any], d: list[Any], t: Any) -> Any:
        return f([leaf + t * direction for leaf, direction in zip(x, d, strict=True)])

    def one_by_one(x: list[Any], d: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        at_0 = np.asarray(f(x))
        values = []
        for t in times:
            try:
                values.append(np.asarray(shifted(x, d, float(t))))
            except Exception:  # a user's function may refuse what is outside of its domain
                values.append(np.full_like(at_0, np.nan))
        return at_0, np.stack(values).reshape(len(STEPS), 2, -1)

    @jit
    def at_once(x: list[Any], d: list[Any]) -> Any:
        return jax.lax.map(lambda t: shifted(x, d, t), jnp.concatenate([jnp.zeros(1), jnp.asarray(times)]))

    def run(x: list[Any], d: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        try:
            values = np.asarray(with_fresh_caches(lambda: at_once(x, d)))
        except jax.errors.JAXTypeError:  # its Python code needs the values
            return one_by_one(x, d)
        return values[0], values[1:].reshape(len(STEPS), 2, -1)

    return run if on_jax else one_by_one


def slope(at_0: np.ndarray, values: np.ndarray, eps: float = FLOAT64) -> Slope:
    """The derivative of each of the k functions from the values of a ladder.

    Args:
        at_0: f(x), shape (k,).
        values: f(x ± h d), shape (steps, 2, k).
        eps: the relative precision of the values.
    """
    h = STEPS[:, None]
    with np.errstate(all="ignore"):
        size = largest(np.stack([*values[:, 0], *values[:, 1], at_0]), axis=0)
        noise = np.maximum(4 * eps * size, _noise(at_0, values)) / h
        central, central_error = _extrapolate((values[:, 0] - values[:, 1]) / (2 * h), noise, 2)
        right, right_error = _extrapolate((values[:, 0] - at_0) / h, noise, 1)
        left, left_error = _extrapolate((at_0 - values[:, 1]) / h, noise, 1)
        smooth = ~(np.abs(right - left) > 4 * (right_error + left_error))
        # where it is smooth, the central one is the best of the three
        use = smooth & (central_error < np.inf)
        secant = largest(np.abs(values[:3] - at_0) / STEPS[:3, None, None], axis=(0, 1))
    return Slope(
        np.where(use, central, left),
        np.where(use, central, right),
        np.where(use, central_error, np.maximum(left_error, right_error)),
        np.maximum(UNSEEN * size, 1e-6 * secant),
    )


def _noise(at_0: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How uncertain the values are: their scatter at the two shortest steps, and the jump that ends a plateau."""
    scatter = largest(values[-2:, 0] - 2 * at_0 + values[-2:, 1], axis=0)
    change = np.abs(values - at_0).reshape(-1, at_0.shape[-1])
    moves = np.isfinite(change) & (change > 0)
    jump = np.min(np.where(moves, change, np.inf), axis=0)
    plateau = moves.any(axis=0) & (change == 0).any(axis=0)
    return np.maximum(scatter, np.where(plateau, jump, 0))


def _extrapolate(rows: np.ndarray, noise: np.ndarray, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Richardson's scheme down the steps: the best value (k,) and its error (k,)."""
    best = np.full(rows.shape[1:], np.nan)
    least = np.full(rows.shape[1:], np.inf)
    previous = rows
    for column in range(1, 5):
        factor = RATIO ** (power * column)
        current = previous[1:] + (previous[1:] - previous[:-1]) / (factor - 1)
        error = np.maximum(np.abs(current - previous[1:]), np.abs(current - previous[:-1]))
        error = error + noise[column:]
        for value, estimate in zip(current, error, strict=True):
            better = np.isfinite(value) & (estimate < least)
            best, least = np.where(better, value, best), np.where(better, estimate, least)
        previous = current
    return best, least


def bounds(at_0: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest slope about a point where there may be none: on both sides, infinite where they grow."""
    h = STEPS[:, None]
    sides = np.stack([(values[:, 0] - at_0) / h, (at_0 - values[:, 1]) / h])  # (2, steps, k)
    with np.errstate(all="ignore"):
        short, shorter = sides[:, 4], sides[:, 7]
        grows = np.isfinite(short) & (np.abs(shorter) > 2 * np.abs(short))
        ends = np.where(grows, np.sign(shorter) * np.inf, shorter)
    known = ~np.isnan(ends)
    return np.min(np.where(known, ends, np.inf), axis=0), np.max(np.where(known, ends, -np.inf), axis=0)
