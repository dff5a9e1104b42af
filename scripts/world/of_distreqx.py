"""Public functions of distreqx, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import tried, within
from distreqx.utils import math

x, unit = within(0.3, 4.0), within(0.1, 0.9)
tried(
    lambda: math.multiply_no_nan(x, unit),
    lambda: math.power_no_nan(x, unit),
    lambda: math.multiply_no_nan(x, jnp.array([0.0, 1, 2, 0, 0.5, 1])),
)
