"""Tables from files, read by pyarrow: CSV and its relatives, Parquet, Feather, JSON; compressed, whole or in blocks.

Whatever is wrong with a file is an `InputError` that names the file, the place and what to do.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import pa, parquet
from mlp_jax.tables.text import COMPRESSED, Arrow, Dialect, first_line, opened, read_text, require_columns

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".data": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather",
    ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
_OTHERS = {
    ".zip": "unpack it first",
    ".xlsx": "save the sheet as CSV or Parquet first",
    ".xls": "save the sheet as CSV or Parquet first",
}


def kind_of(path: str | Path) -> str | None:
    """How a file is read, by its name; None if that says nothing.

    >>> kind_of("penguins.csv.gz")
    'csv'
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def found(patterns: Sequence[Path]) -> list[Path]:
    """The files that paths and patterns such as part-*.csv name, those of a pattern in the order of their names.

    Raises:
        InputError: a pattern fits no file.
    """
    files: list[Path] = []
    for pattern in patterns:
        if not glob.has_magic(str(pattern)) or pattern.exists():
            files.append(pattern)
        elif fitting := sorted(glob.glob(str(pattern))):
            files += map(Path, fitting)
        else:
            raise InputError(f"data.path: no file fits {pattern}")
    return files


def read(patterns: Sequence[Path], dialect: Dialect, types: dict[str, Any]) -> Arrow:
    """The rows of all files, one after the other; `types` are those of columns whose cells do not decide it.

    Raises:
        InputError: a file is missing or malformed, or files do not go together.
    """
    tables: list[Arrow] = []
    for path in found(patterns):
        (table,) = read_blocks(path, dialect, types)
        if tables and set(table.column_names) != set(tables[0].column_names):
            differ = sorted(set(table.column_names) ^ set(tables[0].column_names))
            raise InputError(f"{path} and {found(patterns)[0]} do not have the same columns: {', '.join(differ[:5])}")
        tables.append(table)
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{tables and found(patterns)[0]}: the files do not go together: {error}") from None


def read_blocks(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None = None, whole: bool = True
) -> Iterator[Arrow]:
    """The rows of a file in tables one after the other; all at once where they decide on the types, `whole`.

    Args:
        path: the file.
        dialect: how its cells are written.
        types: of columns by name.
        names: the columns that are wanted, all of which it must have; None wants all.
        whole: whether all rows are read at once.
    """
    kind = kind_of(path) or "csv"
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise InputError(f"cannot read {path}: {_OTHERS[suffix]}")
    try:
        tables = _READERS[kind](path, dialect, types, names, whole)
        for table in tables:
            table = pa.table(table)  # of a batch of rows, too
            yield plain(table, str(path))
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"cannot read {path}: {reason}") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}") from None


def plain(table: Arrow, name: str) -> Arrow:
    """The table with columns of plain cells: no categories coded by number, no nested ones, names without blanks.

    Raises:
        InputError: a name is there twice, or a column has cells within cells.
    """
    names = [column.strip() for column in table.column_names]
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise InputError(f"{name}: the header names {', '.join(map(repr, twice))} more than once")
    table = table.rename_columns(names)
    for k, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            kind = field.type.value_type
            table = table.set_column(k, field.name, table.column(k).cast(pa.string() if _is_text(kind) else kind))
        elif _is_text(field.type) and field.type != pa.string():
            table = table.set_column(k, field.name, table.column(k).cast(pa.string()))
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            raise InputError(f"{name}: column {field.name!r} is not text in UTF-8; say which data.encoding it has")
    return table


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parquet(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with path.open("rb") as stream:
        file = parquet.ParquetFile(stream)
        require_columns(str(path), names or (), file.schema_arrow.names)
        yield from [file.read()] if whole else file.iter_batches(columns=names)


def _feather(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with path.open("rb") as stream:
        file = pa.ipc.open_file(stream)
        require_columns(str(path), names or (), file.schema.names)
        if whole or not file.num_record_batches:
            yield file.read_all()
            return
        yield from (file.get_batch(k).select(names) for k in range(file.num_record_batches))


def _json(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    """A list of records, or a record a line."""
    with opened(path) as (head, stream):
        try:
            if head.lstrip()[:1] == b"[":
                records = json.loads(stream.read())
            else:
                records = [json.loads(line) for line in stream if line.strip()]
            table = pa.Table.from_pylist(records, schema=None)
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"cannot read {path}: not a list of records in JSON: {first_line(error)}") from None
    require_columns(str(path), names or (), table.column_names)
    yield table


_READERS = {"csv": read_text, "parquet": _parquet, "feather": _feather, "json": _json}
