"""Public functions of jaxopt, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import jaxopt
from common import tried, v
from jaxopt import isotonic, projection

tried(
    lambda: projection.projection_simplex(v),
    lambda: projection.projection_sparse_simplex(v, 2),
    lambda: isotonic.isotonic_l2_pav(v),
    lambda: isotonic.isotonic_l2_pav(v, jnp.arange(5.0)),
    lambda: projection.projection_l1_ball(v),
    lambda: jaxopt.loss.binary_sparsemax_loss(1.0, v[0]),
    lambda: jaxopt.GradientDescent(lambda p, t: jnp.sum((p - t) ** 2)).run(jnp.zeros(3), jnp.arange(3.0)),
    lambda: projection.projection_box_section(v, (jnp.zeros(5), jnp.ones(5), jnp.ones(5), jnp.float32(2.0))),
)
