"""Early stopping: keep the parameters with the best validation cost, or metric, and stop when none was better for long.

`epochs.run_steps` keeps count of it after each epoch, and takes no more steps when patience has run out;
`Trainer.chosen` gives the best parameters. The cost of the training part can be watched, too: the last are kept then.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp.params import Params


class Patience(NamedTuple):
    """When to stop: after so many epochs in a row without a cost lower than all before by more than min_delta."""

    epochs: Any
    min_delta: Any


class Best(NamedTuple):
    """The best so far.

    Attributes:
        params: the parameters; () where the last are kept.
        loss: their cost, or another criterion that should be low.
        since: for how many epochs none was better.
        stalled: for how many epochs in a row none was better by more than min_delta.
    """

    params: Any
    loss: jax.Array
    since: jax.Array
    stalled: jax.Array

    @classmethod
    def start(cls, params: Params | tuple[()]) -> "Best":
        """Before the first epoch."""
        return cls(params, jnp.array(jnp.inf), jnp.array(0), jnp.array(0))

    def or_better(self, params: Params | tuple[()], loss: jax.Array, patience: Patience) -> "Best":
        """After one more epoch, with these parameters and this cost."""
        stalled = jnp.where(loss < self.loss - patience.min_delta, 0, self.stalled + 1)
        now = Best(params, loss.astype(self.loss.dtype), jnp.array(0), stalled)
        before = self._replace(since=self.since + 1, stalled=stalled)
        return jax.tree.map(partial(jnp.where, loss < self.loss), now, before)
