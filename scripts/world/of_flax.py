"""Public functions of flax, called: its gradient rules are audited where they are used."""

import flax.linen as nn
import jax.numpy as jnp
from common import A, B, key, tried
from flax.linen import fp8_ops

s = jnp.ones(()), jnp.ones(4)
f8 = jnp.float8_e4m3fn
tried(
    lambda: fp8_ops.in_qdq(jnp.float32, f8, A, *s),
    lambda: fp8_ops.out_qdq(jnp.float32, jnp.float8_e5m2, A, *s),
    lambda: fp8_ops.in_q(jnp.float32, f8, A, *s),
    lambda: fp8_ops.out_dq(jnp.float32, s[0], s[0], A),
    lambda: fp8_ops.Fp8DirectDotGeneralOp().init_with_output(key, A, B, (((1,), (0,)), ((), ()))),
    lambda: fp8_ops.dot_general_with_precision(A, B, (((1,), (0,)), ((), ()))),
)
tried(lambda: nn.spmd.logical_to_mesh_axes(("a",), ()), lambda: nn.Dense(3).init_with_output(key, A))


def with_bwd(m, x):
    return nn.Dense(3)(x)


class Custom(nn.Module):
    @nn.compact
    def __call__(self, x):
        def f(mdl, x):
            return mdl(x)

        def fwd(mdl, x):
            return nn.vjp(f, mdl, x)

        def bwd(vjp_fn, g):
            return vjp_fn(g)

        return nn.custom_vjp(f, fwd, bwd)(nn.Dense(2), x)


tried(lambda: Custom().init_with_output(key, A))
