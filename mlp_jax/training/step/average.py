"""An exponential moving average of the parameters, without a bias towards where they began."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp.params import Params


class Average(NamedTuple):
    """The average of the parameters after so many steps, in float32 at least."""

    params: Any
    steps: jax.Array

    @classmethod
    def start(cls, params: Params) -> "Average":
        """Before the first step."""
        wide = jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params)
        return cls(wide, jnp.array(0))

    def with_next(self, params: Params, decay: float) -> "Average":
        """a_t = Σ_i d^(t−i) p_i / Σ_i d^(t−i), by what p_t adds to a_(t−1): (1 − d) / (1 − d^t) of the difference."""
        steps = self.steps + 1
        share = (1 - decay) / -jnp.expm1(steps * math.log(decay))
        average = jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p.astype(a.dtype) - a), self.params, params)
        return Average(average, steps)
