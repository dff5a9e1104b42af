"""Algorithm 6.4, stopped before its sums over the examples: the gradients of each example, as their factors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp import cost
from mlp_jax.mlp.cost import Costs
from mlp_jax.mlp.layers import Dense, Output, Own, Stacked, layers
from mlp_jax.mlp.network import Tape, forward
from mlp_jax.mlp.params import Params, stacked_layers
from mlp_jax.mlp.structure import MLP

Array = jax.Array


class Outer(NamedTuple):
    """For n examples and c outputs, the gradients g_ic = h_i δ_icᵀ for an array of parameters, which are never made.

    A bias is a weight of an input of 1, and has h = 1. So has what has no such factors; its δ are whole gradients.

    Attributes:
        h: what went into the layer, (n, p).
        delta: the gradients for its pre-activations, (n, c, q).
    """

    h: Array
    delta: Array

    @classmethod
    def whole(cls, g: Array) -> "Outer":
        """Gradients that are given as they are, (n, c, …)."""
        return cls(jnp.ones((len(g), 1), g.dtype), g.reshape(*g.shape[:2], -1))

    def squares(self) -> Array:
        """‖g_ic‖² = ‖h_i‖² ‖δ_ic‖², (n, c), in at least float32."""
        h, delta = (v.astype(jnp.float32) if v.dtype.itemsize < 4 else v for v in self)
        return jnp.sum(jnp.square(h), axis=1)[:, None] * jnp.sum(jnp.square(delta), axis=2)

    def products(self, other: "Outer") -> Array:
        """⟨g_ic, g_jd⟩ = ⟨h_i, h_j⟩ ⟨δ_ic, δ_jd⟩, (n, m, c, d)."""
        return (self.h @ other.h.T)[:, :, None, None] * jnp.einsum("icq,jdq->ijcd", self.delta, other.delta)

    def weighted_sum(self, w: Array) -> Array:
        """Σ_i w_i g_i, (p, q), for w (n,) and c = 1."""
        return self.h.T @ (w[:, None] * self.delta[:, 0])

    def quadratic(self, H: Array) -> Array:
        """Σ_icd H_icd g_ic ∘ g_id, (p, q), for H (n, c, c)."""
        return jnp.square(self.h).T @ jnp.einsum("icq,icd,idq->iq", self.delta, H, self.delta)

    def side_by_side(self) -> "Outer":
        """The c gradients of an example as one that is c times as long."""
        return self._replace(delta=self.delta.reshape(len(self.delta), 1, -1))


class OfLayer(NamedTuple):
    """What the tape knows of a layer; of a stack of m, each array has a leading axis of length m.

    Attributes:
        h: what went in, as it meets W: (n, p), with categories one-hot.
        delta: the gradients for the pre-activations, (n, c, q).
        grads: those for the parameters, like them, each an `Outer`.
    """

    h: Array
    delta: Array
    grads: Own


def of_costs(net: MLP, params: Params, x: Any, y: Any, weights: Any = None) -> tuple[list[OfLayer], Costs]:
    """The gradient of each example's own cost (c = 1), without weights and penalty; and the costs.

    Raises:
        ValueError: shapes that do not fit, or no targets.
    """
    tape = forward(net, params, x)
    costs = cost.costs(net, tape.a[-1], params[-1][2:], y, weights)
    return of_taped_costs(net, params, tape, costs), costs


def of_taped_costs(net: MLP, params: Params, tape: Tape, costs: Costs) -> list[OfLayer]:
    """Those of `of_costs`, from the tape of a forward propagation."""
    return by_example(net, params, tape, [g[:, None] for g in cost.gradient_of_each(net, costs)])[1]


def of_logits(net: MLP, params: Params, tape: Tape) -> list[OfLayer]:
    """The gradient of each logit of each example (c = k')."""
    z = tape.a[-1]
    unit_rows = jnp.broadcast_to(jnp.eye(z.shape[1], dtype=z.dtype)[None], (*z.shape, z.shape[1]))
    theta = [jnp.zeros((*z.shape, *leaf.shape), leaf.dtype) for leaf in params[-1][2:]]
    return by_example(net, params, tape, [unit_rows, *theta])[1]


def by_example(
    net: MLP, params: Params, tape: Tape, g: Any, to_inputs: bool = False
) -> tuple[Array | None, list[OfLayer]]:
    """Algorithm 6.4 for c functions of each example's logits.

    Args:
        net: the network.
        params: its parameters.
        tape: what `forward(net, params, x)` returned.
        g: the gradients for the logits, (n, c, k'), and for the output unit's own parameters, (n, c, …).
        to_inputs: whether the gradients for x are wanted.

    Returns:
        The gradients for x, (n, c, d), or None; and what is known of each entry of the parameters.
    """
    each = layers(net, params)
    found: list[OfLayer] = []
    for k in reversed(range(len(params))):
        h_in = each[k - 1].last(tape.h[k]) if k else tape.h[0]
        h_in = each[k].inputs(tape.h[k + 1], h_in)
        of_entry: Callable[..., Any] = _of_stack if isinstance(each[k], Stacked) else _of_layer
        g, of_layer = of_entry(each[k], params[k], tape.a[k], tape.h[k + 1], h_in, g, to_inputs or k > 0)
        found.insert(0, of_layer)
    return g, found


def per_leaf(params: Params, f: Callable[..., Any], *found: Sequence[OfLayer]) -> Params:
    """f of the gradients of each array of the parameters, in a pytree like them."""

    def of_entry(*layers: OfLayer) -> Any:
        return jax.tree.map(f, *(layer.grads for layer in layers), is_leaf=lambda leaf: isinstance(leaf, Outer))

    return tuple(
        jax.vmap(of_entry)(*entry) if stacked_layers(own) else of_entry(*entry)
        for own, *entry in zip(params, *found, strict=True)
    )


def summed(params: Params, f: Callable[[Outer], Array], found: Sequence[OfLayer]) -> Params:
    """f, a sum over the examples (p, q), of the gradients of each array of the parameters, in its shape."""
    return jax.tree.map(lambda total, own: total.reshape(own.shape), per_leaf(params, f, found), params)


def _of_layer(
    layer: Dense, own: Own, a: Array, h: Array, h_in: Array, g: Any, to_inputs: bool = True
) -> tuple[Array | None, OfLayer]:
    """From g, as (n, c, units): the gradients for what went in, and what is known of the layer."""
    delta, *theta = g if isinstance(layer, Output) else _through_unit(layer, own, a, h, g)
    g_in = None
    if to_inputs:
        of_h = g[0] if isinstance(layer, Output) else g
        g_in = jax.vmap(partial(layer.through_inputs, own, a, h_in), 1, 1)(delta, of_h)
    h_in = _as_it_meets_W(layer, h_in)
    W, b = _of_pre_activation(layer, own, a, h_in, delta)
    return g_in, OfLayer(h_in, delta, type(own)(W, b if own.b is not None else None, *map(Outer.whole, theta)))  # type: ignore[arg-type]


def _through_unit(layer: Dense, own: Own, a: Array, h: Array, g: Array) -> list[Array]:
    """From g: the gradients for the pre-activations, and for the parameters that the units have of their own."""

    def of_one(a: Array, h: Array, g: Array) -> list[Array]:
        g_a, *g_theta = layer.through_unit(own, a[None], h[None], g[None])
        return [g_a[0], *g_theta]

    return _of_each(of_one)(a, h, g)


def _of_pre_activation(layer: Dense, own: Own, a: Array, h: Array, delta: Array) -> tuple[Any, Any]:
    """The gradients for W and b, by example."""
    if not layer.unit.radial:
        factors = (h, delta) if layer.net.products is None else map(_to_bfloat16, (h, delta))
        return Outer(*factors), Outer.whole(delta)

    def of_one(a: Array, h: Array, delta: Array) -> Any:  # the general way: the rule, for one example at a time
        operation, inputs = layer.pre_activation(own, h[None])
        return [operation.gradient(i, delta[None], a[None], *inputs) for i in (1, 2)]

    W, b = map(Outer.whole, _of_each(of_one)(a, h, delta))
    return W, b


def _of_each(of_one: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an example's two arrays and one of its c gradients, for all examples and gradients."""
    return jax.vmap(jax.vmap(of_one, (None, None, 0)))


def _of_stack(
    stack: Stacked, own: Own, a: Array, h: Array, h_in: Array, g: Array, to_inputs: bool
) -> tuple[Array, OfLayer]:
    """As of one layer; also the first layer has the gradients for what went in."""

    def step(g: Array, of_layer: Any) -> Any:
        own, a, h, h_in = of_layer
        return _of_layer(stack.layer, own, a, h, h_in, g)

    return jax.lax.scan(step, g, (own, a, h, h_in), reverse=True)


def _as_it_meets_W(layer: Dense, h: Array) -> Array:
    """A layer's inputs (n, p) with the numbers of categories, if it has some, as one-hot columns."""
    categories = layer.net.categories if layer.k == 0 else ()
    m = h.shape[1] - len(categories)
    one_hot = [jax.nn.one_hot(h[:, m + j].astype(jnp.int32), k, dtype=h.dtype) for j, k in enumerate(categories)]
    return jnp.concatenate([h[:, :m], *one_hot], axis=1) if categories else h


def _to_bfloat16(v: Array) -> Array:
    """Rounded, as the factors of the layer's product are; a pair of casts would be simplified away."""
    return jax.lax.reduce_precision(v, exponent_bits=8, mantissa_bits=7)
