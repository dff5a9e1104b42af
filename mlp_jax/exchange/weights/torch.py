"""Weights of a PyTorch `Sequential`, as its modules or as its `state_dict`; torch itself is not imported."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.exchange.weights.assembled import Affine, assembled
from mlp_jax.mlp.hidden_units import elu, gelu, leaky_relu
from mlp_jax.mlp.params import Params, unstack
from mlp_jax.mlp.structure import MLP

_UNITS = {
    "ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus", "SiLU": "silu", "Softmax": "softmax",
    "Hardtanh": "hard_tanh", "PReLU": "parametric_relu", "Identity": "linear",
}  # fmt: skip
_MADE = {
    "GELU": lambda module: gelu(module.approximate == "tanh"),
    "ELU": lambda module: elu(module.alpha),
    "LeakyReLU": lambda module: leaky_relu(module.negative_slope),
}
_AT_PREDICTION = ("Dropout", "Flatten")  # they change nothing there
_USUAL = {
    "Softplus": {"beta": 1, "threshold": 20}, "Hardtanh": {"min_val": -1, "max_val": 1},
    "Flatten": {"start_dim": 1, "end_dim": -1},
}  # fmt: skip


def from_torch(source: Any, net: MLP | None = None, *, hidden: Any = None, output: Any = None) -> tuple[MLP, Params]:
    """A network and its parameters, of a PyTorch `Sequential` or its state dict: W is the transpose of `weight`.

    Args:
        source: the module, which says its activations; or its `state_dict()`, a mapping of names to arrays, in order.
        net: the network that they are to fit; None makes one.
        hidden: the hidden units of a state dict: one, or one for each hidden layer.
        output: the output unit; by default that of the last module, a Softmax or Sigmoid; else linear.

    Raises:
        InputError: a module that is no Sequential, for what it computes is in its code alone; a module or a key that an
            MLP has not, as of a convolution; a layer that does not fit the net, or an activation that is not its own.

    >>> state = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3)), "2.bias": np.ones(1)}
    >>> net, params = from_torch(state, hidden="tanh")
    >>> net.widths, params[0].W.shape
    ((2, 3, 1), (2, 3))
    """
    if hasattr(source, "state_dict"):
        said = _activations(list(_steps(source)))
        if net is not None:
            _require_same(net, *said)
        source, hidden, output = source.state_dict(), hidden or said[0], output or said[1]
    if not isinstance(source, Mapping):
        raise InputError(f"give a Sequential of PyTorch, or its state_dict(); got {type(source).__name__}")
    return assembled(layers_of_state(source), net, hidden, output)


def to_torch(net: MLP, params: Params) -> dict[str, Any]:
    """The state dict of `Sequential(Linear, activation, Linear, …)`, as arrays of NumPy.

    `model.load_state_dict({name: torch.tensor(array) for name, array in to_torch(net, params).items()})` takes it.

    Raises:
        InputError: the network is no such sequence.

    >>> import jax
    >>> from mlp_jax import init
    >>> net = MLP(widths=(2, 3, 1))
    >>> {name: array.shape for name, array in to_torch(net, init(net, jax.random.key(0))).items()}
    {'0.weight': (3, 2), '0.bias': (3,), '2.weight': (1, 3), '2.bias': (1,)}
    """
    for k, (unit, skip) in enumerate(zip(net.hidden_units, net.skip, strict=True)):
        if skip or unit.radial or unit.pieces > 1:
            what = "a skip connection" if skip else f"{unit.name} units"
            raise InputError(f"layer {k} has {what}, which a Sequential of Linear and activations has not")
    state: dict[str, Any] = {}
    for k, layer in enumerate(unstack(net, params)):
        state[f"{2 * k}.weight"] = np.ascontiguousarray(np.asarray(layer.W).T)
        if layer.b is not None:
            state[f"{2 * k}.bias"] = np.asarray(layer.b)
        if len(layer) == 3 and k < len(net.hidden):
            state[f"{2 * k + 1}.weight"] = np.asarray(layer.theta)
    return state


def layers_of_state(state: Mapping[str, Any]) -> list[Affine]:
    """The layers of a state dict, in its order.

    Raises:
        InputError: a key that is not of a Linear layer or PReLU.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        array = as_array(value)
        if leaf == "weight" and array.ndim > 2:
            raise InputError(f"{key} has {array.ndim} axes: a convolution is no layer of an MLP")
        if leaf not in ("weight", "bias"):
            raise InputError(f"{key} is no weight or bias of a Linear layer: an MLP has no such layer")
        found.setdefault(module, {})[leaf] = array
    layers: list[Affine] = []
    for module, leaves in found.items():
        if "weight" not in leaves:
            raise InputError(f"{module}.bias has no {module}.weight beside it")
        weight, b = leaves["weight"], leaves.get("bias")
        if weight.ndim == 2:
            layers.append(Affine(module, weight.T, b))
        elif b is None and layers and layers[-1].theta is None:  # PReLU
            layers[-1] = layers[-1]._replace(theta=weight)
        else:
            raise InputError(f"{module}.weight has shape {weight.shape}: a normalisation is no layer of an MLP")
    return layers


def as_array(value: Any) -> Any:
    """An array of NumPy, of one or of a tensor of PyTorch, on any device; bfloat16, which NumPy has not, as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    return np.asarray(value)


def _steps(module: Any) -> Iterator[Any]:
    """The modules of a Sequential in the order of its computation, those in Sequentials within it, too."""
    if type(module).__name__ != "Sequential":
        raise InputError(
            f"{type(module).__name__} computes what its code says: give a Sequential, or its state_dict() with hidden"
        )
    for step in module:
        yield from _steps(step) if type(step).__name__ == "Sequential" else (step,)


def _require_same(net: MLP, hidden: Sequence[Any], output: Any) -> None:
    """Raise an InputError if the modules say other activations than the network has."""
    mine = [unit.name for unit in net.hidden_units]
    theirs = [unit if isinstance(unit, str) else unit.name for unit in hidden]
    if len(mine) == len(theirs) and mine != theirs:
        raise InputError(f"the network has the hidden units {', '.join(mine)}, the Sequential {', '.join(theirs)}")
    if output in ("softmax", "sigmoid") and net.output_unit.name != output:
        raise InputError(f"the network has a {net.output_unit.name} output, the Sequential ends with {output}")


def _activations(modules: Sequence[Any]) -> tuple[list[Any], Any]:
    """The hidden units between the Linear modules, and the output unit after the last."""
    units: list[Any] = []  # one for each Linear
    for module in modules:
        kind = type(module).__name__
        if kind == "Linear":
            units.append("linear")
        elif kind not in _UNITS and kind not in _MADE and kind not in _AT_PREDICTION:
            raise InputError(f"{kind} is no layer of an MLP; known are Linear, {', '.join((*_UNITS, *_MADE))}")
        elif any(getattr(module, key, value) != value for key, value in _USUAL.get(kind, {}).items()):
            raise InputError(f"{module} has other arguments than an MLP's rows of examples need: {_USUAL[kind]}")
        elif kind == "Softmax" and module.dim not in (1, -1):
            raise InputError(f"{module} is over the examples, or over what torch chooses: an MLP's is over dim=1")
        elif kind in _AT_PREDICTION:
            continue
        elif not units or units[-1] != "linear":
            raise InputError(f"{kind} does not follow a Linear layer")
        else:
            units[-1] = _MADE[kind](module) if kind in _MADE else _UNITS[kind]
    return units[:-1], units[-1] if units else None
