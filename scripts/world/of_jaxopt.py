"""Public functions of jaxopt, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
import jaxopt
from common import key, tried, v
from jaxopt import isotonic, perturbations, projection

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


def best(x):
    return jnp.eye(5)[jnp.argmax(x)]


tried(
    lambda: perturbations.make_perturbed_argmax(best, 10)(v, key),
    lambda: perturbations.make_perturbed_max(best, 10)(v, key),
    lambda: perturbations.make_perturbed_fun(jnp.tanh, 10)(v, key),
    lambda: isotonic.isotonic_l2_pav(v),
    lambda: projection.projection_transport(jnp.ones((3, 4)), (jnp.ones(3) / 3, jnp.ones(4) / 4)),
    lambda: jaxopt.FixedPointIteration(lambda y, a: jnp.cos(y + a)).run(jnp.zeros(3), jnp.arange(3.0)),
    lambda: jaxopt.LBFGS(lambda p, t: jnp.sum((p - t) ** 2)).run(jnp.zeros(3), jnp.arange(3.0)),
    lambda: jaxopt.Bisection(lambda y, a: y**3 - a, 0.0, 3.0).run(None, jnp.float32(2.0)),
)
