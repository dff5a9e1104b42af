"""Hidden units: the functions f of h = f(a) (sections 6.2.2 and 6.3); names as in jax.nn, where it has them."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array, Operation
from mlp_jax.autodiff.operations.elementwise import abs, erfc, exp, sign, where
from mlp_jax.autodiff.operations.reductions import max
from mlp_jax.autodiff.operations.shaping import expand_dims, reshape

__all__ = [
    "elu", "gelu", "hard_tanh", "leaky_relu", "maxout", "parametric_relu", "radial", "relu", "sigmoid", "silu",
    "softplus", "tanh",
]  # fmt: skip

# Its rule looks at the output, so that a network need not keep the pre-activations.
relu = Operation("relu", jax.nn.relu, (lambda g, out, x: where(out > 0, g, 0),))
# (1 − out²) as a product, which does not cancel where the unit saturates.
tanh = Operation("tanh", jnp.tanh, (lambda g, out, x: (g + g * out) * (1 - out),))
# σ(−x), and not 1 − out, which cancels where the unit saturates at 1.
sigmoid: Operation = Operation("sigmoid", jax.nn.sigmoid, (lambda g, out, x: g * (out * sigmoid(-x)),))
# ζ(x) = log(1 + exp x), whose derivative is σ(x).
softplus = Operation("softplus", jax.nn.softplus, (lambda g, out, x: g * sigmoid(x),))


_GELU = 2 * math.sqrt(2 / math.pi)


def _gelu(x: Array, approximate: bool = True) -> Array:
    """x Φ(x), or x σ(2u) with u = √(2/π) (x + 0.044715 x³), which as ½ x (1 + tanh u) cancels far below 0."""
    return x * jax.nn.sigmoid(_GELU * (x + 0.044715 * x**3)) if approximate else jax.nn.gelu(x, approximate=False)


def _gelu_rule(g: Array, out: Array, x: Array, approximate: bool = True) -> Array:
    """Φ(x) + x φ(x), or σ(2u) + x σ(2u) σ(−2u) 2u'."""
    if approximate:
        # Where |x| ≥ 20, σ(2u) is 0 or 1 and the second term is 0; there x² may be infinite, and 0 · ∞ is no number.
        near = where(abs(x) < 20, x, 0)
        u2 = _GELU * (near + 0.044715 * near**3)
        s = where(abs(x) < 20, sigmoid(u2), 0.5 + 0.5 * sign(x))
        return g * (s + near * (sigmoid(u2) * sigmoid(-u2)) * (_GELU * (1 + 0.134145 * near * near)))
    return g * (0.5 * erfc(-math.sqrt(0.5) * x) + x * exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


leaky_relu = Operation(
    "leaky_relu",
    lambda x, negative_slope=0.01: jnp.where(x > 0, x, negative_slope * x),
    (lambda g, out, x, negative_slope=0.01: where(x > 0, g, negative_slope * g),),
)


def _beside(slope: Any, x: Array) -> Any:
    """The slopes of units, (units,), with leading axes of length 1, as many as x has."""
    return reshape(slope, (*[1] * (x.ndim - slope.ndim), *slope.shape))


# Its slope is learned, one for each unit: max{0, x} + s min{0, x}.
parametric_relu = Operation(
    "parametric_relu",
    lambda x, slope: jnp.where(x > 0, x, _beside(slope, x) * x),
    (
        lambda g, out, x, slope: where(x > 0, g, _beside(slope, x) * g),
        lambda g, out, x, slope: where(x > 0, 0, g * x),
    ),
)
# Not jnp.clip, whose JAX derivative at ±1 is ½.
hard_tanh = Operation(
    "hard_tanh", lambda x: jnp.where(jnp.abs(x) < 1, x, jnp.sign(x)), (lambda g, out, x: where(abs(x) < 1, g, 0),)
)
# alpha e^x, and not h + alpha, which cancels far below 0; e^x is not taken of x > 0, where it could overflow.
elu = Operation(
    "elu",
    lambda x, alpha=1.0: jax.nn.elu(x, alpha),
    (lambda g, out, x, alpha=1.0: where(x > 0, g, alpha * g * exp(where(x > 0, 0, x))),),
)
gelu = Operation("gelu", _gelu, (_gelu_rule,))
silu = Operation("silu", jax.nn.silu, (lambda g, out, x: g * (sigmoid(x) * (1 + x * sigmoid(-x))),))


def _pieces(x: Array, pieces: int) -> Array:
    return reshape(x, (*x.shape[:-1], -1, pieces))


def _maxout_rule(g: Array, out: Array, x: Array, pieces: int) -> Array:
    return reshape(max.gradient(0, g, out, _pieces(x, pieces), axis=-1), x.shape)


# The largest of each group of neighbouring entries: (…, units · pieces) -> (…, units).
maxout = Operation("maxout", lambda x, pieces: jnp.max(_pieces(jnp.asarray(x), pieces), axis=-1), (_maxout_rule,))
# −exp(s_j) times the mean over inputs i of (h_i − C_ij)²: the exponent of a radial basis unit with centre C_j.
# h (n, inputs), C (inputs, units), s (units,).
radial = Operation(
    "radial",
    lambda h, C, s: -jnp.exp(s)[None] * jnp.mean(jnp.square(_from_centres(h, C)), axis=1),
    (
        lambda g, out, h, C, s: _radial_gradient(g, h, C, s).sum(axis=2),
        lambda g, out, h, C, s: -_radial_gradient(g, h, C, s),
        lambda g, out, h, C, s: g * out,
    ),
)


def _from_centres(h: Array, C: Array) -> Array:
    return expand_dims(h, 2) - expand_dims(C, 0)


def _radial_gradient(g: Array, h: Array, C: Array, s: Any) -> Array:
    """For h − C, (n, inputs, units)."""
    return expand_dims(g * ((-2 / C.shape[0]) * expand_dims(exp(s), 0)), 1) * _from_centres(h, C)
