"""Tables from files, read by pyarrow: CSV and its relatives, Parquet, Feather, JSON; compressed, whole or in blocks.

Whatever is wrong with a file is an `InputError` that names the file, the place and what to do.
"""

import glob
import json as plain_json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import json, pa, parquet
from mlp_jax.tables.categories import as_words
from mlp_jax.tables.text import (
    COMPRESSED,
    Arrow,
    BadCells,
    Dialect,
    bad_cells,
    cleaned,
    first_line,
    listed,
    opened,
    read_text,
    require_columns,
)

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".data": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather",
    ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
_LONGEST = 2**31 - 1  # bytes that are read at once
_DEEPEST = 100  # records within records
_NO_BRACKET = re.compile(rb'(?s)"(?:[^"\\]|\\.)*"|[^][{}"]+')  # a text, or what stands between brackets
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


def read(
    patterns: Sequence[Path], dialect: Dialect, types: dict[str, Any], noted: dict[str, Counter[str]] | None = None
) -> Arrow:
    """The rows of all files, one after the other, cleaned; `types` are those of columns whose cells do not decide it.

    Raises:
        InputError: a file is missing or malformed, or files do not go together.
    """

    def whole(path: Path, types: dict[str, Any]) -> Arrow:
        (table,) = read_blocks(path, dialect, types)
        return clean(path, dialect, table, noted)

    return together(read_each(patterns, types, whole), str(found(patterns)[0]))


def read_each(
    patterns: Sequence[Path], types: dict[str, Any], read: Callable[[Path, dict[str, Any]], Any]
) -> list[Any]:
    """The table of each file, as `read` makes it of a path and the types of those before it."""
    tables: list[Any] = []
    for path in found(patterns):
        table = read(path, types)
        if tables and set(table.column_names) != set(tables[0].column_names):
            differ = sorted(set(table.column_names) ^ set(tables[0].column_names))
            raise InputError(f"{path} and {found(patterns)[0]} do not have the same columns: {listed(differ, 5)}")
        tables.append(table)
        types = types_of(table) | types
    return tables


def clean(path: Path, dialect: Dialect, table: Arrow, noted: dict[str, Counter[str]] | None = None) -> Arrow:
    """Rows of a file, `cleaned`: only in a text does a word have to stand for a missing cell."""
    return cleaned(table, dialect.missing, True, noted) if is_text(path) else cleaned(table, dialect.coded)


def is_text(path: Path) -> bool:
    """Whether a file is a text of rows."""
    return kind_of(path) in (None, "csv")


def types_of(table: Arrow) -> dict[str, Any]:
    """How the columns of a text that belongs to a table are read."""
    kinds = {field.name: field.type for field in table.schema if not pa.types.is_null(field.type)}
    return {name: pa.float64() if pa.types.is_integer(kind) else kind for name, kind in kinds.items()}


def together(tables: list[Arrow], name: str) -> Arrow:
    """The rows of all tables, one after the other.

    Raises:
        InputError: a column is of different kinds in them; says which.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{name}: the files do not go together: {first_line(error)}") from None


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
            table = table if isinstance(table, pa.Table) else pa.table(table)  # of a batch of rows
            if kind != "csv":  # offsets and text are taken as they stand
                table.validate(full=True)
            yield plain(table, str(path))
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"cannot read {path}: {reason}") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}") from None


def located(error: BadCells, patterns: Sequence[Path], dialect: Dialect) -> BadCells:
    """The error with the lines of its cells, where they stand in text files."""
    places: dict[str, str] = {}
    for path in found(patterns):
        tests = {cell.column: cell.is_bad for cell in error.cells if cell.column not in places}
        if is_text(path) and path.is_file():
            lines = bad_cells(path, dialect, tests)
            places |= {column: f"{path}:{line}" for column, (line, _) in lines.items()}
    return BadCells([cell._replace(place=places.get(cell.column, cell.place)) for cell in error.cells])


def plain(table: Arrow, name: str) -> Arrow:
    """The table with columns of plain cells: no categories coded by number, no nested ones, names without blanks.

    Raises:
        InputError: a name is there twice, or a column has cells within cells.
    """
    names = [column.strip() for column in table.column_names]
    if twice := sorted(column for column, count in Counter(names).items() if count > 1):
        raise InputError(f"{name}: the header names {listed([*map(repr, twice)], 5)} more than once")
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type
        if pa.types.is_dictionary(kind):
            if _is_text(kind.value_type):
                column = column.cast(pa.string())
            elif isinstance(kind.value_type, pa.BaseExtensionType):
                raise InputError(f"{name}: column {field.name!r} holds {kind.value_type}: make words or numbers of it")
            else:  # categories, also where these are numbers
                column = as_words(column.cast(kind.value_type)).dictionary_encode()
        elif _is_text(kind) and kind != pa.string():
            column = column.cast(pa.string())
        elif kind == pa.float16():
            column = column.cast(pa.float32())
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise InputError(f"{name}: column {field.name!r} is not text in UTF-8; say which data.encoding it has")
        columns.append(column)
    return pa.table(columns, names=names)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parquet(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with path.open("rb") as stream:
        file = parquet.ParquetFile(stream, pre_buffer=False)  # which keeps what has been read until the end
        require_columns(str(path), names or (), file.schema_arrow.names)
        yield from [file.read()] if whole else file.iter_batches(columns=names)


def _feather(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with path.open("rb") as stream:
        file = pa.ipc.open_file(stream)
        require_columns(str(path), names or (), file.schema.names)
        wanted, count = file.schema.names if names is None else names, file.num_record_batches
        yield from [file.read_all()] if whole or not count else (file.get_batch(k).select(wanted) for k in range(count))


def _json(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    """A list of records, or a record a line."""
    with opened(path) as (head, stream):
        content = stream.read().removeprefix(b"\xef\xbb\xbf")
    try:
        if head.lstrip()[:1] == b"[":
            content = b"\n".join(plain_json.dumps(record).encode() for record in plain_json.loads(content))
        brackets = _NO_BRACKET.sub(b"", content)
        if max(accumulate((1 if sign in b"[{" else -1 for sign in brackets), initial=0)) > _DEEPEST:
            raise ValueError("it is nested too deeply")  # pyarrow would end the process
        table = json.read_json(
            pa.BufferReader(content), read_options=json.ReadOptions(block_size=min(len(content) + 1, _LONGEST))
        )
    except (ValueError, RecursionError, pa.ArrowInvalid) as error:
        if content.strip():
            reason = re.sub(r"in row (\d+)", lambda row: f"in record {int(row[1]) + 1}", first_line(error))
            raise InputError(f"cannot read {path}: {reason}") from None
        table = pa.table({})
    if not table.column_names:
        raise InputError(f"{path} is empty: a table needs records with names")
    require_columns(str(path), names or (), table.column_names)
    yield table


_READERS = {"csv": read_text, "parquet": _parquet, "feather": _feather, "json": _json}
