"""Anybody's data frames: what hands over its columns by the Arrow interfaces, as pandas, polars, pyarrow, DuckDB do."""

from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import pa
from mlp_jax.tables.files import plain
from mlp_jax.tables.text import first_line


def is_frame(value: Any) -> bool:
    """Whether it is a table with named columns."""
    hands_over = hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__")
    return hands_over and (hasattr(value, "columns") or hasattr(value, "column_names"))


def as_table(frame: Any, name: str) -> Any:
    """A frame as a pyarrow.Table, without an index.

    Raises:
        InputError: it has columns that Arrow does not have, or no names.
    """
    try:
        if type(frame).__module__.startswith("pandas"):
            frame = frame.rename(columns=str)
            return plain(pa.Table.from_pandas(frame, preserve_index=False), name)
        if hasattr(frame, "__arrow_c_stream__"):
            return plain(pa.table(frame), name)
        from pyarrow.interchange import from_dataframe

        return plain(from_dataframe(frame), name)
    except InputError:
        raise
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, TypeError) as error:
        raise InputError(f"{name}: {first_line(error)}") from None


def with_target(frame: Any, y: Any) -> tuple[Any, str | list[str]]:
    """A table of a frame and its targets, a column (n,) or a frame; and their names.

    Raises:
        InputError: they do not have the same number of rows.
    """
    table = as_table(frame, "the frame")
    if is_frame(y):
        targets = as_table(y, "the targets")
    else:
        name = str(getattr(y, "name", None) or "target")
        values = y if hasattr(y, "__arrow_c_stream__") else list(y) if not hasattr(y, "tolist") else y.tolist()
        targets = pa.table({name: pa.chunked_array(values) if hasattr(y, "__arrow_c_stream__") else pa.array(values)})
    if table.num_rows != targets.num_rows:
        raise InputError(f"the frame has {table.num_rows} rows, its targets {targets.num_rows}")
    for name in targets.column_names:
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, targets.column(name))
    names = targets.column_names
    return table, names[0] if len(names) == 1 else names
