"""Public functions of microjaxx, called: its gradient rules are audited where they are used."""

import jax
import jax.numpy as jnp
from common import tried, within
from microjax import poly_solver
from microjax.fastlens import special
from microjax.inverse_ray import boundary, limb_darkening

unit = within(0.1, 0.9)
tried(
    lambda: special.gamma(within(0.3, 3.0) + 0.2j),
    lambda: jax.vmap(special.ellipk)(unit),
    lambda: jax.vmap(special.ellipe)(unit),
    lambda: special.j0(within(0.3, 9.0)),
    lambda: special.j1(within(0.3, 9.0)),
    lambda: limb_darkening.Is_limb_1st(unit, 0.3),
    lambda: boundary.calc_facB(unit, 0.4),
    lambda: boundary.step_smooth(within(-0.02, 0.03), 100.0),
    lambda: boundary.in_source(within(0.9, 1.1), 1.01),
    lambda: poly_solver.poly_roots_EA(jnp.array([1.0, -2.0, -5.0, 6.5])),
)
