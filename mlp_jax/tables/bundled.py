"""scikit-learn's bundled sets, kept as plain arrays where that is asked for: importing scikit-learn takes a second."""

import contextlib
import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import write_atomically
from mlp_jax.tables import npy
from mlp_jax.tables.reading import Table

KEPT = ("x", "y", "input_names", "target_names")
_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """From now on, keep what is read in this folder, which is there, and take it from there; for the command line."""
    global _folder
    _folder = folder


def read_bundled(name: str) -> Table:
    """A set, such as "digits".

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        file = _folder and _folder / f"{name}-of-scikit-learn-{version('scikit-learn')}.npz"
        arrays = file and _read(file)
        if not arrays:
            arrays = _load(name)
            if file:
                _keep(file, arrays)
    except ImportError:  # as is PackageNotFoundError
        raise InputError(
            f"data.source: {name} comes with scikit-learn, which is not installed: pip install 'mlp_jax[data]'"
        ) from None
    names = (tuple(map(str, arrays[key])) for key in ("input_names", "target_names"))
    return Table(name, arrays["x"], arrays["y"], *names)


def _read(file: Path) -> dict[str, Any] | None:
    """What is kept; None if nothing is, or if it is damaged."""
    try:
        found = npy.load(file)
        return {key: found[key] for key in KEPT}
    except (InputError, KeyError, IndexError):
        return None


def _keep(file: Path, arrays: dict[str, Any]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    with contextlib.suppress(OSError):  # no place for it: it is read anew the next time
        write_atomically(file, content.getvalue())


def _load(name: str) -> dict[str, Any]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    y = bunch.target
    if name in ("breast_cancer", "diabetes"):  # one target a row, 0 or 1, or a quantity
        y = y[:, None]
    names = np.array([str(feature) for feature in bunch.feature_names])
    targets = np.array([str(target) for target in bunch.get("target_names", ())], dtype=str)
    return {"x": bunch.data, "y": y, "input_names": names, "target_names": targets}
