"""Weights and checkpoints as safetensors: arrays by name, readable without this package, never pickled."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlp_jax.mlp.parameters import Params, pays_as_one_loop, require_fit, stack, structure, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.data import Prepared, Scaling
from mlp_jax.training.errors import InputError
from mlp_jax.training.files import write_atomically
from mlp_jax.training.step import State


class Model(NamedTuple):
    """All that a prediction needs besides the network's structure."""

    params: Params
    inputs: Scaling
    targets: Scaling
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]
    data: str  # fingerprint of the examples that it was trained on


def save_weights(path: Path, net: MLP, params: Params, prepared: Prepared) -> None:
    """Write `layers.0.W`, `layers.0.b`, …, and mean and scale of `inputs` and `targets`."""
    tensors = {
        f"layers.{k}.{name}": value
        for k, layer in enumerate(unstack(net, params))
        for name, value in layer._asdict().items()
        if value is not None
    }
    for what, scaling in (("inputs", prepared.inputs), ("targets", prepared.targets)):
        tensors |= {f"{what}.{name}": value for name, value in scaling._asdict().items()}
    table = prepared.table
    notes = {
        "input_names": table.input_names,
        "target_names": table.target_names,
        "data": prepared.fingerprint,
    }
    write_atomically(path, _as_bytes(tensors, notes))


def load_weights(path: Path, net: MLP) -> Model:
    """Read what `save_weights` wrote.

    Raises:
        InputError: no such file, a damaged one, or one of another network.
    """
    tensors, notes = _read(path)
    try:
        params = tuple(
            layer._replace(
                **{name: tensors[f"layers.{k}.{name}"] for name, v in layer._asdict().items() if v is not None}
            )
            for k, layer in enumerate(structure(net))
        )
        require_fit(net, params)
        inputs, targets = (Scaling(tensors[f"{what}.mean"], tensors[f"{what}.scale"]) for what in ("inputs", "targets"))
        names = tuple(notes["input_names"]), tuple(notes["target_names"])
        if pays_as_one_loop(net):
            params = stack(net, params)
        return Model(params, inputs, targets, *names, notes["data"])
    except KeyError as error:
        raise InputError(f"{path} has no {error}; it belongs to another network") from None
    except ValueError as error:
        raise InputError(f"{path} belongs to another network: {error}") from None


def save_checkpoint(path: Path, state: State, epoch: int, prepared: Prepared) -> None:
    """Write the state after so many epochs: all that is needed to go on, since shuffling is by the seed."""
    write_atomically(path, _as_bytes(_by_path(state), {"epoch": epoch, "data": prepared.fingerprint}))


def load_checkpoint(path: Path, like: State, prepared: Prepared) -> tuple[State, int]:
    """Read a state of the structure, shapes and dtypes of `like`, and after how many epochs it was saved.

    Raises:
        InputError: no such file, a damaged one, or one of other data, another network or optimizer.
    """
    tensors, notes = _read(path)
    require_same_data(notes.get("data"), prepared)
    expected = _by_path(like)
    for name in sorted(expected.keys() | tensors.keys()):
        found, needed = _kind(tensors.get(name)), _kind(expected.get(name))
        if found != needed:
            raise InputError(f"{path} does not fit this configuration: {name} is {found}, needed is {needed}")
    leaves = [jax.numpy.asarray(tensors[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), notes["epoch"]


def require_same_data(fingerprint: Any, prepared: Prepared) -> None:
    """Raise an InputError unless these are the examples that a run was trained on."""
    if fingerprint != prepared.fingerprint:
        raise InputError(
            f"{prepared.table.name} has changed since this run was trained: which of its examples were for "
            "training cannot be known any more. Use `mlp-jax predict` for new data, or train anew"
        )


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _kind(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype} {array.shape}"


def _as_bytes(tensors: dict[str, Any], notes: dict[str, Any]) -> bytes:
    # C order: safetensors would write the memory of a transposed view as it lies.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    # One entry: safetensors writes several in an order that changes from run to run.
    return save(arrays, {"mlp_jax": json.dumps(notes)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {})["mlp_jax"])
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    except (KeyError, ValueError):
        raise InputError(f"{path} was not written by mlp_jax") from None
