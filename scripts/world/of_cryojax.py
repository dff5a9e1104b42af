"""Public functions of cryojax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import normal, tried, within
from cryojax.ndimage._spreading import api, spread

x, y, z, strength, width = normal(3), normal(3, seed=1), normal(3, seed=2), within(0.5, 2.0, 3), jnp.float32(0.7)
one, plane, space = jnp.float32(1.0), (9, 8, 5), (9, 8, 7, 5)
tried(
    *(
        lambda erf=erf: api.spread_gaussians_2d(x, y, strength, width, (9, 8), pixel_size=one, n_spread=5, use_erf=erf)
        for erf in (True, False)
    ),
    lambda: api.spread_gaussians_3d(x, y, z, strength, width, (9, 8, 7), voxel_size=one, n_spread=5),
    lambda: spread._spread_2d(x + 4, y + 4, strength, width, one, *plane, True),
    lambda: spread._spread_3d(x + 4, y + 4, z + 4, strength, width, one, *space, True),
)
