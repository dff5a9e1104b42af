"""Public functions of optimistix, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import optimistix as optx
from common import tried

tried(
    lambda: optx.root_find(lambda y, a: y - jnp.tanh(y + a), optx.Newton(1e-5, 1e-5), jnp.zeros(3), jnp.arange(3.0)),
    lambda: optx.least_squares(lambda y, a: y - a, optx.LevenbergMarquardt(1e-5, 1e-5), jnp.zeros(3), jnp.arange(3.0)),
    lambda: optx.minimise(lambda y, a: jnp.sum((y - a) ** 2), optx.BFGS(1e-5, 1e-5), jnp.zeros(3), jnp.arange(3.0)),
    lambda: optx.fixed_point(
        lambda y, a: jnp.cos(y + a), optx.FixedPointIteration(1e-5, 1e-5), jnp.zeros(3), jnp.arange(3.0)
    ),
)
