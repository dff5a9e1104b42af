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

**Variances.** A standard deviation is σ = floor + ζ(s), of a logit s, so it is positive, and above the floor. Without
one (floor 0), a network that meets a target exactly, as on examples that repeat, sends its cost to −∞ along σ → 0
(section 6.2.1.1), until σ underflows and it is NaN; with one, −log p is at least log floor + ½ log 2π for each
target. The default, 1e-3, is meant for targets of about unit size, as `data.standardize_targets` makes them. The
covariance of `full_gaussian` is T⁻¹ D² T⁻ᵀ, with T lower triangular of unit diagonal and D the σ: always positive
definite, and its cost needs no matrix to be factored or inverted (the modified Cholesky factor of the precision;
Pourahmadi 1999).

**Limits.** Costs do not check their targets, which may be tracers: `mlp-jax train` does, by `outside`. The density and
parameters of a unit are those of its first cost: for a linear unit with the absolute error choose laplace. Squares of
(y − mean) / σ leave the range of float16 early; with learned variances use bfloat16 or float32. Counts are drawn as
int32, so a rate above 2e9 cannot be.

Sources: the book, section 6.2.2; Bishop 1994 (mixture); Koenker & Bassett 1978 (quantiles).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import composed, ops
from mlp_jax.autodiff.operation import Operation

_LOG_2PI = math.log(2 * math.pi)
Array = Any


@dataclass(frozen=True)
class OutputUnit:
    """A distribution of k targets given k' network outputs z, the logits; hashable, static under jit.

    Attributes:
        name: what it is called in configurations.
        kind: what its predictions are: quantities, probabilities, classes, quantiles or margins.
        support: which targets are possible, in words.
        initializer: the name of the one that suits the output layer.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "quantities"
    support: ClassVar[str] = "finite numbers"
    initializer: ClassVar[str] = "glorot"

    def costs(self) -> dict[str, Operation]:
        """Its costs per example by name, (z, *theta, y) -> (n,), the one by maximum likelihood first."""
        raise NotImplementedError

    def logits(self, k: int) -> int:
        """How many network outputs k targets need."""
        return k

    def theta(self, k: int) -> np.ndarray | None:
        """Initial values of the parameters that the unit has of its own, if any."""
        return None

    def predict(self, z: Array) -> Array:
        """ŷ for logits (n, k'): (n, k), or (n, k · levels) for quantiles."""
        return ops.identity(z)

    def parameters(self, z: jax.Array, *theta: jax.Array) -> dict[str, jax.Array]:
        """The distribution's parameters by name: "mean", "median", "sd", "probability", "rate", …."""
        return {"mean": self.predict(z)}

    def constant(self, y: jax.Array) -> Any:
        """What −log p has beyond the cost, (n,) or 0."""
        return 0.0

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        """A draw of the targets (n, k) for each row of the logits."""
        raise ValueError(f"a {self.name} output unit is no distribution, so it has no samples")

    def log_density(self, z: jax.Array, y: jax.Array, *theta: jax.Array) -> jax.Array:
        """The log-density of the targets, (n,)."""
        cost: jax.Array = next(iter(self.costs().values()))(z, *theta, y)
        return -cost - self.constant(y)

    def outside(self, y: np.ndarray) -> np.ndarray:
        """Where targets (n, k) are not possible."""
        return ~np.isfinite(y)


# --- quantities -----------------------------------------------------------------------------------


class Linear(OutputUnit):
    """Gaussian with unit variance: the linear unit of section 6.2.2.1."""

    name = "linear"

    def costs(self) -> dict[str, Operation]:
        return {"squared_error": ops.squared_error, "absolute_error": ops.absolute_error}

    def constant(self, y: jax.Array) -> Any:
        return 0.5 * _LOG_2PI * y.shape[-1]

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


class _WithFloor(OutputUnit):
    """A unit with standard deviations σ = floor + ζ(s)."""

    floor: float

    def __post_init__(self) -> None:
        if isinstance(self.floor, bool) or not isinstance(self.floor, Real) or not 0 <= float(self.floor) < math.inf:
            raise ValueError(
                f"the floor of a standard deviation must be a finite number of at least 0, got {self.floor!r}"
            )
        object.__setattr__(self, "floor", float(self.floor))

    def costs(self) -> dict[str, Operation]:
        return {"nll": _composed_cost(self)}

    def _sd(self, s: Array) -> Array:
        return ops.softplus(s) + self.floor


def _gaussian_nll(mean: Array, sd: Array, y: Array) -> Array:
    """−log N(y; mean, sd²) of independent entries, summed over the last axis."""
    u = (y - mean) / sd
    return ops.sum(0.5 * (u * u) + ops.log(sd) + 0.5 * _LOG_2PI, axis=-1)


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
        return {"mean": z, "sd": jnp.broadcast_to(jnp.expand_dims(self._sd(theta[0]), 0), z.shape)}

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
        covariance = factor @ factor.mT
        sd = jnp.sqrt(jnp.diagonal(covariance, axis1=-2, axis2=-1))
        return {"mean": self.predict(z), "sd": sd, "covariance": covariance}

    def sample(self, key: jax.Array, z: jax.Array, *theta: jax.Array) -> jax.Array:
        mean = self.predict(z)
        noise = jax.random.normal(key, mean.shape, z.dtype)
        return mean + (self._factor(z) @ noise[..., None])[..., 0]

    def _factor(self, z: jax.Array) -> jax.Array:
        """T⁻¹ D, the Cholesky factor of the covariance, (n, k, k)."""
        k = _targets_of(self, z)
        identity = jnp.eye(k, dtype=z.dtype)[None]
        T = _lower(z, k) + identity
        D = identity * self._sd(z[..., k : 2 * k])[..., None, :]
        return jax.scipy.linalg.solve_triangular(T, D, lower=True, unit_diagonal=True)


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
        K = self.components
        if not isinstance(K, Integral) or isinstance(K, bool) or K < 1:
            raise ValueError(f"a mixture needs a whole number of components, at least 1, got {K!r}")

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
        return {"quantile_error": _composed_cost(self)}

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
def _composed_cost(unit: Any) -> Operation:
    return composed(f"{unit.name}_cost", unit.of_example)


@cache
def _squared_error_of(unit: OutputUnit) -> Operation:
    return composed(f"squared_error_of_{unit.name}", lambda z, y: ops.squared_error(unit.predict(z), y))


def _targets_of(unit: OutputUnit, z: Array) -> int:
    return next(k for k in range(1, z.shape[-1] + 1) if unit.logits(k) == z.shape[-1])


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
