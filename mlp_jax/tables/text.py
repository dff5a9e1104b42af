"""Tables from text: CSV and its relatives; delimiter, encoding and decimal point are found in the first lines.

Whatever is wrong with a file is an `InputError` that names the file, the line and what to do.
"""

import csv as plain_csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import csv, pa, pc
from mlp_jax.terminal import escaped

Arrow = Any  # a pyarrow.Table, or a column of one

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_ENCODING = "is it Latin-1? then data.encoding: latin-1"
_HEAD = 1 << 16  # bytes that are looked at to find the delimiter
_SHOWN = 8  # columns with bad cells
_LONGEST = 100  # letters of a name that are shown
_ROWS = 100  # by which a delimiter is judged
_BLOCK = 1 << 21  # no row may be longer
LEADING_ZERO = "^[+-]?0[0-9]+$"  # a code, such as a postcode: no number


class Dialect(NamedTuple):
    """How cells are written in text files; None is found from the first lines."""

    delimiter: str | None = None
    decimal: str | None = None
    quote: str = '"'
    encoding: str | None = None
    missing: tuple[str, ...] = MISSING
    coded: tuple[str, ...] = ()  # of these, what stands for a missing cell in files of other kinds, too
    spelled: tuple[str, ...] = ()  # columns of truth values that are read as they are spelled


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
        header, found = _header(path, head, dialect)
        given = {name.strip(): name for name in header}
        require_columns(str(path), names or (), list(given))
        options = _options(
            found,
            head,
            column_types={given[name]: kind for name, kind in types.items() if name in given},
            include_columns=[given[name] for name in names] if names is not None else None,
        )
        try:
            tables = iter([csv.read_csv(stream, **options)]) if whole else iter(csv.open_csv(stream, **options))
            last = None
            for table in tables:
                last = table
                if any(map(pa.types.is_binary, table.schema.types)):
                    raise UnicodeError
                if whole and (texts := _as_texts(path, found, table, types)):
                    yield from read_text(path, dialect, {**types, **dict.fromkeys(texts, pa.string())}, names, whole)
                    return
                for name, cells in zip(table.column_names, table.columns, strict=True):
                    if pa.types.is_string(cells.type) and pc.any(pc.match_substring(cells, "\0")).as_py():
                        raise InputError(f"cannot read {path}: column {name!r} has bytes 0: it is no text")
                yield table
        except (pa.ArrowInvalid, UnicodeError) as error:
            raise _explained(path, found, header, types, error) from None
    if last is not None and last.num_rows:
        _require_closed_quotes(path, found, last)


def types_in_blocks(path: Path, dialect: Dialect, types: dict[str, Any]) -> dict[str, Any]:
    """The types that columns have where all rows are read at once, found in bounded memory.

    pyarrow tries `_kinds` one after the other, until all cells of a column have one; in blocks it knows the first only.

    Raises:
        InputError: a cell is not of the type that is given, or the file is malformed.
    """
    with opened(path) as (head, stream):
        header, found = _header(path, head, dialect)
    given = {name: types[name.strip()] for name in header if name.strip() in types}
    while True:
        options = _options(found, head, column_types=given)
        known = given
        try:
            with opened(path) as (_, stream):
                blocks = csv.open_csv(stream, **options)
                known = {field.name: field.type for field in blocks.schema}
                for _ in blocks:
                    pass
            texts = _as_texts(path, found, blocks.schema.empty_table(), types)
            return {name.strip(): pa.string() if name.strip() in texts else kind for name, kind in known.items()}
        except (pa.ArrowInvalid, UnicodeError) as error:
            place = re.search(r"column #(\d+):.*conversion error", str(error))
            name = header[int(place[1])] if place else ""
            if not place or name.strip() in types:
                raise _explained(path, found, header, types, error) from None
            kinds = _kinds()
            given = known | {name: kinds[kinds.index(known[name]) + 1] if known[name] in kinds[:-1] else pa.string()}


def _kinds() -> list[Any]:
    """The types that pyarrow tries for a column, in its order."""
    times = pa.date32(), pa.time32("s"), *(pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("s", "ns"))
    return [pa.null(), pa.int64(), pa.bool_(), *times, pa.float64(), pa.string()]


def _options(dialect: Dialect, head: bytes, **convert: Any) -> dict[str, Any]:
    delimiter, quote = dialect.delimiter, dialect.quote
    convert["null_values"] = [*dialect.missing, *(f" {word}" for word in dialect.missing)]
    convert["decimal_point"] = dialect.decimal
    return {
        # in rows that do not end within the head, a task for each column costs more than its cells
        "read_options": csv.ReadOptions(use_threads=b"\n" in head, block_size=_BLOCK, encoding=dialect.encoding),
        "parse_options": csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=True),
        "convert_options": csv.ConvertOptions(**convert),
    }


def _as_texts(path: Path, dialect: Dialect, table: Arrow, types: dict[str, Any]) -> set[str]:
    """Columns that a number or a truth value does not stand for: codes such as 01000, words that are spelled."""
    kinds = {field.name: field.type for field in table.schema if field.name.strip() not in types}
    texts = {name for name, kind in kinds.items() if pa.types.is_boolean(kind) and name.strip() in dialect.spelled}
    if not path.is_file() or table.num_columns > len(set(table.column_names)):
        return set()  # a pipe cannot be read again; and a name that is there twice is refused
    whole = [name for name, kind in kinds.items() if pa.types.is_integer(kind)]
    with opened(path) as (head, stream):
        options = _options(dialect, head, column_types=dict.fromkeys(whole, pa.string()), include_columns=whole)
        for block in csv.open_csv(stream, **options) if whole else ():
            if _has_code(pa.chunked_array(block.columns)):  # which of them, is seldom asked
                texts |= {name for name in whole if _has_code(block[name])}
    return {name.strip() for name in texts}


def _has_code(cells: Arrow) -> bool:
    return bool(pc.any(pc.match_substring_regex(cells, LEADING_ZERO)).as_py())


def cleaned(
    table: Arrow, missing: Sequence[str], is_text: bool = False, noted: dict[str, Counter[str]] | None = None
) -> Arrow:
    """The table without cells that mean a missing one, which are noted; of a text without the blanks around words."""
    numbers = pa.array([float(word) for word in missing if is_number(word) and "nan" not in word.lower()], pa.float64())
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_string(field.type):
            column = pc.utf8_trim_whitespace(column) if is_text else column
            lost = pc.is_in(column, value_set=pa.array(missing, pa.string()))
            if noted is not None:
                counts = pc.value_counts(column.filter(lost)).to_pylist()
                noted.setdefault(field.name, Counter()).update({of["values"]: of["counts"] for of in counts})
        elif len(numbers) and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            lost = pc.is_in(column.cast(pa.float64(), safe=False), value_set=numbers)
        else:
            columns.append(column)
            continue
        columns.append(pc.if_else(lost, None, column))
    return pa.table(columns, names=table.column_names)


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
    if len(head) == _HEAD:
        lines = lines[:-1] or lines  # which is cut
    delimiter = dialect.delimiter or max(",;\t|", key=lambda delimiter: _suits(delimiter, lines, dialect))
    reader = plain_csv.reader(lines, delimiter=delimiter, quotechar=dialect.quote)
    try:
        header = next(reader)
        cells = [cell for row in reader for cell in row]
    except plain_csv.Error as error:
        raise InputError(f"cannot read {path}: {error}") from None
    decimal = dialect.decimal or ("," if delimiter != "," and _has_decimal_commas(cells) else ".")
    return header, dialect._replace(delimiter=delimiter, decimal=decimal, encoding=encoding)


def _suits(delimiter: str, lines: list[str], dialect: Dialect) -> tuple[float, int]:
    """How well it explains the first rows: in how many there are as many cells as in the header; and how many."""
    try:
        rows = list(islice(plain_csv.reader(lines, delimiter=delimiter, quotechar=dialect.quote), _ROWS))
    except plain_csv.Error:
        return 0, 0
    width = len(rows[0])
    return (width > 1) * sum(len(row) == width for row in rows) / len(rows), width


def _has_decimal_commas(cells: list[str]) -> bool:
    points = [number[1] for cell in cells if (number := re.fullmatch(r"\s*[+-]*\d+([.,])\d+\s*", cell))]
    return points.count(",") > points.count(".")


def require_columns(name: str, wanted: Sequence[str], header: Sequence[str]) -> None:
    """Raise an InputError that names those wanted columns that are not in the header."""
    known = frozenset(header)
    if missing := [column for column in wanted if column not in known]:
        raise InputError(f"{name} has no column {listed(missing, 5)}; it has {listed(header, 8)}")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a message: the first ones, cut where they are long, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = [escaped(str(name)).replace("\n", "\\n") for name in names[:most]]  # a name is no line of its own
    words = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in shown]
    return ", ".join(words) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def rows_of(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text file after its header, with the number of its first line: slow, to say where a fault is."""
    with opened(path) as (head, stream):
        _, dialect = _header(path, head, dialect)
        text = io.TextIOWrapper(stream, encoding=dialect.encoding or "utf-8", errors="replace", newline="")
        reader = plain_csv.reader(text, delimiter=dialect.delimiter or ",", quotechar=dialect.quote)
        before, is_header = 0, True
        try:
            for row in reader:
                if row and not is_header:
                    yield before + 1, row
                before, is_header = reader.line_num, is_header and not row
        finally:
            text.detach()  # the file is closed by who opened it


def line_of(path: Path, dialect: Dialect, is_bad: Callable[[list[str]], bool]) -> tuple[int, list[str]] | None:
    """The line of the first row of a text file that is bad, and its cells."""
    try:
        return next(((line, row) for line, row in rows_of(path, dialect) if is_bad(row)), None)
    except (OSError, plain_csv.Error, InputError):  # a pipe cannot be read again
        return None


class BadCell(NamedTuple):
    """A cell that cannot be used: which has `is_bad` of its text, where it was met, and what to do."""

    column: str
    is_bad: Callable[[str], bool]
    what: str
    place: str


class BadCells(InputError):
    """Cells that cannot be used, the first of each column; who knows the file finds their lines."""

    def __init__(self, cells: Sequence[BadCell]) -> None:
        lines = [f"{cell.place}: column {cell.column!r}: {cell.what}" for cell in cells[:_SHOWN]]
        more = [f"and {len(cells) - _SHOWN} columns more"] if len(cells) > _SHOWN else []
        super().__init__("\n".join([*lines, *more]))
        self.cells = cells


def of_each(function: Callable[[Any], Any], columns: Iterable[Any]) -> list[Any]:
    """What a function finds for each column; the bad cells of all of them are raised together."""
    found: list[Any] = []
    bad: list[BadCell] = []
    for column in columns:
        try:
            found.append(function(column))
        except BadCells as error:
            bad += error.cells
    if bad:
        raise BadCells(bad)
    return found


def bad_cells(path: Path, dialect: Dialect, tests: dict[str, Callable[[str], bool]]) -> dict[str, tuple[int, str]]:
    """The line and the text of the first cell of each column of a text file that is bad by the test of its text."""
    found: dict[str, tuple[int, str]] = {}
    with opened(path) as (head, _):
        header = {name.strip(): k for k, name in enumerate(_header(path, head, dialect)[0])}
    places = {name: header[name] for name in tests if name in header}

    def seen(row: list[str], line: int) -> bool:
        for name, k in places.items():
            if name not in found and len(row) > k and tests[name](row[k].strip()):
                found[name] = line, row[k].strip()
        return len(found) == len(places)

    with suppress(OSError, plain_csv.Error, InputError):
        any(seen(row, line) for line, row in rows_of(path, dialect))
    return found


def _explained(path: Path, dialect: Dialect, header: list[str], types: dict[str, Any], error: Exception) -> InputError:
    """What pyarrow refused, with the line where it is."""
    if isinstance(error, UnicodeError):
        odd = line_of(path, dialect, lambda row: any("\ufffd" in cell for cell in row))
        where, encoding = f":{odd[0]}" if odd else "", (dialect.encoding or "utf-8").upper()
        return InputError(f"cannot read {path}{where}: not text in {encoding}; {_ENCODING}")
    if "columns, got" in str(error) and (ragged := line_of(path, dialect, lambda row: len(row) != len(header))):
        line, row = ragged
        is_one = len(header) == 1 and str(dialect.delimiter) not in row[0]
        hint = "; say how columns are separated: data.delimiter" if is_one else ""
        return InputError(f"{path}:{line}: {len(row)} cells; the header has {len(header)}{hint}")
    if "Empty CSV" in str(error):
        return InputError(f"{path} has a header but no rows")
    if "straddl" in str(error):
        return InputError(f"cannot read {path}: a row of more than {_BLOCK:,} bytes; is a quote left open?")
    if "conversion error" in str(error) and path.is_file():
        tests: Any = {name: partial(_is_not, kind=kind, dialect=dialect) for name, kind in types.items()}
        bad = []
        for name, (line, cell) in bad_cells(path, dialect, tests).items():
            kind = _WORDS.get(str(types[name]), types[name])
            what = f"{cell!r} is no {kind}; if it means missing, add it to data.missing"
            bad.append(BadCell(name, tests[name], what, f"{path}:{line}"))
        if bad:
            return BadCells(bad)
    return InputError(f"cannot read {path}: {first_line(error)}")


_WORDS = {"double": "number", "bool": "boolean"}


def _is_not(cell: str, kind: Any, dialect: Dialect) -> bool:
    """Whether a cell cannot be of a type."""
    if cell in dialect.missing or pa.types.is_string(kind):
        return False
    if kind == pa.bool_():
        return cell.lower() not in ("true", "false", "0", "1")
    if kind == pa.float64():
        return not is_number(cell.replace(dialect.decimal or ".", "."))
    try:
        pa.array([cell]).cast(kind)
    except pa.ArrowInvalid:
        return True
    except pa.ArrowNotImplementedError:  # of a time of day
        pass
    return False


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
    lines = [line for line, cells in rows_of(path, dialect) if any("\n" in cell for cell in cells)]
    with opened(path) as (_, stream):
        count = sum(chunk.count(dialect.quote.encode()) for chunk in iter(lambda: stream.read(_BLOCK), b""))
    if count % 2 and lines:
        raise InputError(f"{path}:{lines[-1]}: a quote is opened here, and closed nowhere")


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
