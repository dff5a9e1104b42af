"""Output units without learned variances: quantities, classes, counts, margins (sections 6.2.1.2 and 6.2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from mlp_jax.lazily import jax, jnp, np, ops
from mlp_jax.mlp.output_units.base import LOG_2PI, Array, OutputUnit, composed_cost

if TYPE_CHECKING:
    from mlp_jax.autodiff.operation import Operation

# --- quantities -----------------------------------------------------------------------------------


class Linear(OutputUnit):
    """Gaussian with unit variance: the linear unit of section 6.2.2.1."""

    name = "linear"
    costs = ("squared_error", "absolute_error")

    def constant(self, y: jax.Array) -> Any:
        return 0.5 * LOG_2PI * y.shape[-1]

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return z + jax.random.normal(key, z.shape, z.dtype)


class Laplace(OutputUnit):
    """Laplace with scale 1: the absolute error, which learns the median (section 6.2.1.2)."""

    name = "laplace"
    costs = ("absolute_error",)

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
    costs = ("quantile_error",)
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        levels = tuple(self.levels) if isinstance(self.levels, Iterable) else (self.levels,)
        increasing = all(isinstance(q, Real) and p < q < 1 for p, q in zip((0, *levels), levels, strict=False))
        if not levels or not increasing:
            raise ValueError(f"levels of quantiles must be in (0, 1) and increasing, got {self.levels!r}")
        object.__setattr__(self, "levels", tuple(map(float, levels)))

    def cost(self, name: str) -> Operation:
        return composed_cost("quantiles_cost", self.of_example)

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
    costs = ("cross_entropy", "squared_error")

    def cost(self, name: str) -> Operation:
        return ops.sigmoid_cross_entropy if name == "cross_entropy" else self.squared_error_of_prediction()

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
    costs = ("cross_entropy", "squared_error")

    def cost(self, name: str) -> Operation:
        return ops.softmax_cross_entropy if name == "cross_entropy" else self.squared_error_of_prediction()

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
    costs = ("poisson_error",)

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
    costs = ("hinge",)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"margin": z}

    def log_density(self, z: jax.Array, y: jax.Array, *theta: jax.Array) -> jax.Array:
        raise ValueError("a hinge output unit is no distribution, so it has no density")

    def outside(self, y: np.ndarray) -> np.ndarray:
        return ~((y == 0) | (y == 1))
