"""What should be said of data before training: short, once, with the key that changes it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.tables.arrow import pa
from mlp_jax.tables.categories import Category
from mlp_jax.tables.numbers import Number, as_numbers
from mlp_jax.tables.schema import FEW_COLUMNS, Schema, subject
from mlp_jax.tables.sources import Columns
from mlp_jax.tables.splits import WORDS
from mlp_jax.tables.targets import MOST_CLASSES, Labels, Target
from mlp_jax.tables.text import listed

Array = NDArray[Any]
_FEW = 1000  # rows, on which most columns are seen to tell nothing
_NAMED = 20  # rows, from which on a number of its own for each says something
_SPARSE = 1e4  # times as many numbers as rows, from which on different ones are no measurement
_ENOUGH = 30  # rows, below which a perfect prediction may be chance
_LARGE = 1e4  # a target whose size makes the first steps large


def of_classes(y: Array, k: int, names: Sequence[str], train: Array) -> Iterator[str]:
    """Classes that training hardly knows; y (n,) are class numbers."""
    counts = np.bincount(y[train], minlength=k)
    few = [f"{name} has {count or 'no'}" for name, count in zip(names, counts, strict=True) if count < 2]
    if few:
        yield f"classes with fewer than two training examples: {listed(few)}"


def of_quantities(y: Array, names: Sequence[str], standardized: bool) -> Iterator[str]:
    """Targets of a size that the first step cannot cope with."""
    for name, values in zip(names, y.T, strict=True):
        if not standardized and (size := np.abs(values).max()) > _LARGE:
            yield f"target {name!r} goes up to {size:.3g}: data.standardize_targets: true brings it to unit size"


def of_columns(schema: Schema, table: Any, x: Array, train: Array, source: Columns, dtype: str) -> Iterator[str]:
    """Inputs that say the same, numbers that only name a row, and those that the dtype does not tell apart."""
    used = schema.used
    place = dict(zip((column.name for column in used), accumulate(map(schema.width, used), initial=0), strict=False))
    for kind, differ in ((Number, "scale"), (Category, "words")):

        def content(column: Any, rows: Array, kind: Any = kind) -> bytes:
            cells = x[rows, place[column.name]] if kind is Number else _by_appearance(column, table, rows)
            return cells.tobytes()

        for names in _alike([column for column in schema.used if isinstance(column, kind)], content, train):
            one = "one" if len(names) == 2 else "all but one"
            yield f"{subject(names)} are equal, but for their {differ}: name {one} in data.drop"
    asked = {*source.columns, *(source.inputs or ())}
    for column in schema.used:
        if not isinstance(column, Number):
            continue
        cells = table.column(column.name)
        if column.name not in asked and pa.types.is_integer(cells.type) and not cells.null_count and _names_rows(cells):
            yield f"column {column.name!r} has another number in each row: if it names them, data.drop: [{column.name}]"
        if dtype != "float64" and max(abs(column.smallest), abs(column.largest)) > 2**24:
            lost = len(np.unique(as_numbers(cells))) - len(np.unique(x[:, place[column.name]]))
            if lost > 0:
                yield f"column {column.name!r}: {lost:,} different numbers become equal in {dtype}"


def _names_rows(cells: Any) -> bool:
    """Whether whole numbers are those of an identifier: in order, without gaps, or as drawn from a large range."""
    values = cells.to_numpy().astype(np.float64)
    n, low, high = len(values), values.min(), values.max()
    if n < _NAMED or len(np.unique(values)) < n:
        return False
    steps = np.diff(values)
    is_drawn = high - low > _SPARSE * n and len(str(int(low))) == len(str(int(high)))
    return bool((steps > 0).all() or (steps < 0).all() or high - low < 3 * n or is_drawn)


def _alike(columns: list[Any], content: Any, rows: Array) -> Iterator[list[str]]:
    """The names of columns with the same content, of which most are told apart by a few rows."""
    for some in (rows[:_FEW], rows):
        groups: dict[bytes, list[Any]] = {}
        for column in columns:
            groups.setdefault(content(column, some), []).append(column)
        columns = [column for group in groups.values() if len(group) > 1 for column in group]
    yield from ([column.name for column in group] for group in groups.values() if len(group) > 1)


def _by_appearance(column: Category, table: Any, rows: Array) -> Array:
    """The categories of rows as numbers in the order in which they appear."""
    codes = column.codes(table.column(column.name).take(pa.array(rows)))
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    numbers: Array = np.argsort(np.argsort(first))[inverse]
    return numbers


def of_parts(schema: Schema, source: Columns) -> Iterator[str]:
    """A column that says which part a row is for, of which no use is made."""
    for column in schema.used:
        words = {word.lower() for word in [*column.categories, *column.rare]} if isinstance(column, Category) else set()
        if len(words) > 1 and words <= set(WORDS) and source.split.column is None:
            yield f"column {column.name!r} says {' and '.join(sorted(words))}: data.split.column: {column.name}"


def of_words_for_missing(noted: dict[str, Counter[str]], schema: Schema) -> Iterator[str]:
    """Words that were taken for missing cells, where they may be a category or a class."""
    names = [column.name for column in schema.used if isinstance(column, Category)]
    names += [target.name for target in schema.targets if target.classes]
    for word in sorted({word for name in names for word in noted.get(name, ()) if word.isalpha() or "/" in word}):
        lost = {name: noted[name][word] for name in names if name in noted and noted[name][word]}
        yield (
            f"{subject(list(lost))}: {sum(lost.values()):,} cells are {word!r}, taken for missing; if it is a category "
            f"or a class, data.not_missing: [{word!r}]"
        )


def of_many_classes(target: Labels, record: Target) -> Iterator[str]:
    """A class for each number of a quantity."""
    if record.classes and target.numbers is not None and (k := len(target.values)) > MOST_CLASSES:
        yield f"target {target.name!r} has {k:,} different numbers, a class each: for a quantity network.output: linear"


def of_leaks(schema: Schema, table: Any, target: Labels, is_class: bool, rows: Array) -> Iterator[str]:
    """Columns that alone tell the target, without an error."""
    if len(rows) < _ENOUGH or len(target.values) < 2:
        return
    few = rows[:: -(-len(rows) // _FEW)]

    def tells(column: Any) -> bool:
        cells = table.column(column.name)
        return all(_tells(column, cells, target, is_class, some) for some in (few, rows))

    if names := [column.name for column in schema.used if tells(column)]:
        listed = ", ".join([*names[:FEW_COLUMNS], *["…"] * (len(names) > FEW_COLUMNS)])
        yield (
            f"{subject(names)} alone {'tells' if len(names) == 1 else 'tell'} {target.name!r} without an error: is it "
            f"known when a prediction is made? If not, data.drop: [{listed}]"
        )


def _tells(column: Any, cells: Any, target: Labels, is_class: bool, rows: Array) -> bool:
    """Whether a column determines the target on those of these rows where it is there."""
    cells, codes = cells.take(pa.array(rows)), target.codes[rows]
    if isinstance(column, Category):
        return is_class and len(column.categories) * 3 < len(rows) and _determines(column.codes(cells), codes)
    if isinstance(column, Number):
        values = as_numbers(cells)
        there = ~np.isnan(values)
        if there.sum() < _ENOUGH:
            return False
        values, codes, rows = values[there], codes[there], rows[there]
        return _separates(values, codes) if is_class else _follows(values, target.numbers, rows)
    return False


def _determines(causes: Array, codes: Array) -> bool:
    pairs = np.unique(np.stack([causes, codes]), axis=1)
    return pairs.shape[1] == len(np.unique(causes)) and len(np.unique(codes)) > 1


def _separates(values: Array, codes: Array) -> bool:
    """Whether each class has an interval of its own."""
    order = np.lexsort((codes, values))
    changes = np.flatnonzero(np.diff(codes[order]))
    apart = np.diff(values[order])[changes] > 0
    return bool(len(changes) == len(np.unique(codes)) - 1 > 0 and apart.all())


def _follows(values: Array, numbers: Array | None, rows: Array) -> bool:
    """Whether numbers rise, or fall, wherever the values rise, and only there."""
    if numbers is None or np.ptp(values) == 0 or np.ptp(numbers[rows]) == 0:
        return False
    if abs(np.corrcoef(values, numbers[rows])[0, 1]) > 1 - 1e-9:
        return True
    order = np.lexsort((numbers[rows], values))
    rises, steps = np.diff(values[order]) > 0, np.diff(numbers[rows][order])
    return bool((steps[rises] > 0).all() or (steps[rises] < 0).all()) and not steps[~rises].any()
