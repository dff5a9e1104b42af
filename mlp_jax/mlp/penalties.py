"""Parameter norm penalties: the term λΩ(θ) of the total cost (sections 6.2.1.1 and 6.5.7)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce
from numbers import Integral
from operator import add
from typing import Any

from mlp_jax.lazily import ops
from mlp_jax.mlp.checks import finite

LEAVES = ("W", "b", "theta")


@dataclass(frozen=True)
class Penalty:
    """λ₂ Σ θ² + λ₁ Σ |θ| over chosen parameters; the derivative of |θ| at 0 is 0.

    Attributes:
        l2: λ₂ of the squares, without a factor ½, as in section 6.5.7.
        l1: λ₁ of the magnitudes.
        on: which parameters of a layer: "W", "b", "theta" (those that units have of their own).
        layers: of which layers, counted from 0; None is all.
    """

    l2: float = 0.0
    l1: float = 0.0
    on: tuple[str, ...] = ("W",)
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("l2", "l1"):
            # as Python's float: a numpy scalar has a dtype of its own, which would become that of the gradient
            given = finite(f"the coefficient λ of {name.upper()}", getattr(self, name), least=0)
            object.__setattr__(self, name, given)
        on = tuple(self.on) if isinstance(self.on, tuple | list) else (self.on,)
        if not on or not set(on) <= set(LEAVES):
            raise ValueError(f"a penalty is on some of {', '.join(LEAVES)}, got {self.on!r}")
        object.__setattr__(self, "on", on)
        if self.layers is not None:
            layers = (self.layers,) if isinstance(self.layers, Integral) else tuple(self.layers)
            if not layers or not all(isinstance(k, Integral) and k >= 0 for k in layers):
                raise ValueError(f"layers of a penalty must be whole numbers of at least 0, got {self.layers!r}")
            object.__setattr__(self, "layers", tuple(map(int, layers)))

    def __call__(self, leaf: Any) -> Any:
        """λΩ of one array, a scalar."""
        return reduce(add, (λ * Ω(leaf) for λ, Ω in self._terms()))

    def gradient(self, leaf: Any, g: Any = 1.0) -> Any:
        """λ∇Ω of one array, in its shape, times the gradient g that arrives at the penalty."""
        return reduce(add, (Ω.gradient(0, λ * g, None, leaf) for λ, Ω in self._terms()))

    def _terms(self) -> list[tuple[float, Any]]:
        terms = (self.l2, ops.sum_of_squares), (self.l1, ops.sum_of_magnitudes)
        # one that is a value of a trace is there, whatever its value
        return [(λ, Ω) for λ, Ω in terms if not isinstance(λ, float) or λ] or [terms[0]]

    def with_coefficients(self, l2: Any, l1: Any) -> Penalty:
        """The same penalty with other λ, which may be scalars of a trace; a term that it lacks is left out."""
        other = copy(self)
        object.__setattr__(other, "l2", l2 if self.l2 else 0.0)
        object.__setattr__(other, "l1", l1 if self.l1 else 0.0)
        return other

    def touches(self, layer: int, leaf: str) -> bool:
        """Whether the parameter `leaf` of a layer, counted from 0, is penalised."""
        return leaf in self.on and (self.layers is None or layer in self.layers)


def L2(coefficient: float, on: str | Sequence[str] = "W", layers: Sequence[int] | None = None) -> Penalty:
    """Weight decay: λ Σ W², over the weights and not the biases, as in section 6.5.7 (no factor ½).

    >>> import jax.numpy as jnp
    >>> W = jnp.array([[1.0, -2.0]])
    >>> float(L2(0.1)(W)), L2(0.1).gradient(W).tolist()
    (0.5, [[0.20000000298023224, -0.4000000059604645]])
    """
    return Penalty(l2=coefficient, on=on, layers=layers)  # type: ignore[arg-type]


def L1(coefficient: float, on: str | Sequence[str] = "W", layers: Sequence[int] | None = None) -> Penalty:
    """λ Σ |W|, over the weights and not the biases; its derivative at W = 0 is 0.

    >>> import jax.numpy as jnp
    >>> W = jnp.array([[1.0, 0.0, -2.0]])
    >>> float(L1(0.5)(W)), L1(0.5).gradient(W).tolist()
    (1.5, [[0.5, 0.0, -0.5]])
    """
    return Penalty(l1=coefficient, on=on, layers=layers)  # type: ignore[arg-type]


def ElasticNet(l1: float, l2: float, on: str | Sequence[str] = "W", layers: Sequence[int] | None = None) -> Penalty:
    """λ₁ Σ |W| + λ₂ Σ W².

    >>> import jax.numpy as jnp
    >>> float(ElasticNet(0.5, 0.1)(jnp.array([1.0, -2.0])))
    2.0
    """
    return Penalty(l1=l1, l2=l2, on=on, layers=layers)  # type: ignore[arg-type]
