"""Anybody's data frames: what hands over its columns by the Arrow interfaces, as pandas, polars, pyarrow, DuckDB do."""

from collections.abc import Sequence
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import pa
from mlp_jax.tables.files import plain
from mlp_jax.tables.text import cleaned, first_line


def is_frame(value: Any) -> bool:
    """Whether it is a table with named columns.

    Raises:
        InputError: it is one that is not there yet.
    """
    if hasattr(value, "collect_schema") and hasattr(value, "collect") and not hasattr(value, "__arrow_c_stream__"):
        raise InputError(f"a {type(value).__name__} is a plan for a frame, and none: give what its collect() returns")
    hands_over = hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__")
    return hands_over and (hasattr(value, "columns") or hasattr(value, "column_names"))


def as_table(frame: Any, name: str, missing: Sequence[str] = ()) -> Any:
    """A frame as a pyarrow.Table, without an index, and without cells that mean a missing one.

    Raises:
        InputError: it has columns that Arrow does not have, or no names.
    """
    return cleaned(plain(_as_arrow(frame, name), name), missing)


def _as_arrow(frame: Any, name: str) -> Any:
    try:
        if type(frame).__module__.startswith("pandas"):
            frame = frame.rename(columns=str)
            if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
                raise InputError(f"{name}: the header names {', '.join(map(repr, twice))} more than once")
            return pa.Table.from_pandas(frame, preserve_index=False)
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
        from pyarrow.interchange import from_dataframe

        return from_dataframe(frame)
    except InputError:
        raise
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, TypeError) as error:
        raise InputError(f"{name}: {_mixed(frame) or first_line(error)}") from None


def _mixed(frame: Any) -> str | None:
    """Where a column of Python's objects has one of another kind than those before it."""
    for column in frame.columns:
        first: Any = None
        for row, cell in enumerate(frame[column].tolist() if str(frame[column].dtype) == "object" else ()):
            if cell is None or cell != cell:
                continue
            first = cell if first is None else first
            if type(cell) is not type(first):
                return (
                    f"column {column!r}: row {row + 1} is {cell!r}, and {first!r} stands before it: make them one "
                    f"kind, as frame[{column!r}].astype(str) does"
                )
    return None


def with_target(frame: Any, y: Any) -> tuple[Any, str | list[str]]:
    """A table of a frame and its targets, a column (n,) or a frame; and their names.

    Raises:
        InputError: they do not have the same number of rows, or the frame has a column of the same name.
    """
    table = as_table(frame, "the frame")
    targets = as_table(y if is_frame(y) else _table_of(y, table.column_names), "the targets")
    if table.num_rows != targets.num_rows:
        raise InputError(f"the frame has {table.num_rows} rows, its targets {targets.num_rows}")
    names = targets.column_names
    for name in names:
        if name in table.column_names:
            raise InputError(
                f"the frame has a column {name!r}, and so have the targets: take it out of the frame, or rename one"
            )
        table = table.append_column(name, targets.column(name))
    return table, names[0] if len(names) == 1 else names


def _table_of(y: Any, taken: Sequence[str]) -> Any:
    """Targets (n,) or (n, 1) as a table, under their name or one that is free."""
    name = getattr(y, "name", None)
    name = next(word for word in ("target", "y", "the target") if word not in taken) if name is None else str(name)
    if hasattr(y, "__arrow_c_stream__"):
        return pa.table({name: pa.chunked_array(y)})
    values = y.tolist() if hasattr(y, "tolist") else list(y)
    if len(getattr(y, "shape", ())) == 2:
        if y.shape[1] != 1:
            raise InputError(f"the targets have shape {y.shape}: give several as a frame, with their names")
        values = [value for (value,) in values]
    return pa.table({name: pa.array(values)})
