"""Weights and checkpoints as safetensors: plain arrays by name, readable without this package, never pickled."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlp_jax.mlp.network import MLP, Layer, Params
from mlp_jax.training.data import Prepared, Scaling
from mlp_jax.training.errors import InputError
from mlp_jax.training.step import State


class Model(NamedTuple):
    """All that a prediction needs besides the network's structure."""

    params: Params
    inputs: Scaling
    targets: Scaling
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or, after a crash or on a full disk, as it was before."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def save_weights(path: Path, params: Params, prepared: Prepared) -> None:
    """Write `layers.0.W`, `layers.0.b`, …, and mean and scale of `inputs` and `targets`."""
    tensors = {
        f"layers.{k}.{name}": value
        for k, layer in enumerate(params)
        for name, value in layer._asdict().items()
        if value is not None
    }
    for what, scaling in (("inputs", prepared.inputs), ("targets", prepared.targets)):
        tensors |= {f"{what}.{name}": value for name, value in scaling._asdict().items()}
    names = {
        "input_names": json.dumps(prepared.table.input_names),
        "target_names": json.dumps(prepared.table.target_names),
    }
    write_atomically(path, _as_bytes(tensors, names))


def load_weights(path: Path, net: MLP) -> Model:
    """Read what `save_weights` wrote.

    Raises:
        InputError: no such file, a damaged one, or one of another network.
    """
    tensors, metadata = _read(path)
    try:
        params = tuple(
            Layer(tensors[f"layers.{k}.W"], tensors[f"layers.{k}.b"] if bias else None)
            for k, bias in enumerate(net.bias)
        )
        scalings = [
            Scaling(tensors[f"{what}.mean"], tensors[f"{what}.scale"]) for what in ("inputs", "targets")
        ]
    except KeyError as error:
        raise InputError(f"{path} has no array {error}; it belongs to another network") from None
    names = [tuple(json.loads(metadata[what])) for what in ("input_names", "target_names")]
    return Model(params, *scalings, *names)


def save_checkpoint(path: Path, state: State, epoch: int) -> None:
    """Write the state after so many epochs, all that is needed to go on: randomness depends on the seed alone."""
    write_atomically(path, _as_bytes(_by_path(state), {"epoch": str(epoch)}))


def load_checkpoint(path: Path, like: State) -> tuple[State, int]:
    """Read a state of the structure, shapes and dtypes of `like`, and after how many epochs it was saved.

    Raises:
        InputError: no such file, a damaged one, or one of another network or optimizer.
    """
    tensors, metadata = _read(path)
    expected = _by_path(like)
    for name in sorted(expected.keys() | tensors.keys()):
        found, needed = _kind(tensors.get(name)), _kind(expected.get(name))
        if found != needed:
            raise InputError(f"{path} does not fit this configuration: {name} is {found}, needed is {needed}")
    leaves = [jax.numpy.asarray(tensors[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), int(metadata["epoch"])


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _kind(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype} {array.shape}"


def _as_bytes(tensors: dict[str, Any], metadata: dict[str, str]) -> bytes:
    # C order: safetensors would write the memory of a transposed view as it lies
    return save({name: np.asarray(value, order="C") for name, value in tensors.items()}, metadata)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'no such file'}") from None
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from None
