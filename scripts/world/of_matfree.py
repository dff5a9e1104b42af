"""Public functions of matfree, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import A, S, tried, v
from matfree import decomp, lstsq

u, w = v[:4], jnp.arange(1.0, 4.0)


def times(x, p):
    return p @ x


tried(
    lambda: decomp.tridiag_sym(3, reortho="full")(times, u, S),
    lambda: decomp.tridiag_sym(3, reortho="none")(times, u, S),
    lambda: decomp.hessenberg(3, reortho="full")(times, u, S),
    lambda: decomp.hessenberg(3, reortho="none")(times, u, S),
    lambda: lstsq.lsmr()(lambda x, p: p.T @ x, u, (A,)),
)
