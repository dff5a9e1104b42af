"""Tables from files, read by pyarrow: CSV and its relatives, Parquet, Feather, JSON; compressed, whole or in blocks.

Whatever is wrong with a file is an `InputError` that names the file, the place and what to do.
"""

import csv as plain_csv
import glob
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import csv, pa, parquet, pc

Arrow = Any  # a pyarrow.Table, or a column of one

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".data": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather",
    ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_OTHERS = {
    ".zip": "unpack it first",
    ".xlsx": "save the sheet as CSV or Parquet first",
    ".xls": "save the sheet as CSV or Parquet first",
}
_ENCODING = "is it Latin-1? then data.encoding: latin-1"
_HEAD = 1 << 16  # bytes that are looked at to find the delimiter
_BLOCK = 1 << 21  # no row may be longer


class Dialect(NamedTuple):
    """How cells are written in text files; None is found from the first lines."""

    delimiter: str | None = None
    decimal: str | None = None
    quote: str = '"'
    encoding: str | None = None
    missing: tuple[str, ...] = MISSING


def kind_of(path: str | Path) -> str | None:
    """How a file is read, by its name; None if that says nothing.

    >>> kind_of("penguins.csv.gz")
    'csv'
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
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


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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


# --- text -------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The first bytes of a file, unpacked, and the whole of it; it is opened once, for it may be a pipe."""
    with path.open("rb") as file:
        compression = _COMPRESSED.get(path.suffix.lower())
        stream = pa.CompressedInputStream(file, compression) if compression else file
        head = stream.read(_HEAD)
        if not compression and file.seekable():
            file.seek(0)
            yield head, file
        else:
            yield head, io.BufferedReader(_Joined(head, stream), _BLOCK)


class _Joined(io.RawIOBase):
    """Bytes that were read already, and what follows them."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        chunk = chunk or self._rest.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _csv(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with _opened(path) as (head, stream):
        header, dialect = _header(path, head, dialect)
        given = {name.strip(): name for name in header}
        require_columns(str(path), names or (), list(given))
        options: dict[str, Any] = {
            "read_options": csv.ReadOptions(block_size=_BLOCK, encoding=dialect.encoding),
            "parse_options": csv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote, newlines_in_values=True
            ),
            "convert_options": csv.ConvertOptions(
                column_types={given[name]: kind for name, kind in types.items() if name in given},
                include_columns=[given[name] for name in names] if names is not None else None,
                null_values=[*dialect.missing, *(f" {word}" for word in dialect.missing)],
                strings_can_be_null=True,
                decimal_point=dialect.decimal,
            ),
        }
        try:
            tables = iter([csv.read_csv(stream, **options)]) if whole else iter(csv.open_csv(stream, **options))
            last = None
            for table in tables:
                last = table
                if any(map(pa.types.is_binary, table.schema.types)):
                    raise UnicodeError
                yield _trimmed(table)
        except (pa.ArrowInvalid, UnicodeError) as error:
            raise _explained(path, dialect, header, types, error) from None
    if last is not None and last.num_rows:
        _require_closed_quotes(path, dialect, last)


def _header(path: Path, head: bytes, dialect: Dialect) -> tuple[list[str], Dialect]:
    """The names in the first line, and the dialect with what the first lines say of it."""
    encoding = dialect.encoding or ("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    if b"\0" in head and encoding == "utf-8":
        raise InputError(f"cannot read {path}: it has bytes 0: it is no text, or one whose data.encoding must be said")
    if head[:4] in (b"PAR1", b"PK\x03\x04", b"ARRO"):
        raise InputError(
            f"cannot read {path}: it is no text; give it the suffix of what it is, as .parquet or .feather"
        )
    try:
        text = head.decode(encoding, errors="strict" if len(head) < _HEAD else "ignore").removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError):
        raise InputError(f"cannot read {path}: not text in {encoding.upper()}; {_ENCODING}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty: a table needs a header with names, and rows")
    delimiter = dialect.delimiter or max(",;\t|", key=lines[0].count)
    reader = plain_csv.reader(lines, delimiter=delimiter, quotechar=dialect.quote)
    try:
        header = next(reader)
        cells = [cell for row in reader for cell in row]
    except plain_csv.Error as error:
        raise InputError(f"cannot read {path}: {error}") from None
    decimal = dialect.decimal or ("," if delimiter != "," and _has_decimal_commas(cells) else ".")
    return header, dialect._replace(delimiter=delimiter, decimal=decimal, encoding=encoding)


def _has_decimal_commas(cells: list[str]) -> bool:
    def count(point: str) -> int:
        numbers = (cell.strip().lstrip("+-").split(point) for cell in cells)
        return sum(len(halves) == 2 and all(map(str.isdecimal, halves)) for halves in numbers)

    return count(",") > count(".")


def _trimmed(table: Arrow) -> Arrow:
    """Without blanks around words: ' Male' is Male."""
    for k, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(k, field.name, pc.utf8_trim_whitespace(table.column(k)))
    return table


def require_columns(name: str, wanted: Sequence[str], header: Sequence[str]) -> None:
    """Raise an InputError that names those wanted columns that are not in the header."""
    if missing := [column for column in wanted if column not in header]:
        more = f" and {len(missing) - 5} more" * (len(missing) > 5)
        others = ", ".join(map(str, header[:8])) + (f" and {len(header) - 8} more" if len(header) > 8 else "")
        raise InputError(f"{name} has no column {', '.join(missing[:5])}{more}; it has {others}")


def rows_of(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text file after its header, with the number of its last line: slow, to say where a fault is."""
    with _opened(path) as (head, stream):
        _, dialect = _header(path, head, dialect)
        text = io.TextIOWrapper(stream, encoding=dialect.encoding or "utf-8", errors="replace", newline="")
        reader = plain_csv.reader(text, delimiter=dialect.delimiter or ",", quotechar=dialect.quote)
        rows = ((reader.line_num, row) for row in reader if row)
        next(rows, None)
        try:
            yield from rows
        finally:
            text.detach()  # the file is closed by who opened it


def line_of(path: Path, dialect: Dialect, is_bad: Callable[[list[str]], bool]) -> tuple[int, list[str]] | None:
    """The line of the first row of a text file that is bad, and its cells."""
    try:
        return next(((line, row) for line, row in rows_of(path, dialect) if is_bad(row)), None)
    except (OSError, plain_csv.Error, InputError):  # a pipe cannot be read again
        return None


def cell_line(path: Path, dialect: Dialect, column: str, is_bad: Callable[[str], bool]) -> int | None:
    """The first line of a text file on which the cell of a column is bad."""
    if kind_of(path) not in (None, "csv"):
        return None
    with _opened(path) as (head, _):
        k = [name.strip() for name in _header(path, head, dialect)[0]].index(column)
    line = line_of(path, dialect, lambda row: len(row) > k and is_bad(row[k].strip()))
    return line[0] if line else None


def _explained(path: Path, dialect: Dialect, header: list[str], types: dict[str, Any], error: Exception) -> InputError:
    """What pyarrow refused, with the line where it is."""
    if isinstance(error, UnicodeError):
        bad = line_of(path, dialect, lambda row: any("\ufffd" in cell for cell in row))
        where = f":{bad[0]}" if bad else ""
        return InputError(
            f"cannot read {path}{where}: not text in {(dialect.encoding or 'utf-8').upper()}; {_ENCODING}"
        )
    if "columns, got" in str(error) and (ragged := line_of(path, dialect, lambda row: len(row) != len(header))):
        line, row = ragged
        hint = (
            ""
            if str(dialect.delimiter) in row[0] or len(header) > 1
            else "; say how columns are separated: data.delimiter"
        )
        return InputError(f"{path}:{line}: {len(row)} cells; the header has {len(header)}{hint}")
    if "Empty CSV" in str(error):
        return InputError(f"{path} has a header but no rows")
    if "straddl" in str(error):
        return InputError(f"cannot read {path}: a row of more than {_BLOCK:,} bytes; is a quote left open?")
    for name, kind in types.items() if "conversion error" in str(error) else ():

        def is_bad(cell: str, kind: Any = kind) -> bool:
            return not _is(cell, kind, dialect)

        if name in header and (place := cell_line(path, dialect, name, is_bad)):
            what = _WORDS.get(str(kind), kind)
            return InputError(
                f"{path}:{place}: column {name!r}: a cell is no {what}; if it means missing, add it to data.missing"
            )
    return InputError(f"cannot read {path}: {first_line(error)}")


_WORDS = {"double": "number", "bool": "boolean"}


def _is(cell: str, kind: Any, dialect: Dialect) -> bool:
    """Whether a cell can be of a type."""
    if cell.strip() in dialect.missing:
        return True
    if kind == pa.bool_():
        return cell.strip().lower() in ("true", "false", "0", "1")
    return kind != pa.float64() or is_number(cell.replace(dialect.decimal or ".", "."))


def is_number(cell: str) -> bool:
    """Whether it is read as a number: Python's float also takes 1_000 and digits of other scripts."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _require_closed_quotes(path: Path, dialect: Dialect, last: Arrow) -> None:
    """Raise an InputError if the last row holds a line end that belongs to no closed quote: it swallowed rows."""
    row = last.slice(last.num_rows - 1).to_pylist()[0]
    if not any(isinstance(cell, str) and "\n" in cell for cell in row.values()) or not path.is_file():
        return
    before = 1
    quotes = 0
    for line, cells in rows_of(path, dialect):
        if any("\n" in cell for cell in cells):
            quotes = before + 1
        before = line
    with _opened(path) as (_, stream):
        count = sum(chunk.count(dialect.quote.encode()) for chunk in iter(lambda: stream.read(_BLOCK), b""))
    if count % 2:
        raise InputError(f"{path}:{quotes}: a quote is opened here, and closed nowhere")


# --- binary -----------------------------------------------------------------------------------------


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
    with _opened(path) as (head, stream):
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


_READERS = {"csv": _csv, "parquet": _parquet, "feather": _feather, "json": _json}
