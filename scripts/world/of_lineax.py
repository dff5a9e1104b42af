"""Public functions of lineax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import lineax as lx
from common import A, S, tried, v

M = lx.MatrixLinearOperator(S)
tried(
    lambda: lx.linear_solve(M, jnp.ones(4)),
    lambda: lx.linear_solve(lx.TaggedLinearOperator(M, lx.positive_semidefinite_tag), jnp.ones(4), lx.CG(1e-5, 1e-5)),
    lambda: lx.linear_solve(lx.MatrixLinearOperator(A), jnp.ones(4), lx.QR()),
    lambda: lx.linear_solve(M, jnp.ones(4), lx.GMRES(1e-5, 1e-5)),
    lambda: lx.linear_solve(lx.MatrixLinearOperator(A), jnp.ones(4), lx.SVD()),
    lambda: lx.internal.two_norm(v),
    lambda: lx.internal.max_norm(v),
    lambda: lx.internal.rms_norm(v),
)
