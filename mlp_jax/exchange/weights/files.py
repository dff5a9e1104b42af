"""Weights in files of safetensors: under the names of a run, `layers.0.W`, or of PyTorch, `0.weight`."""

import hashlib
import re
from collections.abc import Iterable
from os.path import realpath
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlp_jax.errors import InputError
from mlp_jax.exchange.weights.assembled import Affine, assembled, in_order
from mlp_jax.exchange.weights.torch import layers_of_state
from mlp_jax.files import Place, write_atomically
from mlp_jax.mlp.params import Params, unstack
from mlp_jax.mlp.structure import MLP

_BESIDE = ("inputs.", "targets.")  # of a run: how its data were standardised


def from_safetensors(path: str | Path, net: MLP, dtype: Any = None) -> Params:
    """The parameters of a network in a file, or in the directory of a run.

    Args:
        path: the file; its tensors are named as those of a run, or as in a state dict of PyTorch.
        net: the network that they are to fit.
        dtype: of the parameters; by default that of the file.

    Raises:
        InputError: there is no such file, it is damaged or of another kind, or a layer does not fit the network.
    """
    place = weights_file(path)
    try:
        with place.named() as name, safe_open(name, "np") as file:
            found = {name: file.get_tensor(name) for name in in_order(file.keys())}
    except FileNotFoundError:
        raise InputError(f"cannot read {place}: no such file") from None
    except (OSError, SafetensorError, TypeError, AttributeError) as error:  # of a dtype that numpy lacks
        raise InputError(f"cannot read {place} as safetensors: {error}") from None
    try:
        ours = {name: value for name, value in found.items() if not name.startswith(_BESIDE)}
        if any(name.startswith("layers.0.W") for name in ours):
            layers = _our_layers(ours)
        else:
            _require_order(found)
            layers = layers_of_state(found)
        return assembled(layers, net, None, None, dtype)[1]
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def to_safetensors(path: str | Path, net: MLP, params: Params) -> None:
    """Write parameters under the names of a run, `layers.0.W` (n_in, n_out) and `layers.0.b`; `theta` if there is one.

    PyTorch's names are those of `to_torch`, whose arrays `safetensors.numpy.save_file` writes.

    Raises:
        InputError: the file ends in something else, or cannot be written.
    """
    arrays = {
        f"layers.{k}.{name}": np.asarray(leaf, order="C")
        for k, layer in enumerate(unstack(net, params))
        for name, leaf in layer._asdict().items()
        if leaf is not None
    }
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"weights are written to a file that ends in .safetensors; got {path}")
    try:
        write_atomically(path, save(arrays))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def weights_file(path: str | Path) -> Place:
    """The file itself, which may be a link, or that in the directory of a run.

    Raises:
        InputError: it is another kind of file.
    """
    path = Path(path)
    if path.is_dir():
        return Place(path) / "weights.safetensors"
    if path.suffix != ".safetensors":
        raise InputError(f"weights are read from a .safetensors file, or from the directory of a run; got {path}")
    return Place.of(Path(realpath(path)))


def checksum(path: Place) -> str:
    """The SHA-256 of a file of weights."""
    try:
        with path.open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _require_order(names: Iterable[str]) -> None:
    """Raise an InputError unless numbers in the names say which layer comes first: a file has no order of its own."""
    modules = {name.rpartition(".")[0] for name in names}
    numbers = {tuple(re.findall(r"\d+", module)) for module in modules}
    if len(modules) > 1 and (len(numbers) < len(modules) or () in numbers):
        raise InputError(
            f"the names {', '.join(sorted(modules))} hold no order of layers: name them 0, 1, 2, … or give the state "
            "dict itself to mlp_jax.exchange.from_torch"
        )


def _our_layers(found: dict[str, Any]) -> list[Affine]:
    layers: dict[str, dict[str, Any]] = {}
    for name, value in found.items():
        layer, _, leaf = name.rpartition(".")
        if not layer.startswith("layers.") or leaf not in ("W", "b", "theta"):
            raise InputError(f"{name} is no W, b or theta of a layer")
        layers.setdefault(layer, {})[leaf] = value
    if lost := [layer for layer, leaves in layers.items() if "W" not in leaves]:
        raise InputError(f"{lost[0]} has no W")
    return [Affine(layer, leaves["W"], leaves.get("b"), leaves.get("theta")) for layer, leaves in layers.items()]
