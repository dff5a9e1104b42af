"""Public functions of optax, called: its gradient rules are audited where they are used."""

import jax
import jax.numpy as jnp
import optax
from common import key, normal, tried, v

logits, labels = normal(5, 3), jax.nn.softmax(normal(5, 3, seed=1))
tried(
    lambda: optax.softmax_cross_entropy(logits, labels),
    lambda: optax.safe_softmax_cross_entropy(logits, labels),
    lambda: optax.scale_gradient(v, 0.5),
    lambda: optax.projections.projection_simplex(v),
    lambda: optax.losses.poly_loss_cross_entropy(logits, labels),
    lambda: optax.ctc_loss(normal(2, 6, 4), jnp.zeros((2, 6)), jnp.array([[1, 2], [3, 1]]), jnp.zeros((2, 2))),
    lambda: optax.losses.sparsemax_loss(v[0], jnp.float32(1)),
    lambda: optax.safe_norm(v, 1e-6),
    lambda: optax.perturbations.make_perturbed_fun(lambda x: x**2, 10)(key, v),
)
