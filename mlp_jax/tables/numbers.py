"""A column of numbers, or of truth values: what is missing is filled in and marked, all is standardised."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlp_jax.sections import Index, Positive, Section
from mlp_jax.tables.arrow import pa, pc

Array = NDArray[Any]
FAR = 100.0  # spreads from the median, beyond which a number is named
_CLIP = 3.0  # where x / √(1 + (x / 3)²), which goes towards it, begins to bend


class Number(Section):
    """v ↦ (v − center) / scale, of a missing cell the median; then an input that is 1 where it was missing.

    Statistics are those of the training part: mean and deviation, which are those of the filled column, as
    scikit-learn's; or robust, median and quartiles, and then clipped smoothly to ±3.
    """

    name: str
    kind: Literal["number", "boolean"]
    why: str
    missing: Index  # cells of the training part
    smallest: float
    largest: float
    median: float
    spread: float = 0.0  # between the quartiles; where they are equal, of what is not the median, from it
    center: float
    scale: Positive
    robust: bool = False

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs that the column becomes."""
        return [self.name, f"{self.name}:missing"] if self.missing else [self.name]

    @classmethod
    def learn(cls, name: str, kind: Any, why: str, column: Any, standardize: bool | str) -> Self:
        """From the cells of the training part, of which some are there.

        Raises:
            ValueError: their spread is out of the range of float64.
        """
        values = as_numbers(column)
        finite = np.isfinite(values)  # an infinite one is refused where it is encoded
        there = values if finite.all() else values[finite]
        if not len(there):
            raise ValueError("it holds no finite number")
        with np.errstate(over="ignore", invalid="ignore"):
            median, low, high = _quartiles(there)
        missing = int(np.isnan(values).sum()) if there is not values else 0
        del values, finite  # a column of many rows is large
        filled = np.concatenate([there, np.full(missing, median)]) if missing else there
        center, scale = 0.0, 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            spread = high - low or _spread_around(median, there)
            if standardize == "robust":
                center = median
                _, low, high = _quartiles(filled)
                scale = high - low or float(np.ptp(filled)) / 2
            elif standardize:
                center, scale = float(filled.mean()), float(filled.std())
        if not np.isfinite([center, scale, spread]).all():
            raise ValueError("its spread is outside the range of float64; rescale it")
        return cls(
            name=name, kind=kind, why=why, missing=missing, smallest=float(there.min()),
            largest=float(there.max()), median=median, spread=spread, center=center, scale=scale or 1.0,
            robust=standardize == "robust",
        )  # fmt: skip

    def encode(self, column: Any) -> list[Array]:
        """The inputs, (n,) each."""
        values = as_numbers(column)
        is_missing = np.isnan(values)
        filled = np.where(is_missing, self.median, values) if is_missing.any() else values
        x = (filled - self.center) / self.scale
        if self.robust:
            x = x / np.sqrt(1 + (x / _CLIP) ** 2)
        return [x, is_missing.astype(np.float64)] if self.missing else [x]

    def are_far(self, x: Array) -> Array:
        """Which of its inputs x (n,) are far from where most of the training part is."""
        if self.robust or not self.spread:
            return np.zeros(len(x), bool)
        return np.abs(self.center + self.scale * x.astype(np.float64) - self.median) > FAR * self.spread


def _quartiles(values: Array) -> tuple[float, float, float]:
    """The median, and the quartiles beside it: to the bit those of np.median and np.quantile, much sooner."""
    last = len(values) - 1
    middle = slice(last // 2, len(values) // 2 + 1)
    below = last // 4, 3 * last // 4
    found = np.partition(values, sorted({middle.start, middle.stop - 1, *below, *(min(k + 1, last) for k in below)}))

    def quartile(k: int, share: float) -> float:
        one, other = found[k], found[min(k + 1, last)]
        return float(other - (other - one) * (1 - share) if share >= 0.5 or k == last else one + (other - one) * share)

    low, high = (quartile(k, share * last - k) for k, share in zip(below, (0.25, 0.75), strict=True))
    return float(found[middle].mean()), low, high


def _spread_around(median: float, values: Array) -> float:
    """Of what is not the median, from it."""
    others = np.abs(values - median)[values != median]
    return float(np.median(others)) if len(others) else 0.0


def as_numbers(column: Any) -> Array:
    """Cells as float64, NaN where one is missing."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_duration(kind):
        column = column.cast(pa.int64())
    if pa.types.is_string(kind):
        column = pc.if_else(pc.is_in(pc.utf8_lower(column), pa.array(["true", "false"])), _truth(column), column)
    if column.null_count == 0 and (pa.types.is_integer(column.type) or pa.types.is_float64(column.type)):
        return np.asarray(column.to_numpy(), np.float64)  # the same, in a fifth of the time
    values: Array = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values


def _truth(column: Any) -> Any:
    return pc.if_else(pc.equal(pc.utf8_lower(column), "true"), "1", "0")
