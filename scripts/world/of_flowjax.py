"""Public functions of flowjax, called: its gradient rules are audited where they are used."""

import flowjax.bijections as b
import jax.numpy as jnp
from common import tried, v

tried(
    lambda: b.NumericalInverse(b.Tanh((5,)), lambda bij, y, c: jnp.arctanh(y)).inverse(jnp.tanh(v)),
)
