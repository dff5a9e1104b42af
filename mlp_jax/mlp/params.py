"""The parameters of a network: their shapes, initial values, and stacks of equal layers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp.checks import require_known
from mlp_jax.mlp.initializers import INITIALIZERS, draw
from mlp_jax.mlp.structure import MLP


class Layer(NamedTuple):
    """The parameters of one layer, a = h W + b: W (n_in, n_out), b (n_out,) or None."""

    W: jax.Array
    b: jax.Array | None


class LayerWithTheta(NamedTuple):
    """Those of a layer whose units have a parameter each, too, as slopes: theta (units,)."""

    W: jax.Array
    b: jax.Array | None
    theta: jax.Array


Params = tuple[Layer | LayerWithTheta, ...]


def init(
    net: MLP,
    key: jax.Array,
    *,
    initializer: str | None = None,
    bias: float = 0.0,
    dtype: Any = jnp.float32,
    stacked: bool = False,
) -> Params:
    """Initial parameters: small random weights, constant biases (section 6.2).

    Args:
        net: the network.
        key: a JAX random key; layer k draws from `jax.random.fold_in(key, k)`.
        initializer: a name in `initializers` for all layers; None takes the one that suits each layer's unit, and
            divides the weights of n layers with skip connections by n, so that what they add up to does not grow
            with depth: a unit such as relu, whose mean is not 0, would make it grow exponentially.
        bias: the initial value of all biases, 0 or small and positive.
        dtype: of all parameters, hence of the computation: float32, float64 (with x64 on) or bfloat16.
        stacked: whether each run of equal layers is one entry, as `stack` makes it.

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
        require_known("initializer", initializer, INITIALIZERS)
    suitable = [*(unit.initializer for unit in net.hidden_units), net.output_unit.initializer]

    def layer(k: int, number: Any) -> Any:
        """Layer k, drawn as layer `number`, which may be a tracer."""
        W = draw(initializer or suitable[k], jax.random.fold_in(key, number), net.shapes[k], dtype)
        if initializer is None and k < len(net.hidden) and net.skip[k]:
            W = W / sum(net.skip)
        theta = _initial_theta(net, k, dtype)
        b = jnp.full(W.shape[1], bias, dtype) if net.bias[k] else None
        return Layer(W, b) if theta is None else LayerWithTheta(W, b, theta)

    if not stacked:
        return tuple(layer(k, k) for k in range(len(net.shapes)))
    return tuple(
        jax.vmap(lambda number, k=run.start: layer(k, number))(jnp.arange(run.start, run.stop))
        if len(run) > 1
        else layer(run.start, run.start)
        for run in net.runs()
    )


def stack(net: MLP, params: Params) -> Params:
    """The same parameters with each run of equal layers as one entry, W (m, n, n), b (m, n), that computes as one loop.

    It pays for deep networks: what JAX traces and XLA compiles does not grow with their depth. All functions of a
    network take either form, and gradients come in that of the parameters.

    >>> net = MLP(widths=(4, 8, 8, 8, 1))
    >>> [layer.W.shape for layer in stack(net, init(net, jax.random.key(0)))]
    [(4, 8), (2, 8, 8), (8, 1)]
    """
    params = unstack(net, params)
    return tuple(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[k] for k in run))
        if len(run) > 1
        else params[run.start]
        for run in net.runs()
    )


def unstack(net: MLP, params: Params) -> Params:
    """The same parameters with an entry for each layer: the inverse of `stack`."""
    require_fit(net, params)
    layers: list[Any] = []
    for layer in params:
        m = stacked_layers(layer)
        layers += [layer] if m is None else [jax.tree.map(lambda leaf, i=i: leaf[i], layer) for i in range(m)]
    return tuple(layers)


def stacked_layers(layer: Any) -> int | None:
    """How many layers an entry of the parameters stands for; None for one that is a layer itself."""
    return None if jnp.ndim(layer.W) == 2 else jnp.shape(layer.W)[0]


def pays_as_one_loop(net: MLP) -> bool:
    """Whether equal layers are so many that a stack compiles sooner than they do one by one: 64, by measurement."""
    return max(map(len, net.runs())) >= 64


def param_types(net: MLP, dtype: Any = jnp.float32) -> Params:
    """The parameters as shapes and dtypes."""
    params: Params = jax.eval_shape(lambda: init(net, jax.random.key(0), dtype=dtype))
    return params


def require_fit(net: MLP, params: Params) -> None:
    """Raise a ValueError that names the first parameter that is missing or has another shape than `net` needs."""
    k, runs = 0, {run.start: len(run) for run in net.runs()}
    for entry, layer in enumerate(params):
        if not isinstance(layer, Layer | LayerWithTheta):
            raise ValueError(f"params[{entry}] must be a mlp_jax.Layer(W, b), got {type(layer).__name__}")
        if not (hasattr(layer.W, "dtype") and jnp.issubdtype(layer.W.dtype, jnp.floating)):
            kind = getattr(layer.W, "dtype", type(layer.W).__name__)
            raise ValueError(f"params[{entry}].W must be an array of floating-point numbers, got {kind}")
        m = stacked_layers(layer) if jnp.ndim(layer.W) == 3 else None
        if k >= len(net.shapes):
            break
        if m is not None and m != runs.get(k):
            raise ValueError(
                f"params[{entry}] is a stack of {m} layers; the network has {runs.get(k, 1)} equal ones from layer {k} "
                "on, counted from 0"
            )
        _require_shapes(net, k, entry, layer, () if m is None else (m,))
        k += m or 1
    given = sum((isinstance(layer, Layer | LayerWithTheta) and stacked_layers(layer)) or 1 for layer in params)
    if k != len(net.shapes) or k < given:
        raise ValueError(f"widths {_short(net.widths)} need {len(net.shapes)} layers of parameters, got {given}")


def _require_shapes(net: MLP, k: int, entry: int, layer: Any, stacked: tuple[int, ...]) -> None:
    shape = net.shapes[k]
    if jnp.shape(layer.W) != (*stacked, *shape):
        fix = "; it is transposed" if jnp.shape(layer.W) == shape[::-1] else ""
        raise ValueError(f"params[{entry}].W must have shape {shape}, got {jnp.shape(layer.W)}{fix}")
    if (layer.b is None) == net.bias[k]:
        raise ValueError(f"params[{entry}].b must be {'an array' if net.bias[k] else 'None'}, got {layer.b}")
    if layer.b is not None and jnp.shape(layer.b) != (*stacked, shape[1]):
        raise ValueError(f"params[{entry}].b must have shape {shape[1:]}, got {jnp.shape(layer.b)}")
    theta = _initial_theta(net, k, jnp.float32)
    if (theta is None) != (len(layer) == 2):
        raise ValueError(f"params[{entry}] must be a {'Layer' if theta is None else 'LayerWithTheta'} for its unit")
    if theta is not None and jnp.shape(layer.theta) != (*stacked, *theta.shape):
        raise ValueError(f"params[{entry}].theta must have shape {theta.shape}, got {jnp.shape(layer.theta)}")


def _short(widths: tuple[int, ...]) -> str:
    return str(widths) if len(widths) <= 12 else f"({', '.join(map(str, widths[:3]))}, …, {widths[-1]})"


def _initial_theta(net: MLP, k: int, dtype: Any) -> jax.Array | None:
    """Those of the units of layer k, or of the output unit."""
    if k == len(net.hidden):
        theta = net.output_unit.theta(net.widths[-1])
        return None if theta is None else jnp.asarray(theta, dtype)
    initial = net.hidden_units[k].theta
    return None if initial is None else jnp.full(net.widths[k + 1], initial, dtype)
