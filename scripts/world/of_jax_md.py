"""Public functions of jax-md, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import S, key, normal, tried, v, within
from jax_md import rigid_body, space
from jax_md._energy import electrostatics
from jax_md._nn.uma import kernels
from jax_md._nn.uma.common import rotation
from jax_md.mm_forcefields.nonbonded import electrostatics as nonbonded
from jax_md.mm_forcefields.reaxff import reaxff_helper

tried(
    lambda: space.transform(2.0, normal(4, 3)),
    lambda: space.transform(S[:3, :3], normal(4, 3)),
    lambda: rigid_body.quaternion_rotate(rigid_body.random_quaternion(key, jnp.float32), normal(3)),
)
tried(
    lambda: electrostatics.transform_gradients(S[:3, :3], normal(4, 3)),
    lambda: nonbonded.transform_gradients(S[:3, :3], normal(4, 3)),
    lambda: kernels._segment_mm_2d(normal(5, 3), normal(2, 4, 3), jnp.array([2, 3])),
    lambda: reaxff_helper.safe_sqrt(within(0.0, 3)),
    lambda: rotation.safe_acos(within(-0.9, 0.9)),
    lambda: rotation.safe_atan2(v, v[::-1]),
)
