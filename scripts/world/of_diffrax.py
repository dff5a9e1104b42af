"""Public functions of diffrax, called: its gradient rules are audited where they are used."""

import diffrax as dfx
import jax
import jax.numpy as jnp
from common import tried


def solve(adjoint, k):
    return dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, k: -k * y), dfx.Tsit5(), 0.0, 1.0, 0.1, jnp.ones(2), k, adjoint=adjoint
    ).ys


tried(
    lambda: solve(dfx.RecursiveCheckpointAdjoint(), 2.0),
    lambda: solve(dfx.BacksolveAdjoint(), jnp.float32(2.0)),
    lambda: jax.grad(lambda k: solve(dfx.RecursiveCheckpointAdjoint(), k).sum())(2.0),
    lambda: solve(dfx.ImplicitAdjoint(), 2.0),
)
