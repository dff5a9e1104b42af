"""Public functions of equinox, called: its gradient rules are audited where they are used."""

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
from common import key, tried, v


@eqx.filter_custom_vjp
def f(x, s):
    return jnp.sin(x) * s


@f.def_fwd
def _(perturbed, x, s):
    return f(x, s), x


@f.def_bwd
def _(x, g, perturbed, x_, s):
    return g * jnp.cos(x) * s


tried(
    lambda: f(v, 2.0),
    lambda: eqxi.nextafter(v),
    lambda: eqxi.prevbefore(v),
    lambda: eqxi.nondifferentiable(v),
    lambda: eqxi.nondifferentiable_backward(v),
    lambda: eqxi.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, v), max_steps=4, kind="checkpointed"
    ),
    lambda: eqxi.scan(lambda c, x: (c * 1.1, x), v, v, kind="checkpointed", checkpoints=2),
    lambda: eqx.error_if(v, v[0] > 9, "too large"),
    lambda: eqx.debug.backward_nan(v),
    lambda: eqxi.while_loop(lambda c: c < 3, lambda c: c + 1, 0, max_steps=4, kind="bounded"),
    lambda: eqx.nn.Linear(5, 2, key=key)(v),
)


@eqx.filter_custom_jvp
def g(x, s):
    return jnp.cos(x) * s


@g.def_jvp
def _(primals, tangents):
    (x, s), (tx, _) = primals, tangents
    return g(x, s), -jnp.sin(x) * s * tx


tried(lambda: g(v, 2.0))
