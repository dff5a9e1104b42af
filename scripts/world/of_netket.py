"""Public functions of netket, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import netket as nk
from common import normal, tried


def estimate(f, params, x):
    return nk.jax.expect(lambda p, x: -jnp.sum((x - p) ** 2, axis=-1), lambda p, x: p * x.sum(-1), params, x)


tried(
    lambda: estimate(None, jnp.float32(0.3), normal(8, 3)),
    lambda: nk.jax.apply_packed(
        lambda p, x: jnp.sin(p * x).sum(-1), jnp.float32(0.3), normal(8, 3), normal(8) > 0, 0.0
    ),
    lambda: nk.jax.logsumexp_cplx(normal(8), b=normal(8)),
    lambda: nk.nn.log_cosh(normal(8)),
)
