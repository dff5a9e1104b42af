"""What is fixed when a training step is compiled."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_jax.mlp.parameters import Params
from mlp_jax.mlp.structure import MLP


class Program(NamedTuple):
    """What is fixed when the training step is compiled; hashable.

    Attributes:
        net: the network.
        optimizer: of optax, with support for extra arguments.
        frozen: the layers, counted from 0, that keep their parameters; no gradient is computed for them.
        microbatches: in how many parts the gradient of a minibatch is computed, one after the other.
        ema: the decay of an exponential moving average of the parameters, which is what the run then gives.
        watch: whether each step says how healthy each layer is.
    """

    net: MLP
    optimizer: optax.GradientTransformationExtraArgs
    frozen: tuple[int, ...] = ()
    microbatches: int = 1
    ema: float | None = None
    watch: bool = False

    def trained(self, layers: Params) -> Any:
        """The entries of the layers that are trained; None for the others."""
        return tuple(None if k in self.frozen else layer for k, layer in enumerate(layers))

    def chosen(self, state: Any) -> Params:
        """The parameters that are evaluated and given: the moving average if there is one, else the last."""
        if state.average is None:
            return state.params
        return jax.tree.map(lambda a, p: a.astype(p.dtype), state.average.params, state.params)


class Average(NamedTuple):
    """An exponential moving average of parameters, and of how many steps."""

    params: Any
    steps: jax.Array

    @classmethod
    def start(cls, params: Params) -> "Average":
        """Before the first step; in float32 at least."""
        wide = jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params)
        return cls(wide, jnp.array(0))

    def with_next(self, params: Params, decay: float) -> "Average":
        """a_t = Σ_i d^(t−i) p_i / Σ_i d^(t−i), by what p_t adds to a_(t−1): (1 − d) / (1 − d^t) of the difference."""
        steps = self.steps + 1
        share = (1 - decay) / -jnp.expm1(steps * math.log(decay))
        average = jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p.astype(a.dtype) - a), self.params, params)
        return Average(average, steps)


def merged(trained: Any, params: Params) -> Params:
    """The parameters with the entries of the trained layers in their places."""
    return tuple(old if new is None else new for new, old in zip(trained, params, strict=True))
