"""Reductions over axes, and what is made of them: softmax, cumulative sums; `axis` and `keepdims` as in jax.numpy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array, Operation, zero
from mlp_jax.autodiff.operations.adapter import by_jax
from mlp_jax.autodiff.operations.elementwise import (
    abs,
    add,
    asarray,
    exp,
    log,
    maximum,
    minimum,
    mul,
    sqrt,
    stop_gradient,
)
from mlp_jax.autodiff.operations.elementwise import where as choice
from mlp_jax.autodiff.operations.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    reshape,
    squeeze,
    transpose,
)

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logsumexp", "max", "mean",
    "min", "prod", "softmax", "std", "sum", "var",
]  # fmt: skip


def _kept(g: Array, axis: Any, keepdims: bool) -> Array:
    """A reduced array with its axes kept, so that it broadcasts against what was reduced."""
    return g if keepdims or axis is None else expand_dims(g, axis)


def _spread(g: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    return broadcast_to(_kept(g, axis, keepdims), x.shape)


def _axes(x: Array, axis: Any) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(k % x.ndim for k in axes)


def _over(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The reduction f of jax.numpy with the attributes of a reduction alone, in this order."""

    def reduction(x: Array, axis: Any = None, keepdims: bool = False) -> jax.Array:
        return f(x, axis=axis, keepdims=keepdims)

    return reduction


@dataclass(frozen=True)
class Reduction(Operation):
    """A reduction, with more arguments that jax.numpy has: where=, initial=, dtype=, by operations before and after it.

    Attributes:
        neutral: what stands for an entry that `where` leaves out; None for the mean, which counts the others.
        join: the operation that joins the result with `initial`, or None.
    """

    neutral: float | None = None
    join: Operation | None = None

    def __call__(
        self, *inputs: Any, dtype: Any = None, where: Any = None, initial: Any = None, out: None = None, **axes: Any
    ) -> Any:
        """The reduction; `out` is there for numpy, which passes None."""
        if dtype is where is initial is out is None:
            return super().__call__(*inputs, **axes)
        x, *rest = inputs
        if out is not None or (initial is not None and self.join is None):
            raise TypeError(f"operation {self.name!r} has no argument {'initial' if out is None else 'out'}=")
        x = x if dtype is None else asarray(x, dtype)
        if where is not None and self.neutral is None:
            counted = broadcast_to(asarray(where), x.shape).astype(x.dtype)
            return sum(x, *rest, where=where, **axes) / sum(counted, *rest, **axes)
        reduced = super().__call__(x if where is None else choice(where, x, self.neutral), *rest, **axes)
        return reduced if initial is None or self.join is None else self.join(reduced, initial)


def _mean_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    n = math.prod(x.shape[k] for k in _axes(x, axis))
    # float16 has no n beyond, but 1/n; in an export n may be a symbol, which has no size
    share = g / n if not isinstance(n, int) or n < 65_504 else g * (1 / n)
    return _spread(share, x, axis, keepdims)


def _extremum_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    reached = (x == _kept(out, axis, keepdims)).astype(x.dtype)
    return _kept(g, axis, keepdims) * (reached / sum(reached, axis, keepdims=True))


sum = Reduction(
    "sum",
    _over(jnp.sum),
    (lambda g, out, x, axis=None, keepdims=False: _spread(g, x, axis, keepdims),),
    neutral=0,
    join=add,
)
mean = Reduction("mean", _over(jnp.mean), (_mean_rule,))
max = Reduction("max", _over(jnp.max), (_extremum_rule,), neutral=-math.inf, join=maximum)
min = Reduction("min", _over(jnp.min), (_extremum_rule,), neutral=math.inf, join=minimum)
argmax = Operation("argmax", _over(jnp.argmax), (zero,))
argmin = Operation("argmin", _over(jnp.argmin), (zero,))
all = Operation("all", _over(jnp.all), (zero,))
any = Operation("any", _over(jnp.any), (zero,))
amax, amin = max, min


def _logsumexp_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Of the softmax, from differences: exp(x − out) would be wrong where `out` is large and rounded.

    Entries that are infinite like the maximum share what arrives: of [∞, 0], the limit [1, 0].
    """
    if x.size == 0:
        return x
    m = max(stop_gradient(x), axis=axis, keepdims=True)
    u = exp(choice(abs(m) == math.inf, choice(x == m, 0, -math.inf), x - m))
    return u * (_kept(g, axis, keepdims) / sum(u, axis=axis, keepdims=True))


_logsumexp = Reduction("logsumexp", _over(jax.nn.logsumexp), (_logsumexp_rule,), neutral=-math.inf)


def logsumexp(x: Array, axis: Any = None, b: Array = None, keepdims: bool = False, where: Any = None) -> Array:
    """The logarithm of Σ exp x, or of Σ b exp x."""
    if b is None:
        return _logsumexp(x, axis=axis, keepdims=keepdims, where=where)
    largest = max(stop_gradient(x), axis=axis, keepdims=True, where=where, initial=-math.inf)
    largest = choice(abs(largest) == math.inf, 0, largest)
    total = log(sum(b * exp(x - largest), axis=axis, keepdims=keepdims, where=where))
    return total + (largest if keepdims else squeeze(largest, _axes(x, axis)))


# ∂p_i/∂z_j = p_i (δ_ij − p_j), so ∇_z = p ∘ (g − Σ_j g_j p_j).
softmax = Operation(
    "softmax",
    lambda z, axis=-1: jax.nn.softmax(z, axis=axis),
    (lambda g, out, z, axis=-1: out * (g - sum(g * out, axis=axis, keepdims=True)),),
)


def _log_softmax_rule(g: Array, out: Array, z: Array, axis: Any = -1) -> Array:
    """Of log p = z − logsumexp(z), so ∇_z = g − p Σ_j g_j; p = u / Σu divides the sums, of which there are fewer."""
    if z.size == 0:
        return g
    u = exp(z - max(stop_gradient(z), axis=axis, keepdims=True))
    return g - u * (sum(g, axis=axis, keepdims=True) / sum(u, axis=axis, keepdims=True))


log_softmax = Operation("log_softmax", lambda z, axis=-1: jax.nn.log_softmax(z, axis=axis), (_log_softmax_rule,))

# --- products over an axis ------------------------------------------------------------------------


def _products_before(x: Array) -> Array:
    """Along the last axis, the product of all entries before each."""
    ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
    return concatenate([ones, cumprod(x, axis=-1)], axis=-1)[..., :-1]


def _prod_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The product of all others, without a division, so that it holds where an entry is 0."""
    axes = _axes(x, axis)
    order = tuple(k for k in range(x.ndim) if k not in axes) + axes
    moved = transpose(x, order)
    rows = reshape(moved, (*moved.shape[: x.ndim - len(axes)], -1))
    others = _products_before(rows) * flip(_products_before(flip(rows, -1)), -1)
    back = tuple(sorted(range(x.ndim), key=order.__getitem__))
    return _kept(g, axis, keepdims) * transpose(reshape(others, moved.shape), back)


prod = Reduction("prod", _over(jnp.prod), (_prod_rule,), neutral=1, join=mul)


def _cumsum_rule(g: Array, out: Array, x: Array, axis: int | None = None) -> Array:
    if axis is None:
        return reshape(flip(cumsum(flip(g))), x.shape)
    return flip(cumsum(flip(g, axis), axis), axis)


cumsum: Operation = Operation("cumsum", lambda x, axis=None: jnp.cumsum(x, axis=axis), (_cumsum_rule,))
# By jax.vjp: without a division, which fails at 0, its rule is longer than it explains.
cumprod = by_jax("cumprod", lambda x, axis=None: jnp.cumprod(x, axis=axis))

# --- spread ---------------------------------------------------------------------------------------


def var(x: Array, axis: Any = None, ddof: float = 0, keepdims: bool = False, where: Any = None) -> Array:
    """The mean squared distance from the mean, of the entries where `where` holds; n − ddof divides, and not n."""
    n: Any = math.prod(x.shape[k] for k in _axes(x, axis))
    if where is not None:
        n = sum(broadcast_to(asarray(where), x.shape).astype(x.dtype), axis=axis, keepdims=keepdims)
    from_mean = x - mean(x, axis=axis, keepdims=True, where=where)
    return sum(from_mean * from_mean, axis=axis, keepdims=keepdims, where=where) / (n - ddof)


def std(x: Array, axis: Any = None, ddof: float = 0, keepdims: bool = False, where: Any = None) -> Array:
    """The square root of the variance."""
    return sqrt(var(x, axis, ddof, keepdims, where))
