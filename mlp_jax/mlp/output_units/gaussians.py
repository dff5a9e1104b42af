"""Output units with learned variances: Gaussian, heteroscedastic, full covariance, mixture (sections 6.2.2.1 and .4).

A standard deviation is σ = floor + ζ(s), of a logit s, so it is positive, and above the floor. Without
one (floor 0), a network that meets a target exactly, as on examples that repeat, sends its cost to −∞ along σ → 0
(section 6.2.1.1), until σ underflows and it is NaN; with one, −log p is at least log floor + ½ log 2π for each
target. The default, 1e-3, is meant for targets of about unit size, as `data.standardize_targets` makes them. The
covariance of `full_gaussian` is T⁻¹ D² T⁻ᵀ, with T lower triangular of unit diagonal and D the σ: always positive
definite, and its cost needs no matrix to be factored or inverted (the modified Cholesky factor of the precision;
Pourahmadi 1999).

Sources: the book, section 6.2.2; Bishop 1994 (mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlp_jax.lazily import jax, jnp, np, ops
from mlp_jax.mlp.checks import finite, whole
from mlp_jax.mlp.output_units.base import LOG_2PI, Array, OutputUnit, composed_cost

if TYPE_CHECKING:
    from mlp_jax.autodiff.operation import Operation


class _WithFloor(OutputUnit):
    """A unit with standard deviations σ = floor + ζ(s)."""

    costs = ("nll",)
    of_example: ClassVar[Callable[..., Array]]  # −log p, made of operations
    floor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "floor", finite("the floor of a standard deviation", self.floor, least=0))

    def cost(self, name: str) -> Operation:
        return composed_cost(f"{self.name}_cost", self.of_example)

    def _sd(self, s: Array) -> Array:
        return ops.softplus(s) + self.floor


def _gaussian_nll(mean: Array, sd: Array, y: Array) -> Array:
    """−log N(y; mean, sd²) of independent entries, summed over the last axis."""
    u = (y - mean) / sd
    return ops.sum(0.5 * (u * u) + ops.log(sd) + 0.5 * LOG_2PI, axis=-1)


@dataclass(frozen=True)
class Gaussian(_WithFloor):
    """Gaussian with a learned variance for each target, the same for all inputs: a parameter theta of the unit."""

    name = "gaussian"
    floor: float = 1e-3

    def of_example(self, z: Array, s: Array, y: Array) -> Array:
        """−log p for logits (n, k) and s (k,)."""
        return _gaussian_nll(z, ops.expand_dims(self._sd(s), 0), y)

    def theta(self, k: int) -> np.ndarray | None:
        return np.full(k, math.log(math.e - 1))  # σ = 1 + floor

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"mean": z, "sd": ops.zeros_like(z) + ops.expand_dims(self._sd(theta[0]), 0)}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        return z + self.parameters(z, *theta)["sd"] * jax.random.normal(key, z.shape, z.dtype)


@dataclass(frozen=True)
class Heteroscedastic(_WithFloor):
    """Gaussian whose mean and standard deviation are functions of x: logits (mean, s), k each."""

    name = "heteroscedastic"
    floor: float = 1e-3
    initializer = "normal"  # so that all examples start with about the same σ, and none with a tiny one

    def of_example(self, z: Array, y: Array) -> Array:
        """−log p for logits (n, 2k)."""
        k = y.shape[-1]
        return _gaussian_nll(z[..., :k], self._sd(z[..., k:]), y)

    def logits(self, k: int) -> int:
        return 2 * k

    def predict(self, z: Array) -> Array:
        return z[..., : z.shape[-1] // 2]

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        return {"mean": self.predict(z), "sd": self._sd(z[..., z.shape[-1] // 2 :])}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        mean, sd = self.parameters(z).values()
        return mean + sd * jax.random.normal(key, mean.shape, z.dtype)


@dataclass(frozen=True)
class FullGaussian(_WithFloor):
    """Gaussian with a full covariance T⁻¹ D² T⁻ᵀ: logits are the mean, s, and T below its diagonal, by rows."""

    name = "full_gaussian"
    floor: float = 1e-3
    initializer = "normal"

    def logits(self, k: int) -> int:
        return 2 * k + k * (k - 1) // 2

    def of_example(self, z: Array, y: Array) -> Array:
        """−log p for logits (n, 2k + k (k − 1) / 2): ½ Σ ((T (y − mean))_i / σ_i)² + Σ log σ_i + ½ k log 2π."""
        k = y.shape[-1]
        r = y - z[..., :k]
        u = r + ops.sum(_lower(z, k) * ops.expand_dims(r, -2), axis=-1)
        return _gaussian_nll(-u, self._sd(z[..., k : 2 * k]), ops.zeros_like(u))

    def predict(self, z: Array) -> Array:
        return z[..., : _targets_of(self, z)]

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        factor = self._factor(z)
        sd = ops.sqrt(ops.sum(factor * factor, axis=-1))  # the diagonal of the covariance
        return {"mean": self.predict(z), "sd": sd, "covariance": factor @ factor.mT}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        mean = self.predict(z)
        noise = jax.random.normal(key, mean.shape, z.dtype)
        return mean + (self._factor(z) @ noise[..., None])[..., 0]

    def _factor(self, z: jax.Array) -> jax.Array:
        """T⁻¹ D, the Cholesky factor of the covariance, (n, k, k)."""
        k = _targets_of(self, z)
        identity = np.eye(k, dtype=z.dtype)[None]
        T = _lower(z, k) + identity
        D = identity * ops.expand_dims(self._sd(z[..., k : 2 * k]), -2)
        return ops.linalg.solve_triangular(T, D, lower=True)


def _lower(z: Array, k: int) -> Array:
    """Strictly lower triangular matrices (n, k, k) of the last logits."""
    place = np.zeros((k, k), int)
    place[np.tril_indices(k, -1)] = 1 + np.arange(k * (k - 1) // 2)
    padded = ops.concatenate([ops.zeros_like(z[..., :1]), z[..., 2 * k :]], axis=-1)
    return padded[..., jnp.asarray(place)]


@dataclass(frozen=True)
class Mixture(_WithFloor):
    """A mixture of K Gaussians with diagonal covariances (section 6.2.2.4): logits are K weights, means and s.

    Attributes:
        components: K.
        floor: the smallest σ, at least 0.
    """

    name = "mixture"
    components: int = 5
    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "components", whole("the components of a mixture", self.components))

    def logits(self, k: int) -> int:
        return self.components * (2 * k + 1)

    def of_example(self, z: Array, y: Array) -> Array:
        """−log Σ_j w_j N(y; mean_j, sd_j²), the weights' softmax and the sum in logarithms, by log-sum-exp."""
        mean, s = self._split(z)
        parts = _gaussian_nll(mean, self._sd(s), ops.expand_dims(y, -2))
        return -ops.logsumexp(ops.log_softmax(z[..., : self.components]) - parts, axis=-1)

    def predict(self, z: Array) -> Array:
        weights = ops.expand_dims(ops.softmax(z[..., : self.components]), -1)
        return ops.sum(weights * self._split(z)[0], axis=-2)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        mean, s = self._split(z)
        return {"weights": ops.softmax(z[..., : self.components]), "mean": mean, "sd": self._sd(s)}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        which, noise = jax.random.split(key)
        mean, s = self._split(z)
        chosen = jax.random.categorical(which, z[..., : self.components])[..., None, None]
        mean, sd = (jnp.take_along_axis(a, chosen, axis=-2)[..., 0, :] for a in (mean, self._sd(s)))
        return mean + sd * jax.random.normal(noise, mean.shape, z.dtype)

    def _split(self, z: Array) -> tuple[Array, Array]:
        """Means and s, (n, K, k) each."""
        K = self.components
        both = ops.reshape(z[..., K:], (*z.shape[:-1], 2, K, -1))
        return both[..., 0, :, :], both[..., 1, :, :]


def _targets_of(unit: OutputUnit, z: Array) -> int:
    return next(k for k in range(1, z.shape[-1] + 1) if unit.logits(k) == z.shape[-1])
