"""What is asked of the gradients g_i of single examples: norms, a clipped sum, moments."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array
from mlp_jax.mlp import cost
from mlp_jax.mlp.network import Tape, with_penalty
from mlp_jax.mlp.params import Params, stacked_layers
from mlp_jax.mlp.structure import MLP
from mlp_jax.mlp.tape.by_example import OfLayer, of_costs, of_taped_costs, per_leaf, summed


def gradient_norms(net: MLP, params: Params, x: Array, y: Array, *, by_layer: bool = False) -> jax.Array:
    """The norm of the gradient g_i of each example's own cost L_i, for the price of about a backward pass.

        ‖g_i‖² = Σ_l ‖δ_i^(l)‖² (‖h_i^(l−1)‖² + 1)          the 1 is the bias's

    g_i has no weights and no penalty. What is in the cost itself, such as label smoothing, is in L_i; class weights are
    weights. A radial layer, whose gradient is no outer product, makes those of single examples, (n, n_in, n_out).

    Args:
        net: the network.
        params: its parameters.
        x: the inputs (n, d).
        y: the targets: (n, k), or for a softmax unit also (n,) class numbers.
        by_layer: whether each layer's norm is wanted, all its parameters together.

    Returns:
        The norms (n,), or (n, l), in at least float32. The derivative of a norm at 0 is 0.

    Raises:
        ValueError: shapes that do not fit, or no targets.

    Source: Goodfellow 2015, *Efficient per-example gradient computations*.

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> gradient_norms(MLP(widths=(1, 1)), params, [[0.0], [1.0]], [[3.0], [5.0]])  # 3 √(0² + 1) and 3 √(1² + 1)
    Array([3.       , 4.2426405], dtype=float32)
    """
    squares = squared_norms(params, of_costs(net, params, x, y)[0])
    return _sqrt(squares if by_layer else squares.sum(axis=1))


def clipped_gradient(
    net: MLP, params: Params, x: Array, y: Array, max_norm: float | jax.Array, weights: Any = None
) -> Params:
    """The sum of the examples' gradients, each first shortened to a norm of at most `max_norm`.

        Σ_i w_i min{1, max_norm / ‖g_i‖} g_i = Σ_i h_i (w_i s_i δ_i)ᵀ,   s_i = min{1, max_norm / ‖g_i‖}

    One forward and one backward pass, and no array of B × P numbers. The penalty is not in it. It is what
    differentially private training adds noise to; how private that makes it, an accountant tells: dp-accounting.

    Arguments as for `gradient_norms`; `max_norm` is above 0, for all parameters together, and inf clips nothing.
    `weights` of the examples, (n,), are as for `loss`: None counts each once, and class weights multiply them.

    Returns:
        A pytree like `params`: a sum, not a mean.

    Raises:
        ValueError: max_norm is not above 0, shapes that do not fit, or no targets.

    Source: Abadi et al. 2016, Algorithm 1; Goodfellow 2015.

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> clipped = clipped_gradient(MLP(widths=(1, 1)), params, [[0.0], [0.0]], [[3.0], [-0.5]], max_norm=1.0)
    >>> clipped[0].b.tolist()  # −3 shortened to −1, and 0.5
    [-0.5]
    """
    is_number = isinstance(max_norm, Real | jax.Array) and jnp.ndim(max_norm) == 0
    if not is_number or (not isinstance(max_norm, jax.core.Tracer) and not max_norm > 0):
        raise ValueError(f"max_norm must be a number above 0, got {max_norm!r}")
    found, costs = of_costs(net, params, x, y, weights)
    return clipped_sum(params, found, costs.weights, max_norm)


def gradient_moments(net: MLP, params: Params, x: Array, y: Array, weights: Any = None) -> tuple[Params, Params]:
    """Mean and variance of the examples' gradients, entry by entry.

        mean = Σ_i w_i g_i / Σ_i w_i,     variance = Σ_i w_i g_i² / Σ_i w_i − mean²,    Σ_i w_i (h_i δ_iᵀ)² = (h²)ᵀ w δ²

    The variance divides by Σ_i w_i, not by one less; it is a difference, and exact to a rounding error of the mean's
    square. The penalty, which is the same for all examples, is in neither.

    Arguments as for `gradient_norms`; `weights` of the examples, (n,), are as for `loss`: None counts each once, and
    class weights multiply them.

    Returns:
        The mean and the variance, each a pytree like `params`.

    Raises:
        ValueError: shapes that do not fit, or no targets.

    Source: Dangel et al. 2020 (BackPACK).

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> mean, variance = gradient_moments(MLP(widths=(1, 1)), params, [[1.0], [1.0]], [[3.0], [5.0]])  # g = −1, −3
    >>> mean[0].W.tolist(), variance[0].W.tolist()
    ([[-2.0]], [[1.0]])
    """
    found, costs = of_costs(net, params, x, y, weights)
    w = cost.shares(costs)
    mean = summed(params, lambda g: g.weighted_sum(w), found)
    second = summed(params, lambda g: g.quadratic(w[:, None, None]), found)
    return mean, jax.tree.map(lambda second, mean: jnp.maximum(second - jnp.square(mean), 0), second, mean)


def squared_norms(params: Params, found: Sequence[OfLayer]) -> jax.Array:
    """‖g_i‖² of each example and layer, (n, l)."""
    squares = per_leaf(params, lambda g: g.squares()[:, 0], found)
    columns = [jnp.sum(jnp.stack(jax.tree.leaves(of_entry)), axis=0) for of_entry in squares]  # (n,), or (m, n)
    return jnp.concatenate(
        [column.T if stacked_layers(own) else column[:, None] for own, column in zip(params, columns, strict=True)],
        axis=1,
    )


def clipped_sum(params: Params, found: Sequence[OfLayer], weights: jax.Array, max_norm: Any) -> Params:
    """Σ_i w_i min{1, max_norm / ‖g_i‖} g_i, for the weights (n,)."""
    norms = _sqrt(squared_norms(params, found).sum(axis=1))
    max_norm = jnp.asarray(max_norm, norms.dtype)
    too_long = norms > max_norm
    s = jnp.where(too_long, max_norm / jnp.where(too_long, norms, 1), 1)
    w = weights * s.astype(weights.dtype)
    return summed(params, lambda g: g.weighted_sum(w), found)


def clipped_total(net: MLP, params: Params, tape: Tape, y: Array, weights: Array, max_norm: float) -> Params:
    """∇J with the examples' gradients clipped: Σ_i w_i min{1, max_norm / ‖g_i‖} g_i / Σ_i w_i + λ∇Ω."""
    costs = cost.costs(net, tape.a[-1], params[-1][2:], y, weights)
    clipped = clipped_sum(params, of_taped_costs(net, params, tape, costs), cost.shares(costs), max_norm)
    return with_penalty(net, params, clipped)


def mean_and_squares(net: MLP, params: Params, tape: Tape, y: Array, weights: Array) -> tuple[Params, jax.Array]:
    """Σ_i w_i g_i / Σ_i w_i, and of each layer Σ_i w_i ‖g_i‖² / Σ_i w_i, (l,)."""
    costs = cost.costs(net, tape.a[-1], params[-1][2:], y, weights)
    w, found = cost.shares(costs), of_taped_costs(net, params, tape, costs)
    squares = squared_norms(params, found)
    return summed(params, lambda g: g.weighted_sum(w), found), w.astype(squares.dtype) @ squares


def _sqrt(squares: jax.Array) -> jax.Array:
    """√, whose derivative at 0 is 0 here."""
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
