"""Public functions of flash-attention-jax, called: its gradient rules are audited where they are used."""

import flash_attention_jax as flash
import jax.numpy as jnp
from common import normal, tried

q, k, w = (normal(1, 2, 8, 4, seed=seed) for seed in range(3))
mask = jnp.ones((1, 8), bool)
tried(
    lambda: flash.flash_attention(q, k, w, mask),
    lambda: flash.causal_flash_attention(q, k, w),
    lambda: flash.cosine_sim_flash_attention(q[0, 0], k[0, 0], w[0, 0], mask[0]),
)
