"""Public functions of torax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import tried, v
from torax._src.orchestration import whilei_loop

tried(
    lambda: whilei_loop.whilei_loop(
        lambda y, x: jnp.all(y < 2.0), lambda i, seen, x: (x * (i + 1), seen + 1), (0 * v, jnp.int32(0)), v
    ),
)
