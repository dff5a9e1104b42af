"""Output units (section 6.2.2): a unit is a distribution of the targets, and that chooses the cost.

| unit            | p(y given x), for k targets                     | cost by maximum likelihood      | ŷ             |
| --------------- | ----------------------------------------------- | ------------------------------- | ------------- |
| linear          | Gaussian N(y; z, I)                             | squared_error ½ Σ (z − y)²      | z, the mean   |
| laplace         | Laplace, scale 1                                | absolute_error Σ abs(z − y)     | z, the median |
| gaussian        | Gaussian, each variance learned, one for all x  | nll                             | the mean      |
| heteroscedastic | Gaussian, each variance a function of x         | nll                             | the mean      |
| full_gaussian   | Gaussian, the covariance matrix a function of x | nll                             | the mean      |
| mixture         | a mixture of diagonal Gaussians                 | nll                             | the mean      |
| quantiles       | none: the quantiles of each target              | quantile_error                  | the quantiles |
| sigmoid         | k Bernoulli                                     | cross_entropy Σ ζ((1 − 2y) z)   | σ(z)          |
| softmax         | multinoulli, k classes                          | cross_entropy −log softmax(z)_y | softmax(z)    |
| poisson         | k Poisson, rate e^z                             | poisson_error Σ e^z − y z       | e^z           |
| hinge           | none: a linear SVM on y in {0, 1}               | hinge Σ max{0, 1 − (2y − 1) z}  | the margin z  |

A cost is −log p without a constant that depends on the targets alone; `log_density` has it. `nll` is −log p itself. The
squared error may also be put on a sigmoid or softmax unit, which the chapter studies and warns of: where the unit
saturates, its gradient vanishes.

Those whose variances are learned are in `gaussians.py`.

**Limits.** Costs do not check their targets, which may be tracers: `mlp-jax train` does, by `outside`. The density and
parameters of a unit are those of its first cost: for a linear unit with the absolute error choose laplace. Squares of
(y − mean) / σ leave the range of float16 early; with learned variances use bfloat16 or float32. Counts are drawn as
int32, so a rate above 2e9 cannot be.

Sources: the book, section 6.2.2; Koenker & Bassett 1978 (quantiles).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import composed, ops
from mlp_jax.autodiff.operation import Operation
from mlp_jax.mlp.gaussians import FullGaussian, Gaussian, Heteroscedastic, Mixture
from mlp_jax.mlp.output_unit import LOG_2PI, Array, OutputUnit, composed_cost

__all__ = [
    "OUTPUT_UNITS", "FullGaussian", "Gaussian", "Heteroscedastic", "Hinge", "Laplace", "Linear", "Mixture",
    "OutputUnit", "Poisson", "Quantiles", "Sigmoid", "Softmax", "as_targets",
]  # fmt: skip

# --- quantities -----------------------------------------------------------------------------------


class Linear(OutputUnit):
    """Gaussian with unit variance: the linear unit of section 6.2.2.1."""

    name = "linear"

    def costs(self) -> dict[str, Operation]:
        return {"squared_error": ops.squared_error, "absolute_error": ops.absolute_error}

    def constant(self, y: jax.Array) -> Any:
        return 0.5 * LOG_2PI * y.shape[-1]

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return z + jax.random.normal(key, z.shape, z.dtype)


class Laplace(OutputUnit):
    """Laplace with scale 1: the absolute error, which learns the median (section 6.2.1.2)."""

    name = "laplace"

    def costs(self) -> dict[str, Operation]:
        return {"absolute_error": ops.absolute_error}

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"median": z}

    def constant(self, y: jax.Array) -> Any:
        return math.log(2) * y.shape[-1]

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return z + jax.random.laplace(key, z.shape, z.dtype)


@dataclass(frozen=True)
class Quantiles(OutputUnit):
    """Quantiles of each target, which cannot cross: each is the one before plus ζ of a logit.

    Attributes:
        levels: of the quantiles, increasing, in (0, 1).
    """

    name = "quantiles"
    kind = "quantiles"
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        levels = tuple(self.levels) if isinstance(self.levels, Iterable) else (self.levels,)
        increasing = all(isinstance(q, Real) and p < q < 1 for p, q in zip((0, *levels), levels, strict=False))
        if not levels or not increasing:
            raise ValueError(f"levels of quantiles must be in (0, 1) and increasing, got {self.levels!r}")
        object.__setattr__(self, "levels", tuple(map(float, levels)))

    def costs(self) -> dict[str, Operation]:
        return {"quantile_error": composed_cost(self)}

    def of_example(self, z: Array, y: Array) -> Array:
        """Σ over targets and levels τ of max{τ (y − q), (τ − 1) (y − q)}; the derivative at y = q is 0."""
        q = ops.reshape(self.predict(z), (*y.shape, len(self.levels)))
        d = ops.expand_dims(y, -1) - q
        level = np.asarray(self.levels)[None, None]
        loss = ops.where(d > 0, level.astype(d.dtype) * d, (level - 1).astype(d.dtype) * d)
        return ops.sum(ops.where(d == 0, 0, loss), axis=(-2, -1))

    def logits(self, k: int) -> int:
        return k * len(self.levels)

    def predict(self, z: Array) -> Array:
        """The quantiles (n, k · levels), those of a target side by side."""
        z = ops.reshape(z, (*z.shape[:-1], -1, len(self.levels)))
        steps = ops.concatenate([z[..., :1], ops.softplus(z[..., 1:])], axis=-1)
        return ops.reshape(ops.cumsum(steps, -1), (*z.shape[:-2], -1))

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        q = self.predict(z)
        q = q.reshape(*q.shape[:-1], -1, len(self.levels))
        return {f"quantile {level:g}": q[..., j] for j, level in enumerate(self.levels)}

    def log_density(self, z: jax.Array, y: jax.Array, *theta: jax.Array) -> jax.Array:
        raise ValueError("a quantiles output unit is no distribution, so it has no density")


# --- classes, counts, margins ---------------------------------------------------------------------


class Sigmoid(OutputUnit):
    """Independent Bernoulli: P(y = 1) = σ(z) for each target; also soft labels in [0, 1]."""

    name = "sigmoid"
    kind = "probabilities"
    support = "numbers in [0, 1]"

    def costs(self) -> dict[str, Operation]:
        return {"cross_entropy": ops.sigmoid_cross_entropy, "squared_error": _squared_error_of(self)}

    def predict(self, z: Array) -> Array:
        return ops.sigmoid(z)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"probability": self.predict(z)}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(z)).astype(z.dtype)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return ~((y >= 0) & (y <= 1))


class Softmax(OutputUnit):
    """Multinoulli: P(class j) = softmax(z)_j; targets are class numbers or rows of probabilities."""

    name = "softmax"
    kind = "classes"
    support = "class numbers, or probabilities in [0, 1]"

    def costs(self) -> dict[str, Operation]:
        return {"cross_entropy": ops.softmax_cross_entropy, "squared_error": _squared_error_of(self)}

    def predict(self, z: Array) -> Array:
        return ops.softmax(z)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"probability": self.predict(z)}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return jax.nn.one_hot(jax.random.categorical(key, z), z.shape[-1], dtype=z.dtype)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return ~((y >= 0) & (y <= 1))


class Poisson(OutputUnit):
    """Independent Poisson counts of rate e^z."""

    name = "poisson"
    support = "counts: whole numbers of at least 0"

    def costs(self) -> dict[str, Operation]:
        return {"poisson_error": ops.poisson_error}

    def predict(self, z: Array) -> Array:
        return ops.exp(z)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"rate": self.predict(z)}

    def constant(self, y: jax.Array) -> Any:
        return jnp.sum(jax.scipy.special.gammaln(y + 1), axis=-1)

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return jax.random.poisson(key, jnp.exp(z)).astype(z.dtype)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return ~((y >= 0) & (y == np.floor(y)) & np.isfinite(y))


class Hinge(OutputUnit):
    """A linear support vector machine for each target: its class is 1 where the margin z is above 0."""

    name = "hinge"
    kind = "margins"
    support = "0 or 1"

    def costs(self) -> dict[str, Operation]:
        return {"hinge": ops.hinge}

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"margin": z}

    def log_density(self, z: jax.Array, y: jax.Array, *theta: jax.Array) -> jax.Array:
        raise ValueError("a hinge output unit is no distribution, so it has no density")

    def outside(self, y: np.ndarray) -> np.ndarray:
        return ~((y == 0) | (y == 1))


# --- costs made of operations -----------------------------------------------------------------------


@cache
def _squared_error_of(unit: OutputUnit) -> Operation:
    return composed(f"squared_error_of_{unit.name}", lambda z, y: ops.squared_error(unit.predict(z), y))


OUTPUT_UNITS: dict[str, Callable[..., OutputUnit]] = {
    unit.name: unit
    for unit in (
        Linear, Laplace, Gaussian, Heteroscedastic, FullGaussian, Mixture, Quantiles, Sigmoid, Softmax, Poisson, Hinge
    )
}  # fmt: skip


def as_targets(unit: OutputUnit, y: Any, z: Any, k: int) -> Any:
    """Targets in the form that the costs take: (n, k), of the dtype of the logits z.

    Class numbers (n,) of a softmax unit become one-hot rows; a number outside 0..k−1 becomes a row of NaN,
    so that no cost or gradient of it can pass for a right one.
    """
    y = ops.asarray(y)
    n = z.shape[0]
    if unit.kind == "classes" and y.shape == (n,):
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"class numbers y must be integers, got {y.dtype} of shape {y.shape}; pass y.astype(int)")
        if y.dtype.itemsize < 4:
            y = y.astype(jnp.int32)  # uint8 cannot hold the number of 300 classes
        valid = (y >= 0) & (y < k)
        one_hot = (y[:, None] == jnp.arange(k, dtype=y.dtype)[None]).astype(z.dtype)
        return ops.where(valid[:, None], one_hot, jnp.nan)
    if y.shape != (n, k):
        raise ValueError(_wrong_shape(unit, y.shape, (n, k)))
    return ops.asarray(y, z.dtype)


def _wrong_shape(unit: OutputUnit, got: tuple[int, ...], required: tuple[int, int]) -> str:
    n, k = required
    wanted = f"{required}" if unit.kind != "classes" else f"({n},) of class numbers or {required} of probabilities"
    message = f"targets y of a network with {k} {unit.name} output{'s' * (k != 1)} must have shape {wanted}, got {got}"
    if got == (n,):
        return f"{message}; for one target per example pass y[:, None]" if k == 1 else message
    if got == (n, 1) and unit.kind == "classes":
        return f"{message}; pass y[:, 0]"
    return message
