"""Tables from text: CSV and its relatives; delimiter, encoding and decimal point are found in the first lines.

Whatever is wrong with a file is an `InputError` that names the file, the line and what to do.
"""

import csv as plain_csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import csv, pa, pc

Arrow = Any  # a pyarrow.Table, or a column of one

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
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


@contextmanager
def opened(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The first bytes of a file, unpacked, and the whole of it; it is opened once, for it may be a pipe."""
    with path.open("rb") as file:
        compression = COMPRESSED.get(path.suffix.lower())
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


def read_text(
    path: Path, dialect: Dialect, types: dict[str, Any], names: Sequence[str] | None, whole: bool
) -> Iterator[Arrow]:
    with opened(path) as (head, stream):
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
    with opened(path) as (head, stream):
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
    with opened(path) as (head, _):
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
    with opened(path) as (_, stream):
        count = sum(chunk.count(dialect.quote.encode()) for chunk in iter(lambda: stream.read(_BLOCK), b""))
    if count % 2:
        raise InputError(f"{path}:{quotes}: a quote is opened here, and closed nowhere")


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
