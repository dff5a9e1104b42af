"""Weights of scikit-learn, flax and equinox, none of which is imported."""

from collections.abc import Mapping
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.exchange.weights.assembled import Affine, assembled, hidden_unit_of, in_order, output_unit_of
from mlp_jax.exchange.weights.torch import as_array
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP

_SKLEARN = {
    "identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax", "exp": "poisson",
}  # fmt: skip


def from_sklearn(estimator: Any, net: MLP | None = None) -> tuple[MLP, Params]:
    """A network and its parameters, of a fitted `MLPClassifier` or `MLPRegressor`.

    Of two classes it has one sigmoid output, the probability of the second.

    Raises:
        InputError: the estimator is not fitted, is no MLP, or does not fit the net.
    """
    if not hasattr(estimator, "coefs_"):
        kind = type(estimator).__name__
        raise InputError(f"{kind} has no coefs_: fit it first; it must be an MLPClassifier or MLPRegressor")
    layers = [
        Affine(f"coefs_[{k}]", as_array(W), as_array(b))
        for k, (W, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    ]
    return assembled(layers, net, _SKLEARN[estimator.activation], _SKLEARN[estimator.out_activation_])


def from_flax(
    params: Mapping[str, Any], net: MLP | None = None, *, hidden: Any = None, output: Any = None
) -> tuple[MLP, Params]:
    """A network and its parameters, of Dense or Linear layers of flax: each has a `kernel` (n_in, n_out), and a `bias`.

    Args:
        params: of linen, as `model.init` returns them, or of nnx, as `nnx.state(model)`; by the numbers in their names.
        net: the network that they are to fit; None makes one.
        hidden: its hidden units, one, or one for each hidden layer.
        output: its output unit; by default linear.

    Raises:
        InputError: a parameter that an MLP has not, or a layer that does not fit the net.
    """
    layers: list[Affine] = []

    def collect(section: Mapping[Any, Any], path: str) -> None:
        if "kernel" in section:
            if more := [name for name in section if name not in ("kernel", "bias")]:
                raise InputError(f"{path}.{more[0]} is no kernel or bias of a Dense layer")
            kernel, bias = as_array(section["kernel"]), section.get("bias")
            if kernel.ndim != 2:
                raise InputError(f"{path}.kernel has {kernel.ndim} axes: a convolution is no layer of an MLP")
            layers.append(Affine(path, kernel, None if bias is None else as_array(bias)))
            return
        named = {str(name): inner for name, inner in section.items()}  # of a list in nnx they are numbers
        for name in in_order(named):
            inner = named[name]
            if not isinstance(inner, Mapping):
                raise InputError(f"{path}.{name} is no kernel or bias of a Dense layer".lstrip("."))
            collect(inner, f"{path}.{name}".lstrip("."))

    collect(params.get("params", params), "")
    return assembled(layers, net, hidden, output)


def from_equinox(mlp: Any, net: MLP | None = None, *, hidden: Any = None, output: Any = None) -> tuple[MLP, Params]:
    """A network and its parameters, of an `equinox.nn.MLP`: W is the transpose of `weight`.

    Args:
        mlp: the module, whose activations are known by what they compute.
        net: the network that it is to fit; None makes one.
        hidden: the hidden units, if they are not to be found so.
        output: the output unit, likewise.

    Raises:
        InputError: an activation that is none of the units, or a layer that does not fit the net.
    """
    layers = [
        Affine(f"layers[{k}]", as_array(layer.weight).T, None if layer.bias is None else as_array(layer.bias))
        for k, layer in enumerate(mlp.layers)
    ]
    if net is None:
        hidden, output = hidden or hidden_unit_of(mlp.activation), output or output_unit_of(mlp.final_activation)
    return assembled(layers, net, hidden, output)
