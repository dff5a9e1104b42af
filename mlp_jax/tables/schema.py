"""What each column of a table is, learned from the training part; with it the table becomes inputs of a network.

A schema is saved with the weights as JSON, which a person can read and edit.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlp_jax.errors import InputError
from mlp_jax.sections import Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.categories import Category, as_words
from mlp_jax.tables.dates import ISO, Date, all_are_dates, format_of, is_date
from mlp_jax.tables.numbers import FAR, Number
from mlp_jax.tables.sources import Columns
from mlp_jax.tables.targets import Target
from mlp_jax.tables.text import LEADING_ZERO, BadCell, BadCells, is_number, of_each, require_columns

Array = NDArray[Any]
_ROWS = 4096
_MANY = 20  # rows, from which on all values being different says something
_IDENTIFIER = re.compile(r"(^|[\W_])(id|key|index|uuid|guid|rownames)$|[a-z](Id|ID)$", re.IGNORECASE)
_NAMELESS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
# What looks like a number that is written in another way, as 39,6 or 1.000,5 or 8 % or $2008.
_ANOTHER_NUMBER = re.compile(r"[\s$€£+−-]*\d[\d.,' ]*[\s$€£%]*")
_WITH_UNIT = re.compile(r"[\s+−-]*\d[\d.,' ]*(°?[^\W\d_][^\W_]{0,4}|°)")
_FEW_WORDS = 20  # different ones, up to which they may be categories, though they look like numbers with a unit
_TRUTH = ("true", "false", "0", "1")
FEW_COLUMNS = 3  # of which each is said in a line of its own


class Dropped(Section):
    """A column that is no input."""

    name: str
    kind: Literal["dropped"] = "dropped"
    why: str
    missing: int = 0


@dataclass
class Surprises:
    """What the training part does not have: by kind and column, how many cells, with some of them."""

    cells: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)

    def count(self, kind: str, column: str, found: Mapping[str, int]) -> None:
        """Count cells of a column that are surprising in one way."""
        if found:
            self.cells.setdefault(kind, {}).setdefault(column, Counter()).update(found)

    def add(self, other: "Surprises") -> None:
        """Count those of more rows, too."""
        for kind, columns in other.cells.items():
            for column, found in columns.items():
                self.count(kind, column, found)

    def in_words(self, where: str) -> Iterator[str]:
        """A line for each column; of many that surprise in the same way, one for all."""
        for kind, columns in self.cells.items():
            each = [[name] for name in columns]
            for names in each if len(each) <= FEW_COLUMNS else [list(columns)]:
                cells = sum((columns[name] for name in names), Counter[str]())
                yield f"{where}: {subject(names)}: {cells.total():,} cells are {_said(kind, list(cells), names[0])}"


def _plain(cell: Any) -> str:
    return f"{cell:.15g}" if isinstance(cell, float) else str(cell)


def subject(names: Sequence[str]) -> str:
    """Columns in a sentence, in short.

    >>> subject(["a", "b"])
    "columns 'a' and 'b'"
    """
    if len(names) == 1:
        return f"column {names[0]!r}"
    shown, more = names[:FEW_COLUMNS], len(names) - FEW_COLUMNS
    *first, last = [*map(repr, shown), *([f"{more:,} more"] if more > 0 else [])]
    return f"columns {', '.join(first)} and {last}"


def _said(kind: str, examples: list[str], column: str) -> str:
    if kind == "unseen":
        shown = ", ".join(map(repr, examples[:3])) + (" …" if len(examples) > 3 else "")
        return f"of categories unseen in training: {shown}"
    if kind == "later":
        return (
            "later than all of the training part, and a network does not know how time goes on; "
            f"data.columns: {{{column}: drop}} leaves it out"
        )
    if kind == "missing":
        return "missing, and none of the training part is: they are taken for its median, or for no category"
    return (
        f"more than {FAR:g} times as far from the median of the training part as its quartiles are from each other, as "
        f"{examples[0]}; if it means missing, data.missing: [{examples[0]}]; data.standardize_inputs: robust clips it"
    )


Column = Annotated[Number | Category | Date | Dropped, Field(discriminator="kind")]


class Schema(Section):
    """The columns of a table in their order, and its targets."""

    columns: tuple[Column, ...]
    targets: tuple[Target, ...]

    @property
    def used(self) -> list[Number | Category | Date]:
        """The columns that become inputs, those that are looked up last, as the network takes them."""
        chosen = [column for column in self.columns if not isinstance(column, Dropped)]
        return sorted(chosen, key=_is_looked_up)

    @property
    def looked_up(self) -> list[Category]:
        """The columns whose codes the network takes."""
        return [column for column in self.columns if isinstance(column, Category) and column.looked_up]

    @property
    def inputs(self) -> list[str]:
        """The names of the rows of W of the first layer, those of a column side by side: its first word is its name."""
        return [name for column in self.used for name in column.inputs]

    @property
    def types(self) -> dict[str, Any]:
        """How the cells of a text file are read, so that blocks of it are alike."""
        numeric = {"number": pa.float64(), "boolean": pa.bool_()}
        return {column.name: numeric.get(column.kind, pa.string()) for column in self.used}

    def encode(self, table: Any, dtype: str, where: str, first_row: int = 0) -> Array:
        """The inputs x of the rows of a table, whose columns are found by name.

        Raises:
            InputError: a column is missing, or a cell is not of its column's kind; rows are counted after `first_row`.
        """
        require_columns(where, [column.name for column in self.used], table.column_names)
        width = sum(map(self.width, self.used))
        x = np.empty((table.num_rows, width), np.float64 if dtype == "float64" else np.float32)
        found = of_each(lambda column: encoded(column, table.column(column.name), where, first_row), self.used)
        with np.errstate(over="ignore"):  # which is said where it is used
            columns = [
                values.astype(x.dtype) if values.dtype == np.float64 else values
                for inputs in found
                for values in inputs
            ]
        for start in range(0, len(x), _ROWS):  # each block of x is written once, while it is in the cache
            rows = slice(start, start + _ROWS)
            np.stack([values[rows] for values in columns], axis=1, out=x[rows], casting="unsafe")
        return x

    def width(self, column: Number | Category | Date) -> int:
        """How many columns of x it has."""
        return 1 if _is_looked_up(column) else len(column.inputs)

    def surprises(self, table: Any, x: Array, rows: Array | None = None) -> "Surprises":
        """What encoded rows of a table, all of them or these, hold that the training part does not."""
        found, k, places = Surprises(), 0, None if rows is None else pa.array(rows)
        extremes = None  # of all columns at once, which are quick to find
        if isinstance(x, np.ndarray):
            extremes = np.stack([x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf)])
        for column in self.used:
            cells = table.column(column.name)
            cells = cells if places is None else cells.take(places)
            lost = cells.null_count
            if pa.types.is_floating(cells.type):
                lost = pc.sum(pc.is_null(cells, nan_is_null=True)).as_py()
            if lost and not column.missing:
                found.count("missing", column.name, {"": lost})
            if isinstance(column, Category):
                found.count("unseen", column.name, column.unseen(cells))
            else:
                number = column.days if isinstance(column, Date) else column
                if isinstance(column, Date):
                    last = (number.largest - number.center) / number.scale
                    later = int((x[:, k] > last + 1e-5 * abs(last)).sum())
                    found.count("later", column.name, {"": later} if 2 * later > len(x) else {})  # a few may be so
                may_be = extremes is None or number.are_far(extremes[:, k]).any()
                if may_be and (far := number.are_far(x[:, k])).any():
                    worst = int(np.flatnonzero(far)[np.abs(x[far, k]).argmax()])
                    found.count("far", column.name, {_plain(cells[worst].as_py()): int(far.sum())})
            k += self.width(column)
        return found

    def as_json(self) -> str:
        """As it is saved."""
        return f"{self.model_dump_json(indent=1)}\n"


def _is_looked_up(column: Number | Category | Date) -> bool:
    return isinstance(column, Category) and column.looked_up


class Learned(NamedTuple):
    """A schema, and what should be said of the columns."""

    schema: Schema
    said: list[str]


def learn(
    table: Any, rows: Array, source: Columns, targets: Iterable[Target], where: str, inputs: int | None = None
) -> Learned:
    """The schema of a table, from the rows of its training part.

    Who says that there are as many `inputs` as columns asks for each of them.

    Raises:
        InputError: a column is asked for that is not there, or what it is cannot be known.
    """
    targets = tuple(targets)
    others = [*(name for name in source.targets), *source.not_inputs]
    require_columns(f"{where}: data.inputs:", source.inputs or (), table.column_names)
    require_columns(f"{where}: data.drop:", source.drop, table.column_names)
    require_columns(f"{where}: data.columns:", list(source.columns), table.column_names)
    names = [
        name for name in table.column_names if name not in others and (source.inputs is None or name in source.inputs)
    ]
    places = pa.array(rows)

    def columns(asked: bool) -> list[Any]:
        def cells(name: str) -> Any:
            return table.column(name).take(places) if len(rows) < table.num_rows else table.column(name)

        return of_each(lambda name: _column(name, table.column(name), cells(name), source, where, asked), names)

    found = columns(asked=len(names) == inputs)
    if len(names) == inputs != sum(len(c.inputs) for c in found if not isinstance(c, Dropped)):
        found = columns(asked=False)
    if all(isinstance(column, Dropped) for column in found):
        found = columns(asked=True)  # there is nothing else to learn from
    schema = Schema(columns=tuple(found), targets=targets)
    left_out: dict[str, list[str]] = {}
    for column in found:
        if isinstance(column, Dropped) and column.why not in ("data.drop", "data.columns"):
            left_out.setdefault(column.why, []).append(column.name)
    said = []
    for why, of_this in left_out.items():
        each = [[name] for name in of_this]
        for few in each if len(each) <= FEW_COLUMNS else [of_this]:
            said.append(f"{subject(few)} {'is' if len(few) == 1 else 'are'} left out: {why}")
    if not schema.used:
        why = "; ".join(said)
        raise InputError(
            f"{where} has no column besides the target {', '.join(source.targets)}: nothing to learn from"
            + (f" ({why})" if why else "")
        )
    return Learned(schema, said)


def _column(name: str, whole: Any, training: Any, source: Columns, where: str, asked: bool) -> Any:
    """What a column is: as was said, or as its cells look."""
    said = source.columns.get(name)
    if name in source.drop or said == "drop":
        return Dropped(name=name, why="data.drop" if name in source.drop else "data.columns")
    kind = whole.type
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        what = "cells within cells" if pa.types.is_nested(kind) else "cells of a kind of their own"
        raise InputError(
            f"{where}: column {name!r} holds {what} ({kind}): make numbers, dates or words of them, or name it in "
            "data.drop"
        )
    if is_category := pa.types.is_dictionary(kind):
        whole, training = as_words(whole), as_words(training)
    if training.null_count == len(training):
        return Dropped(name=name, why="all cells of the training part are missing")
    asked = asked or name in (source.inputs or ()) or said is not None
    if not asked and (why := _no_input(name, whole, training)):
        return Dropped(name=name, why=why)
    if said:
        return _of_kind(said, name, training, source, where, whole=whole)
    if is_category:
        return _of_kind("category", name, training, source, where, "categories")
    if pa.types.is_boolean(kind):
        return _of_kind("boolean", name, training, source, where, "true or false")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return _of_kind("date", name, training, source, where, "dates")
    if not pa.types.is_string(kind):
        return _of_kind("number", name, training, source, where, "numbers")
    return _of_words(name, whole, training, source, where, asked)


def _no_input(name: str, whole: Any, training: Any) -> str | None:
    """Why a column can teach nothing, if so."""
    n = len(whole)
    if pa.types.is_floating(whole.type):
        ends = pc.min_max(training).as_py()
        different = 2 - (ends["min"] == ends["max"] and training.null_count == 0)  # or more
    else:
        different = pc.count_distinct(training, mode="all").as_py()
    if different == 1:
        return "it has one value in the training part"
    if pa.types.is_integer(whole.type) and n > 2 and whole.null_count == 0:
        values = whole.to_numpy(zero_copy_only=False)
        if (np.diff(values) == 1).all() and values[0] in (0, 1) and (n >= _MANY or _NAMELESS.fullmatch(name)):
            return "it is the number of the row; to use it, name it in data.columns"
    if _NAMELESS.fullmatch(name):
        return "it has no name, as the index of a saved frame; to use it, name it in data.columns"
    all_different = len(training) >= _MANY and different == len(training)
    if all_different and pa.types.is_integer(whole.type) and _IDENTIFIER.search(name):
        return "an identifier by its name, all its values are different; to use it, name it in data.columns"
    return None


def _of_words(name: str, whole: Any, training: Any, source: Columns, where: str, asked: bool) -> Any:
    """A column of text: dates, truth values, numbers, categories; or what was meant for one of these, and is none."""
    if written := format_of(whole):
        if written.others:
            raise InputError(
                f"{where}: column {name!r} holds dates as {whole.drop_null()[0]}, which may be {written.format} or "
                f"{written.others[0]}: say which, data.columns: {{{name}: {written.format!r}}}"
            )
        if written.odd is not None:
            raise _no_date(name, whole, written.odd, written.format, where)
        return _of_kind("date", name, training, source, where, f"dates as {written.format}", whole)
    words = whole.drop_null().unique().to_pylist()
    are_codes = any(re.match(LEADING_ZERO, word) for word in words)
    if not are_codes:
        numbers = sum(map(is_number, words))
        if numbers == len(words):
            return _of_kind("number", name, training, source, where, "numbers as text")
        if numbers * 2 >= len(words):
            raise not_a_number(name, whole, next(word for word in words if not is_number(word)), where)
        units = {unit and unit[1] for unit in map(_WITH_UNIT.fullmatch, words)}
        if all(map(_ANOTHER_NUMBER.fullmatch, words)) or (
            len(units) == 1 < _FEW_WORDS < len(words) and None not in units
        ):
            raise not_a_number(name, whole, words[0], where)
        if all(word.lower() in _TRUTH for word in words):
            return _of_kind("boolean", name, training, source, where, "true or false")
    if not asked and len(training) >= _MANY and pc.count_distinct(training, mode="all").as_py() == len(training):
        why = "all its values are different, as of an identifier; to use it, name it in data.columns"
        return Dropped(name=name, why=why)
    column = Category.learn(
        name, "whole numbers with leading zeros" if are_codes else "words", training, source.min_count
    )
    if not asked and not column.categories and not column.missing:
        why = f"each of its categories has fewer than {source.min_count} examples (data.min_count)"
        return Dropped(name=name, why=f"{why}; to use it, name it in data.columns")
    return column


def _bad_cell(column: str, cells: Any, cell: str, what: str, where: str, first_row: int = 0) -> BadCells:
    """A cell that has a text, with its row."""
    row = first_row + pc.index(as_words(cells), cell).as_py() + 1
    return BadCells([BadCell(column, cell.__eq__, f"{cell!r} {what}", f"{where}: row {row}")])


def not_a_number(column: str, cells: Any, cell: str, where: str, first_row: int = 0) -> BadCells:
    """The error for a word among numbers."""
    what = "is not a number; if it means missing, add it to data.missing"
    if re.fullmatch(r"[+-]?(0,\d+|\d+,(?!\d{3}$)\d+)", cell):
        what += "; if commas are decimal points, data.decimal: ','"
    if (unit := _WITH_UNIT.fullmatch(cell)) and len(unit[1]) > 1:
        what += f"; if it has a unit, write it without {unit[1]!r}"
    what += f"; if these are words, data.columns: {{{column}: category}}"
    return _bad_cell(column, cells, cell, what, where, first_row)


def _no_date(column: str, cells: Any, cell: str, format: str, where: str, first_row: int = 0) -> BadCells:
    what = (
        f"is no date as {format}; if it means missing, add it to data.missing; data.columns says formats, or category"
    )
    return _bad_cell(column, cells, cell, what, where, first_row)


def _is_infinite(cell: str) -> bool:
    return is_number(cell) and not np.isfinite(float(cell))


def _is_truth(cell: str) -> bool:
    return cell.lower() in _TRUTH


def _require_kind(kind: str, name: str, cells: Any, where: str, format: str | None = None, first_row: int = 0) -> None:
    """Raise BadCells with the first cell that is not of a kind, where the type of the cells does not say so."""
    is_text = pa.types.is_string(cells.type)
    if kind == "category" or not (is_text or (kind == "boolean" and not pa.types.is_boolean(cells.type))):
        return
    format = format or ISO
    if kind == "date":
        if all_are_dates(cells, format):
            return
        odd = next(word for word in cells.drop_null().to_pylist() if not is_date(word, format))
        raise _no_date(name, cells, odd, format, where, first_row)
    words = as_words(cells).drop_null().unique().to_pylist()
    bad = [word for word in words if not _is_truth(word) and (kind == "boolean" or not is_number(word))]
    if bad and kind == "boolean":
        raise _bad_cell(name, cells, bad[0], "is no truth value: true, false, 1 or 0", where, first_row)
    if bad:
        raise not_a_number(name, cells, bad[0], where, first_row)


def _of_kind(
    kind: str, name: str, training: Any, source: Columns, where: str, why: str = "data.columns", whole: Any = None
) -> Any:
    try:
        if kind == "category":
            return Category.learn(name, why, training, source.min_count)
        if kind == "date" or "%" in kind:
            format = kind if "%" in kind else None
            if pa.types.is_string(training.type) or format:
                training, whole = as_words(training), as_words(whole)
                if not format:
                    written = format_of(whole)
                    format = written.format if written else ISO
                _require_kind("date", name, whole, where, format)
            return Date.learn(name, why, training, format, source.standardize_inputs)
        _require_kind(kind, name, training if whole is None else whole, where)
        return Number.learn(name, kind, why, training, source.standardize_inputs)
    except InputError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, ValueError) as error:
        raise InputError(f"{where}: column {name!r} cannot be read as {kind}: {str(error).splitlines()[0]}") from None


def encoded(column: Number | Category | Date, cells: Any, where: str, first_row: int) -> Sequence[Array]:
    """The inputs that cells become, (n,) each.

    Raises:
        InputError: a cell is not of its column's kind, or no finite number.
    """
    _require_kind(column.kind, column.name, cells, where, getattr(column, "format", None), first_row)
    try:
        found = column.encode(cells)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: column {column.name!r} is a {column.kind}: {str(error).splitlines()[0]}") from None
    for values in found:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            what = f"{cells[row].as_py()!r} is not a finite number; if it means missing, add it to data.missing"
            raise BadCells([BadCell(column.name, _is_infinite, what, f"{where}: row {first_row + row + 1}")])
    return found
