"""Arrays by name in a file: safetensors, readable by numpy alone, with JSON notes and a checksum; never pickled."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlp_jax.errors import InputError
from mlp_jax.files import Place, write_atomically
from mlp_jax.training.store.forms import Notes

Tensors = dict[str, Any]


class DamagedFile(InputError):
    """A file that was cut, or in which bits changed."""


def write(path: Path | Place, tensors: Tensors, notes: dict[str, Any]) -> None:
    """Write arrays and notes, with the SHA-256 of both; whole, or not at all."""
    # C order: safetensors would write the memory of a transposed view as it lies.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    # One entry: safetensors writes several in an order that changes from run to run.
    entry = json.dumps({**notes, "sha256": _checksum(arrays, notes)})
    write_atomically(path, save(arrays, {"mlp_jax": entry}))


def read(path: Path | Place, kind: type[Notes] = Notes) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write` wrote, with notes of a kind.

    Raises:
        InputError: no such file, or one that mlp_jax did not write.
        DamagedFile: a damaged one.
    """
    try:
        with Place.of(path).named() as name, safe_open(name, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            entry = (file.metadata() or {}).get("mlp_jax", "")
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: no such file") from None
    except (OSError, SafetensorError, TypeError, AttributeError, MemoryError) as error:  # of a dtype that numpy lacks
        raise DamagedFile(f"{path} is damaged: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = kind.of_json(entry, "its notes")
    except InputError as error:
        raise DamagedFile(f"{path} is damaged, or was not written by mlp_jax: {error}") from None
    notes = found.model_dump(exclude_unset=True, exclude={"sha256"})
    if found.sha256 != _checksum(tensors, notes):
        raise DamagedFile(f"{path} is damaged: its content does not have the checksum that it was written with")
    return tensors, notes


def kind_of(array: Any) -> str:
    """Dtype and shape, in words."""
    return "absent" if array is None else f"{array.dtype} {array.shape}"


def by_path(tree: Any) -> Tensors:
    """The leaves of a pytree by their paths, as in params.0.W."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def filled(like: Any, found: Tensors) -> Any:
    """The pytree of this structure with the leaves that are found under their paths; a KeyError names the missing."""
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in by_path(like)])


def _checksum(arrays: Tensors, notes: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
