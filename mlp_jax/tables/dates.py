"""A column of dates or times: a number that grows, and where in the year, the week and the day it falls."""

import re
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlp_jax.sections import Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.numbers import Number, as_numbers

Array = NDArray[Any]
_DAY = 86_400.0
_SOME = 100  # different words, by which the others are judged
# Parts that come again, with their length in days; the first day of 1970 was a Thursday.
CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}
ISO = "ISO 8601"
TIME = "hours:minutes"  # of a day, and perhaps seconds
_OF_DAYS = (
    "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y", "%d/%m/%y", "%y/%m/%d",
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%Y-%m", "%Y%m%d",
)  # fmt: skip
FORMATS = (ISO, TIME, *(f"{days}{time}" for time in ("", " %H:%M", " %H:%M:%S") for days in _OF_DAYS))
_SHAPES = {
    ISO: r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?",
    TIME: r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?",
    "%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%b": "[A-Za-z]{3,9}",
}  # fmt: skip


class Date(Section):
    """Days since 1970, standardised; then sine and cosine of the place in each cycle that the training part shows.

    Attributes:
        format: as in strptime, or ISO 8601, or hours:minutes; None where the cells were dates already.
        cycles: year, week, day: those in which the training part is at more than one place.
    """

    name: str
    kind: Literal["date"]
    why: str
    format: str | None
    days: Number
    cycles: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Cells of the training part."""
        return self.days.missing

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs that the column becomes."""
        waves = (f"{self.name}:{wave} of {cycle}" for cycle in self.cycles for wave in ("sine", "cosine"))
        return [*self.days.inputs, *waves]

    @classmethod
    def learn(cls, name: str, why: str, column: Any, format: str | None, standardize: bool | str) -> Self:
        """From the cells of the training part, of which some are there."""
        days = as_days(column, format)
        format = TIME if pa.types.is_time(column.type) else format  # as which they may be read from a text
        number = Number.learn(name, "number", why, pa.array(days, from_pandas=True), standardize)
        span = number.largest - number.smallest

        def varies(cycle: str) -> bool:
            places = days[~np.isnan(days)] % CYCLES[cycle]
            return bool(np.ptp(places) > 0) and span > CYCLES[cycle] / 4

        cycles = tuple(cycle for cycle in CYCLES if varies(cycle))
        return cls(name=name, kind="date", why=why, format=format, days=number, cycles=cycles)

    def encode(self, column: Any) -> list[Array]:
        """The inputs, (n,) each; the waves of a missing cell are 0."""
        days = as_days(column, self.format)
        inputs = self.days.encode(pa.array(days, from_pandas=True))
        for cycle in self.cycles:
            angle = 2 * np.pi * days / CYCLES[cycle]
            inputs += [np.nan_to_num(np.sin(angle)), np.nan_to_num(np.cos(angle))]
        return inputs


def as_days(column: Any, format: str | None) -> Array:
    """Days since 1970 as float64, NaN where a cell is missing.

    Raises:
        pyarrow.ArrowInvalid: a cell is no date of this format.
    """
    if pa.types.is_string(column.type):
        column = _parsed(column, format or ISO)
    elif pa.types.is_null(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_time(column.type):  # of a day
        column = column.cast(pa.time64("us")).cast(pa.int64())
        return as_numbers(column) / (1e6 * _DAY)
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    return as_numbers(column.cast(pa.int64())) / (per_second * _DAY)


def _parsed(words: Any, format: str) -> Any:
    """Words as times since 1970, of which Arrow's strptime takes the 31st of February for the 2nd of March."""
    if not pc.all(pc.match_substring_regex(words, f"^(?:{_shape(format)})$")).as_py() and words.null_count < len(words):
        raise pa.ArrowInvalid(f"no date as {format}")
    if format == TIME:
        words = pc.binary_join_element_wise("1970-01-01", words, " ")
    if format not in (ISO, TIME):
        times = pc.strptime(words, format=format, unit="s")
        for word in words.filter(pc.less_equal(pc.day(times), 3)).drop_null().unique().to_pylist():
            _require_day_of_month(word, format)
        return times
    try:
        return words.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return words.cast(pa.timestamp("us", "UTC"))  # which has a zone


def _require_day_of_month(word: str, format: str) -> None:
    try:
        datetime.strptime(word, format)
    except ValueError as error:
        try:
            datetime.strptime(word, format.replace("%b", "%B"))
        except ValueError:
            raise pa.ArrowInvalid(str(error)) from None


@cache
def _shape(format: str) -> str:
    """A regular expression that the dates of a format fit."""
    parts = re.split("(%.)", format)
    return _SHAPES.get(format) or "".join(
        _SHAPES.get(part, ".+?" if "%" in part else re.escape(part)) for part in parts
    )


def is_date(word: str, format: str) -> bool:
    """Whether a word is a date of a format."""
    return bool(re.fullmatch(_shape(format), word)) and all_are_dates(pa.array([word]), format)


def all_are_dates(words: Any, format: str) -> bool:
    """Whether all words of a column are dates of a format."""
    try:
        as_days(words, format)
    except pa.ArrowInvalid:
        return False
    return True


class Written(NamedTuple):
    """How the dates of a column are written, how else the same words may be read, and a word that is no such date."""

    format: str
    others: list[str]
    odd: str | None


def format_of(column: Any) -> Written | None:
    """How most words of a column are written, if they are dates."""
    words = column.drop_null().unique()
    some = words.slice(0, _SOME).to_pylist()
    counts = {format: sum(is_date(word, format) for word in some) for format in FORMATS}
    if 2 * sum(any(is_date(word, format) for format in FORMATS if counts[format]) for word in some) <= len(some):
        return None
    if fitting := [format for format in FORMATS if counts[format] == len(some) and all_are_dates(words, format)]:
        return Written(fitting[0], fitting[1:], None)
    most = max(FORMATS, key=counts.__getitem__)
    return Written(most, [], next(word for word in words.to_pylist() if not is_date(word, most)))
