"""Early stopping: keep the parameters with the best validation cost, or metric, and stop when none was better for long.

Better is lower by more than min_delta. `epochs.run_steps` keeps count of it after each epoch, and takes no more steps
when patience has run out; `Trainer.chosen` gives the best parameters.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp.params import Params


class Patience(NamedTuple):
    """When to stop: after so many epochs without a validation cost lower by more than min_delta."""

    epochs: Any
    min_delta: Any


class Best(NamedTuple):
    """The parameters that were best so far, their validation cost, and after how many epochs none was better.

    In the place of the cost there may be another criterion that should be low.
    """

    params: Params
    loss: jax.Array
    since: jax.Array

    @classmethod
    def start(cls, params: Params) -> "Best":
        """Before the first epoch."""
        return cls(params, jnp.array(jnp.inf), jnp.array(0))

    def or_better(self, params: Params, loss: jax.Array, patience: Patience) -> "Best":
        """After one more epoch, with these parameters and validation cost."""
        now = Best(params, loss.astype(self.loss.dtype), jnp.array(0))
        before = self._replace(since=self.since + 1)
        return jax.tree.map(partial(jnp.where, loss < self.loss - patience.min_delta), now, before)
