"""Reading a table of examples from files: CSV, .npz and .npy.

Whatever is wrong with a file is an `InputError` that names the file, the place and what was required.
"""

import csv
import math
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError

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


class Readable(Protocol):
    """What examples come from: a `Source`, which knows this file, and not the other way round."""

    def read(self, arrays: Any = None) -> Table:
        """The examples, unchecked."""


def read(source: Readable, arrays: Any = None) -> Table:
    """The examples of a source, checked; of arrays, those that are given.

    Raises:
        InputError: a file is missing or malformed, a number is not finite, or there are fewer than 2 examples.
    """
    table = source.read(arrays)
    for what, values in (("inputs", table.x), ("targets", table.y)):
        _require_real(f"the {what} of {table.name}", values)
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
        if bad := first_true(~np.isfinite(values)):
            raise InputError(f"{table.name}: the {what} at {bad} (row first, counted from 0) is {values[bad]}")
    return table


def as_array(what: str, values: Any) -> Array:
    """Anything that numpy takes as an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} are no array: {error}") from None


def read_inputs(path: Path, names: tuple[str, ...], width: int) -> Array:
    """Inputs (n, width) to predict on: a .npy array, or a CSV file with a header.

    If the training data had names, columns are found by name, in any order, and others are left out.

    Raises:
        InputError: the file is missing or malformed, or columns are missing.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        x = load_numpy(path)
    else:
        header = _header(path)
        missing = [name for name in names if name not in header]
        if missing:
            more = f" and {len(missing) - 5} more" * (len(missing) > 5)
            raise InputError(f"{path} has no column {', '.join(missing[:5])}{more}; the network needs {width}")
        x = _read_columns(path, header, names or tuple(header))
    require_inputs(str(path), x, width)
    return x


def require_inputs(name: str, x: Any, width: int) -> None:
    """Raise an InputError unless x is an array (n, width) of finite real numbers."""
    _require_real(f"the inputs of {name}", x)
    if x.ndim != 2 or x.shape[1] != width:
        raise InputError(f"{name} has shape {x.shape}; the network needs (n, {width})")
    if bad := first_true(~np.isfinite(x)):
        raise InputError(f"{name}: the input in row {bad[0]}, column {bad[1]} (counted from 0) is {x[bad]}")


def load_numpy(path: Path) -> Any:
    """An array, or a dict of the arrays of a .npz file; pickled objects are refused."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'not a numpy file'}") from None
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path}: damaged, or not a numpy file of plain arrays ({error})") from None


def read_npz(path: Path, x: str, y: str) -> Table:
    """Two arrays of one .npz file, by their names."""
    arrays = load_numpy(path)
    if not isinstance(arrays, dict):
        raise InputError(f"{path} is a single array, not a .npz archive; use data.source: npy")
    for key in (x, y):
        if key not in arrays:
            raise InputError(f"{path} has no array {key!r}; it has {', '.join(arrays)}")
    return Table(str(path), arrays[x], arrays[y])


def read_csv(path: Path, targets: tuple[str, ...]) -> Table:
    """A CSV file with a header, all of whose cells are numbers."""
    header = _header(path)
    for target in targets:
        if target not in header:
            hint = "; are its columns separated by commas?" if ";" in header[0] or "\t" in header[0] else ""
            raise InputError(f"{path} has no column {target!r} (data.target); it has {', '.join(header)}{hint}")
    inputs = tuple(name for name in header if name not in targets)
    if not inputs:
        raise InputError(f"{path} has no column besides the target {', '.join(targets)}: nothing to learn from")
    numbers = _read_columns(path, header, inputs + targets)
    return Table(str(path), numbers[:, : len(inputs)], numbers[:, len(inputs) :], inputs, targets)


def _header(path: Path) -> list[str]:
    header = [name.strip() for name in next(_rows(path), (0, []))[1]]
    if not any(header):
        raise InputError(f"{path} is empty: a CSV file needs a header and rows")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}:1: the header names {', '.join(map(repr, twice))} more than once")
    if all(_is_number(name) for name in header):
        raise InputError(f"{path}:1: a CSV file needs a header with names of columns; its first line is numbers")
    return header


def _read_columns(path: Path, header: list[str], names: tuple[str, ...]) -> Array:
    """The numbers (n, len(names)) of these columns; numpy is fast, and where it fails we look for the cell."""
    lines = next(_rows(path))[0]  # of the header, and blank ones before it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's, on a file without rows
            numbers = np.loadtxt(
                path,
                delimiter=",",
                skiprows=lines,
                ndmin=2,
                comments=None,
                quotechar='"',
                encoding="utf-8-sig",
                usecols=[header.index(name) for name in names],
            )
    except ValueError as error:
        _require_numbers(path, header, names)
        raise InputError(f"{path}: {error}") from None
    if numbers.size == 0:
        raise InputError(f"{path} has a header but no rows")
    if not np.isfinite(numbers).all() or _some_row_is_longer(path, header):
        _require_numbers(path, header, names)
    return numbers


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of its last line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: not text in UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def _some_row_is_longer(path: Path, header: list[str]) -> bool:
    """Whether some line has more cells than the header: numpy does not look at columns that are not wanted."""
    with path.open("rb") as file:
        return any(line.count(b",") >= len(header) for line in file)


def _require_numbers(path: Path, header: list[str], names: tuple[str, ...]) -> None:
    """Find the first cell that makes a CSV file unusable, and say where it is."""
    rows = _rows(path)
    next(rows)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: {len(row)} cells; the header has {len(header)}")
        cells = dict(zip(header, row, strict=True))
        for name in names:
            if not _is_number(cells[name]):
                raise InputError(f"{path}:{line}: column {name!r}: {cells[name]!r} is not a number")
            if not math.isfinite(float(cells[name])):
                raise InputError(f"{path}:{line}: column {name!r}: {cells[name]!r} is not a finite number")


def _is_number(cell: str) -> bool:
    """Whether numpy, too, reads it as one: Python's float also takes 1_000 and digits of other scripts."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _require_real(what: str, values: Any) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        found = values.dtype if isinstance(values, np.ndarray) else "several arrays"
        raise InputError(f"{what} must be an array of real numbers, got {found}")


def first_true(bad: Array) -> tuple[int, ...] | None:
    """The index of the first True, or None."""
    return tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else None
