"""The multilayer perceptron as pure functions: Algorithms 6.3 and 6.4 for a batch whose rows are examples."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import Graph, ops
from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.variable import named
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.initializers import INITIALIZERS
from mlp_jax.mlp.output_units import OUTPUT_UNITS, Cost, as_targets
from mlp_jax.mlp.penalties import Penalty


class Layer(NamedTuple):
    """The parameters of one layer, a = h W + b: W (n_in, n_out), b (n_out,) or None."""

    W: jax.Array
    b: jax.Array | None


Params = tuple[Layer, ...]


class Tape(NamedTuple):
    """What Algorithm 6.3 computed and Algorithm 6.4 needs, for n examples and l layers.

    Attributes:
        a: the pre-activations a^(1) … a^(l); a[k] has shape (n, widths[k+1]). The last are the logits z.
        h: the activations h^(0) … h^(l); h[k] has shape (n, widths[k]). The first is x, the last is ŷ.
    """

    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]


@dataclass(frozen=True, init=False)
class MLP:
    """The structure of a multilayer perceptron: hashable, without parameters, static under jit.

    Args:
        widths: numbers of units, from the inputs through the hidden layers to the outputs.
        hidden: the hidden unit of all hidden layers, or one for each: relu, sigmoid, tanh, softplus, linear.
        output: the output unit: linear (Gaussian), sigmoid (Bernoulli) or softmax (multinoulli).
        cost: cross_entropy or squared_error; None takes the unit's cost by maximum likelihood.
        penalty: L1 or L2 on the weights, or None.
        bias: whether layers have biases, for all layers or one for each.

    Raises:
        ValueError: an unknown name, a width below 1, a wrong number of entries, or a cost that the output
            unit cannot have.

    >>> net = MLP(widths=(2, 3, 3, 1), hidden="tanh", output="sigmoid")
    >>> net.hidden, net.cost
    (('tanh', 'tanh'), 'cross_entropy')
    """

    widths: tuple[int, ...]
    hidden: tuple[str, ...]
    output: str
    cost: str
    penalty: Penalty | None
    bias: tuple[bool, ...]

    def __init__(
        self,
        widths: Sequence[int],
        hidden: str | Sequence[str] = "relu",
        output: str = "linear",
        cost: str | None = None,
        penalty: Penalty | None = None,
        bias: bool | Sequence[bool] = True,
    ) -> None:
        """Check the arguments and give every layer an entry of its own."""
        widths = _as_widths(widths)
        hidden = _one_each("hidden", hidden, str, len(widths) - 2)
        for name in hidden:
            _require_known("hidden unit", name, HIDDEN_UNITS)
        _require_known("output unit", output, OUTPUT_UNITS)
        costs = OUTPUT_UNITS[output].costs
        cost = cost or next(iter(costs))
        _require_known(f"cost of a {output} output unit", cost, costs)
        if not isinstance(penalty, Penalty | None):
            raise ValueError(f"penalty must be mlp_jax.L2(λ), mlp_jax.L1(λ) or None, got {penalty!r}")
        fields = {
            "widths": widths,
            "hidden": hidden,
            "output": output,
            "cost": cost,
            "penalty": penalty if penalty and penalty.coefficient else None,  # λ = 0 costs nothing
            "bias": _one_each("bias", bias, bool, len(widths) - 1),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)  # past the guard of a frozen record


def init(
    net: MLP,
    key: jax.Array,
    *,
    initializer: str | None = None,
    bias: float = 0.0,
    dtype: Any = jnp.float32,
) -> Params:
    """Initial parameters: small random weights, constant biases (section 6.2).

    Args:
        net: the network.
        key: a JAX random key; layer k draws from `jax.random.fold_in(key, k)`.
        initializer: normal, glorot, he, lecun or orthogonal for all layers; None takes the one that suits
            each layer's unit.
        bias: the initial value of all biases, 0 or small and positive.
        dtype: of all parameters, hence of the computation: float32, float64 (with x64 on) or bfloat16.

    Returns:
        A tuple of layers (W, b), W of shape (n_in, n_out), b of shape (n_out,) or None.

    Raises:
        ValueError: an unknown initializer, or a dtype that this process does not compute in.

    >>> params = init(MLP(widths=(64, 128, 10)), jax.random.key(0))
    >>> [layer.W.shape for layer in params], params[1].b.shape
    ([(64, 128), (128, 10)], (10,))
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"parameters must be floating-point, got dtype {dtype}")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f'{dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on')
    if initializer is not None:
        _require_known("initializer", initializer, INITIALIZERS)
    suitable = [HIDDEN_UNITS[name].initializer for name in net.hidden] + ["glorot"]
    return tuple(
        Layer(
            W=_draw(jax.random.fold_in(key, k), initializer or suitable[k], shape, dtype),
            b=jnp.full(shape[1], bias, dtype) if net.bias[k] else None,
        )
        for k, shape in enumerate(zip(net.widths, net.widths[1:], strict=False))
    )


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

    >>> net = MLP(widths=(2, 2, 1))
    >>> first = Layer(jnp.ones((2, 2)), jnp.array([0.0, -1.0]))
    >>> params = (first, Layer(jnp.array([[1.0], [-2.0]]), jnp.zeros(1)))
    >>> forward(net, params, [[0, 0], [0, 1], [1, 0], [1, 1]]).h[-1].ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    require_fit(net, params)
    h = _as_inputs(net, params, x)
    tape = Tape(a=(), h=(h,))
    for k, (layer, f) in enumerate(zip(params, _units(net), strict=True), start=1):
        a = named(_pre_activation(h, layer), f"a{k}")
        h = named(f(a), f"h{k}")
        tape = Tape(a=(*tape.a, a), h=(*tape.h, h))
    return tape


def backward(net: MLP, params: Params, tape: Tape, y: Any, weights: Any = None) -> Params:
    """Algorithm 6.4: the gradient of the total cost J for all parameters, backwards from the outputs.

        g ← ∇_ŷ J
        for k = l … 1:   g ← ∇_a^(k) J = g ∘ f'(a^(k))
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

    >>> net = MLP(widths=(1, 1))
    >>> params = (Layer(jnp.array([[2.0]]), jnp.array([0.0])),)
    >>> grads = backward(net, params, forward(net, params, [[3.0]]), [[5.0]])  # ŷ = 6, J = ½ (6 − 5)²
    >>> grads[0].W.tolist(), grads[0].b.tolist()
    ([[3.0]], [1.0])
    """
    units = _units(net)
    grads: list[Layer] = []
    L, targets, w = _losses(net, tape, y, weights)
    g = ops.weighted_mean.gradient(0, 1, ops.weighted_mean(L, w), L, w)
    cost = _cost(net)
    if cost.of_logits:  # the cost has undone the output unit: this gradient is already ∇_a^(l) J
        g = cost.operation.gradient(0, g, L, tape.a[-1], targets)
    else:
        g = cost.operation.gradient(0, g, L, tape.h[-1], targets)
        g = units[-1].gradient(0, g, tape.h[-1], tape.a[-1])
    for k in reversed(range(len(params))):
        if k < len(params) - 1:
            g = units[k].gradient(0, g, tape.h[k + 1], tape.a[k])
        operation, inputs = _affine(tape.h[k], params[k])
        W, *b = (operation.gradient(i, g, tape.a[k], *inputs) for i in range(1, len(inputs)))
        if net.penalty:
            W = W + net.penalty.gradient(params[k].W)
        grads.append(Layer(W, *(b or [None])))
        if k > 0:
            g = operation.gradient(0, g, tape.a[k], *inputs)
    return tuple(reversed(grads))


def loss(net: MLP, params: Params, x: Any, y: Any, weights: Any = None) -> jax.Array:
    """The total cost J = Σ_i w_i L_i / Σ_i w_i + λΩ(θ), a scalar.

    Args:
        net: the network.
        params: its parameters.
        x: the inputs (n, d).
        y: the targets: (n, k), or for a softmax unit also (n,) class numbers.
        weights: of the examples, (n,), not negative; None counts each once. An example of weight 0 does not
            count, if its numbers are finite; if all weights are 0, the first term is 0.

    Raises:
        ValueError: shapes that do not fit.

    >>> net = MLP(widths=(2, 3), output="softmax")
    >>> params = (Layer(jnp.zeros((2, 3)), jnp.zeros(3)),)
    >>> float(loss(net, params, [[1.0, 2.0]], jnp.array([2])))  # log 3
    1.0986123085021973
    """
    return total_cost(net, params, forward(net, params, x), y, weights)


def loss_and_grad(net: MLP, params: Params, x: Any, y: Any, weights: Any = None) -> tuple[jax.Array, Params]:
    """The total cost J and its gradient for the parameters, by Algorithms 6.3 and 6.4.

    What `jax.value_and_grad(loss, argnums=1)` returns; arguments as for `loss`.

    >>> net = MLP(widths=(2, 2), output="softmax")
    >>> params = (Layer(jnp.zeros((2, 2)), jnp.zeros(2)),)
    >>> J, grads = loss_and_grad(net, params, [[1.0, 2.0]], jnp.array([0]))
    >>> grads[0].b.tolist()  # softmax(z) − y
    [-0.5, 0.5]
    """
    tape = forward(net, params, x)
    return total_cost(net, params, tape, y, weights), backward(net, params, tape, y, weights)


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
    params = jax.eval_shape(lambda: init(net, jax.random.key(0)))
    x, y = (jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (net.widths[0], net.widths[-1]))

    def J(params: Params, x: Any, y: Any) -> Any:
        return loss(net, params, x, y)

    return trace(J, params, x, y)


def total_cost(net: MLP, params: Params, tape: Tape, y: Any, weights: Any = None) -> jax.Array:
    """J of `loss`, from the tape of a forward propagation; only the last a and h are read."""
    L, _, w = _losses(net, tape, y, weights)
    J: jax.Array = ops.weighted_mean(L, w)
    if net.penalty:
        for layer in params:
            J = J + net.penalty(layer.W)
    return J


def predict(net: MLP, params: Params, x: Any) -> jax.Array:
    """ŷ = h^(l), shape (n, k): means of a linear unit, probabilities of a sigmoid or softmax unit.

    >>> net = MLP(widths=(1, 1), output="sigmoid")
    >>> predict(net, (Layer(jnp.zeros((1, 1)), jnp.zeros(1)),), [[7.0]]).tolist()
    [[0.5]]
    """
    return forward(net, params, x).h[-1]


def _losses(net: MLP, tape: Tape, y: Any, weights: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The cost of each example (n,), the targets (n, k) and the weights (n,)."""
    z, y_hat = tape.a[-1], tape.h[-1]
    targets = as_targets(net.output, y, z)
    cost = _cost(net)
    L = cost.operation(z if cost.of_logits else y_hat, targets)
    w = ops.ones_like(L) if weights is None else ops.asarray(weights, L.dtype)
    if w.shape != L.shape:
        raise ValueError(f"weights must have shape {L.shape}, one per example, got {w.shape}")
    return L, targets, w


def _cost(net: MLP) -> Cost:
    return OUTPUT_UNITS[net.output].costs[net.cost]


def _units(net: MLP) -> list[Operation]:
    return [HIDDEN_UNITS[name].operation for name in net.hidden] + [OUTPUT_UNITS[net.output].operation]


def _affine(h: Any, layer: Layer) -> tuple[Operation, tuple[Any, ...]]:
    return (ops.matmul, (h, layer.W)) if layer.b is None else (ops.affine, (h, *layer))


def _pre_activation(h: jax.Array, layer: Layer) -> jax.Array:
    operation, inputs = _affine(h, layer)
    a: jax.Array = operation(*inputs)
    return a


def _draw(key: jax.Array, initializer: str, shape: tuple[int, int], dtype: Any) -> jax.Array:
    # In float32 at least: a QR decomposition has no bfloat16 form.
    W = INITIALIZERS[initializer](key, shape, jnp.float32 if dtype.itemsize < 4 else dtype)
    return W.astype(dtype)


def _as_inputs(net: MLP, params: Params, x: Any) -> jax.Array:
    x = ops.asarray(x, params[0].W.dtype)
    if x.ndim != 2 or x.shape[1] != net.widths[0]:
        fix = "; for one example pass x[None]" if x.shape == (net.widths[0],) else ""
        raise ValueError(f"inputs x must have shape (n, {net.widths[0]}), one row per example, got {x.shape}{fix}")
    return x


def require_fit(net: MLP, params: Params) -> None:
    """Raise a ValueError that names the first parameter that is missing or has another shape than `net` needs."""
    if len(params) != len(net.widths) - 1:
        raise ValueError(f"widths {net.widths} need {len(net.widths) - 1} layers of parameters, got {len(params)}")
    for k, layer in enumerate(params):
        if not isinstance(layer, Layer):
            raise ValueError(f"params[{k}] must be a mlp_jax.Layer(W, b), got {type(layer).__name__}")
        W, b = layer
        shape = net.widths[k : k + 2]
        if jnp.shape(W) != shape:
            fix = "; it is transposed" if jnp.shape(W) == shape[::-1] else ""
            raise ValueError(f"params[{k}].W must have shape {shape}, got {jnp.shape(W)}{fix}")
        if (b is None) == net.bias[k]:
            raise ValueError(f"params[{k}].b must be {'an array' if net.bias[k] else 'None'}, got {b}")
        if b is not None and jnp.shape(b) != shape[1:]:
            raise ValueError(f"params[{k}].b must have shape {shape[1:]}, got {jnp.shape(b)}")


def _as_widths(widths: Any) -> tuple[int, ...]:
    entries = tuple(widths) if isinstance(widths, Iterable) else ()
    whole = all(isinstance(width, Integral) and not isinstance(width, bool) and int(width) >= 1 for width in entries)
    if len(entries) < 2 or not whole:
        raise ValueError(f"widths must be at least two whole numbers of at least 1, got {widths}")
    return tuple(int(width) for width in entries)


def _one_each(field: str, value: Any, kind: type, count: int) -> tuple[Any, ...]:
    entries = tuple(value) if isinstance(value, Iterable) else ()
    values = (value,) * count if isinstance(value, kind) else entries
    if len(values) != count or not all(isinstance(entry, kind) for entry in values):
        raise ValueError(f"{field} must be one {kind.__name__}, or one for each of {count} layers, got {value!r}")
    return values


def _require_known(what: str, name: Any, known: Iterable[str]) -> None:
    if not isinstance(name, str) or name not in known:
        nearest = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)})")
