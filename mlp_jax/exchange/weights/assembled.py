"""Layers of weights from elsewhere, put together as a network and its parameters; what does not fit is named."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, HiddenUnit
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.mlp.params import Layer, LayerWithTheta, Params, param_types
from mlp_jax.mlp.structure import MLP

Array = Any
_POINTS = np.linspace(-4, 4, 17, dtype=np.float32)


class Affine(NamedTuple):
    """A layer as it was found: its name, W (n_in, n_out), b (n_out,) or None, and its units' own parameters."""

    name: str
    W: Array
    b: Array | None
    theta: Array | None = None


def assembled(
    layers: Sequence[Affine],
    net: MLP | None,
    hidden: Any,
    output: Any,
    dtype: Any = None,
) -> tuple[MLP, Params]:
    """The network and its parameters.

    Args:
        layers: in their order.
        net: the network that they are to fit; None makes one.
        hidden: its hidden units, if it is to be made.
        output: its output unit, likewise.
        dtype: of the parameters; by default that of the first W.

    Raises:
        InputError: they do not fit it, or one another.
    """
    if not layers:
        raise InputError("there are no layers: no W, kernel or weight with two axes was found")
    if net is None:
        net = _network(layers, hidden, output)
    dtype = jax.dtypes.canonicalize_dtype(dtype or layers[0].W.dtype)
    wanted = param_types(net)
    if len(wanted) != len(layers):
        names = ", ".join(layer.name for layer in layers)
        raise InputError(f"the network needs {len(wanted)} layers, got {len(layers)}: {names}")
    params: list[Layer | LayerWithTheta] = []
    for k, (layer, types) in enumerate(zip(layers, wanted, strict=True)):
        theta = layer.theta if len(types) == 2 or layer.theta is None else _one_each(layer.theta, types.theta.shape)
        found = Affine(layer.name, layer.W, layer.b, theta)
        for leaf in ("W", "b", "theta"):
            _require_shape(k, layer.name, leaf, getattr(types, leaf, None), getattr(found, leaf))
            _require_finite(k, layer.name, leaf, getattr(found, leaf))
        W, b, own = (None if value is None else jnp.asarray(value, dtype) for value in found[1:])
        params.append(Layer(W, b) if own is None else LayerWithTheta(W, b, own))  # type: ignore[arg-type]
    return net, tuple(params)


def _one_each(theta: Array, shape: tuple[int, ...]) -> Array:
    """One parameter that all units share, for each of them."""
    return np.broadcast_to(theta, shape) if theta.shape == (1,) else theta


def _require_shape(k: int, name: str, leaf: str, wanted: Any, found: Any) -> None:
    need, got = (None if value is None else tuple(value.shape) for value in (wanted, found))
    if need != got:
        transposed = "; it is transposed" if need and got == need[::-1] and len(need) == 2 else ""
        needed = f"{leaf} of shape {need}" if need else f"no {leaf}"
        raise InputError(f"layer {k} ({name}): the network needs {needed}, got {got or 'none'}{transposed}")


def _require_finite(k: int, name: str, leaf: str, found: Any) -> None:
    if found is not None and found.dtype.kind not in "fV":  # bfloat16 is V
        raise InputError(f"layer {k} ({name}): {leaf} holds {found.dtype}, not floating-point numbers")
    if found is not None and not np.isfinite(np.asarray(found, np.float64)).all():
        raise InputError(f"layer {k} ({name}): {leaf} has entries that are not finite")


def _network(layers: Sequence[Affine], hidden: Any, output: Any) -> MLP:
    last = len(layers) - 1
    if hidden is None and last:
        raise InputError('these weights do not say their activations: give hidden, as in hidden="relu", or a net')
    if not isinstance(hidden, str | HiddenUnit | None) and len(hidden) != last:
        raise InputError(f"there are {last} hidden layers, and {len(hidden)} activations: {hidden}")
    try:
        units = MLP((1,) * (last + 2), hidden or (), output or "linear")  # which checks their names
        columns = [layer.W.shape[1] for layer in layers]
        between = [n // unit.pieces for n, unit in zip(columns, units.hidden_units, strict=False)]
        targets = [k for k in range(1, columns[-1] + 1) if units.output_unit.logits(k) == columns[-1]]
        if not targets:
            raise ValueError(f"a {units.output_unit.name} output unit cannot have {columns[-1]} logits")
        widths = layers[0].W.shape[0], *between, targets[0]
        return MLP(widths, units.hidden, units.output, bias=[layer.b is not None for layer in layers])
    except ValueError as error:
        raise InputError(str(error)) from None


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of the numbers in them: Dense_2 before Dense_10."""

    def key(name: str) -> list[tuple[bool, Any]]:
        return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]

    return sorted(names, key=key)


def hidden_unit_of(f: Callable[[Any], Any]) -> str:
    """The hidden unit that computes the same as a function of JAX.

    Raises:
        InputError: none does.
    """
    units = {name: unit for name, unit in HIDDEN_UNITS.items() if unit.is_elementwise or name == "softmax"}
    return _same(f, units, "hidden")


def output_unit_of(f: Callable[[Any], Any]) -> str:
    """The output unit that predicts the same as a function of JAX."""
    units = {name: OUTPUT_UNITS[name]().predict for name in ("linear", "sigmoid", "softmax", "poisson")}
    return _same(f, units, "output")


def _same(f: Callable[[Any], Any], units: Mapping[str, Callable[[Any], Any]], what: str) -> str:
    for name, unit in units.items():
        if np.allclose(f(jnp.asarray(_POINTS)), unit(jnp.asarray(_POINTS)), rtol=1e-5, atol=1e-6):
            return name
    name = getattr(f, "__name__", repr(f))
    raise InputError(f"{name} is none of the {what} units ({', '.join(units)}): give {what}, or a net")
