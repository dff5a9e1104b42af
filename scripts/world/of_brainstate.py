"""Public functions of brainstate, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from brainstate.nn import _embedding as embedding
from common import A, tried

rows = jnp.array([0, 2, 2])
tried(
    lambda: embedding._embedding_lookup_fn(None, False)(A, rows),
    lambda: embedding._embedding_lookup_fn(0, False)(A, rows),
    lambda: embedding._embedding_lookup_fn(None, True)(A, rows),
)
