"""Arrays of examples: those that are given, and those of .npz and .npy files.

Whatever is wrong with a file is an `InputError` that names the file, the place and what was required.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.tables import npy
from mlp_jax.tables.text import listed

Array = NDArray[Any]


class Table(NamedTuple):
    """Examples as they were read.

    Attributes:
        name: the file or set, for messages.
        x: inputs, (n, d).
        y: targets, (n,) class numbers or (n, k).
        input_names: of the d columns of x, or empty if the source has no names.
        target_names: of the classes or of the k columns of y, or empty.
    """

    name: str
    x: Array
    y: Array
    input_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()


def checked(table: Table) -> Table:
    """The examples.

    Raises:
        InputError: shapes do not go together, a number is not finite, or there are fewer than 2 examples.
    """
    _require_real(f"the inputs of {table.name}", table.x)
    if not isinstance(table.y, np.ndarray) or table.y.ndim != 1 or table.y.dtype.kind not in "USO":
        _require_real(f"the targets of {table.name}", table.y)
    if table.x.ndim != 2:
        fix = "; save x[:, None]" if table.x.ndim == 1 else ""
        raise InputError(f"the inputs of {table.name} have shape {table.x.shape}; they must be (n, d){fix}")
    if table.y.ndim not in (1, 2) or len(table.x) != len(table.y):
        raise InputError(
            f"the inputs of {table.name} have shape {table.x.shape}, its targets {table.y.shape}: "
            "they must have the same number of rows, n, and the targets be (n,) or (n, k)"
        )
    if len(table.x) < 2:
        raise InputError(f"{table.name} has {len(table.x)} example(s); training needs at least 2")
    for what, values in (("input", table.x), ("target", table.y)):
        if values.dtype.kind in "biuf" and (bad := first_true(~np.isfinite(values))):
            raise InputError(f"{table.name}: the {what} at {bad} (row first, counted from 0) is {values[bad]}")
    return table


def as_array(what: str, values: Any) -> Array:
    """Anything that numpy takes as an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} are no array: {error}") from None


def require_inputs(name: str, x: Any, width: int) -> None:
    """Raise an InputError unless x is an array (n, width) of finite real numbers."""
    _require_real(f"the inputs of {name}", x)
    if x.ndim != 2 or x.shape[1] != width:
        raise InputError(f"{name} has shape {x.shape}; the network needs (n, {width})")
    if bad := first_true(~np.isfinite(x)):
        raise InputError(f"{name}: the input in row {bad[0]}, column {bad[1]} (counted from 0) is {x[bad]}")


def read_npz(path: Path, x: str, y: str) -> Table:
    """Two arrays of one .npz file, by their names."""
    arrays = npy.load(path)
    if not isinstance(arrays, dict):
        raise InputError(f"{path} is a single array, not a .npz archive; use data.source: npy")
    for key in (x, y):
        if key not in arrays:
            raise InputError(f"{path} has no array {key!r}; it has {listed([*arrays])}")
    return Table(str(path), arrays[x], arrays[y])


def _require_real(what: str, values: Any) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        found = values.dtype if isinstance(values, np.ndarray) else "several arrays"
        raise InputError(f"{what} must be an array of real numbers, got {found}")


def first_true(bad: Array) -> tuple[int, ...] | None:
    """The index of the first True, or None."""
    return tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else None
