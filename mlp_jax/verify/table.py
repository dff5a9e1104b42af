"""The table of numbers that verdicts are read from: plain arrays of float64, and what may still be asked for.

Its dear columns are measured when a test asks for them, and kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from mlp_jax.verify.policy import ENTRIES_WITHOUT_REFERENCE, FLOAT32_EPS, FLOAT64, Precision

Arrays = list[np.ndarray]


# What a table can be asked, see `Table.ask`.
Question = Literal[
    "native", "rounded", "constants", "other_pieces", "along", "entries", "chords", "neighbours", "far", "outside_jit",
    "beside",
]  # fmt: skip


class FarPoint(NamedTuple):
    """The leaf there, the values, and the reference for the leaf (cotangents, *shape)."""

    leaf: np.ndarray
    values: Arrays
    gradient: np.ndarray


class Lines(NamedTuple):
    """Directions, one array (directions, *shape) for each leaf, and the slopes of the function along them."""

    directions: Arrays
    slopes: Any


@dataclass(frozen=True, repr=False)
class Table:
    """One point: the function's values and gradients for some cotangents, and yours.

    Gradients are (cotangents, *shape).
    """

    leaves: Arrays  # the arguments
    precisions: Sequence[Precision]  # of the leaves
    output_precisions: Sequence[Precision]
    cotangents: Arrays  # for each output (cotangents, *shape)
    factors: np.ndarray  # by which the cotangents after the `base` first are multiples of the first one
    values: Arrays  # the plain function's
    reference: Arrays | None  # its gradients for the base cotangents; None: reverse mode cannot go through it
    your_values: Arrays  # of your forward rule, in exact arithmetic
    yours: Arrays  # your gradients, in exact arithmetic
    own_values: Arrays  # your forward rule's, in your precision
    own: Arrays  # your gradients, in your precision
    typed: float = 0.0  # the coarsest ε of kernels and callbacks, which keep their types in exact arithmetic
    most_entries: int = ENTRIES_WITHOUT_REFERENCE  # so many of a leaf can be taken in turn where there is no reference
    named: bool = False  # the user named the reference, so that no values doubt it
    stops: bool = False  # the plain function has a stop_gradient
    strict: bool = False  # a rule that is no derivative on purpose fails, too
    answers: dict[Any, Any] = field(default_factory=dict)  # to the questions asked so far
    measure: Callable[..., Any] | None = None  # answers a question; None: those given are all

    def ask(self, what: Question, *about: Any) -> Any:
        """The answer to a question, measured when it is asked first; of entries by their flat numbers in a leaf.

        - native: how far the reference in the user's precision is from that in float64, (of outputs, of leaves), each
          entry; of outputs with its sign.
        - rounded, in_float64: its spread, likewise, where every result is rounded at random: to its own type, or to
          float64, which tells how many digits it has.
        - constants: what half a unit of the last place in constants, yours and the reference's, changes, with signs.
        - neighbours: the reference there, for each leaf (neighbours, cotangents, *shape), the near ones, then the far.
        - other_pieces: the same with each kink inside the function taken to one of its sides.
        - along, leaf, carefully: `Lines` through all leaves (None), or one alone. At a first look with few steps;
          carefully with all, with the noise of the values, and what is stopped held fast if that is nearer to yours.
        - entries, leaf, entries: `Slopes` (entries, cotangents).
        - chords, leaf, entries: how far the integral of yours over an interval around each entry is from the change of
          the values there, (entries, cotangents), in the size of the values that change.
        - far, leaf: `FarPoint`s where it alone has moved by its own size, and by far more; those with finite values.
        - outside_jit: your gradients for the first cotangent as Python runs the rule, for each leaf; None if it always
          does; a string is what it raised there.
        - beside, leaves, side: another `Table`, a step aside in these leaves; None where nothing is finite there.
        """
        question = (what, *about)
        if question not in self.answers and self.measure:
            self.answers[question] = self.measure(self, *question)
        return self.answers[question]

    @property
    def base(self) -> int:
        """How many cotangents are no multiples of the first."""
        return len(self.cotangents[0]) - len(self.factors)

    @property
    def base_cotangents(self) -> Arrays:
        """Those for each output."""
        return [c[: self.base] for c in self.cotangents]

    @cached_property
    def scales(self) -> np.ndarray:
        """How large each cotangent is: 1, or the size of its factor."""
        return np.concatenate([np.ones(self.base), np.abs(self.factors)])

    def leaf(self, i: int) -> "Column":
        """The column of a leaf's gradients."""
        return self._columns[i]

    @cached_property
    def _columns(self) -> list["Column"]:
        return [_leaf(self, i) for i in range(len(self.leaves))]

    def output(self, k: int) -> "Column":
        """The column of an output, as of one cotangent; what is not a number is 0 there, for nothing is asked of it."""
        return _output(self, k)


@dataclass(frozen=True)
class Column:
    """What a table has of one leaf or output, as (cotangents, entries)."""

    about: int  # the number of the leaf or output
    part: int  # where measured spreads have it: 0 for outputs, 1 for leaves
    table: Table
    precision: Precision  # the user's
    yours: np.ndarray  # in exact arithmetic
    own: np.ndarray  # in the user's precision
    reference: np.ndarray  # NaN where there is none
    scales: np.ndarray  # how large each cotangent is (cotangents, 1)
    base: int  # how many cotangents are no multiples of the first

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

    def spread(self, what: Question, *about: Any) -> np.ndarray:
        """The spread of each entry (entries,) by a measurement."""
        return np.abs(np.ravel(self.table.ask(what, *about)[self.part][self.about]))


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


def entry_sizes(x: np.ndarray) -> np.ndarray:
    """The size of each entry: its own; where it is 0 that of its leaf; 1 in a leaf of zeros."""
    size = np.abs(x)
    known = size[np.isfinite(size)]
    typical = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
    return np.where((size > 0) & np.isfinite(size), size, typical if 0 < typical < np.inf else 1.0)
