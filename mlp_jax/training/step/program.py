"""What is fixed when a training step is compiled."""

from typing import Any, NamedTuple

import jax
import optax

from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP


class Program(NamedTuple):
    """What is fixed when the training step is compiled; hashable, static under jit.

    Attributes:
        net: the network.
        optimizer: of optax; before `Values` are put into it, a function that makes one of these.
        frozen: the layers, counted from 0, that keep their parameters; no gradient is computed for them.
        microbatches: in how many parts the gradient of a minibatch is computed, one after the other.
        parts: in how many parts of fixed rows the gradient is computed, on the devices of an axis if there is one.
        axis: of a mesh, in `jax.shard_map`: its devices compute as many of the parts each.
        in_order: whether the parts are added in their order, whatever device they are from, to the same bits.
        ema: the decay of an exponential moving average of the parameters, which is what the training then gives.
        watch: whether each step says how healthy each layer is.
        criterion: what early stopping watches of the measures on the validation part; after − one that should be high;
            None watches the cost of the training part.
        clip_examples: the largest norm of each example's gradient, which is shortened to it; None shortens none.
    """

    net: MLP
    optimizer: optax.GradientTransformation
    frozen: tuple[int, ...] = ()
    microbatches: int = 1
    ema: float | None = None
    watch: bool = False
    criterion: str | None = "loss"
    clip_examples: float | None = None
    parts: int = 1
    axis: str | None = None
    in_order: bool = False

    def trained(self, layers: Params) -> Any:
        """The entries of the layers that are trained; None for the others."""
        return tuple(None if k in self.frozen else layer for k, layer in enumerate(layers))

    def chosen(self, state: Any) -> Params:
        """The parameters that are evaluated and given: the moving average if there is one, else the last."""
        if state.average is None:
            return state.params
        return jax.tree.map(lambda a, p: a.astype(p.dtype), state.average.params, state.params)


def merged(trained: Any, params: Params) -> Params:
    """The parameters with the entries of the trained layers in their places."""
    return tuple(old if new is None else new for new, old in zip(trained, params, strict=True))
