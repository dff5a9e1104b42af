"""Targets of a table: words, truth values and whole numbers as classes, quantities as they are."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from mlp_jax.errors import InputError
from mlp_jax.mlp.output_units import OutputUnit
from mlp_jax.sections import Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.reading import first_true
from mlp_jax.tables.text import is_number, listed

Array = NDArray[Any]
MOST_CLASSES = 20  # different whole numbers, that are taken for classes where no output is said
_TRUTH = ("false", "true")


class Target(Section):
    """A target, or a column of soft labels; the names of its classes in the order of their numbers, if it has such."""

    name: str
    classes: tuple[str, ...] | None = None
    kind: Literal["text", "whole", "boolean"] = "text"  # of the classes

    @model_validator(mode="after")
    def _are_of_their_kind(self) -> Self:
        if self.kind == "whole" and not all(re.fullmatch(r"[+-]?\d{1,20}", name) for name in self.classes or ()):
            raise ValueError("classes that are whole numbers are written as such")
        return self

    @property
    def values(self) -> list[Any]:
        """The classes as they were: text, whole numbers or truth values."""
        names = self.classes or ()
        if self.kind == "boolean":
            return [name.lower() == "true" for name in names]
        return list(map(int, names) if self.kind == "whole" else names)

    @property
    def type(self) -> Any:
        """How the cells of a text file are read; None where they say it themselves."""
        return pa.float64() if self.classes is None else pa.string() if self.kind == "text" else None

    def cells(self, y: Array) -> list[Any]:
        """What targets (n,) are, as text of classes, or numbers."""
        return np.array(self.classes, object)[y.astype(int)].tolist() if self.classes else y.tolist()

    def number_of(self, name: str) -> int | None:
        """The number of the class of a cell, however it is spelled; None if it is none of them."""

        def spelled(word: str) -> str:
            if self.kind == "whole" and is_number(word):
                return f"{float(word):g}"
            return word.lower() if self.kind == "boolean" else word

        names = list(map(spelled, self.classes or ()))
        return names.index(spelled(name)) if spelled(name) in names else None


class Labels(NamedTuple):
    """The cells of a target, none of which is missing.

    Attributes:
        name: of the column.
        values: the different ones, in order.
        codes: which of them each cell is, (n,).
        numbers: the cells as float64, (n,); None where they are words.
        are_true_or_false: whether they are truth values.
    """

    name: str
    values: list[Any]
    codes: Array
    numbers: Array | None
    are_true_or_false: bool = False

    def target(self, classes: tuple[str, ...] | None = None) -> Target:
        """The record of it."""
        if classes is None:
            return Target(name=self.name)
        kind: Any = "boolean" if self.are_true_or_false else "whole" if self.are_whole else "text"
        return Target(name=self.name, classes=classes, kind=kind)

    @property
    def are_whole(self) -> bool:
        """Whether all are whole numbers, of as many digits as a class may have."""
        return self.numbers is not None and all(
            float(value).is_integer() and abs(value) < 1e20 for value in self.values
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The values as text; whole numbers without a point."""
        return tuple(str(int(value)) if _is_whole(value) else str(value) for value in self.values)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def labels(name: str, column: Any, from_text: bool = False) -> Labels:
    """The cells of a column of a table, or of an array (n,); in a file of text, true and false are truth values."""
    if isinstance(column, np.ndarray):
        values, codes = np.unique(column, return_inverse=True)
        found, numeric = values.tolist(), column.dtype.kind in "iuf"
    else:
        encoded = column.combine_chunks().dictionary_encode()
        found, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
        numeric = bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
        order = sorted(range(len(found)), key=found.__getitem__)
        places = np.empty(len(order), codes.dtype)
        places[order] = np.arange(len(order))
        found, codes = [found[k] for k in order], places[codes]
    numbers = np.asarray(found, np.float64)[codes] if numeric else None
    are_truth = all(isinstance(value, bool) or (from_text and str(value).lower() in _TRUTH) for value in found)
    return Labels(name, found, codes, numbers, are_truth)


def output_for(targets: list[Labels]) -> tuple[str, str]:
    """The name of the output unit that suits the targets, and why.

    Raises:
        InputError: some are classes, and some quantities.
    """
    (first, *others) = targets
    if others:
        if all(target.are_whole and set(target.values) <= {0, 1} for target in targets):
            return "sigmoid", "several targets of 0 and 1"
        if all(target.numbers is not None for target in targets):
            return "linear", "several quantities"
        if all(len(target.values) == 2 for target in targets):
            return "sigmoid", "several targets of two values each"
        words = [target.name for target in targets if target.numbers is None]
        raise InputError(
            f"data.target: {', '.join(words)} holds words, the others numbers: name targets of one kind, several words "
            "with two values each"
        )
    k = len(first.values)
    if first.numbers is None or (first.are_whole and k <= MOST_CLASSES and 2 * k <= len(first.codes)):
        what = "words" if first.numbers is None else "whole numbers"
        if k == 2:
            return "sigmoid", f"two different {what}: two classes"
        return "softmax", f"{k} different {what}: classes"
    return "linear", "a quantity"


def encode(targets: list[Labels], unit: OutputUnit, k: int | None, where: str) -> tuple[Array, tuple[Target, ...]]:
    """Targets y as the output unit takes them, and the records with which predictions are read.

    Args:
        targets: a column for each.
        unit: the output unit.
        k: the number of outputs, if it was given.
        where: the table, for messages.

    Raises:
        InputError: the output unit cannot have such targets.
    """
    if unit.kind == "classes" and len(targets) == 1:
        return _classes(targets[0], k, where)
    if unit.kind in ("probabilities", "margins"):
        return _two_classes_each(targets, unit, where)
    for target in targets:
        if target.numbers is None:
            raise InputError(
                f"{where}: column {target.name!r} (data.target) holds {listed(target.names)}; a {unit.name} output "
                "needs numbers: leave network.output out, and classes are told apart"
            )
    y = np.stack([target.numbers for target in targets if target.numbers is not None], axis=1)
    return y, tuple(Target(name=target.name) for target in targets)


def _classes(target: Labels, k: int | None, where: str) -> tuple[Array, tuple[Target, ...]]:
    names, found = target.names, len(target.values)
    if k is not None and found != k and target.are_whole and target.values[0] >= 0 and target.values[-1] < k:
        names = tuple(map(str, range(k)))  # numbers of k classes, not all of which are there
        return np.asarray(target.numbers, np.int32), (target.target(names),)
    if k is not None and found != k:
        raise InputError(
            f"{where}: column {target.name!r} (data.target) has {found} different values, {listed(names)}; "
            f"network.widths ends with {k}, the number of classes: let it end with {found}, or give "
            "network.hidden_widths, and they are counted"
        )
    if found < 2:
        raise InputError(f"{where}: column {target.name!r} (data.target) is {names[0]} everywhere: nothing to learn")
    return target.codes.astype(np.int32), (target.target(names),)


def _two_classes_each(targets: list[Labels], unit: OutputUnit, where: str) -> tuple[Array, tuple[Target, ...]]:
    columns, records = [], []
    for target in targets:
        soft = target.numbers is not None and unit.kind == "probabilities"
        if len(target.values) == 2 and not (soft and not target.are_whole):
            columns.append(target.codes.astype(np.float64))
            records.append(target.target(target.names))
        elif target.numbers is not None and (soft or len(target.values) == 1):
            columns.append(target.numbers)
            records.append(Target(name=target.name))
        else:
            raise InputError(
                f"{where}: column {target.name!r} (data.target) has {len(target.values)} different values, "
                f"{listed(target.names)}; a {unit.name} output tells two apart: for several classes softmax"
            )
    return np.stack(columns, axis=1), tuple(records)


def encode_again(records: Sequence[Target], columns: list[Any], unit: OutputUnit, where: str) -> Array:
    """The targets y of other rows, by the classes that are known.

    Raises:
        InputError: a class that is not known, or words for numbers.
    """
    found = []
    for record, column in zip(records, columns, strict=True):
        target = labels(record.name, column)
        if record.classes is None:
            if target.numbers is None:
                raise InputError(f"{where}: column {record.name!r} holds {listed(target.names)}, not numbers")
            found.append(target.numbers)
            continue
        numbers = [record.number_of(name) for name in target.names]
        if new := [name for name, number in zip(target.names, numbers, strict=True) if number is None]:
            raise InputError(
                f"{where}: column {record.name!r} has classes that training did not know: {listed(tuple(new))}"
            )
        found.append(np.array(numbers, np.int32)[target.codes])
    return found[0] if unit.kind == "classes" and len(found) == 1 else np.stack(found, axis=1).astype(np.float64)


def require_possible(y: Array, unit: OutputUnit, name: str, row: Callable[[int], str]) -> None:
    """Raise an InputError if a target of quantities or probabilities (n, k) is none of the unit's; `row` names one."""
    if y.ndim == 2 and (bad := first_true(unit.outside(np.asarray(y, np.float64)))):
        raise InputError(
            f"{name}: target {y[bad]} of {row(bad[0])} is not possible: a {unit.name} output needs {unit.support}"
        )
    if y.ndim == 2 and unit.kind == "classes" and (bad := first_true(abs(y.sum(axis=1) - 1) > 1e-3)):
        raise InputError(
            f"{name}: the targets of {row(bad[0])} sum to {y[bad].sum():g}; softmax outputs need probabilities that "
            "sum to 1; for classes that do not exclude each other use sigmoid"
        )


def rows_with_all(columns: list[Any]) -> Array:
    """Of which rows no cell is missing, (n,)."""
    there = np.ones(len(columns[0]), bool)
    for column in columns:
        valid = column.is_valid()
        if str(column.type) in ("float", "double"):
            valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(column), True)))
        there &= valid.to_numpy(zero_copy_only=False)
    return there
