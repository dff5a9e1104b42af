"""The generalised Gauss-Newton matrix of the data cost: its products, its diagonal, its Kronecker factors.

With the Jacobian J_i of example i's logits for all parameters, and weights w_i as in `loss`,

    G = Σ_i w_i J_iᵀ (∇²_z L_i) J_i / Σ_i w_i,

the Hessian of the cost without the curvature of the logits (Schraudolph 2002). It is of the logits: of parameters that
the output unit has of its own, no logit depends, and their part is 0. The penalty is not in it: an L2 of λ on some
parameters adds 2λ to their diagonal. Where the cost is convex in the logits, G is positive semi-definite; for the units
whose variances depend on x, and mixtures, it need not be.

∇²_z L_i is the derivative of the cost's bprop rule.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operation import Array
from mlp_jax.mlp import cost
from mlp_jax.mlp.cost import Costs
from mlp_jax.mlp.network import forward, pull_back
from mlp_jax.mlp.params import Params, stacked_layers
from mlp_jax.mlp.structure import MLP
from mlp_jax.mlp.tape.by_example import OfLayer, of_logits, summed


def ggn_product(net: MLP, params: Params, x: Array, y: Array, v: Params, weights: Array | None = None) -> Params:
    """The Gauss-Newton matrix times a vector, G v, for the price of a forward and two backward passes.

    J v is the transpose of Algorithm 6.4, which is linear in the gradient that it begins with.

    Arguments as for `gradient_moments`; `v` is the vector, a pytree like `params`.

    Returns:
        A pytree like `params`.

    Raises:
        ValueError: a cost that has no second derivative, a v that is not like params, or shapes that do not fit.

    Source: Schraudolph 2002, section 3; Martens 2010.

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> v = (Layer(jnp.array([[1.0]]), jnp.array([0.0])),)
    >>> product = ggn_product(MLP(widths=(1, 1)), params, [[3.0]], [[5.0]], v)  # J = (3, 1), and ∇²_z L is 1
    >>> product[0].W.tolist(), product[0].b.tolist()
    ([[9.0]], [3.0])
    """
    _require_like(params, v)
    tape = forward(net, params, x)
    z, theta = tape.a[-1], params[-1][2:]
    costs = cost.costs(net, z, theta, y, weights)

    def pulled_back(g_z: Array) -> Params:
        return pull_back(net, params, tape, [g_z, *map(jnp.zeros_like, theta)])

    (Jv,) = jax.vjp(pulled_back, jnp.zeros_like(z))[1](v)
    return pulled_back(cost.shares(costs)[:, None] * cost.hessian_product(net, costs, Jv))


def ggn_diagonal(net: MLP, params: Params, x: Array, y: Array, weights: Array | None = None) -> Params:
    """The diagonal of the Gauss-Newton matrix G, by k' backward passes at once.

        diag G_W = Σ_i (h_i²) (Σ_cd H_icd δ_ic ∘ δ_id)ᵀ,     H_i = w_i ∇²_z L_i / Σ_i w_i

    Arguments as for `gradient_moments`.

    Returns:
        A pytree like `params`.

    Raises:
        ValueError: a cost that has no second derivative, or shapes that do not fit.

    Source: Dangel et al. 2020 (BackPACK).

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> diagonal = ggn_diagonal(MLP(widths=(1, 1)), params, [[3.0]], [[5.0]])
    >>> diagonal[0].W.tolist(), diagonal[0].b.tolist()
    ([[9.0]], [1.0])
    """
    found, H, _ = _jacobians_and_hessians(net, params, x, y, weights)
    return summed(params, lambda g: g.quadratic(H), found)


class Kronecker(NamedTuple):
    """The factors of a layer's block of G: A (n_in + 1, n_in + 1), or (n_in, n_in) without bias; G (n_out, n_out)."""

    A: jax.Array
    G: jax.Array


def kfac_factors(net: MLP, params: Params, x: Array, y: Array, weights: Array | None = None) -> tuple[Kronecker, ...]:
    """For each layer, the two factors whose Kronecker product stands for its block of the Gauss-Newton matrix.

        A = Σ_i w_i h̄_i h̄_iᵀ / Σ_i w_i,     G = Σ_i w_i J_aᵀ (∇²_z L_i) J_a / Σ_i w_i,     J_a = ∂z_i / ∂a_i^(l)

    h̄ is what goes into the layer, and for one with a bias a last entry of 1. The factors are exact, by all k' columns
    of J_a and not by sampled targets; that the block is their product is the approximation. It says nothing of
    parameters that units have of their own, and little of a radial layer, whose pre-activations are no products with W.

    Arguments as for `gradient_moments`.

    Returns:
        (A, G) for each entry of the parameters; those of a stack of m layers with a leading axis of length m.

    Raises:
        ValueError: a cost that has no second derivative, or shapes that do not fit.

    Source: Martens & Grosse 2015, section 3.

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> (factors,) = kfac_factors(MLP(widths=(1, 1)), params, [[3.0], [1.0]], [[5.0], [5.0]])
    >>> factors.A.tolist(), factors.G.tolist()
    ([[5.0, 2.0], [2.0, 1.0]], [[1.0]])
    """
    found, H, w = _jacobians_and_hessians(net, params, x, y, weights)

    def of_layer(layer: OfLayer) -> Kronecker:
        h, delta, grads = layer
        h = h if grads.b is None else jnp.concatenate([h, jnp.ones_like(h[:, :1])], axis=1)
        return Kronecker(h.T @ (w[:, None] * h), jnp.einsum("icp,icd,idq->pq", delta, H, delta))

    return tuple(
        jax.vmap(of_layer)(entry) if stacked_layers(own) else of_layer(entry)
        for own, entry in zip(params, found, strict=True)
    )


def _jacobians_and_hessians(
    net: MLP, params: Params, x: Array, y: Array, weights: Array
) -> tuple[list[OfLayer], jax.Array, jax.Array]:
    """The gradient of each logit of each example; w_i ∇²_z L_i / Σ_i w_i, (n, k', k'); and w_i / Σ_i w_i, (n,)."""
    tape = forward(net, params, x)
    costs = cost.costs(net, tape.a[-1], params[-1][2:], y, weights)
    w = cost.shares(costs)
    return of_logits(net, params, tape), w[:, None, None] * _hessians(net, costs), w


def _hessians(net: MLP, costs: Costs) -> jax.Array:
    """∇²_z L_i, (n, k', k')."""
    z = costs.inputs[0]

    def column(unit_vector: jax.Array) -> jax.Array:
        return cost.hessian_product(net, costs, jnp.broadcast_to(unit_vector[None], z.shape))

    return jax.vmap(column, out_axes=2)(jnp.eye(z.shape[1], dtype=z.dtype))


def _require_like(params: Params, v: Array) -> None:
    wanted, got = (jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{jnp.shape(leaf)}", tree) for tree in (params, v))
    if wanted != got:
        raise ValueError(f"v must be like params, {wanted}, got {got}")
