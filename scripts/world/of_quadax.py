"""Public functions of quadax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import quadax
from common import tried

tried(
    lambda: quadax.quadgk(lambda x, k: jnp.exp(-k * x), jnp.array([0.0, 1.0]), args=(2.0,)),
    lambda: quadax.quadcc(lambda x, k: jnp.exp(-k * x), jnp.array([0.0, 1.0]), args=(2.0,)),
    lambda: quadax.romberg(lambda x, k: jnp.exp(-k * x), jnp.array([0.0, 1.0]), args=(2.0,)),
)
