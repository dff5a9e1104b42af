"""What should be said of data before training: short, once, with the key that changes it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.tables.arrow import pa
from mlp_jax.tables.categories import Category
from mlp_jax.tables.numbers import Number, as_numbers
from mlp_jax.tables.schema import Schema
from mlp_jax.tables.targets import Labels

Array = NDArray[Any]
_FEW = 1000  # rows, on which most columns are seen to tell nothing
_ENOUGH = 30  # rows, below which a perfect prediction may be chance
_LARGE = 1e4  # a target whose size makes the first steps large


def of_classes(y: Array, k: int, names: Sequence[str], train: Array) -> Iterator[str]:
    """Classes that training hardly knows; y (n,) are class numbers."""
    counts = np.bincount(y[train], minlength=k)
    few = [f"{name} has {count or 'no'}" for name, count in zip(names, counts, strict=True) if count < 2]
    if few:
        shown = ", ".join(few[:6]) + (f" and {len(few) - 6} more" if len(few) > 6 else "")
        yield f"classes with fewer than two training examples: {shown}"


def of_quantities(y: Array, names: Sequence[str], standardized: bool) -> Iterator[str]:
    """Targets of a size that the first step cannot cope with."""
    for name, values in zip(names, y.T, strict=True):
        if not standardized and (size := np.abs(values).max()) > _LARGE:
            yield f"target {name!r} goes up to {size:.3g}: data.standardize_targets: true brings it to unit size"


def of_columns(schema: Schema, table: Any, x: Array, train: Array, dtype: str) -> Iterator[str]:
    """Inputs that say the same, and whole numbers that the dtype does not tell apart."""
    seen: dict[bytes, str] = {}
    k = 0
    for column in schema.used:
        values = x[train, k]
        if isinstance(column, Number):
            other = seen.setdefault(values.tobytes(), column.name)
            if other != column.name:
                yield f"columns {other!r} and {column.name!r} are equal, but for their scale: name one in data.drop"
            if dtype != "float64" and max(abs(column.smallest), abs(column.largest)) > 2**24:
                whole = np.unique(as_numbers(table.column(column.name)))
                lost = len(whole) - len(np.unique(x[:, k]))
                if lost > 0:
                    yield f"column {column.name!r}: {lost:,} different numbers become equal in {dtype}"
        k += 1 if column in schema.looked_up else len(column.inputs)


def of_leaks(schema: Schema, table: Any, target: Labels, is_class: bool, rows: Array) -> Iterator[str]:
    """Columns that alone tell the target, without an error."""
    if len(rows) < _ENOUGH or len(target.values) < 2:
        return
    few = rows[:: -(-len(rows) // _FEW)]
    for column in schema.used:
        cells = table.column(column.name)
        if _tells(column, cells, target, is_class, few) and _tells(column, cells, target, is_class, rows):
            yield (
                f"column {column.name!r} alone tells {target.name!r} without an error: is it known when a prediction "
                f"is made? If not, data.drop: [{column.name}]"
            )


def _tells(column: Any, cells: Any, target: Labels, is_class: bool, rows: Array) -> bool:
    """Whether a column determines the target on these rows."""
    cells, codes = cells.take(pa.array(rows)), target.codes[rows]
    if isinstance(column, Category):
        return is_class and len(column.categories) * 3 < len(rows) and _determines(column.codes(cells), codes)
    if isinstance(column, Number):
        values = as_numbers(cells)
        if np.isnan(values).any():
            return False
        return _separates(values, codes) if is_class else _is_line(values, target.numbers, rows)
    return False


def _determines(causes: Array, codes: Array) -> bool:
    pairs = np.unique(np.stack([causes, codes]), axis=1)
    return pairs.shape[1] == len(np.unique(causes)) and len(np.unique(codes)) > 1


def _separates(values: Array, codes: Array) -> bool:
    """Whether each class has an interval of its own."""
    order = np.lexsort((codes, values))
    changes = np.flatnonzero(np.diff(codes[order]))
    apart = np.diff(values[order])[changes] > 0
    return bool(len(changes) == len(np.unique(codes)) - 1 and apart.all())


def _is_line(values: Array, numbers: Array | None, rows: Array) -> bool:
    if numbers is None or np.ptp(values) == 0 or np.ptp(numbers[rows]) == 0:
        return False
    return bool(abs(np.corrcoef(values, numbers[rows])[0, 1]) > 1 - 1e-9)
