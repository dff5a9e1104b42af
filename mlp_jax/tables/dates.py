"""A column of dates or times: a number that grows, and where in the year, the week and the day it falls."""

from datetime import datetime
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlp_jax.sections import Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.numbers import Number

Array = NDArray[Any]
_DAY = 86_400.0
# Parts that come again, with their length in days; the first day of 1970 was a Thursday.
_CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}
ISO = "ISO 8601"
FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y%m%d")


class Date(Section):
    """Days since 1970, standardised; then sine and cosine of the place in each cycle that the training part shows.

    Attributes:
        format: as in strptime, or ISO 8601; None where the cells were dates already.
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
        number = Number.learn(name, "number", why, pa.array(days, from_pandas=True), standardize)
        span = number.largest - number.smallest

        def varies(cycle: str) -> bool:
            places = days[~np.isnan(days)] % _CYCLES[cycle]
            return bool(np.ptp(places) > 0) and span > _CYCLES[cycle] / 4

        cycles = tuple(cycle for cycle in _CYCLES if varies(cycle))
        return cls(name=name, kind="date", why=why, format=format, days=number, cycles=cycles)

    def encode(self, column: Any) -> list[Array]:
        """The inputs, (n,) each; the waves of a missing cell are 0."""
        days = as_days(column, self.format)
        inputs = self.days.encode(pa.array(days, from_pandas=True))
        for cycle in self.cycles:
            angle = 2 * np.pi * days / _CYCLES[cycle]
            inputs += [np.nan_to_num(np.sin(angle)), np.nan_to_num(np.cos(angle))]
        return inputs


def as_days(column: Any, format: str | None) -> Array:
    """Days since 1970 as float64, NaN where a cell is missing.

    Raises:
        pyarrow.ArrowInvalid: a cell is no date of this format.
    """
    kind = column.type
    if pa.types.is_string(kind):
        if format and format != ISO:
            days = pc.strptime(column, format=format, unit="s")
            _require_days_of_months(column.filter(pc.less_equal(pc.day(days), 3)), format)
            column = days
        else:
            try:
                column = column.cast(pa.timestamp("us"))
            except pa.ArrowInvalid:
                column = column.cast(pa.timestamp("us", "UTC"))  # which has a zone
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_time(column.type):  # of a day
        column = column.cast(pa.time64("us")).cast(pa.int64())
        return _as_float(column) / (1e6 * _DAY)
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    return _as_float(column.cast(pa.int64())) / (per_second * _DAY)


def _require_days_of_months(words: Any, format: str) -> None:
    """Raise what strptime of Arrow does not: it takes the 31st of February for the 2nd of March."""
    for word in words.drop_null().unique().to_pylist():
        try:
            datetime.strptime(word, format)
        except ValueError as error:
            raise pa.ArrowInvalid(str(error)) from None


def odd_cell(column: Any, format: str | None) -> str | None:
    """The first word of a column that is no date of a format."""
    for word in column.drop_null().unique():
        try:
            as_days(pa.array([word.as_py()]), format)
        except pa.ArrowInvalid:
            return str(word)
    return None


def _as_float(column: Any) -> Array:
    values: Array = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def format_of(column: Any) -> tuple[str | None, list[str]]:
    """The first format that all words of a column have, and others that they have, too."""
    words = column.drop_null()

    def fits(format: str) -> bool:
        try:
            for some in (words.slice(0, 100), words):  # most are seen at once to be no dates
                as_days(some, format)
        except pa.ArrowInvalid:
            return False
        return True

    if fits(ISO):
        return ISO, []
    fitting = [format for format in FORMATS if fits(format)]
    return (fitting[0], fitting[1:]) if fitting else (None, [])
