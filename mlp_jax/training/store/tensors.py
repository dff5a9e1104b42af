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
from mlp_jax.files import require_regular, write_atomically

Tensors = dict[str, Any]


class DamagedFile(InputError):
    """A file that was cut, or in which bits changed."""


def write(path: Path, tensors: Tensors, notes: dict[str, Any]) -> None:
    """Write arrays and notes, with the SHA-256 of both; whole, or not at all."""
    # C order: safetensors would write the memory of a transposed view as it lies.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    # One entry: safetensors writes several in an order that changes from run to run.
    entry = json.dumps({**notes, "sha256": _checksum(arrays, notes)})
    write_atomically(path, save(arrays, {"mlp_jax": entry}))


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write` wrote.

    Raises:
        InputError: no such file, or one that mlp_jax did not write.
        DamagedFile: a damaged one.
    """
    try:
        require_regular(path)
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            notes = json.loads((file.metadata() or {})["mlp_jax"])
            checksum = notes.pop("sha256")
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
    except (KeyError, ValueError, AttributeError, TypeError):
        raise DamagedFile(f"{path} is damaged, or was not written by mlp_jax") from None
    if checksum != _checksum(tensors, notes):
        raise DamagedFile(f"{path} is damaged: its content does not have the checksum that it was written with")
    return tensors, notes


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
