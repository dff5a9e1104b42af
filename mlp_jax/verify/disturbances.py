"""How a program may be evaluated in float64 other than exactly: what happens to its results, sums and constants.

Numbers are rounded as a coarser type would hold them, up or down at random. That noise is a hash of the value's own
bits and a seed: equal numbers are rounded alike, as in a computer, so ties stay ties; what the type can hold is left as
it is, so masks, 0 and 1 stay exact.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlp_jax.verify.policy import COEFFICIENTS, CONSTANT_BITS, FLOAT64, NEAR, Precision


class Exactly:
    """Nothing happens to anything. Types are those of the program; values are float64 or complex128."""

    def constant(self, value: Any, dtype: Any) -> Any:
        """A number, or array, that is written in the program, as it enters."""
        return value

    def summand(self, v: jax.Array, dtype: Any, terms: float) -> jax.Array:
        """What a sum of so many terms adds up."""
        return v

    def result(self, v: jax.Array, dtype: Any, exact: bool) -> jax.Array:
        """The result of an operation that does not only move numbers.

        It is `exact` if the operation is so simple that a float64 with many empty bits is its true result.
        """
        return v

    def stopped(self, v: Any) -> Any:
        """What is behind a stop_gradient."""
        return v

    def inside(self) -> "Exactly":
        """What a branch or a loop is evaluated with."""
        return self


class Rounding(Exactly):
    """Each result is rounded at random, to its own type or to one for all."""

    def __init__(self, seed: jax.Array, dtype: Any = None) -> None:
        """By this seed; by 0 not at all."""
        self.seed, self.dtype = seed, dtype

    def summand(self, v: jax.Array, dtype: Any, terms: float) -> jax.Array:
        """With the error that a sum makes."""
        return _with_the_errors_of_a_sum(v, dtype, terms, self.seed)

    def result(self, v: jax.Array, dtype: Any, exact: bool) -> jax.Array:
        """As the type would hold it."""
        return _rounded(v, self.dtype or dtype, self.seed, exact)


class OtherConstants(Exactly):
    """Each constant is half a unit of its last place larger or smaller: it may have been rounded when written."""

    def __init__(self, signs: jax.Array) -> None:
        """With these signs (n,); equal constants have the same."""
        self.signs = signs

    def constant(self, value: Any, dtype: Any) -> Any:
        """Half a unit off, if it has so many digits that it may be rounded."""
        if np.size(value) > COEFFICIENTS:
            return value
        precision = Precision.of(dtype)
        bits = max(CONSTANT_BITS, round(-np.log2(precision.eps)) // 2)
        fraction = np.abs(np.frexp(np.asarray(value, np.float64))[0]) * 2.0**bits
        rounded = np.isfinite(fraction) & (fraction != np.round(fraction))
        if not rounded.any():
            return value
        which = [hash(abs(float(x))) % len(self.signs) for x in np.ravel(np.asarray(value))]
        signs = self.signs[np.reshape(which, np.shape(value))] * rounded
        return jnp.asarray(value, np.float64) * (1 + signs * precision.eps / 2)


class OtherPieces(Exactly):
    """Each result is moved by so little that nothing but the choice at a kink changes, at each kink by itself.

    The gradient of a chain of functions, each with any slope that its own kink leaves open, is no worse than another.
    """

    def __init__(self, seed: jax.Array) -> None:
        """Up or down at random by this seed; all up by 1, all down by −1."""
        self.seed, self.counter = seed, itertools.count()

    def result(self, v: jax.Array, dtype: Any, exact: bool) -> jax.Array:
        """Moved."""
        if v.dtype == np.complex128:
            return v
        place = lax.iota(np.float64, max(v.size, 1))[: v.size].reshape(v.shape) + 0.61803 * next(self.counter)
        wave = jnp.sin(12.9898 * place + 78.233 * self.seed) * 43758.5453
        at_random = 2 * (wave - jnp.floor(wave)) - 1
        direction = jnp.where(jnp.abs(self.seed) == 1, self.seed, at_random)
        size = jnp.where(v == 0, jnp.sqrt(jnp.mean(v * v)), jnp.abs(v))
        return v + NEAR[0] * jnp.where(size == 0, 1, size) * direction


class Held(Exactly):
    """What is behind a stop_gradient is kept as it was at another evaluation."""

    def __init__(self, kept: list[Any] | None = None) -> None:
        """With the values kept by an evaluation before; without any, they are kept in `values`."""
        self.values: list[Any] = []
        self.kept = None if kept is None else iter(kept)

    def stopped(self, v: Any) -> Any:
        """As it was."""
        if self.kept is not None:
            return next(self.kept)
        self.values.append(v)
        return v

    def inside(self) -> Exactly:
        """Nothing is held there: what is traced within cannot be kept."""
        return Exactly()


_BITS = 52  # of a float64's mantissa
_ODD = np.uint64(0xD6E8FEB86659FD93)


def _rounded(v: jax.Array, dtype: Any, seed: jax.Array, exact: bool) -> jax.Array:
    """V as `dtype` would hold it, by the seed; by seed 0 as it is. Float64 moves it by one unit, or not at all."""
    if v.dtype == np.complex128:
        part = np.float32 if np.dtype(dtype).itemsize <= 8 else np.float64
        return lax.complex(_rounded(lax.real(v), part, seed, exact), _rounded(lax.imag(v), part, seed, exact))
    precision = Precision.of(dtype)
    bits, hashed = _noise(v, seed)
    if precision.eps <= FLOAT64.eps:
        step = (hashed >> np.uint64(20)) % np.uint64(3) - np.uint64(1)  # −1, 0 or 1 unit of the last place
        stays = ((bits & np.uint64(2**26 - 1)) == 0 if exact else v == 0) | ~lax.is_finite(v)
        unit = lax.select(stays, lax.full_like(step, 0), step) * lax.convert_element_type(seed > 0, np.uint64)
        return lax.bitcast_convert_type(bits + unit, np.float64)
    low = np.uint64(round(precision.eps / FLOAT64.eps) - 1)
    out = lax.bitcast_convert_type((bits + (hashed & low)) & ~low, np.float64)
    either = lax.select((hashed & np.uint64(1)) == 0, v, lax.full_like(v, 0))
    out = lax.select(lax.abs(v) < precision.tiny, either, out)
    out = lax.select(lax.abs(v) > precision.max, v * np.inf, out)
    return lax.select((seed > 0) & lax.is_finite(v), out, v)


def _noise(v: jax.Array, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The bits of v, and 52 random bits made of those of |v| and the seed."""
    bits = lax.bitcast_convert_type(v, np.uint64)
    return bits, (((bits << np.uint64(1)) ^ seed) * _ODD) >> np.uint64(12)


def _with_the_errors_of_a_sum(v: jax.Array, dtype: Any, terms: float, seed: jax.Array) -> jax.Array:
    """Summands such that their exact sum has the error of one of n terms: √n units, accumulated in float32 at least.

    A sum that runs in half precision is a fault of whoever wrote it, not an allowance.
    """
    if v.dtype == np.complex128:
        return v
    eps = max(Precision.of(dtype).eps, FLOAT64.eps) if np.dtype(dtype).itemsize >= 8 else 2.0**-23
    # by the sign, too: what is subtracted is not rounded as what was added
    signed = lax.select(v < 0, lax.full_like(v, _ODD, np.uint64), lax.full_like(v, 0, np.uint64)) ^ seed
    uniform = lax.convert_element_type(_noise(v, signed)[1], np.float64) * 2.0 ** (1 - _BITS) - 1
    size = lax.select(seed > 0, np.float64(eps / 2 * np.sqrt(terms)), np.float64(0))
    return v * (1 + size * uniform)
