"""What is fixed when a training step is compiled."""

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
        count = jnp.maximum(state.average.count, 1)
        average = optax.tree.bias_correction(state.average.ema, self.ema, count)
        started = state.average.count > 0
        return jax.tree.map(lambda a, p: jnp.where(started, a.astype(p.dtype), p), average, state.params)


def average_of(decay: float) -> optax.GradientTransformation:
    """The exponential moving average of parameters; not yet corrected for its start at 0."""
    return optax.ema(decay, accumulator_dtype=jnp.float32)


def merged(trained: Any, params: Params) -> Params:
    """The parameters with the entries of the trained layers in their places."""
    return tuple(old if new is None else new for new, old in zip(trained, params, strict=True))
