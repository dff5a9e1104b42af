"""Elementwise operations: arithmetic, functions, comparisons, choice; broadcasting as in jax.numpy."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array, Operation, Traced, zero
from mlp_jax.autodiff.operations.shaping import stack

__all__ = [
    "abs", "add", "array", "asarray", "astype", "bitwise_and", "bitwise_not", "bitwise_or", "clip", "conj", "conjugate",
    "cos", "div", "divide", "equal", "erf", "erfc", "exp", "expm1", "greater", "greater_equal", "identity", "less",
    "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or", "maximum", "minimum", "mul", "multiply",
    "neg", "negative", "not_equal", "ones_like", "pow", "power", "real", "sign", "sin", "sqrt", "square",
    "stop_gradient", "sub", "subtract", "where", "zeros_like",
]  # fmt: skip

# --- arithmetic -----------------------------------------------------------------------------------

add = Operation("add", jnp.add, (lambda g, out, x, y: g, lambda g, out, x, y: g))
sub = Operation("sub", jnp.subtract, (lambda g, out, x, y: g, lambda g, out, x, y: -g))
mul = Operation("mul", jnp.multiply, (lambda g, out, x, y: g * y, lambda g, out, x, y: g * x))
div = Operation("div", jnp.divide, (lambda g, out, x, y: g / y, lambda g, out, x, y: -(g / y) * out))
neg = Operation("neg", jnp.negative, (lambda g, out, x: -g,))


def _pow_rule_base(g: Array, out: Array, x: Array, y: Array) -> Array:
    if isinstance(y, int | float):
        return 0 * g if y == 0 else g * (2 * x) if y == 2 else g * (y * x ** (y - 1))
    return g * (y * where(logical_and(x == 0, y == 0), 1, x) ** (y - 1))


def _pow_rule_exponent(g: Array, out: Array, x: Array, y: Array) -> Array:
    return g * (out * log(where(x == 0, 1, x)))


pow: Operation = Operation("pow", jnp.power, (_pow_rule_base, _pow_rule_exponent))
square = Operation("square", jnp.square, (lambda g, out, x: g * (2 * x),))
# The other names that jax.numpy has for these.
subtract, multiply, divide, negative, power = sub, mul, div, neg, pow

# --- functions ------------------------------------------------------------------------------------

sqrt = Operation("sqrt", jnp.sqrt, (lambda g, out, x: g * (0.5 / out),))
exp = Operation("exp", jnp.exp, (lambda g, out, x: g * out,))
expm1 = Operation("expm1", jnp.expm1, (lambda g, out, x: g * (out + 1),))
log = Operation("log", jnp.log, (lambda g, out, x: g / x,))
log1p = Operation("log1p", jnp.log1p, (lambda g, out, x: g / (1 + x),))
sin: Operation = Operation("sin", jnp.sin, (lambda g, out, x: g * cos(x),))
cos: Operation = Operation("cos", jnp.cos, (lambda g, out, x: -g * sin(x),))
erf = Operation("erf", jax.scipy.special.erf, (lambda g, out, x: g * (2 / math.sqrt(math.pi) * exp(-(x * x))),))
erfc = Operation("erfc", jax.scipy.special.erfc, (lambda g, out, x: g * (-2 / math.sqrt(math.pi) * exp(-(x * x))),))
identity = Operation("identity", lambda x: x, (lambda g, out, x: g,))
stop_gradient = Operation("stop_gradient", jax.lax.stop_gradient, (zero,))
zeros_like = Operation("zeros_like", jnp.zeros_like, (zero,))
ones_like = Operation("ones_like", jnp.ones_like, (zero,))
astype = Operation("astype", lambda x, dtype: jnp.asarray(x).astype(dtype), (lambda g, out, x, dtype: g,))


def asarray(x: Array, dtype: Any = None) -> Array:
    """An array of x, of a dtype if one is named; a variable, or a nested list that has one, becomes a variable."""
    if isinstance(x, list | tuple) and any(isinstance(entry, Traced) for entry in jax.tree.leaves(x)):
        x = stack([asarray(entry) for entry in x])
    if not isinstance(x, Traced):
        return jnp.asarray(x, dtype)
    return x if dtype in (None, x.dtype) else astype(x, dtype=dtype)  # type: ignore[attr-defined]


array = asarray
real = conj = conjugate = identity  # of real numbers

# --- kinks and choice -----------------------------------------------------------------------------

where: Operation = Operation(
    "where",
    jnp.where,
    (
        zero,
        lambda g, out, condition, x, y: where(condition, g, 0),
        lambda g, out, condition, x, y: where(condition, 0, g),
    ),
)
sign = Operation("sign", jnp.sign, (zero,))
# Not jnp.abs, whose JAX derivative at 0 is 1.
abs = Operation("abs", lambda x: x * jnp.sign(x), (lambda g, out, x: g * sign(x),))


def _share(g: Array, larger: Any, smaller: Any) -> tuple[Any, Any]:
    """All of g to the first input where it is chosen, half of it to each at a tie, else all to the second."""
    # Two choices and a quotient: of the ways to write this, XLA compiles it to the fastest code.
    first = g * (where(larger >= smaller, 1.0, 0.0) / where(larger == smaller, 2.0, 1.0))
    return first, g - first


maximum = Operation("maximum", jnp.maximum, lambda g, out, x, y: _share(g, x, y))
minimum = Operation("minimum", jnp.minimum, lambda g, out, x, y: _share(g, y, x))


def clip(x: Array, min: Any = None, max: Any = None) -> Array:
    """min{max{x, min}, max}, where None is no bound."""
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


# --- comparisons and logic: no gradient passes ------------------------------------------------------

equal = Operation("equal", jnp.equal, (zero, zero))
not_equal = Operation("not_equal", jnp.not_equal, (zero, zero))
less = Operation("less", jnp.less, (zero, zero))
less_equal = Operation("less_equal", jnp.less_equal, (zero, zero))
greater = Operation("greater", jnp.greater, (zero, zero))
greater_equal = Operation("greater_equal", jnp.greater_equal, (zero, zero))
logical_and = Operation("logical_and", jnp.logical_and, (zero, zero))
logical_or = Operation("logical_or", jnp.logical_or, (zero, zero))
bitwise_and = Operation("bitwise_and", jnp.bitwise_and, (zero, zero))
bitwise_or = Operation("bitwise_or", jnp.bitwise_or, (zero, zero))
bitwise_not = Operation("bitwise_not", jnp.bitwise_not, (zero,))
logical_not = Operation("logical_not", jnp.logical_not, (zero,))
