"""Public functions of dynamiqs, called: its gradient rules are audited where they are used."""

import dynamiqs as dq
import jax.numpy as jnp
from common import A, S, normal, tried
from dynamiqs.integrators.core import low_rank_integrator as low_rank

tried(
    lambda: low_rank._qr_solve_cached(A, jnp.linalg.qr(A), normal(4, 2)),
    lambda: low_rank._cholesky_solve_cached(A, jnp.linalg.pinv(A), normal(4, 2)),
    lambda: dq.mesolve(dq.sigmaz(), [dq.sigmam()], dq.basis(2, 0), jnp.linspace(0, 1.0, 3)),
    lambda: dq.sesolve(dq.sigmax(), dq.basis(2, 0), jnp.linspace(0, 1.0, 3)),
    lambda: dq.fidelity(dq.todm(dq.basis(2, 0)), dq.asqarray(S[:2, :2] / jnp.trace(S[:2, :2]))),
)
