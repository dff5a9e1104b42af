"""Public functions of folx, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import S, tried
from folx.slogdet import slogdet

tried(lambda: slogdet(S), lambda: slogdet(jnp.stack([S, 2 * S])))
