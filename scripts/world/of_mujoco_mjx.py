"""Public functions of mujoco-mjx, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import tried
from mujoco.mjx._src import collision_sdf, math

point = jnp.array([0.3, 0.7, 0.2])
tried(
    lambda: collision_sdf._cylinder(point, jnp.array([0.5, 0.9, 0.0])),
    lambda: collision_sdf._cylinder(point, jnp.array([1.5, 0.9, 0.0])),
    lambda: collision_sdf._cylinder(4 * point, jnp.array([0.5, 0.3, 0.0])),
    lambda: math.norm(point),
)
