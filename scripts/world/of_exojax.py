"""Public functions of exojax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import tried, within
from exojax.opacity.lpf.lpf import hjert
from exojax.postproc import spin_rotation as spin
from exojax.rt import chord
from exojax.special.faddeeva import rewofzx

tried(
    lambda: rewofzx(jnp.float32(1.3), jnp.float32(0.7)),
    lambda: hjert(jnp.float32(1.3), jnp.float32(0.7)),
    lambda: hjert(jnp.float32(0.3), jnp.float32(2.7)),
    lambda: spin.integrated_rotkernel_trans(within(-0.8, 0.2), within(-0.6, 0.4)),
    lambda: spin.rotkernel_Gimenez(within(-0.8, 0.7), 0.3, 0.2),
    lambda: chord.safe_sqrt(within(0.1, 3)),
)
