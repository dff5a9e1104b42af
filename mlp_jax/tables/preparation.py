"""Examples ready for training: fitted to the network, split, standardised by the training part."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.reading import Table, first_true, read
from mlp_jax.tables.sources import Source, Split

Array = NDArray[Any]


class Examples(NamedTuple):
    """Inputs x (n, d) and targets y, (n,) class numbers or (n, k), of one part of a table."""

    x: Any
    y: Any


class Scaling(NamedTuple):
    """v ↦ (v − mean) / scale for each column."""

    mean: Array
    scale: Array

    def apply(self, values: Array) -> Array:
        """Standardise."""
        return (values - self.mean) / self.scale

    def undo(self, values: Array) -> Array:
        """Back to the original units."""
        return values * self.scale + self.mean


class Prepared(NamedTuple):
    """What a run trains, watches and tests on: standardised parts, in the order train, validation, test."""

    parts: dict[str, Examples]
    inputs: Scaling
    targets: Scaling
    table: Table
    fingerprint: str  # of the examples as they were read


def prepare(source: Source, net: MLP, dtype: str, arrays: Any = None) -> Prepared:
    """Read, check, split and standardise examples.

    They come from the source, a `data` section, or from `arrays` (x, y); they must fit the network, and the dtype in
    which it computes.

    Raises:
        InputError: the data cannot be read, or do not fit the network.
    """
    table = fit_to_network(read(source, arrays), net)
    parts = split(table, source.split)
    train = parts["train"]
    inputs = _scaling(train.x, source.standardize_inputs)
    targets = _scaling(train.y, source.standardize_targets)
    if bad := first_true((targets.scale < 1e-30) | (targets.scale > 1e30)):
        raise InputError(f"{table.name}: the spread of target {bad[0]} is {targets.scale[bad]:.3g}; rescale it")
    standardised = {
        part: Examples(inputs.apply(x), targets.apply(y) if source.standardize_targets else y)
        for part, (x, y) in parts.items()
    }
    digest = hashlib.sha256()
    for values in (table.x, table.y):
        digest.update(np.ascontiguousarray(values, np.float64).tobytes())
    for part in standardised.values():
        _require_representable(part, dtype, table)
    return Prepared(standardised, inputs, targets, table, digest.hexdigest())


def fit_to_network(table: Table, net: MLP) -> Table:
    """The table with its targets in the form that the network's output unit takes.

    Raises:
        InputError: the widths do not fit the data, or the targets do not fit the output unit.
    """
    d, k, n = net.widths[0], net.widths[-1], len(table.x)
    if table.x.shape[1] != d:
        raise InputError(
            f"network.widths starts with {d}, but {table.name} has {table.x.shape[1]} inputs; "
            f"let it start with {table.x.shape[1]}"
        )
    y = table.y
    unit = net.output_unit
    if unit.kind == "classes" and (y.ndim == 1 or y.shape == (n, 1)):
        return table._replace(y=_class_numbers(y.reshape(n), k, table.name))
    if y.shape != (n, k):
        fix = "; save y[:, None]" if y.ndim == 1 and k == 1 else ""
        raise InputError(
            f"the targets of {table.name} have shape {y.shape}; a network with {k} {unit.name} "
            f"output{'s' * (k != 1)} needs ({n}, {k}){fix}"
        )
    if bad := first_true(unit.outside(np.asarray(y, np.float64))):
        raise InputError(
            f"{table.name}: target {y[bad]} of example {bad[0]} (counted from 0) is not possible: a {unit.name} output "
            f"needs {unit.support}"
        )
    if unit.kind == "classes" and (bad := first_true(abs(y.sum(axis=1) - 1) > 1e-3)):
        raise InputError(
            f"{table.name}: the targets of example {bad[0]} (counted from 0) sum to {y[bad].sum():g}; softmax "
            "outputs need probabilities that sum to 1; for classes that do not exclude each other use sigmoid"
        )
    return table


def class_counts(y: Array, k: int) -> Array:
    """How many examples each class has: of class numbers (n,), of probabilities (n, k), or of one target in {0, 1}."""
    if y.ndim == 1:
        return np.bincount(y, minlength=k)
    return y.sum(axis=0) if k > 1 else np.array([len(y) - y.sum(), y.sum()])


def split(table: Table, fractions: Split) -> dict[str, Examples]:
    """Train, and where asked for, validation and test parts, by a permutation from the seed.

    A part has round(fraction × n) examples, at least 1.

    Raises:
        InputError: there are too few examples.
    """
    n = len(table.x)
    sizes = {
        part: max(1, round(fraction * n))
        for part, fraction in (("validation", fractions.validation), ("test", fractions.test))
        if fraction > 0
    }
    train = n - sum(sizes.values())
    if train < 1:
        raise InputError(f"{table.name} has {n} examples, too few for a split into train, {', '.join(sizes)}")
    order = np.random.default_rng(fractions.seed).permutation(n)
    bounds = np.cumsum([train, *sizes.values()])[:-1]
    rows = zip(("train", *sizes), np.split(order, bounds), strict=True)
    return {part: Examples(table.x[chosen], table.y[chosen]) for part, chosen in rows}


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


def _require_representable(examples: Examples, dtype: str, table: Table) -> None:
    # bfloat16, which numpy lacks, has the range of float32
    smaller = "float64" if dtype == "float64" else "float32"
    for what, values in (("input", examples.x), ("target", examples.y)):
        with np.errstate(over="ignore"):
            bad = first_true(~np.isfinite(np.asarray(values).astype(smaller)))
        if bad:
            raise InputError(
                f"{table.name}: {what} column {bad[-1]} (counted from 0) has a value or a spread outside the range "
                f"of {smaller}; rescale it"
            )


def _scaling(values: Array, wanted: bool) -> Scaling:
    shape = values.shape[1:]
    if not wanted:
        return Scaling(np.zeros(shape), np.ones(shape))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    # A constant column has no scale of its own; rounding can leave it a tiny deviation.
    constant = (values.min(axis=0) == values.max(axis=0)) | (deviation == 0)
    return Scaling(mean, np.where(constant, 1.0, np.where(np.isfinite(deviation), deviation, np.nan)))
