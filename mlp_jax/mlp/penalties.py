"""Parameter norm penalties: the term λΩ(θ) of the total cost (sections 6.2.1.1 and 6.5.7)."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation


@dataclass(frozen=True)
class _Penalty:
    coefficient: float
    norm: ClassVar[Operation]

    def __post_init__(self) -> None:
        name, given = type(self).__name__, self.coefficient
        if not isinstance(given, Real) or not (math.isfinite(given) and given >= 0):
            raise ValueError(f"the coefficient λ of {name} must be a finite number of at least 0, got {given!r}")
        # a numpy scalar has a dtype of its own, which would become that of the gradient
        object.__setattr__(self, "coefficient", float(given))

    def __call__(self, W: Any) -> Any:
        """λΩ(W), a scalar."""
        return self.coefficient * self.norm(W)

    def gradient(self, W: Any) -> Any:
        """λ∇Ω(W), in the shape of W."""
        return self.norm.gradient(0, self.coefficient, None, W)


class L2(_Penalty):
    """Weight decay: λ Σ W², over the weights and not the biases, as in section 6.5.7 (no factor ½).

    >>> import jax.numpy as jnp
    >>> W = jnp.array([[1.0, -2.0]])
    >>> float(L2(0.1)(W)), L2(0.1).gradient(W).tolist()
    (0.5, [[0.20000000298023224, -0.4000000059604645]])
    """

    norm = ops.sum_of_squares


class L1(_Penalty):
    """λ Σ |W|, over the weights and not the biases; its derivative at W = 0 is 0.

    >>> import jax.numpy as jnp
    >>> W = jnp.array([[1.0, 0.0, -2.0]])
    >>> float(L1(0.5)(W)), L1(0.5).gradient(W).tolist()
    (1.5, [[0.5, 0.0, -0.5]])
    """

    norm = ops.sum_of_magnitudes


Penalty = L1 | L2
