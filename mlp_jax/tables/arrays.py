"""Examples that are arrays of numbers: of .npz and .npy files, of Python, of scikit-learn's sets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.output_units import OUTPUT_UNITS, OutputUnit
from mlp_jax.tables import splits
from mlp_jax.tables.findings import of_classes, of_quantities
from mlp_jax.tables.preparation import (
    Ends,
    Examples,
    Prepared,
    Wanted,
    fingerprint,
    require_representable,
    scaling,
    scaling_of_targets,
)
from mlp_jax.tables.reading import Table, checked, first_true
from mlp_jax.tables.schema import Schema
from mlp_jax.tables.sources import Source
from mlp_jax.tables.targets import encode, labels, output_for, require_possible

Array = NDArray[Any]


def prepare_arrays(source: Source, wanted: Wanted, arrays: Any = None) -> Prepared:
    """Read, check, split and standardise the examples of a source, or the arrays (x, y) that were given.

    Raises:
        InputError: the data cannot be read, or do not fit the network.
    """
    table, unit, schema = _with_known_targets(checked(source.read(arrays)), wanted)
    outputs = wanted.outputs or _outputs(table.y)
    table = fit_to_network(table, unit, wanted.inputs, outputs)
    x, y = table.x, table.y
    rows = splits.by_fractions(len(x), source.split.fractions, source.split.seed, None, table.name)
    standardize = bool(source.standardize_targets)
    inputs = scaling(x[rows["train"]], bool(source.standardize_inputs))
    targets = scaling_of_targets(y[rows["train"]], standardize, table.name)
    parts = {
        part: Examples(inputs.apply(x[chosen]), targets.apply(y[chosen]) if standardize else y[chosen])
        for part, chosen in rows.items()
    }
    for part in parts.values():
        require_representable(part, wanted.dtype, table.name)
    if y.ndim == 1:
        said = list(of_classes(y, outputs, [str(j) for j in range(outputs)], rows["train"]))
    else:
        names = table.target_names if len(table.target_names) == outputs else [f"y{j}" for j in range(outputs)]
        said = list(of_quantities(y, names, standardize))
    identity = fingerprint(np.asarray(values, np.float64) for values in (x, y))
    return Prepared(
        table.name, parts, inputs, targets, table.input_names, table.target_names, identity,
        Ends(x.shape[1], outputs, unit.name, standardize), schema, said=tuple(said),
    )  # fmt: skip


def _with_known_targets(table: Table, wanted: Wanted) -> tuple[Table, OutputUnit, Schema | None]:
    """Words become classes; where no output is said, it follows from the targets if the widths do."""
    y, unit = table.y, wanted.unit
    are_words = y.dtype.kind not in "biuf"
    if y.ndim == 1 and (are_words or wanted.outputs is None):
        target = labels("class", y)
        unit = unit or OUTPUT_UNITS[output_for([target])[0]]()
        y, records = encode([target], unit, wanted.outputs, table.name)
        names = records[0].classes or ()
        return table._replace(y=y, target_names=names), unit, Schema(columns=(), targets=records)
    return table, unit or OUTPUT_UNITS["linear"](), None


def _outputs(y: Array) -> int:
    return int(y.max()) + 1 if y.ndim == 1 else y.shape[1]


def fit_to_network(table: Table, unit: OutputUnit, d: int | None, k: int) -> Table:
    """The table with its targets in the form that the network's output unit takes.

    Raises:
        InputError: the widths do not fit the data, or the targets do not fit the output unit.
    """
    n = len(table.x)
    if d is not None and table.x.shape[1] != d:
        raise InputError(
            f"network.widths starts with {d}, but {table.name} has {table.x.shape[1]} inputs; "
            f"let it start with {table.x.shape[1]}"
        )
    y = table.y
    if unit.kind == "classes" and (y.ndim == 1 or y.shape == (n, 1)):
        return table._replace(y=_class_numbers(y.reshape(n), k, table.name))
    if y.shape != (n, k):
        fix = "; save y[:, None]" if y.ndim == 1 and k == 1 else ""
        raise InputError(
            f"the targets of {table.name} have shape {y.shape}; a network with {k} {unit.name} "
            f"output{'s' * (k != 1)} needs ({n}, {k}){fix}"
        )
    require_possible(y, unit, table.name, lambda row: f"example {row} (counted from 0)")
    return table


def _class_numbers(y: Array, k: int, name: str) -> Array:
    if bad := first_true(y != np.floor(y)):
        raise InputError(
            f"{name}: target {y[bad]} of example {bad[0]} (counted from 0) is not a class number; "
            f"a softmax output with {k} units needs whole numbers from 0 to {k - 1}"
        )
    if bad := first_true((y < 0) | (y >= k)):
        raise InputError(
            f"{name}: class number {int(y[bad])} of example {bad[0]} (counted from 0) is not in 0..{k - 1}; "
            f"network.widths ends with {k}, the number of classes"
        )
    return y.astype(np.int32)
