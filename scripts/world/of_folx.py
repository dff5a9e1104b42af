"""Public functions of folx, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import A, S, normal, tried
from folx.slogdet import slogdet
from folx.wrapped_functions import complex_abs

tried(lambda: slogdet(S), lambda: slogdet(jnp.stack([S, 2 * S])))


def of_attention():
    """Kernels for attention, by their references."""
    from folx.experimental.pallas import attention

    q, e, mask = normal(2, 16, 2, 16), normal(2, 16, 2, 16, seed=1), jnp.ones((2, 16), bool)
    tried(
        lambda: attention.custom_vjp_mhsa(q, q, e, mask, mask, "reference", True, None, 2, 2),
        lambda: attention.custom_vjp_mhsea(q, q, normal(2, 2, 16, 16), e, mask, mask, "reference", True, None, 2, 2),
    )


tried(lambda: complex_abs(A + 1j), of_attention)
