"""What an output unit is: a distribution of the targets, with its costs (section 6.2.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from mlp_jax.lazily import jax, np, ops

if TYPE_CHECKING:
    from mlp_jax.autodiff.operation import Operation

LOG_2PI = math.log(2 * math.pi)
Array = Any  # of JAX, or a variable of the tracer


@dataclass(frozen=True)
class OutputUnit:
    """A distribution of k targets given k' network outputs z, the logits; hashable, static under jit.

    Attributes:
        name: what it is called in configurations.
        kind: what its predictions are: quantities, probabilities, classes, quantiles or margins.
        support: which targets are possible, in words.
        initializer: the name of the one that suits the output layer.
        costs: the names of its costs, the one by maximum likelihood first.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "quantities"
    support: ClassVar[str] = "finite numbers"
    initializer: ClassVar[str] = "glorot"
    costs: ClassVar[tuple[str, ...]]

    def cost(self, name: str) -> Operation:
        """One of its costs, for each example: (z, *theta, y) -> (n,)."""
        operation: Operation = getattr(ops, name)
        return operation

    def squared_error_of_prediction(self) -> Operation:
        """The cost ½ Σ (ŷ − y)²."""
        return composed_cost(f"squared_error_of_{self.name}", self._squared_error)

    def _squared_error(self, z: Array, y: Array) -> Array:
        return ops.squared_error(self.predict(z), y)

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
        cost: jax.Array = self.cost(self.costs[0])(z, *theta, y)
        return -cost - self.constant(y)

    def outside(self, y: np.ndarray) -> np.ndarray:
        """Where targets (n, k) are not possible."""
        return ~np.isfinite(y)


@cache
def composed_cost(name: str, of_example: Callable[..., Any]) -> Operation:
    """A function (z, *theta, y) -> (n,) of a unit, made of operations, as one operation; one for each unit."""
    from mlp_jax.autodiff import composed

    return composed(name, of_example)
