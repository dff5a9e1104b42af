"""The multilayer perceptron as pure functions: Algorithms 6.3 and 6.4 for a batch whose rows are examples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import Graph, ops
from mlp_jax.autodiff.operation import Array
from mlp_jax.autodiff.tracing import trace
from mlp_jax.mlp import cost
from mlp_jax.mlp.layers import layers
from mlp_jax.mlp.params import Params, param_types, require_fit
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


def forward(net: MLP, params: Params, x: Array) -> Tape:
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
    for layer, own in zip(layers(net, params), params, strict=True):
        (a, each_h), h = layer.forward(own, h)
        tape = Tape(a=(*tape.a, a), h=(*tape.h, each_h))
    return tape


def backward(net: MLP, params: Params, tape: Tape, y: Array, weights: Any = None) -> Params:
    """Algorithm 6.4: the gradient of the total cost J for all parameters, backwards from the outputs.

        g ← ∇_a^(l) J                                      (of the cost, whose log undoes the output unit's exp)
        for k = l … 1:   g ← ∇_a^(k) J = g ∘ f'(a^(k))                             (k < l)
                         ∇_b^(k) J = Σ_i g_i,    ∇_W^(k) J = h^(k−1)ᵀ g + λ∇Ω
                         g ← ∇_h^(k−1) J = g W^(k)ᵀ

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
    of_data = cost.costs(net, tape.a[-1], params[-1][2:], y, weights)
    grads = pull_back(net, params, tape, cost.gradient(net, of_data))
    if net.penalty is None:
        return grads
    return with_penalty(net, params, grads, ops.ones_like(cost.mean(of_data)))  # in shard_map, one on each device as J


def pull_back(net: MLP, params: Params, tape: Tape, g: Array) -> Params:
    """Algorithm 6.4 from g on: the gradient for the logits, and for the output unit's own parameters, of any cost."""
    each = layers(net, params)
    grads: Params = ()
    for k in reversed(range(len(params))):
        h_in = each[k - 1].last(tape.h[k]) if k else tape.h[0]
        g, grad = each[k].backward(params[k], tape.a[k], tape.h[k + 1], h_in, g, to_inputs=k > 0)
        grads = (grad, *grads)
    return grads


def with_penalty(net: MLP, params: Params, grads: Params, g: Array = 1.0) -> Params:
    """The gradient of the data cost with that of the penalty, g λ∇Ω; g = ∂J/∂J, which is 1."""
    penalty = net.penalty
    if penalty is None:
        return grads
    added = [
        {name: getattr(grad, name) + penalty.gradient(leaf, g) for name, leaf in layer.penalised(own).items()}
        for layer, own, grad in zip(layers(net, params), params, grads, strict=True)
    ]
    return tuple(grad._replace(**of_layer) for grad, of_layer in zip(grads, added, strict=True))


def loss(net: MLP, params: Params, x: Array, y: Array, weights: Any = None) -> jax.Array:
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
    return total_cost(net, params, forward(net, params, x).a[-1], y, weights)


def loss_and_grad(net: MLP, params: Params, x: Array, y: Array, weights: Any = None) -> tuple[jax.Array, Params]:
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


def cost_graph(net: MLP, n: int = 1, dtype: Any = jnp.float32) -> Graph:
    """The graph of `loss` for n examples in a dtype, as a function of params, x and the targets y (n, k).

    >>> print(cost_graph(MLP(widths=(2, 3, 1), hidden="tanh", output="sigmoid", bias=False), n=5))
    graph: 4 inputs, 6 operations, 1 output
      params[0].W: float32[2,3]
      params[1].W: float32[3,1]
      x: float32[5,2]
      y: float32[5,1]
      a1: float32[5,3] = matmul(x, params[0].W)
      h1: float32[5,3] = tanh(a1)
      a2: float32[5,1] = matmul(h1, params[1].W)
      L: float32[5] = sigmoid_cross_entropy(a2, y)
      v5: float32[5] = ones_like(L)
      J: float32[] = weighted_mean(L, v5)
    returns J
    """
    x, y = (jax.ShapeDtypeStruct((n, width), dtype) for width in (net.inputs, net.widths[-1]))

    def J(params: Params, x: Array, y: Array) -> Any:
        return loss(net, params, x, y)

    return trace(J, param_types(net, dtype), x, y)


def cost_and_gradient(net: MLP, params: Params, tape: Tape, y: Array, weights: Any = None) -> tuple[jax.Array, Params]:
    """What `loss_and_grad` returns, from the tape of a forward propagation."""
    y = cost.as_targets(net.output_unit, y, tape.a[-1], net.widths[-1])  # once for both
    return total_cost(net, params, tape.a[-1], y, weights), backward(net, params, tape, y, weights)


def total_cost(net: MLP, params: Params, z: Array, y: Array, weights: Any = None) -> jax.Array:
    """J of `loss`, from the logits z of a forward propagation."""
    J = cost.mean(cost.costs(net, z, params[-1][2:], y, weights))
    if net.penalty:
        for layer, own in zip(layers(net, params), params, strict=True):
            for leaf in layer.penalised(own).values():
                J = J + net.penalty(leaf)
    return J


def predict(net: MLP, params: Params, x: Array) -> jax.Array:
    """ŷ = h^(l): means, medians, probabilities or margins (n, k), by the output unit; quantiles (n, k · levels).

    >>> from mlp_jax import Layer
    >>> net = MLP(widths=(1, 1), output="sigmoid")
    >>> predict(net, (Layer(jnp.zeros((1, 1)), jnp.zeros(1)),), [[7.0]]).tolist()
    [[0.5]]
    """
    return forward(net, params, x).h[-1]


def parameters(net: MLP, params: Params, x: Array) -> dict[str, jax.Array]:
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


def log_density(net: MLP, params: Params, x: Array, y: Array) -> jax.Array:
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
    return net.output_unit.log_density(z, cost.as_targets(net.output_unit, y, z, net.widths[-1]), *params[-1][2:])


def sample(net: MLP, params: Params, x: Array, key: jax.Array) -> jax.Array:
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


def _as_inputs(net: MLP, params: Params, x: Array) -> jax.Array:
    x = ops.asarray(x, params[0].W.dtype)
    if x.ndim != 2 or x.shape[1] != net.inputs:
        fix = "; for one example pass x[None]" if x.shape == (net.inputs,) else ""
        raise ValueError(f"inputs x must have shape (n, {net.inputs}), one row per example, got {x.shape}{fix}")
    return x
