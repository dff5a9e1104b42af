"""More elementwise functions: of angles, roots and logarithms, rounding, those of jax.scipy.special."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import special

from mlp_jax.autodiff.operation import Array, Operation, zero
from mlp_jax.autodiff.operations.activations import sigmoid, softplus
from mlp_jax.autodiff.operations.adapter import by_jax
from mlp_jax.autodiff.operations.elementwise import abs, div, exp, log, logical_and, mul, sign, sqrt, where

__all__ = [
    "absolute", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin",
    "asinh", "atan", "atan2", "atanh", "beta", "betaln", "cbrt", "ceil", "cosh", "deg2rad", "degrees", "digamma",
    "entr", "erfinv", "exp2", "expit", "fabs", "floor", "floor_divide", "fmod", "gamma", "gammaln", "hypot", "i0",
    "i0e", "i1", "i1e", "isfinite", "isinf", "isnan", "log2", "log10", "log_ndtr", "log_sigmoid", "logaddexp",
    "logaddexp2", "logit", "mod", "multigammaln", "nan_to_num", "ndtr", "polygamma", "psi", "rad2deg", "radians",
    "reciprocal", "remainder", "rint", "round", "rsqrt", "sinc", "sinh", "tan", "true_divide", "trunc", "xlog1py",
    "xlogy",
]  # fmt: skip

# --- angles ---------------------------------------------------------------------------------------

tan = Operation("tan", jnp.tan, (lambda g, out, x: g * (1 + out * out),))
arcsin = Operation("arcsin", jnp.arcsin, (lambda g, out, x: g / sqrt((1 - x) * (1 + x)),))
arccos = Operation("arccos", jnp.arccos, (lambda g, out, x: -g / sqrt((1 - x) * (1 + x)),))
arctan = Operation("arctan", jnp.arctan, (lambda g, out, x: g / (1 + x * x),))
sinh: Operation = Operation("sinh", jnp.sinh, (lambda g, out, x: g * cosh(x),))
cosh: Operation = Operation("cosh", jnp.cosh, (lambda g, out, x: g * sinh(x),))
# √(x − 1) √(x + 1), and not √(x² − 1), which overflows; hypot likewise.
arccosh = Operation("arccosh", jnp.arccosh, (lambda g, out, x: g / (sqrt(x - 1) * sqrt(x + 1)),))
arcsinh = Operation("arcsinh", jnp.arcsinh, (lambda g, out, x: g / hypot(x, 1),))
arctanh = Operation("arctanh", jnp.arctanh, (lambda g, out, x: g / ((1 - x) * (1 + x)),))
arctan2 = Operation(
    "arctan2",
    jnp.arctan2,
    (
        lambda g, out, y, x: g * (x / hypot(x, y) / hypot(x, y)),
        lambda g, out, y, x: -g * (y / hypot(x, y) / hypot(x, y)),
    ),
)
asin, acos, atan, atan2, asinh, acosh, atanh = arcsin, arccos, arctan, arctan2, arcsinh, arccosh, arctanh
sinc = by_jax("sinc", jnp.sinc)  # its rule, (cos πx − sinc x)/x, needs a series near 0, which JAX has


deg2rad = radians = partial(mul, math.pi / 180)
rad2deg = degrees = partial(mul, 180 / math.pi)

# --- roots, powers and logarithms -----------------------------------------------------------------

cbrt = Operation("cbrt", jnp.cbrt, (lambda g, out, x: g / (3 * out * out),))
rsqrt = Operation("rsqrt", jax.lax.rsqrt, (lambda g, out, x: g * (-0.5 * out / x),))
reciprocal = Operation("reciprocal", jnp.reciprocal, (lambda g, out, x: -g * out * out,))
exp2 = Operation("exp2", jnp.exp2, (lambda g, out, x: g * (out * math.log(2)),))
log2 = Operation("log2", jnp.log2, (lambda g, out, x: g / (x * math.log(2)),))
log10 = Operation("log10", jnp.log10, (lambda g, out, x: g / (x * math.log(10)),))


def _of_hypot(g: Array, out: Array, x: Array) -> Array:
    """x / out: 0 at the origin, ±1 where x is infinite."""
    return g * where(out == 0, 0, where(abs(x) == math.inf, sign(x), x / where(out == 0, 1, out)))


hypot: Operation = Operation(
    "hypot", jnp.hypot, (lambda g, out, x, y: _of_hypot(g, out, x), lambda g, out, x, y: _of_hypot(g, out, y))
)


def _excess(x: Array, y: Array) -> Array:
    """x − y, and 0 where both are one infinity."""
    return where(logical_and(x == y, abs(x) == math.inf), 0, x - y)


# log(e^x + e^y): softmax over the two.
logaddexp = Operation(
    "logaddexp",
    jnp.logaddexp,
    (lambda g, out, x, y: g * sigmoid(_excess(x, y)), lambda g, out, x, y: g * sigmoid(_excess(y, x))),
)


def logaddexp2(x: Array, y: Array) -> Array:
    """The logarithm of 2^x + 2^y to the base 2."""
    return logaddexp(x * math.log(2), y * math.log(2)) / math.log(2)


absolute, fabs, true_divide, expit = abs, abs, div, sigmoid


def log_sigmoid(x: Array) -> Array:
    """log σ(x) = −ζ(−x)."""
    return -softplus(-x)


# --- rounding and remainders: the derivative of a step is 0 -----------------------------------------

floor = Operation("floor", jnp.floor, (zero,))
ceil = Operation("ceil", jnp.ceil, (zero,))
trunc = Operation("trunc", jnp.trunc, (zero,))
rint = Operation("rint", jnp.rint, (zero,))
round = Operation("round", jnp.round, (zero,))
floor_divide = Operation("floor_divide", jnp.floor_divide, (zero, zero))
mod = Operation("mod", jnp.mod, (lambda g, out, x, y: g, lambda g, out, x, y: -g * floor_divide(x, y)))
fmod = Operation("fmod", jnp.fmod, (lambda g, out, x, y: g, lambda g, out, x, y: -g * trunc(x / y)))
remainder = mod
isnan = Operation("isnan", jnp.isnan, (zero,))
isinf = Operation("isinf", jnp.isinf, (zero,))
isfinite = Operation("isfinite", jnp.isfinite, (zero,))
nan_to_num = Operation("nan_to_num", jnp.nan_to_num, (lambda g, out, x, **values: where(isfinite(x), g, 0),))

# --- jax.scipy.special, of real numbers -------------------------------------------------------------

_polygamma: Operation = Operation(
    "polygamma", lambda x, n: special.polygamma(n, x), (lambda g, out, x, n: g * _polygamma(x, n=n + 1),)
)


def polygamma(n: int, x: Array) -> Any:
    """The derivative n of `digamma`."""
    return _polygamma(x, n=n)


digamma = psi = Operation("digamma", special.digamma, (lambda g, out, x: g * polygamma(1, x),))
gamma = Operation("gamma", special.gamma, (lambda g, out, x: g * (out * digamma(x)),))
gammaln = Operation("gammaln", special.gammaln, (lambda g, out, x: g * digamma(x),))
i0e: Operation = Operation("i0e", special.i0e, (lambda g, out, x: g * (i1e(x) - sign(x) * out),))
i0: Operation = Operation("i0", special.i0, (lambda g, out, x: g * i1(x),))


def _i1_rule(g: Array, out: Array, x: Array) -> Array:
    """I₀(x) − I₁(x)/x; ½ at 0."""
    return g * (i0(x) - where(x == 0, 0.5, out / where(x == 0, 1, x)))


def _i1e_rule(g: Array, out: Array, x: Array) -> Array:
    return g * (i0e(x) - sign(x) * out - where(x == 0, 0.5, out / where(x == 0, 1, x)))


i1: Operation = Operation("i1", special.i1, (_i1_rule,))
i1e: Operation = Operation("i1e", special.i1e, (_i1e_rule,))
erfinv = Operation("erfinv", special.erfinv, (lambda g, out, x: g * (math.sqrt(math.pi) / 2 * exp(out * out)),))
logit = Operation("logit", special.logit, (lambda g, out, x: g / (x * (1 - x)),))
ndtr = Operation("ndtr", special.ndtr, (lambda g, out, x: g * (exp(-0.5 * x * x) / math.sqrt(2 * math.pi)),))
log_ndtr = Operation(
    "log_ndtr", special.log_ndtr, (lambda g, out, x: g * (exp(-0.5 * x * x - out) / math.sqrt(2 * math.pi)),)
)
xlogy = Operation("xlogy", special.xlogy, (lambda g, out, x, y: g * log(y), lambda g, out, x, y: g * (x / y)))
xlog1py = Operation(
    "xlog1py", special.xlog1py, (lambda g, out, x, y: g * log(1 + y), lambda g, out, x, y: g * (x / (1 + y)))
)
entr = Operation("entr", special.entr, (lambda g, out, x: -g * (log(x) + 1),))


def betaln(a: Array, b: Array) -> Array:
    """The logarithm of the beta function."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def beta(a: Array, b: Array) -> Array:
    """The beta function, of positive numbers."""
    return exp(betaln(a, b))


def multigammaln(a: Array, d: int) -> Array:
    """The logarithm of the gamma function of matrices of d rows."""
    return sum(gammaln(a - j / 2) for j in range(d)) + d * (d - 1) / 4 * math.log(math.pi)
