"""The multilayer perceptron as pure functions: Algorithms 6.3 and 6.4 for a batch whose rows are examples."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import Graph, ops
from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.variable import named
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.output_units import as_targets
from mlp_jax.mlp.parameters import Params, require_fit, stacked_layers, structure
from mlp_jax.mlp.products import PRODUCTS
from mlp_jax.mlp.structure import MLP


class Tape(NamedTuple):
    """What Algorithm 6.3 computed and Algorithm 6.4 needs, for n examples and l layers.

    Attributes:
        a: the pre-activations a^(1) … a^(l), one entry for each of the parameters. The last are the logits z.
        h: the activations h^(0) … h^(l); h[k] has shape (n, widths[k]). The first is x, the last is ŷ. For a stack of
            m equal layers, an entry of a or h has shape (m, n, …).
    """

    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]


class _Losses(NamedTuple):
    """The cost of each example (n,), the targets (n, k) as that cost takes them, and the weights (n,)."""

    L: jax.Array
    targets: jax.Array
    weights: jax.Array


def forward(net: MLP, params: Params, x: Any) -> Tape:
    """Algorithm 6.3: forward propagation through all layers, keeping what backward needs.

        h^(0) = x;   a^(k) = h^(k−1) W^(k) + b^(k),   h^(k) = f(a^(k))   for k = 1 … l

    Args:
        net: the network.
        params: its parameters.
        x: the inputs (n, d); computed in the parameters' dtype.

    Returns:
        The tape of all a^(k) and h^(k).

    Raises:
        ValueError: shapes that do not fit the network.

    The book's XOR network (section 6.1):

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(2, 2, 1))
    >>> first = Layer(jnp.ones((2, 2)), jnp.array([0.0, -1.0]))
    >>> params = (first, Layer(jnp.array([[1.0], [-2.0]]), jnp.zeros(1)))
    >>> forward(net, params, [[0, 0], [0, 1], [1, 0], [1, 1]]).h[-1].ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    require_fit(net, params)
    h = _as_inputs(net, params, x)
    tape = Tape(a=(), h=(h,))
    for k, layer, m in _entries(params):
        if m is None:
            a, h = _layer_forward(net, k, layer, h)
            tape = Tape(a=(*tape.a, a), h=(*tape.h, h))
        else:
            h, (a, each_h) = jax.lax.scan(partial(_scanned_forward, net, k), h, layer)
            tape = Tape(a=(*tape.a, a), h=(*tape.h, each_h))
    return tape


def backward(net: MLP, params: Params, tape: Tape, y: Any, weights: Any = None) -> Params:
    """Algorithm 6.4: the gradient of the total cost J for all parameters, backwards from the outputs.

        g ← ∇_a^(l) J                                      (of the cost, whose log undoes the output unit's exp)
        for k = l … 1:   ∇_b^(k) J = Σ_i g_i,    ∇_W^(k) J = h^(k−1)ᵀ g + λ∇Ω
                         g ← ∇_h^(k−1) J = g W^(k)ᵀ
                         g ← ∇_a^(k−1) J = g ∘ f'(a^(k−1))

    It is Algorithm 6.6 on a chain, and asks each operation for its bprop: no derivative is written here.

    Args:
        net: the network.
        params: its parameters.
        tape: what `forward(net, params, x)` returned.
        y: the targets: (n, k), or for a softmax unit also (n,) class numbers.
        weights: of the examples, (n,), not negative; None counts each once.

    Returns:
        The gradient, a pytree like `params`.

    Raises:
        ValueError: shapes that do not fit.

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1))
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> grads = backward(net, params, forward(net, params, [[3.0]]), [[5.0]])  # ŷ = 6, J = ½ (6 − 5)²
    >>> grads[0].W.tolist(), grads[0].b.tolist()
    ([[3.0]], [1.0])
    """
    return _backpropagate(net, params, tape, _losses(net, params, tape, y, weights))


def _backpropagate(net: MLP, params: Params, tape: Tape, losses: _Losses) -> Params:
    L, targets, w = losses
    g = ops.weighted_mean.gradient(0, 1, ops.weighted_mean(L, w), L, w)
    theta = params[-1][2:]
    g, *g_theta = _cost(net).gradients(tuple(range(1 + len(theta))), g, L, (tape.a[-1], *theta, targets), {})
    operation, inputs = _pre_activation(net, len(net.hidden), params[-1], _last(tape.h[-2], params[:-1]))
    grads = [_layer_gradient(net, len(net.hidden), params[-1], operation, inputs, g, tape.a[-1], g_theta)]
    g = operation.gradient(0, g, tape.a[-1], *inputs) if net.hidden else None

    for entry, (k, layer, m) in reversed(list(enumerate(_entries(params[:-1])))):
        a, h, before = tape.a[entry], tape.h[entry + 1], _last(tape.h[entry], params[:entry])
        if m is None:
            g, grad = _layer_backward(net, k, layer, a, h, before, g, to_inputs=k > 0)
        else:
            each = (layer, a, h, jnp.arange(m))
            g, grad = jax.lax.scan(partial(_scanned_backward, net, k, before, h), g, each, reverse=True)
        grads.append(grad)
    return tuple(reversed(grads))


def loss(net: MLP, params: Params, x: Any, y: Any, weights: Any = None) -> jax.Array:
    """The total cost J = Σ_i w_i L_i / Σ_i w_i + λΩ(θ), a scalar.

    Args:
        net: the network.
        params: its parameters.
        x: the inputs (n, d).
        y: the targets: (n, k), or for a softmax unit also (n,) class numbers.
        weights: of the examples, (n,), not negative; None counts each once. An example of weight 0 does not
            count, if its numbers are finite; if all weights are 0, the first term is 0. Class weights of the network
            multiply them.

    Raises:
        ValueError: shapes that do not fit.

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(2, 3), output="softmax")
    >>> params = (Layer(jnp.zeros((2, 3)), jnp.zeros(3)),)
    >>> float(loss(net, params, [[1.0, 2.0]], jnp.array([2])))  # log 3
    1.0986123085021973
    """
    return total_cost(net, params, forward(net, params, x), y, weights)


def loss_and_grad(net: MLP, params: Params, x: Any, y: Any, weights: Any = None) -> tuple[jax.Array, Params]:
    """The total cost J and its gradient for the parameters, by Algorithms 6.3 and 6.4.

    What `jax.value_and_grad(loss, argnums=1)` returns; arguments as for `loss`.

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(2, 2), output="softmax")
    >>> params = (Layer(jnp.zeros((2, 2)), jnp.zeros(2)),)
    >>> J, grads = loss_and_grad(net, params, [[1.0, 2.0]], jnp.array([0]))
    >>> grads[0].b.tolist()  # softmax(z) − y
    [-0.5, 0.5]
    """
    return cost_and_gradient(net, params, forward(net, params, x), y, weights)


def cost_graph(net: MLP, n: int = 1) -> Graph:
    """The graph of `loss` for n examples, as a function of params, x and the targets y (n, k).

    >>> print(cost_graph(MLP(widths=(2, 3, 1), hidden="tanh", output="sigmoid", bias=False), n=5))
    graph: 4 inputs, 6 operations, 1 output
      params[0].W: float32[2,3]
      params[1].W: float32[3,1]
      x: float32[5,2]
      y: float32[5,1]
      a1: float32[5,3] = matmul(x, params[0].W)
      h1: float32[5,3] = tanh(a1)
      a2: float32[5,1] = matmul(h1, params[1].W)
      v4: float32[5] = sigmoid_cross_entropy(a2, y)
      v5: float32[5] = ones_like(v4)
      J: float32[] = weighted_mean(v4, v5)
    returns J
    """
    x, y = (jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (net.widths[0], net.widths[-1]))

    def J(params: Params, x: Any, y: Any) -> Any:
        return loss(net, params, x, y)

    return trace(J, structure(net), x, y)


def total_cost(net: MLP, params: Params, tape: Tape, y: Any, weights: Any = None) -> jax.Array:
    """J of `loss`, from the tape of a forward propagation; only the logits are read."""
    return _total(net, params, _losses(net, params, tape, y, weights))


def cost_and_gradient(net: MLP, params: Params, tape: Tape, y: Any, weights: Any = None) -> tuple[jax.Array, Params]:
    """What `loss_and_grad` returns, from the tape of a forward propagation."""
    losses = _losses(net, params, tape, y, weights)
    return _total(net, params, losses), _backpropagate(net, params, tape, losses)


def predict(net: MLP, params: Params, x: Any) -> jax.Array:
    """ŷ = h^(l): means, medians, probabilities or margins (n, k), by the output unit; quantiles (n, k · levels).

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1), output="sigmoid")
    >>> predict(net, (Layer(jnp.zeros((1, 1)), jnp.zeros(1)),), [[7.0]]).tolist()
    [[0.5]]
    """
    return forward(net, params, x).h[-1]


def parameters(net: MLP, params: Params, x: Any) -> dict[str, jax.Array]:
    """The distribution's parameters for each input, by name, such as "mean" and "sd", (n, k) each.

    A mixture of K components has "weights" (n, K), "mean" and "sd" (n, K, k); a full Gaussian also "covariance"
    (n, k, k).

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1), output="heteroscedastic")
    >>> found = parameters(net, (Layer(jnp.zeros((1, 2)), jnp.array([3.0, 0.0])),), [[7.0]])
    >>> {name: value.tolist() for name, value in found.items()}  # σ = floor + log 2
    {'mean': [[3.0]], 'sd': [[0.6941471695899963]]}
    """
    return net.output_unit.parameters(forward(net, params, x).a[-1], *params[-1][2:])


def log_density(net: MLP, params: Params, x: Any, y: Any) -> jax.Array:
    """The log-density log p(y given x) of each example, (n,): with the constants that the cost leaves out.

    Args:
        net: the network; its output unit is a distribution.
        params: its parameters.
        x: the inputs (n, d).
        y: the targets: (n, k), or for a softmax unit also (n,) class numbers.

    Raises:
        ValueError: the output unit is no distribution (quantiles, hinge), or shapes that do not fit.

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1))
    >>> params = (Layer(jnp.zeros((1, 1)), jnp.zeros(1)),)
    >>> log_density(net, params, [[7.0]], [[1.0]]).round(4).tolist()  # −½ log 2π − ½
    [-1.4189000129699707]
    """
    z = forward(net, params, x).a[-1]
    return net.output_unit.log_density(z, as_targets(net.output_unit, y, z, net.widths[-1]), *params[-1][2:])


def sample(net: MLP, params: Params, x: Any, key: jax.Array) -> jax.Array:
    """A draw of the targets for each input, (n, k); one-hot rows for a softmax unit.

    Raises:
        ValueError: the output unit is no distribution (quantiles, hinge).

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1), output="poisson")
    >>> params = (Layer(jnp.zeros((1, 1)), jnp.log(jnp.array([4.0]))),)
    >>> counts = sample(net, params, jnp.zeros((1000, 1)), jax.random.key(0))
    >>> counts.shape, bool(abs(counts.mean() - 4) < 0.2)
    ((1000, 1), True)
    """
    return net.output_unit.sample(key, forward(net, params, x).a[-1], *params[-1][2:])


def _entries(params: Params) -> Iterator[tuple[int, Any, int | None]]:
    """Each entry of the parameters: its first layer, itself, and of how many layers it is a stack."""
    k = 0
    for layer in params:
        m = stacked_layers(layer)
        yield k, layer, m
        k += m or 1


def _layer_forward(net: MLP, k: int, layer: Any, h: Any) -> tuple[Any, Any]:
    """a^(k+1) and h^(k+1), of h^(k)."""
    operation, inputs = _pre_activation(net, k, layer, h)
    a = named(operation(*inputs), f"a{k + 1}")
    if k == len(net.hidden):
        return a, named(net.output_unit.predict(a), f"h{k + 1}")
    f = net.hidden_units[k](a, *layer[2:])
    return a, named(f + h if net.skip[k] else f, f"h{k + 1}")


def _scanned_forward(net: MLP, k: int, h: Any, layer: Any) -> tuple[Any, Any]:
    a, h = _layer_forward(net, k, layer, h)
    return h, (a, h)


def _layer_backward(
    net: MLP, k: int, layer: Any, a: Any, h: Any, before: Any, g: Any, to_inputs: bool
) -> tuple[Any, Any]:
    """∇ of J for h^(k), if wanted, and for the parameters of hidden layer k, from g, that for h^(k+1)."""
    unit, theta = net.hidden_units[k], layer[2:]
    f = unit(a, *theta) if net.skip[k] else h
    g_a, *g_theta = unit.gradients(g, f, a, *theta)
    operation, inputs = _pre_activation(net, k, layer, before)
    grad = _layer_gradient(net, k, layer, operation, inputs, g_a, a, g_theta)
    if not to_inputs:
        return None, grad
    g_before = operation.gradient(0, g_a, a, *inputs)
    return g_before + g if net.skip[k] else g_before, grad


def _scanned_backward(net: MLP, k: int, before: Any, all_h: Any, g: Any, of_layer: Any) -> tuple[Any, Any]:
    layer, a, h, i = of_layer
    inputs = jnp.where(i > 0, all_h[jnp.maximum(i - 1, 0)], before)  # in place of a copy, shifted by one
    return _layer_backward(net, k, layer, a, h, inputs, g, to_inputs=True)


def _layer_gradient(
    net: MLP, k: int, layer: Any, operation: Operation, inputs: Any, g: Any, a: Any, g_theta: list[Any]
) -> Any:
    """∇ of J for a layer's parameters, from g = ∇_a J, with the penalty's."""
    W, *b = (operation.gradient(i, g, a, *inputs) for i in range(1, len(inputs)))
    grad = type(layer)(W, b[0] if layer.b is not None else None, *g_theta)
    if net.penalty:
        added = {name: getattr(grad, name) + net.penalty.gradient(value) for name, value in _penalised(net, k, layer)}
        grad = grad._replace(**added)
    return grad


def _penalised(net: MLP, k: int, layer: Any) -> list[tuple[str, Any]]:
    assert net.penalty
    leaves = layer._asdict().items()
    return [(name, value) for name, value in leaves if value is not None and net.penalty.touches(k, name)]


def _pre_activation(net: MLP, k: int, layer: Any, h: Any) -> tuple[Operation, Any]:
    unit = net.hidden_units[k] if k < len(net.hidden) else HIDDEN_UNITS["linear"]
    operation, inputs = unit.pre_activation(h, layer.W, layer.b)
    return (PRODUCTS[net.products].get(operation, operation) if net.products else operation), inputs


def _last(h: Any, params: Params) -> Any:
    """The activations that come out of an entry of the tape: of a stack, those of its last layer."""
    return h[-1] if params and stacked_layers(params[-1]) else h


def _total(net: MLP, params: Params, losses: _Losses) -> jax.Array:
    J: jax.Array = ops.weighted_mean(losses.L, losses.weights)
    if net.penalty:
        for k, layer, _m in _entries(params):
            for _, value in _penalised(net, k, layer):
                J = J + net.penalty(value)
    return J


def _losses(net: MLP, params: Params, tape: Tape, y: Any, weights: Any) -> _Losses:
    z, k = tape.a[-1], net.widths[-1]
    targets = as_targets(net.output_unit, y, z, k)
    by_class = _class_weight(net, targets)
    if net.label_smoothing:
        uniform = 1 / k if net.output_unit.kind == "classes" else 0.5
        targets = (1 - net.label_smoothing) * targets + net.label_smoothing * uniform
    L = _cost(net)(z, *params[-1][2:], targets)
    return _Losses(L, targets, _example_weights(L, weights, by_class))


def example_weights(net: MLP, y: Any, weights: Any) -> jax.Array:
    """The weights w_i of `loss`, (n,): those given, times those of the examples' classes."""
    like = jnp.zeros((jnp.shape(y)[0], 1))
    return _example_weights(
        like[:, 0], weights, _class_weight(net, as_targets(net.output_unit, y, like, net.widths[-1]))
    )


def _example_weights(like: Any, weights: Any, by_class: Any) -> Any:
    w = ops.ones_like(like) if weights is None else ops.asarray(weights, like.dtype)
    if w.shape != like.shape:
        raise ValueError(f"weights must have shape {like.shape}, one per example, got {w.shape}")
    return w if by_class is None else w * by_class


def _class_weight(net: MLP, targets: Any) -> Any:
    """The weight of each example by its class, (n,); for soft labels, the mean of those of its classes."""
    if net.class_weights is None:
        return None
    of_class = jnp.asarray(net.class_weights, targets.dtype)
    if net.output_unit.kind == "classes":
        return ops.sum(targets * of_class[None], axis=-1)
    return ops.sum(of_class[0] + targets * (of_class[1] - of_class[0]), axis=-1)


def _cost(net: MLP) -> Operation:
    return net.output_unit.costs()[net.cost]


def _as_inputs(net: MLP, params: Params, x: Any) -> jax.Array:
    x = ops.asarray(x, params[0].W.dtype)
    if x.ndim != 2 or x.shape[1] != net.widths[0]:
        fix = "; for one example pass x[None]" if x.shape == (net.widths[0],) else ""
        raise ValueError(f"inputs x must have shape (n, {net.widths[0]}), one row per example, got {x.shape}{fix}")
    return x
