"""Public functions of tensorcircuit-ng, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import tensorcircuit as tc
from common import A, S, tried, v
from tensorcircuit.backends import jax_ops
from tensorcircuit.tnalg import krylov

tried(
    lambda: jax_ops.adaware_svd(A),
    lambda: jax_ops.adaware_qr(A),
    lambda: jax_ops.adaware_qr(S),
    lambda: jax_ops.adaware_eigh(S),
    lambda: jax_ops.modified_bessel_ive_jax(3, jnp.float32(1.3), 20),
    lambda: jax_ops.bessel_jv_jax_rescaled(3, jnp.float32(1.3), 20),
    lambda: tc.set_backend("jax"),
    lambda: tc.interfaces.jax_interface(jnp.sin)(v),
    lambda: krylov._projected_exponential(S, jnp.float32(-0.3)),
    lambda: krylov._exponential_with_continuation(lambda x, m: m @ x, 3, True, v[:4], jnp.float32(-0.3), (S,)),
    lambda: krylov._eigenpair_with_response(lambda x, m: m @ x, 4, True, v[:4], (S,)),
)
