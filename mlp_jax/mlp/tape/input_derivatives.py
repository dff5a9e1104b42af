"""Derivatives of the prediction ŷ for the inputs x: the Jacobian by reverse mode, the Laplacian by forward mode."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, HiddenUnit
from mlp_jax.mlp.layers import Dense, Own, Stacked, layers
from mlp_jax.mlp.network import forward
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.precision import IN_BFLOAT16
from mlp_jax.mlp.structure import MLP
from mlp_jax.mlp.tape.by_example import by_example

Array = jax.Array
# Operations that are known to act entry by entry; of another one, nobody has said so.
_ELEMENTWISE = {unit.operation for unit in HIDDEN_UNITS.values() if unit.is_elementwise}


def input_jacobian(net: MLP, params: Params, x: Any) -> Array:
    """The Jacobian ∂ŷ_c / ∂x_j of the prediction for each input, by k backward passes at once.

    Arguments as for `predict`.

    Returns:
        An array (n, k, d); with quantiles (n, k · levels, d). It is 0 for columns that are numbers of categories.

    Raises:
        ValueError: shapes that do not fit.

    Source: the book, equation (6.46) with G = I.

    >>> from mlp_jax import Layer
    >>> params = (Layer(jnp.array([[1.0], [-2.0]]), jnp.zeros(1)),)
    >>> input_jacobian(MLP(widths=(2, 1), output="sigmoid"), params, [[0.0, 0.0]]).tolist()  # σ'(0) = ¼
    [[[0.25, -0.5]]]
    """
    tape = forward(net, params, x)
    y_hat, pullback = ad.vjp(net.output_unit.predict, tape.a[-1])
    unit_vectors = jnp.broadcast_to(jnp.eye(y_hat.shape[1], dtype=y_hat.dtype)[:, None], (y_hat.shape[1], *y_hat.shape))
    (g_z,) = jax.vmap(pullback, out_axes=1)(unit_vectors)
    theta = [jnp.zeros((*g_z.shape[:2], *leaf.shape), leaf.dtype) for leaf in params[-1][2:]]
    jacobian: Any = by_example(net, params, tape, [g_z, *theta], to_inputs=True)[0]
    return jacobian


def laplacian(net: MLP, params: Params, x: Any) -> Array:
    """The Laplacian ∇²ŷ_c = Σ_j ∂²ŷ_c / ∂x_j² of the prediction for each input, in one pass forwards.

    It carries three arrays: h, its Jacobian J for x, and its Laplacian Δ. Through a layer,

        J_a = J W,  Δ_a = Δ W;     J ← f'(a) ∘ J_a,  Δ ← f'(a) ∘ Δ_a + f''(a) ∘ Σ_j (J_a)_j²

    f' is the unit's bprop rule for a gradient of 1, and f'' the derivative of that rule. Where f is not known to act
    entry by entry (maxout, softmax, radial and parametric units, output units, operations of one's own), the last sum
    is that of second derivatives along each row of J. At a kink f'' is 0: a network of relu has Laplacian 0.

    Arguments as for `predict`.

    Returns:
        An array (n, k); with quantiles (n, k · levels). Columns that are numbers of categories add nothing.

    Raises:
        ValueError: shapes that do not fit.

    Source: Li et al. 2024 (the forward Laplacian of variational Monte Carlo).

    >>> from mlp_jax import Layer
    >>> first = Layer(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.zeros(2))
    >>> params = (first, Layer(jnp.ones((2, 1)), jnp.zeros(1)))
    >>> laplacian(MLP(widths=(2, 2, 1), hidden="cosine"), params, [[0.0, 0.0]]).tolist()  # of cos x₁ + cos 2x₂
    [[-5.0]]
    """
    tape = forward(net, params, x)
    h = tape.h[0]
    numbers = net.inputs - len(net.categories)
    J = jnp.eye(numbers, dtype=h.dtype)[None]  # (n or 1, d, units)
    Δ = jnp.zeros((1, numbers), h.dtype)  # (n or 1, units)
    for layer, own, a, each_h in zip(layers(net, params), params, tape.a, tape.h[1:], strict=True):
        through: Any = _through_stack if isinstance(layer, Stacked) else _through_layer
        J, Δ = through(layer, own, a, layer.inputs(each_h, h), J, Δ)
        h = layer.last(each_h)
    return _through_function(net.output_unit.predict, tape.a[-1], J, Δ)[1]


def _through_layer(layer: Dense, own: Own, a: Array, h_in: Array, J: Array, Δ: Array) -> tuple[Array, Array]:
    """J and Δ of what a layer puts out; of the output layer, those of the logits."""
    if layer.unit.radial:
        J_a, Δ_a = _through_function(lambda h: _pre_activation(layer, own, h), h_in, J, Δ)
    else:
        product = IN_BFLOAT16[ops.matmul] if layer.net.products else ops.matmul
        W = own.W[: J.shape[-1]]  # without the rows of categories
        J_a, Δ_a = product(J, W), product(Δ, W)
    J_f, Δ_f = _through_unit(layer.unit, own[2:], a, J_a, Δ_a) if layer.k < len(layer.net.hidden) else (J_a, Δ_a)
    return (J + J_f, Δ + Δ_f) if layer.skips else (J_f, Δ_f)


def _through_unit(unit: HiddenUnit, theta: Any, a: Array, J: Array, Δ: Array) -> tuple[Array, Array]:
    if unit.theta is not None or unit.operation not in _ELEMENTWISE:
        return _through_function(lambda a: unit(a, *theta), a, J, Δ)

    def slope(a: Array) -> Any:
        return unit.gradients(jnp.ones_like(a), unit(a), a)[0]

    first, second = jax.jvp(slope, (a,), (jnp.ones_like(a),))
    return first[:, None] * J, first * Δ + second * jnp.sum(jnp.square(J), axis=1)


def _through_function(f: Callable[[Any], Any], h: Array, J: Array, Δ: Array) -> tuple[Array, Array]:
    """The general way: Df J, and Df Δ + Σ_j D²f [J_j, J_j]."""

    def along(direction: Array) -> Any:
        return jax.jvp(lambda h: ad.jvp(f, (h,), (direction,))[1], (h,), (direction,))

    J_f, second = jax.vmap(along, 1, 1)(jnp.broadcast_to(J, (len(h), J.shape[1], h.shape[1])))
    Δ_f = ad.jvp(f, (h,), (jnp.broadcast_to(Δ, h.shape),))[1]
    return J_f, Δ_f + second.sum(axis=1)


def _pre_activation(layer: Dense, own: Own, h: Any) -> Any:
    operation, inputs = layer.pre_activation(own, h)
    return operation(*inputs)


def _through_stack(stack: Stacked, own: Own, a: Array, h_in: Array, J: Array, Δ: Array) -> tuple[Array, Array]:
    def step(carry: Any, of_layer: Any) -> Any:
        return _through_layer(stack.layer, *of_layer, *carry), None

    _, n, units = h_in.shape
    carry = jnp.broadcast_to(J, (n, *J.shape[1:])), jnp.broadcast_to(Δ, (n, units))
    J, Δ = jax.lax.scan(step, carry, (own, a, h_in))[0]
    return J, Δ
