"""Examples ready for training, as all sources give them: split, standardised by the training part, checked."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.output_units import OutputUnit
from mlp_jax.tables.reading import first_true
from mlp_jax.tables.schema import Schema

Array = NDArray[Any]


class Examples(NamedTuple):
    """Inputs x (n, d) and targets y, (n,) class numbers or (n, k), of one part."""

    x: Any
    y: Any


class Scaling(NamedTuple):
    """v ↦ (v − mean) / scale for each column."""

    mean: Array
    scale: Array

    def apply(self, values: Array) -> Array:
        """Standardise."""
        if not self.mean.any() and (self.scale == 1).all():  # as where a schema has standardised them
            return values
        return (values - self.mean) / self.scale

    def undo(self, values: Array) -> Array:
        """Back to the original units."""
        return values * self.scale + self.mean


class Wanted(NamedTuple):
    """What a configuration says of the two ends of a network; None is to be found from the data."""

    unit: OutputUnit | None
    inputs: int | None
    outputs: int | None
    dtype: str


class Ends(NamedTuple):
    """What the data say of them: how many inputs and outputs, the output unit, and the sizes of looked-up columns."""

    inputs: int
    outputs: int
    output: str
    standardize_targets: bool
    categories: tuple[int, ...] = ()


class Prepared(NamedTuple):
    """What a run trains, watches and tests on.

    Attributes:
        name: of the file or set.
        parts: the examples as a network takes them, in the order train, validation, test.
        inputs: how they were standardised; of a table its schema says that.
        targets: how they were.
        input_names: one for each of the network's inputs, or none.
        target_names: of classes or targets, or none.
        fingerprint: of the examples.
        ends: what the data say of the network.
        schema: of a table, or of targets that are words.
        weights: of the examples of each part, (n,) each, if they have some.
        rows: of a table, which of its rows with a target each part has.
        said: what a person should know before training.
    """

    name: str
    parts: dict[str, Examples]
    inputs: Scaling
    targets: Scaling
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]
    fingerprint: str
    ends: Ends
    schema: Schema | None = None
    weights: dict[str, Array] | None = None
    rows: dict[str, Array] | None = None
    said: tuple[str, ...] = ()


def class_counts(y: Array, k: int) -> Array:
    """How many examples each class has: of class numbers (n,), of probabilities (n, k), or of one target in {0, 1}."""
    if y.ndim == 1:
        return np.bincount(y, minlength=k)
    return y.sum(axis=0) if k > 1 else np.array([len(y) - y.sum(), y.sum()])


def scaling_of_targets(y: Array, wanted: bool, name: str) -> Scaling:
    """Likewise of targets of the training part.

    Raises:
        InputError: their spread is out of range.
    """
    found = scaling(y, wanted)
    if bad := first_true((found.scale < 1e-30) | (found.scale > 1e30)):
        raise InputError(f"{name}: the spread of target {bad[0]} is {found.scale[bad]:.3g}; rescale it")
    return found


def blocks_of(x: Any) -> Iterator[Array]:
    """Inputs as arrays, the whole or, of those in a file, rows one after the other."""
    yield from [x] if isinstance(x, np.ndarray) else x.blocks()


def fingerprint(values: Iterable[Array | str]) -> str:
    """A SHA-256 of what examples are."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).data)
    return digest.hexdigest()


def is_quantity(unit: OutputUnit) -> bool:
    """Whether its targets may be standardised: it refuses no finite number."""
    return type(unit).outside is OutputUnit.outside


def scaling(values: Array, wanted: bool) -> Scaling:
    """By mean and deviation of the training part, where that is wanted."""
    shape = values.shape[1:]
    if not wanted:
        return Scaling(np.zeros(shape), np.ones(shape))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    # A constant column has no scale of its own; rounding can leave it a tiny deviation.
    constant = (values.min(axis=0) == values.max(axis=0)) | (deviation == 0)
    return Scaling(mean, np.where(constant, 1.0, np.where(np.isfinite(deviation), deviation, np.nan)))


def require_representable(examples: Examples, dtype: str, name: str) -> None:
    """Raise an InputError that names the first column of which a number is outside the range of the dtype."""
    # bfloat16, which numpy lacks, has the range of float32
    smaller = "float64" if dtype == "float64" else "float32"
    for what, values in chain((("input", block) for block in blocks_of(examples.x)), [("target", examples.y)]):
        with np.errstate(over="ignore"):
            bad = first_true(~np.isfinite(np.asarray(values).astype(smaller)))
        if bad:
            raise InputError(
                f"{name}: {what} column {bad[-1]} (counted from 0) has a value or a spread outside the range "
                f"of {smaller}; rescale it"
            )
