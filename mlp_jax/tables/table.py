"""Examples of a table with named columns of any kind: a file, several, or a frame."""

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.tables import files, findings, splits
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.dates import as_days, format_of
from mlp_jax.tables.frames import as_table
from mlp_jax.tables.numbers import as_numbers
from mlp_jax.tables.preparation import (
    Ends,
    Examples,
    Prepared,
    Scaling,
    Wanted,
    blocks_of,
    fingerprint,
    is_quantity,
    require_representable,
    scaling_of_targets,
)
from mlp_jax.tables.reading import first_true
from mlp_jax.tables.schema import Schema, learn, not_a_number
from mlp_jax.tables.sources import Columns, TableData
from mlp_jax.tables.targets import MOST_CLASSES, Labels, encode, labels, output_for, require_possible, rows_with_all
from mlp_jax.tables.text import BadCells, Dialect, first_line, is_number, listed, require_columns

Array = NDArray[Any]


class InMemory:
    """How a table is read and encoded where it fits into memory."""

    read = staticmethod(files.read)
    together = staticmethod(files.together)

    @staticmethod
    def encode(schema: Schema, table: Any, dtype: str, where: str) -> Any:
        """The inputs x of all rows."""
        return schema.encode(table, dtype, where)


def prepare_table(source: Columns, wanted: Wanted, frame: Any = None, place: Any = InMemory) -> Prepared:
    """Read a table, find out what its columns are, split it, and make inputs and targets of it.

    `place` is where rows and inputs are: what reads files, puts tables together and encodes one, as `InMemory`.

    Raises:
        InputError: it cannot be read, or does not fit what is wanted.
    """
    name = str(source.path) if isinstance(source, TableData) else "the frame"
    if isinstance(source, TableData) and isinstance(source.path, tuple):
        name = f"{source.path[0]} and {len(source.path) - 1} more"
    noted: dict[str, Counter[str]] = {}
    table, of_files, said = _read(source, frame, name, noted, place)
    table, number, of_files, about_rows = _with_targets(table, of_files, source, name)
    said += about_rows
    targets = [_labels(target, table.column(target), source, name) for target in source.targets]
    output, why = output_for(targets) if wanted.unit is None else (wanted.unit.name, "")
    unit = wanted.unit or OUTPUT_UNITS[output]()
    if output == "softmax" and targets[0].numbers is not None and not wanted.unit:
        said.append(f"target {targets[0].name!r}: {why}; for a quantity network.output: linear")
    y, records = encode(targets, unit, wanted.outputs, name)
    require_possible(y, unit, name, lambda row: f"row {number[row]}")
    outputs = wanted.outputs or (len(records[0].classes or ()) if y.ndim == 1 else y.shape[1])
    if y.ndim == 2 and y.shape[1] != outputs:
        raise InputError(f"network.widths ends with {outputs}, but data.target names {y.shape[1]} columns")
    strata = y if y.ndim == 1 else y[:, 0].astype(int) if len(records) == 1 and records[0].classes else None
    rows = _split(table, source, of_files, strata, name, number)
    try:
        schema, about_columns = learn(table, rows["train"], source, records, name, wanted.inputs)
        x = place.encode(schema, table, wanted.dtype, name)
    except BadCells as error:
        if isinstance(source, TableData):
            error = files.located(error, [*source.paths, *source.split.files.values()], source.dialect)
        raise error from None
    if wanted.inputs not in (None, len(schema.inputs)):
        raise InputError(
            f"network.widths starts with {wanted.inputs}, but {name} has {len(schema.inputs)} inputs "
            f"({len(schema.used)} columns, encoded): give network.hidden_widths, and they are counted"
        )
    standardize = is_quantity(unit) if source.standardize_targets is None else source.standardize_targets
    scaling = scaling_of_targets(y[rows["train"]], standardize, name)
    weights = weights_of(table, source, name, number)
    parts = {
        part: Examples(x[chosen], scaling.apply(y[chosen]) if standardize else y[chosen])
        for part, chosen in rows.items()
    }
    for examples in parts.values():
        require_representable(examples, wanted.dtype, name)
    said += about_columns
    said += findings.of_words_for_missing(noted, schema)
    said += findings.of_columns(schema, table, x, rows["train"], source, wanted.dtype)
    said += findings.of_parts(schema, source)
    if len(targets) == 1:
        said += findings.of_many_classes(targets[0], records[0])
        said += findings.of_leaks(schema, table, targets[0], records[0].classes is not None, rows["train"])
    if strata is not None:
        said += findings.of_classes(strata, len(records[0].classes or ()), records[0].classes or (), rows["train"])
    if y.ndim == 2:
        said += findings.of_quantities(y, source.targets, standardize)
    for part, chosen in rows.items():
        said += schema.surprises(table, x[chosen], chosen).in_words(f"{'training' if part == 'train' else part} part")
    classes = records[0].classes if len(records) == 1 else None
    targets_and_names: list[Any] = [y, *([] if weights is None else [weights]), *map(str, schema.inputs)]
    identity = Scaling(np.zeros(x.shape[1]), np.ones(x.shape[1]))
    identifier = fingerprint(chain(blocks_of(x), targets_and_names))
    return Prepared(
        name, parts, identity, scaling, tuple(schema.inputs), classes or source.targets, identifier,
        Ends(len(schema.inputs), outputs, unit.name, standardize, tuple(len(c.inputs) for c in schema.looked_up)),
        schema, None if weights is None else {part: weights[chosen] for part, chosen in rows.items()},
        {part: number[chosen] - 1 for part, chosen in rows.items()}, tuple(said),
    )  # fmt: skip


def _read(
    source: Columns, frame: Any, name: str, noted: dict[str, Counter[str]], place: Any
) -> tuple[Any, dict[str, Array], list[str]]:
    """The table with those of the files that hold a part behind it; the rows of these parts; and what is said."""
    if not isinstance(source, TableData):
        if frame is None:
            raise InputError(
                "data.source is frame: it was given in Python, by mlp_jax.training.fit(config, frame), and is in no "
                "file; give it again there"
            )
        tables = [as_table(frame, name, source.missing or ())]
    else:
        words = {column: pa.string() for column, kind in source.columns.items() if kind not in ("number", "drop")}
        tables = [place.read(source.paths, source.dialect, words, noted)]
    of_files: dict[str, Array] = {}
    said = []
    for part, path in source.split.files.items():
        dialect = source.dialect if isinstance(source, TableData) else Dialect()
        more = place.read([path], dialect, files.types_of(tables[0]), noted)
        require_columns(str(path), tables[0].column_names, more.column_names)
        more = more.select(tables[0].column_names)
        if more.equals(tables[0]):
            said.append(f"{path} (data.split.{part}) has the same rows as {name}: it shows nothing of new ones")
        start = sum(table.num_rows for table in tables)
        of_files[part] = np.arange(start, start + more.num_rows)
        tables.append(more)
    return place.together(tables, name), of_files, said


def _labels(name: str, cells: Any, source: Columns, where: str) -> Labels:
    """The cells of a target.

    Raises:
        InputError: they are dates, or a word stands among the numbers of a quantity.
    """
    is_text = pa.types.is_string(cells.type)
    if (is_text or pa.types.is_temporal(cells.type)) and len(words := cells.unique()) > MOST_CLASSES:
        if not is_text or format_of(words):
            raise InputError(
                f"{where}: column {name!r} (data.target) holds dates: make numbers of them first, as the days since one"
            )
        numbers = pc.sum(pa.array(map(is_number, words.to_pylist()))).as_py()
        if numbers == len(words):
            cells = as_numbers(cells)
        elif numbers > MOST_CLASSES and 2 * numbers > len(words):
            raise not_a_number(name, cells, next(word for word in words.to_pylist() if not is_number(word)), where)
    return labels(name, cells, isinstance(source, TableData) and source.source == "csv")


def _with_targets(
    table: Any, of_files: dict[str, Array], source: Columns, name: str
) -> tuple[Any, Array, dict[str, Array], list[str]]:
    """Without the rows whose target is missing, or their weight; the number of each row before; and what is said."""
    header = table.column_names
    for key, columns in (("data.target", source.targets), *((k, (c,)) for c, k in source.not_inputs.items())):
        if missing := [column for column in columns if column not in header]:
            blanks = "; are its columns separated by blanks? data.delimiter: ' '" if " " in header[0].strip() else ""
            raise InputError(f"{name} has no column {missing[0]!r} ({key}); it has {listed(header, 12)}{blanks}")
        if nested := [column for column in columns if pa.types.is_nested(table.column(column).type)]:
            raise InputError(f"{name}: column {nested[0]!r} ({key}) holds cells within cells")
    if not table.num_rows:
        raise InputError(f"{name} has a header but no rows")
    needed = [table.column(column) for column in (*source.targets, *filter(None, [source.weights]))]
    there = rows_with_all(needed)
    lost = int((~there).sum())
    if there.sum() < 2:
        raise InputError(f"{name} has {there.sum()} example(s) with a target; training needs at least 2")
    number = np.flatnonzero(there) + 1
    if not lost:
        return table, number, of_files, []
    place = np.cumsum(there) - 1
    of_files = {part: place[rows[there[rows]]] for part, rows in of_files.items()}
    said = [f"{lost:,} of {len(there):,} rows have no target and are left out"]
    return table.filter(pa.array(there)), number, of_files, said


def _split(
    table: Any, source: Columns, of_files: dict[str, Array], strata: Array | None, name: str, number: Array
) -> dict[str, Array]:
    """The rows of each part."""
    split, n = source.split, table.num_rows - sum(map(len, of_files.values()))
    fractions, seed = split.fractions, split.seed
    if split.column is not None:
        return splits.by_column(table.column(split.column).to_pylist(), name, split.column, number)
    groups = None
    if split.groups is not None:
        groups = table.column(split.groups).combine_chunks().dictionary_encode(null_encoding="encode")
        groups = groups.indices.to_numpy(zero_copy_only=False)[:n]
    if split.stratify is False or not (any(fractions.values()) or split.folds):
        strata = None
    elif split.stratify and strata is None:
        raise InputError("data.split.stratify needs a target of classes")
    if split.folds is not None:
        units = n if groups is None else int(groups.max()) + 1
        order = splits.shuffled(units, seed, strata if groups is None else None)
        if units < split.folds:
            raise InputError(f"{name} has {units} examples or groups, too few for data.split.folds: {split.folds}")
        return splits.fold(order, split.fold or 0, split.folds, fractions["validation"], groups)
    if groups is not None:
        rows = splits.by_groups(groups, fractions, seed, name)
    elif split.time is not None:
        rows = splits.by_time(_times(table, source, name)[:n], fractions, name, number)
    else:
        rows = splits.by_fractions(n, fractions, seed, None if strata is None else strata[:n], name)
    together = rows | of_files
    return {part: together[part] for part in splits.PARTS if part in together}


def _times(table: Any, source: Columns, name: str) -> Array:
    column = str(source.split.time)
    require_columns(f"{name}: data.split.time:", [column], table.column_names)
    cells = table.column(column)
    try:
        if pa.types.is_temporal(cells.type):
            return as_days(cells, None)
        if pa.types.is_string(cells.type):
            said, written = source.columns.get(column, ""), format_of(cells)
            return as_days(cells, said if "%" in said else written and written.format)
        return as_numbers(cells)
    except pa.ArrowInvalid as error:
        raise InputError(f"{name}: data.split.time: {column!r} holds no dates: {first_line(error)}") from None


def weights_of(table: Any, source: Columns, name: str, number: Array) -> Array | None:
    """How often each row counts, (n,), if it is said.

    Raises:
        InputError: by a cell that is no number of at least 0.
    """
    if source.weights is None:
        return None
    try:
        weights = as_numbers(table.column(source.weights))
    except pa.ArrowInvalid as error:
        raise InputError(f"{name}: data.weights: {source.weights!r}: {first_line(error)}") from None
    if bad := first_true(~((weights >= 0) & np.isfinite(weights))):
        raise InputError(f"{name}: data.weights: {source.weights!r} of row {number[bad[0]]} is {weights[bad]}, not ≥ 0")
    return weights
