"""Public functions of tjax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import tjax
from common import tried, v, within

tried(
    lambda: tjax.scale_cotangent(v, 0.5, None),
    lambda: tjax.scale_cotangent(v, None, within(0.5, 2.0, 5)),
    lambda: tjax.reverse_scale_cotangent(v),
    lambda: tjax.replace_cotangent(v, v[::-1]),
    lambda: tjax.copy_cotangent(v, v[::-1]),
    lambda: tjax.print_cotangent(v, "v"),
    lambda: tjax.cotangent_combinator(lambda x: ((jnp.sin(x), jnp.cos(x)), jnp.sum(x)), ((v,), (v,)), None),
)
