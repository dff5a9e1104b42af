"""Costs, one per example: (n, k), (n, k) -> (n,) (sections 6.2.1 and 6.2.2), their mean, and penalties (6.5.7)."""

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array, Operation
from mlp_jax.autodiff.operations.activations import sigmoid
from mlp_jax.autodiff.operations.elementwise import abs, exp, sign, where
from mlp_jax.autodiff.operations.reductions import log_softmax, softmax, sum
from mlp_jax.autodiff.operations.shaping import expand_dims

__all__ = [
    "absolute_error", "hinge", "poisson_error", "sigmoid_cross_entropy", "softmax_cross_entropy", "squared_error",
    "sum_of_magnitudes", "sum_of_squares", "weighted_mean",
]  # fmt: skip

# −log N(y; ŷ, I) without its constant: ½ ‖ŷ − y‖².
squared_error = Operation(
    "squared_error",
    lambda y_hat, y: 0.5 * jnp.sum(jnp.square(y_hat - y), axis=-1),
    (
        lambda g, out, y_hat, y: expand_dims(g, -1) * (y_hat - y),
        lambda g, out, y_hat, y: expand_dims(g, -1) * (y - y_hat),
    ),
)
# −log of a Laplace density of scale 1 without its constant: Σ |ŷ − y|.
absolute_error = Operation(
    "absolute_error",
    lambda y_hat, y: jnp.sum(abs(y_hat - y), axis=-1),
    (
        lambda g, out, y_hat, y: expand_dims(g, -1) * sign(y_hat - y),
        lambda g, out, y_hat, y: expand_dims(g, -1) * sign(y - y_hat),
    ),
)
# −log P(y | z) of Poisson counts of rate exp(z) without its constant log y!: Σ exp(z) − y z.
poisson_error = Operation(
    "poisson_error",
    lambda z, y: jnp.sum(jnp.exp(z) - y * z, axis=-1),
    (lambda g, out, z, y: expand_dims(g, -1) * (exp(z) - y), lambda g, out, z, y: -expand_dims(g, -1) * z),
)
# Σ max{0, 1 − t z} with t = 2y − 1 for y in {0, 1}: the linear SVM.
hinge = Operation(
    "hinge",
    lambda z, y: jnp.sum(jax.nn.relu(1 - (2 * y - 1) * z), axis=-1),
    (
        lambda g, out, z, y: expand_dims(g, -1) * where((2 * y - 1) * z < 1, 1 - 2 * y, 0),
        lambda g, out, z, y: expand_dims(g, -1) * where((2 * y - 1) * z < 1, -2 * z, 0),
    ),
)
# −log P(y | z) of independent Bernoulli units, from logits: the log undoes the exp of the sigmoid.
#
#     −y log σ(z) − (1−y) log σ(−z) = y ζ(−z) + (1−y) ζ(z)
#
# For y in {0, 1} this is the book's ζ((1−2y)z) (section 6.2.2.2), which holds for those two values only;
# this form also holds for soft labels in between, equals ζ(z) − yz, and does not cancel for large |z|.
sigmoid_cross_entropy = Operation(
    "sigmoid_cross_entropy",
    lambda z, y: jnp.sum(y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z), axis=-1),
    (
        lambda g, out, z, y: expand_dims(g, -1) * ((1 - y) * sigmoid(z) - y * sigmoid(-z)),
        lambda g, out, z, y: -expand_dims(g, -1) * z,
    ),
)
# −Σ_j q_j log softmax(z)_j for a target distribution q (section 6.2.2.3). Where Σq = 1, ∇_z = softmax(z) − q.
softmax_cross_entropy = Operation(
    "softmax_cross_entropy",
    lambda z, q: -jnp.sum(q * jax.nn.log_softmax(z), axis=-1),
    (
        lambda g, out, z, q: expand_dims(g, -1) * (softmax(z) * sum(q, axis=-1, keepdims=True) - q),
        lambda g, out, z, q: -expand_dims(g, -1) * log_softmax(z),
    ),
)


def _total(w: Array) -> Array:
    """Σw, or 1 where all weights are 0: the mean over no examples is 0."""
    total = sum(w)
    return where(total == 0, 1, total)


# The data cost of a batch, Σ w_i L_i / Σ w_i. A row of weight 0 does not count, if its numbers are finite.
weighted_mean = Operation(
    "weighted_mean",
    lambda L, w: jnp.sum(w * L) / _total(w),
    (
        lambda g, out, L, w: g * w / _total(w),
        lambda g, out, L, w: g * (L - out) / _total(w),
    ),
)

# --- penalties Ω of one weight matrix (section 6.5.7) ----------------------------------------------

sum_of_squares = Operation("sum_of_squares", lambda W: jnp.sum(jnp.square(W)), (lambda g, out, W: 2 * g * W,))
sum_of_magnitudes = Operation("sum_of_magnitudes", lambda W: jnp.sum(abs(W)), (lambda g, out, W: g * sign(W),))
