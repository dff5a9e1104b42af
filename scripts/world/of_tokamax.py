"""Public functions of tokamax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import tokamax
from common import A, B, normal, tried
from tokamax._src import benchmarking
from tokamax._src.ops.attention import base as attention
from tokamax._src.ops.flex_attention import base as flex_attention

q, k = normal(1, 4, 2, 8), normal(1, 4, 2, 8, seed=1)
tried(
    lambda: attention._softmax(A, True),
    lambda: attention._softmax(A, False),
    lambda: flex_attention._softmax(A, True),
    lambda: benchmarking._optimization_barrier(A),
    lambda: tokamax.layer_norm(A, jnp.ones(3), jnp.zeros(3), implementation="xla"),
    lambda: tokamax.gated_linear_unit(A, normal(3, 2, 4), implementation="xla"),
    lambda: tokamax.dot_product_attention(q, k, k, implementation="xla"),
    lambda: tokamax.ragged_dot(A, normal(2, 3, 5), jnp.array([1, 3]), implementation="xla"),
    lambda: tokamax.linear_softmax_cross_entropy_loss(A, jnp.array([0, 1, 2, 0]), B, implementation="xla"),
)
