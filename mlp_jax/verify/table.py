"""The table of numbers that verdicts are read from: plain arrays of float64, and what may still be asked for.

Its dear columns are measured when a test asks for them: `Table.ask` returns the answer, or raises `Unanswered`, which
the experiment catches; it measures, writes the answer down, and has the table judged again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.verify.policy import ENTRIES_WITHOUT_REFERENCE, FLOAT32_EPS, FLOAT64, Precision

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Native:
    """How far the reference in the user's precision is from that in float64: (of outputs, of leaves), each entry.

    Of outputs with its sign.
    """


@dataclass(frozen=True)
class Rounded:
    """The spread of the reference where every result is rounded at random: (of outputs, of leaves), each entry.

    To its own type, or, `in_float64`, to float64, which tells how many digits the reference itself has.
    """

    in_float64: bool


@dataclass(frozen=True)
class Constants:
    """What half a unit of the last place in constants, yours and the reference's, changes: as `Rounded`, with signs."""


@dataclass(frozen=True)
class OtherPieces:
    """The reference with each kink inside the function taken to one of its sides: for each leaf, as `Neighbours`."""


@dataclass(frozen=True)
class Along:
    """`Lines` through all leaves (None), or through one alone: ones, and at random.

    At a first look with few steps; `carefully` with all, with the noise of the values in float64, and with what is
    behind a stop_gradient held fast if that is nearer to yours.
    """

    leaf: int | None
    carefully: bool = False


@dataclass(frozen=True)
class Entries:
    """`Slopes` (entries, cotangents) for these entries of a leaf, by its flat numbers."""

    leaf: int
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Chords:
    """How far the integral of yours over an interval around each entry is from the change of the values there.

    (entries, cotangents), in the size of the values that change.
    """

    leaf: int
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Neighbours:
    """The reference at neighbours: for each leaf (neighbours, cotangents, *shape), the near ones, then the far."""


@dataclass(frozen=True)
class Far:
    """Some `FarPoint`s where this leaf alone has moved by its own size, and by far more; those with finite values."""

    leaf: int


class FarPoint(NamedTuple):
    """The leaf there, the values, and the reference for the leaf (cotangents, *shape)."""

    leaf: np.ndarray
    values: Arrays
    gradient: np.ndarray


@dataclass(frozen=True)
class OutsideJit:
    """Your gradients for the first cotangent as Python runs the rule, for each leaf; None if it always does.

    What it raised there, as a string.
    """


@dataclass(frozen=True)
class Beside:
    """Another `Table`, a step aside, where these leaves alone have moved; None where nothing is finite there."""

    leaves: tuple[int, ...]
    side: int


class Unanswered(Exception):  # no error, a question
    """A table has no answer to a question yet."""

    def __init__(self, table: "Table", question: Any) -> None:
        """Of which table."""
        super().__init__(question)
        self.table = table
        self.question = question


class Lines(NamedTuple):
    """Directions, one array (directions, *shape) for each leaf, and the slopes of the function along them."""

    directions: Arrays
    slopes: Any


@dataclass(frozen=True, repr=False)
class Table:
    """One point: the function's values and gradients for some cotangents, and yours.

    Gradients are (cotangents, *shape).

    Attributes:
        leaves: the arguments.
        precisions: of the leaves.
        output_precisions: of the outputs.
        cotangents: for each output (cotangents, *shape).
        factors: by which the cotangents after the `base` first are multiples of the first one.
        values: the plain function's.
        reference: its gradients for the base cotangents, or None: reverse mode cannot go through it.
        your_values: of your forward rule, in exact arithmetic.
        yours: your gradients, in exact arithmetic.
        own_values: your forward rule's, in your precision.
        own: your gradients, in your precision.
        typed: the coarsest ε of kernels and callbacks, which keep their types in exact arithmetic.
        most_entries: so many of a leaf can be taken in turn where there is no reference.
        named: whether the user named the reference, so that no values doubt it.
        stops: whether the plain function has a stop_gradient.
        strict: whether a rule that is no derivative on purpose fails, too.
        answers: to the questions asked so far.
        found: what tests have found so far.
    """

    leaves: Arrays
    precisions: Sequence[Precision]
    output_precisions: Sequence[Precision]
    cotangents: Arrays
    factors: np.ndarray
    values: Arrays
    reference: Arrays | None
    your_values: Arrays
    yours: Arrays
    own_values: Arrays
    own: Arrays
    typed: float = 0.0
    most_entries: int = ENTRIES_WITHOUT_REFERENCE
    named: bool = False
    stops: bool = False
    strict: bool = False
    answers: dict[Any, Any] = field(default_factory=dict)
    found: dict[Any, Any] = field(default_factory=dict)

    def ask(self, question: Any) -> Any:
        """The answer.

        Raises:
            Unanswered: it has not been measured.
        """
        if question not in self.answers:
            raise Unanswered(self, question)
        return self.answers[question]

    def once(self, test: Callable[["Table", int], Any], k: int) -> Any:
        """What a test finds for leaf or output k, as found before if it was."""
        key = (test, k)
        if key not in self.found:
            self.found[key] = test(self, k)
        return self.found[key]

    @property
    def base(self) -> int:
        """How many cotangents are no multiples of the first."""
        return len(self.cotangents[0]) - len(self.factors)

    @cached_property
    def scales(self) -> np.ndarray:
        """How large each cotangent is: 1, or the size of its factor."""
        return np.concatenate([np.ones(self.base), np.abs(self.factors)])

    def leaf(self, i: int) -> "Column":
        """The column of a leaf's gradients."""
        column: Column = self.once(_leaf, i)
        return column

    def output(self, k: int) -> "Column":
        """The column of an output, as of one cotangent; what is not a number is 0 there, for nothing is asked of it."""
        column: Column = self.once(_output, k)
        return column


@dataclass(frozen=True)
class Column:
    """What a table has of one leaf or output, as (cotangents, entries).

    Attributes:
        about: the number of the leaf or output.
        part: where measured spreads have it: 0 for outputs, 1 for leaves.
        table: that it is part of.
        precision: the user's.
        yours: in exact arithmetic.
        own: in the user's precision.
        reference: NaN where there is none.
        scales: how large each cotangent is (cotangents, 1).
        base: how many cotangents are no multiples of the first.
    """

    about: int
    part: int
    table: Table
    precision: Precision
    yours: np.ndarray
    own: np.ndarray
    reference: np.ndarray
    scales: np.ndarray
    base: int

    @cached_property
    def sizes(self) -> np.ndarray:
        """The largest of each entry of the reference (entries,) among the base cotangents, 0 where it is not finite."""
        base = np.abs(self.reference[: self.base])
        sizes: np.ndarray = np.max(np.where(np.isfinite(base), base, 0), axis=0, initial=0)
        return sizes

    @cached_property
    def size(self) -> float:
        """The largest entry of all; where no reference is known, the largest of yours."""
        known = np.isfinite(self.reference[: self.base]).any()
        yours = self.yours[: self.base]
        return float(np.max(self.sizes if known else np.abs(np.where(np.isfinite(yours), yours, 0)), initial=0))

    @cached_property
    def resolution(self) -> float:
        """The gradient that changes the projections by about themselves, over the size of the leaf."""
        pairs = list(zip(self.table.cotangents, self.table.values, strict=True))
        terms = [sum(float(np.nansum(np.abs(g[k] * y)[np.isfinite(y)])) for g, y in pairs) for k in range(self.base)]
        x = self.table.leaves[self.about]
        return max(terms) / (float(np.sqrt(np.nanmean(x[np.isfinite(x)] ** 2))) or 1.0) if x.size else 0.0

    @property
    def tail(self) -> np.ndarray:
        """What nobody would call wrong: less than a unit of the leaf's largest entry, and half an entry's digits."""
        unit = FLOAT32_EPS if self.precision.eps > FLOAT64.eps else 0.0
        return np.minimum(unit * self.scales * self.size, np.sqrt(unit) * np.abs(self.reference))

    def spread(self, question: Any) -> np.ndarray:
        """The spread of each entry (entries,) by a measurement."""
        return np.abs(np.ravel(self.table.ask(question)[self.part][self.about]))


def _leaf(table: Table, i: int) -> Column:
    yours, own = (_flat(gradients) for gradients in (table.yours[i], table.own[i]))
    known = np.full_like(yours, np.nan) if table.reference is None else for_all(table, _flat(table.reference[i]))
    if table.reference is not None:  # nothing times what is infinite is no number for anybody
        nothing = (table.scales == 0)[:, None] & ~np.isfinite(known[:1])
        yours, own = (np.where(nothing, 0, gradients) for gradients in (yours, own))
    return Column(i, 1, table, table.precisions[i], yours, own, known, table.scales[:, None], table.base)


def _output(table: Table, k: int) -> Column:
    right = np.ravel(table.values[k])
    yours, own, right = (
        np.where(np.isnan(right), 0, np.ravel(v))[None] for v in (table.your_values[k], table.own_values[k], right)
    )
    return Column(k, 0, table, table.output_precisions[k], yours, own, right, np.ones((1, 1)), 1)


def for_all(table: Table, base: np.ndarray) -> np.ndarray:
    """What is linear in the cotangent, for all of them from the base ones, on the axis before the last."""
    factors, first = table.factors[:, None], base[..., :1, :]
    with np.errstate(all="ignore"):
        return np.concatenate([base, np.where(factors == 0, 0, factors * first)], axis=-2)


def _flat(gradients: np.ndarray) -> np.ndarray:
    return gradients.reshape(len(gradients), -1)


def is_float64(precision: Precision) -> bool:
    """Whether the user's precision is that of the exact arithmetic."""
    return precision.eps <= FLOAT64.eps
