"""The data cost Σ_i w_i L_i / Σ_i w_i of a network, its gradient for the logits, its targets (section 6.2)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Array, Operation
from mlp_jax.autodiff.variable import named
from mlp_jax.mlp.output_units.base import OutputUnit
from mlp_jax.mlp.structure import MLP

WITHOUT_CURVATURE = ("absolute_error", "quantile_error", "hinge")  # piecewise linear in the prediction


class Costs(NamedTuple):
    """What the data cost is the mean of.

    Attributes:
        L: the cost of each example, (n,).
        weights: of the examples, (n,), those of their classes included.
        inputs: of the cost as an operation: the logits (n, k'), the output unit's parameters and the targets (n, k).
    """

    L: jax.Array
    weights: jax.Array
    inputs: tuple[jax.Array, ...]


def costs(net: MLP, z: Array, theta: tuple[Any, ...], y: Array, weights: Array) -> Costs:
    """The cost of each example.

    Args:
        net: the network.
        z: its logits (n, k').
        theta: the parameters that its output unit has of its own, if any.
        y: the targets, as `as_targets` takes them.
        weights: of the examples, (n,); None counts each once.

    Raises:
        ValueError: shapes that do not fit.
    """
    k = net.widths[-1]
    targets = as_targets(net.output_unit, y, z, k)
    of_class = _class_weights(net, targets)
    if net.label_smoothing:
        uniform = 1 / k if net.output_unit.kind == "classes" else 0.5
        targets = (1 - net.label_smoothing) * targets + net.label_smoothing * uniform
    inputs = (z, *theta, targets)
    L = named(_operation(net)(*inputs), "L")
    return Costs(L, _example_weights(L, weights, of_class), inputs)


def mean(costs: Costs) -> jax.Array:
    """The data cost, a scalar."""
    J: jax.Array = ops.weighted_mean(costs.L, costs.weights)
    return J


def gradient(net: MLP, costs: Costs) -> list[jax.Array]:
    """∇ of the data cost for the logits, (n, k'), and for the parameters that the output unit has of its own."""
    return _gradients(net, shares(costs), costs.L, costs.inputs)


def shares(costs: Costs) -> jax.Array:
    """What each example's cost counts in the data cost, w_i / Σ_i w_i, (n,)."""
    L, weights, _ = costs
    of_each: jax.Array = ops.weighted_mean.gradient(0, 1, ops.weighted_mean(L, weights), L, weights)
    return of_each


def gradient_of_each(net: MLP, costs: Costs) -> list[jax.Array]:
    """∇ of each example's own cost L_i: for its logits, (n, k'), and for the output unit's parameters, (n, …)."""
    z, *theta, y = costs.inputs

    def of_one(z: Array, y: Array) -> list[Any]:
        inputs = (z[None], *theta, y[None])
        L = _operation(net)(*inputs)
        g_z, *g_theta = _gradients(net, jnp.ones_like(L), L, inputs)
        return [g_z[0], *g_theta]

    return jax.vmap(of_one)(z, y)


def hessian_product(net: MLP, costs: Costs, direction: Any) -> jax.Array:
    """(∇²_z L_i) times a direction for each example, (n, k') each: the derivative of the cost's bprop rule.

    Raises:
        ValueError: a cost that has no second derivative.
    """
    if net.cost in WITHOUT_CURVATURE:
        raise ValueError(
            f"the cost {net.cost} is piecewise linear in the prediction and has no second derivative at its kinks, so "
            "its Gauss-Newton matrix is undefined; take a smooth cost, such as squared_error or cross_entropy"
        )
    z, *others = costs.inputs

    def g_z(z: Array) -> Any:
        inputs = (z, *others)
        L = _operation(net)(*inputs)
        return _gradients(net, jnp.ones_like(L), L, inputs)[0]

    product: jax.Array = jax.jvp(g_z, (z,), (direction,))[1]
    return product


def example_weights(net: MLP, y: Array, weights: Array) -> jax.Array:
    """The weights w_i of the examples, (n,): those given, times those of the examples' classes."""
    like = jnp.zeros((jnp.shape(y)[0], 1))
    targets = as_targets(net.output_unit, y, like, net.widths[-1])
    return _example_weights(like[:, 0], weights, _class_weights(net, targets))


def _example_weights(like: Any, weights: Array, of_class: Any) -> Any:
    w = ops.ones_like(like) if weights is None else ops.asarray(weights, like.dtype)
    if w.shape != like.shape:
        raise ValueError(f"weights must have shape {like.shape}, one per example, got {w.shape}")
    return w if of_class is None else w * of_class


def _class_weights(net: MLP, targets: Any) -> Any:
    """The weight of each example by its class, (n,); for soft labels, the mean of those of its classes."""
    if net.class_weights is None:
        return None
    of_class = jnp.asarray(net.class_weights, targets.dtype)
    if net.output_unit.kind == "classes":
        return ops.sum(targets * of_class[None], axis=-1)
    return ops.sum(of_class[0] + targets * (of_class[1] - of_class[0]), axis=-1)


def _gradients(net: MLP, g: Array, L: Any, inputs: Any) -> list[Any]:
    """Those for the logits and the output unit's parameters."""
    return _operation(net).gradients(tuple(range(len(inputs) - 1)), g, L, inputs, {})


def _operation(net: MLP) -> Operation:
    return net.output_unit.cost(net.cost)


def as_targets(unit: OutputUnit, y: Array, z: Array, k: int) -> Any:
    """Targets in the form that the costs take: (n, k), of the dtype of the logits z.

    Class numbers (n,) of a softmax unit become one-hot rows; a number outside 0..k−1 becomes a row of NaN,
    so that no cost or gradient of it can pass for a right one.
    """
    if y is None:
        raise ValueError(f"targets y are missing: a network with a {unit.name} output needs one row for each example")
    y = ops.asarray(y)
    n = z.shape[0]
    if unit.kind == "classes" and y.shape == (n,):
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"class numbers y must be integers, got {y.dtype} of shape {y.shape}; pass y.astype(int)")
        if y.dtype.itemsize < 4:
            y = y.astype(jnp.int32)  # uint8 cannot hold the number of 300 classes
        valid = (y >= 0) & (y < k)
        one_hot = (y[:, None] == jnp.arange(k, dtype=y.dtype)[None]).astype(z.dtype)
        return ops.where(valid[:, None], one_hot, jnp.nan)
    if y.shape != (n, k):
        raise ValueError(_wrong_shape(unit, y.shape, (n, k)))
    return ops.asarray(y, z.dtype)


def _wrong_shape(unit: OutputUnit, got: tuple[int, ...], required: tuple[int, int]) -> str:
    n, k = required
    wanted = f"{required}" if unit.kind != "classes" else f"({n},) of class numbers or {required} of probabilities"
    message = f"targets y of a network with {k} {unit.name} output{'s' * (k != 1)} must have shape {wanted}, got {got}"
    if got == (n,):
        return f"{message}; for one target per example pass y[:, None]" if k == 1 else message
    if got == (n, 1) and unit.kind == "classes":
        return f"{message}; pass y[:, 0]"
    return message
