"""What each column of a table is, learned from the training part; with it the table becomes inputs of a network.

A schema is saved with the weights as JSON, which a person can read and edit.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from mlp_jax.errors import InputError
from mlp_jax.sections import Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.categories import Category, as_words
from mlp_jax.tables.dates import ISO, Date, format_of, odd_cell
from mlp_jax.tables.numbers import Number
from mlp_jax.tables.sources import Columns
from mlp_jax.tables.targets import Target
from mlp_jax.tables.text import is_number, require_columns

Array = NDArray[Any]
_FAR = 100.0  # spreads of the training part, beyond which a number is named
_ROWS = 4096
_MANY = 20  # rows, from which on all values being different says something
_IDENTIFIER = re.compile(r"(^|[\W_])(id|key|index|uuid|guid|rownames)$|[a-z](Id|ID)$", re.IGNORECASE)
_NAMELESS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
# What looks like a number that is written in another way, as 39,6 or 1.000,5 or 8 % or $2008.
_ANOTHER_NUMBER = re.compile(r"[\s$€£+−-]*\d[\d.,' ]*[\s$€£%]*")


class Dropped(Section):
    """A column that is no input."""

    name: str
    kind: Literal["dropped"] = "dropped"
    why: str
    missing: int = 0


@dataclass
class Surprises:
    """Unseen categories, and numbers far out of the range of the training part: how many cells, by column."""

    unseen: dict[str, Counter[str]] = field(default_factory=dict)
    far: dict[str, Counter[float]] = field(default_factory=dict)
    later: Counter[str] = field(default_factory=Counter)  # dates after all of the training part

    def add(self, other: "Surprises") -> None:
        """Count those of more rows, too."""
        for name, words in other.unseen.items():
            self.unseen.setdefault(name, Counter()).update(words)
        for name, sizes in other.far.items():
            self.far.setdefault(name, Counter()).update(sizes)
        self.later.update(other.later)

    def in_words(self, where: str) -> Iterator[str]:
        """A line for each column."""
        for name, words in self.unseen.items():
            if words:
                shown = ", ".join(map(repr, list(words)[:3])) + (" …" if len(words) > 3 else "")
                yield f"{where}: column {name!r}: {words.total():,} cells are of categories unseen in training: {shown}"
        for name, count in self.later.items():
            if count:
                yield (
                    f"{where}: column {name!r}: {count:,} cells are later than all of the training part, and a network "
                    f"does not know how time goes on; data.columns: {{{name}: drop}} leaves it out"
                )
        for name, sizes in self.far.items():
            yield (
                f"{where}: column {name!r}: {sizes.total():,} cells are more than {_FAR:g} deviations from the mean of "
                f"the training part, as {max(sizes, key=abs):.6g}; if it means missing, name it in data.missing; "
                "data.standardize_inputs: robust clips it"
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
        return sorted(chosen, key=lambda column: column in self.looked_up)

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
        width = sum(map(self._width, self.used))
        x = np.empty((table.num_rows, width), np.float64 if dtype == "float64" else np.float32)
        columns = [
            values.astype(x.dtype) if values.dtype == np.float64 else values
            for column in self.used
            for values in _encoded(column, table.column(column.name), where, first_row)
        ]
        for start in range(0, len(x), _ROWS):  # each block of x is written once, while it is in the cache
            rows = slice(start, start + _ROWS)
            np.stack([values[rows] for values in columns], axis=1, out=x[rows], casting="unsafe")
        return x

    def _width(self, column: Number | Category | Date) -> int:
        """How many columns of x it has."""
        return 1 if column in self.looked_up else len(column.inputs)

    def surprises(self, table: Any, x: Array, rows: Array | None = None) -> "Surprises":
        """What encoded rows of a table, all of them or these, hold that the training part does not."""
        found, k = Surprises(), 0
        for column in self.used:
            if isinstance(column, Category):
                cells = table.column(column.name)
                new = column.unseen(cells if rows is None else cells.take(pa.array(rows)))
                found.unseen[column.name] = Counter(new)
            else:
                number = column.days if isinstance(column, Date) else column
                if isinstance(column, Date):
                    last = (number.largest - number.center) / number.scale
                    later = int((x[:, k] > last + 1e-5 * abs(last)).sum())
                    found.later[column.name] = later if 2 * later > len(x) else 0  # a few are so by chance
                far = np.abs(x[:, k]) > _FAR
                if far.any() and not number.robust and number.scale != 1:
                    worst = float(x[np.abs(x[:, k]).argmax(), k])
                    found.far[column.name] = Counter({number.center + number.scale * worst: int(far.sum())})
            k += self._width(column)
        return found

    def as_json(self) -> str:
        """As it is saved."""
        return f"{self.model_dump_json(indent=1)}\n"

    @classmethod
    def of_json(cls, text: str | bytes, name: str) -> "Schema":
        """A schema as it was saved, and perhaps edited.

        Raises:
            InputError: with the place.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"cannot read {name}: {place}: {first['msg']}") from None


class Learned(NamedTuple):
    """A schema, and what should be said of the columns."""

    schema: Schema
    said: list[str]


def learn(table: Any, rows: Array, source: Columns, targets: Iterable[Target], where: str) -> Learned:
    """The schema of a table, from the rows of its training part.

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

        return [_column(name, table.column(name), cells(name), source, where, asked) for name in names]

    found = columns(asked=False)
    if all(isinstance(column, Dropped) for column in found):
        found = columns(asked=True)  # there is nothing else to learn from
    schema = Schema(columns=tuple(found), targets=targets)
    said = [
        f"column {column.name!r} is left out: {column.why}"
        for column in found
        if isinstance(column, Dropped) and column.why not in ("data.drop", "data.columns")
    ]
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
    if pa.types.is_nested(kind):
        raise InputError(f"{where}: column {name!r} holds cells within cells ({kind}); name it in data.drop")
    if training.null_count == len(training):
        return Dropped(name=name, why="all cells of the training part are missing")
    asked = asked or name in (source.inputs or ()) or said is not None
    if not asked and (why := _no_input(name, whole, training)):
        return Dropped(name=name, why=why)
    if said:
        return _of_kind(said, name, training, source, where)
    if pa.types.is_boolean(kind):
        return _of_kind("boolean", name, training, source, where, "true or false")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return _of_kind("date", name, training, source, where, "dates")
    if not pa.types.is_string(kind):
        return _of_kind("number", name, training, source, where, "numbers")
    return _of_words(name, training, source, where)


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
    is_text = pa.types.is_string(whole.type)
    if len(training) >= _MANY and different == len(training):
        if is_text and format_of(training)[0] is None:
            return "all its values are different, as of an identifier; to use it, name it in data.columns"
        if pa.types.is_integer(whole.type) and _IDENTIFIER.search(name):
            return "an identifier by its name, all its values are different; to use it, name it in data.columns"
    return None


def _of_words(name: str, training: Any, source: Columns, where: str) -> Any:
    """A column of text: dates, categories, or numbers that cannot be read as such."""
    format, others = format_of(training)
    if format and others:
        raise InputError(
            f"{where}: column {name!r} holds dates as {training.drop_null()[0]}, which may be {format} or {others[0]}: "
            f"say which, data.columns: {{{name}: {format!r}}}"
        )
    if format:
        return Date.learn(name, f"dates as {format}", training, format, source.standardize_inputs)
    words = training.drop_null().unique().to_pylist()
    numbers = [word for word in words if is_number(word)]
    if len(numbers) * 2 >= len(words):
        raise _not_a_number(name, next(word for word in words if not is_number(word)), where)
    if all(map(_ANOTHER_NUMBER.fullmatch, words)):
        raise _not_a_number(name, words[0], where)
    return Category.learn(name, "words", training, source.min_count)


class BadCell(InputError):
    """A cell that cannot be used; who knows the file finds its line, by `is_bad` of its text."""

    def __init__(self, column: str, is_bad: Callable[[str], bool], what: str, place: str) -> None:
        super().__init__(f"{place}: column {column!r}: {what}")
        self.column, self.is_bad, self.what = column, is_bad, what


def _not_a_number(column: str, cell: str, place: str) -> BadCell:
    return BadCell(
        column,
        cell.__eq__,
        f"{cell!r} is not a number; if it means missing, add it to data.missing; if commas are decimal points, "
        f"data.decimal: ','; if these are words, data.columns: {{{column}: category}}",
        place,
    )


def _no_date(column: str, cell: str, format: str, place: str) -> BadCell:
    what = f"{cell!r} is no date as {format}; if it means missing, add it to data.missing; data.columns says formats"
    return BadCell(column, cell.__eq__, what, place)


def _is_infinite(cell: str) -> bool:
    return is_number(cell) and not np.isfinite(float(cell))


def _of_kind(kind: str, name: str, training: Any, source: Columns, where: str, why: str = "data.columns") -> Any:
    try:
        if kind == "category":
            return Category.learn(name, why, training, source.min_count)
        if kind == "date" or "%" in kind:
            format = kind if "%" in kind else None
            if pa.types.is_string(training.type) or format:
                training = as_words(training)
                format = format or format_of(training)[0] or ISO
                if (odd := odd_cell(training, format)) is not None:
                    raise _no_date(name, odd, format, where)
            return Date.learn(name, why, training, format, source.standardize_inputs)
        return Number.learn(name, kind, why, training, source.standardize_inputs)
    except InputError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, ValueError) as error:
        raise InputError(f"{where}: column {name!r} cannot be read as {kind}: {str(error).splitlines()[0]}") from None


def _encoded(column: Number | Category | Date, cells: Any, where: str, first_row: int) -> Sequence[Array]:
    try:
        found = column.encode(cells)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if isinstance(column, Date) and (odd := odd_cell(cells, column.format)) is not None:
            raise _no_date(column.name, odd, column.format or ISO, where) from None
        raise InputError(f"{where}: column {column.name!r} is a {column.kind}: {str(error).splitlines()[0]}") from None
    for values in found:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            what = f"{cells[row].as_py()!r} is not a finite number; if it means missing, add it to data.missing"
            raise BadCell(column.name, _is_infinite, what, f"{where}: row {first_row + row + 1}")
    return found
