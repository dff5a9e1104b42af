"""Inner products of gradients of different examples: of their costs, and of their logits."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import jax

from mlp_jax.autodiff.operation import Array
from mlp_jax.mlp.network import forward
from mlp_jax.mlp.params import Params, stacked_layers
from mlp_jax.mlp.structure import MLP
from mlp_jax.mlp.tape.by_example import OfLayer, of_costs, of_logits, per_leaf


def gram(net: MLP, params: Params, one: tuple[Any, Any], other: tuple[Any, Any]) -> jax.Array:
    """The inner products ⟨g_i, g_j⟩ of the gradients of two sets of examples' own costs.

        ⟨g_i, g_j⟩ = Σ_l ⟨δ_i, δ_j⟩ (⟨h_i, h_j⟩ + 1)          the 1 is the bias's

    How much a step of gradient descent on example j lowers the cost of example i, to first order, for each unit of its
    learning rate. g_i as for `gradient_norms`: no weights, no penalty.

    `one` and `other` are pairs (x, y), as for `gradient_norms`, of n and of m examples.

    Returns:
        An array (n, m).

    Raises:
        ValueError: what is given is not pairs, shapes that do not fit, or no targets.

    Source: Pruthi et al. 2020 (TracIn).

    >>> import jax.numpy as jnp
    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> gram(MLP(widths=(1, 1)), params, ([[1.0]], [[3.0]]), ([[1.0], [0.0]], [[5.0], [5.0]])).tolist()
    [[6.0, 5.0]]
    """
    for which, examples in (("first", one), ("second", other)):
        if not isinstance(examples, tuple | list) or len(examples) != 2:
            raise ValueError(f"gram takes pairs (x, y) of inputs and targets; the {which} is {_kind(examples)}")
    found, found_other = (of_costs(net, params, *examples)[0] for examples in (one, other))
    return _sum_of_products(params, found, found_other)[:, :, 0, 0]


def ntk(net: MLP, params: Params, x1: Array, x2: Array, *, trace: bool = False) -> jax.Array:
    """The empirical neural tangent kernel of the logits, by Gram matrices of each layer.

        Θ_cd(x_i, x_j) = ⟨∇_θ z_c(x_i), ∇_θ z_d(x_j)⟩ = Σ_l ⟨δ_ic, δ_jd⟩ (⟨h_i, h_j⟩ + 1)

    Args:
        net: the network.
        params: its parameters; those of the output unit's own change no logit.
        x1: n inputs.
        x2: m inputs.
        trace: whether only Σ_c Θ_cc is wanted, Σ_l HHᵀ ∘ ΔΔᵀ.

    Returns:
        An array (n, m, k', k') for k' logits, or (n, m).

    Raises:
        ValueError: shapes that do not fit.

    Source: Jacot, Gabriel & Hongler 2018, section 4.

    >>> import jax.numpy as jnp
    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> ntk(MLP(widths=(1, 1)), params, [[1.0], [2.0]], [[3.0]], trace=True).tolist()  # 1 · 3 + 1 and 2 · 3 + 1
    [[4.0], [7.0]]
    """
    found, found_other = (of_logits(net, params, forward(net, params, x)) for x in (x1, x2))
    if trace:
        return _sum_of_products(params, found, found_other, lambda g: g.side_by_side())[:, :, 0, 0]
    return _sum_of_products(params, found, found_other)


def _sum_of_products(
    params: Params, one: Sequence[OfLayer], other: Sequence[OfLayer], prepared: Callable[[Any], Any] = lambda g: g
) -> jax.Array:
    """⟨g_ic, g_jd⟩ over all parameters, (n, m, c, d)."""
    products = per_leaf(params, lambda g, h: prepared(g).products(prepared(h)), one, other)
    leaves = [
        leaf.sum(axis=0) if stacked_layers(own) else leaf
        for own, of_entry in zip(params, products, strict=True)
        for leaf in jax.tree.leaves(of_entry)
    ]
    return reduce(add, leaves)


def _kind(value: Any) -> str:
    return f"{len(value)} arrays" if isinstance(value, tuple | list) else type(value).__name__
