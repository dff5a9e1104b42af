"""The experiment: a plan of points and cotangents, evaluated into a table, and what a table asks for, measured."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import Leaves, first_lines
from mlp_jax.verify.compiled import as_numbers
from mlp_jax.verify.findings import Judgement
from mlp_jax.verify.function import Function, TracedFunction
from mlp_jax.verify.judgement import judge
from mlp_jax.verify.policy import FLOAT64, Precision, half_the_digits
from mlp_jax.verify.rule import RuleUnderTest, TracedRule
from mlp_jax.verify.slopes import Slopes, slopes, times
from mlp_jax.verify.table import (
    Along,
    Arrays,
    Beside,
    Chords,
    Constants,
    Entries,
    Far,
    FarPoint,
    Lines,
    Native,
    Neighbours,
    OtherPieces,
    OutsideJit,
    Rounded,
    Table,
    Unanswered,
    is_float64,
)

T = TypeVar("T")


class _Exact(NamedTuple):
    cotangents: Arrays  # 0 for outputs that are not finite
    values: Arrays
    reference: Arrays | None
    your_values: Arrays
    yours: Arrays


@dataclass
class Experiment:
    """Evaluates a rule and its function by a plan.

    Attributes:
        function: what the rule is for.
        rule: under test.
        leaves: where, as the user has them.
        seed: of cotangents and directions.
        scalar: whether the gradient is of one number, so that its only cotangent is 1.
        units: whether the rule is a matrix: its rows are looked at one by one, and it is linear.
        named: whether the user named the reference.
        strict: whether rules that are no derivative on purpose fail.
        witness_stops: whether a stop_gradient in the function is meant: values may hold its argument fast.
    """

    function: Function
    rule: RuleUnderTest
    leaves: Leaves
    seed: int
    scalar: bool = False
    units: bool = False
    named: bool = False
    strict: bool = False
    witness_stops: bool = True

    def judged(self, table: Table | None = None) -> tuple[Table, Judgement]:
        """The table, at the arguments if there is none yet, and what follows from it; what it asks for is measured."""
        point = table or self._first_table()
        return point, self.answered(lambda: judge(point))

    def _first_table(self) -> Table:
        """The table at the arguments, with the answer to `OutsideJit`, which is as dear as all the rest.

        In two threads: what runs in float64 is compiled beside the user's own code, which stays in this one.
        """
        if not (isinstance(self.function, TracedFunction) and isinstance(self.rule, TracedRule)):
            return self.table(self.leaves)
        cotangents = self.cotangents()
        ahead = _in_a_thread(lambda: self._ahead(cotangents))
        own, outside = self._own(self.leaves, cotangents), self._outside_jit(self.leaves, cotangents)
        exact = ahead()
        if exact.cotangents is not cotangents:  # some outputs are not finite
            own, outside = self._own(self.leaves, exact.cotangents), self._outside_jit(self.leaves, exact.cotangents)
        table = self._table(self.leaves, exact, own)
        table.answers[OutsideJit()] = outside
        return table

    def answered(self, judged: Callable[[], T]) -> T:
        """What a test of a table says, with its questions answered."""
        with np.errstate(all="ignore"):
            while True:
                try:
                    return judged()
                except Unanswered as asked:
                    asked.table.answers[asked.question] = self.measured(asked.table, asked.question)

    def _ahead(self, cotangents: Arrays) -> "_Exact":
        """What is needed of every rule in float64; the program of lines is compiled for later."""
        exact, numbers = self._exactly(self.leaves, cotangents), [as_numbers(x) for x in self.leaves]
        base = [c[: len(c) - len(self.factors())] for c in cotangents]
        self.function.line(numbers, numbers, times(policy.FEW_STEPS), base, held=False)
        return exact

    # --- the plan -----------------------------------------------------------------------------------------------------

    def factors(self) -> np.ndarray:
        """Those of the cotangents that are multiples of the first one."""
        if self.scalar or self.units:
            return np.zeros(0)
        few = any(Precision.of(z.dtype).exponent_bits < 8 for z in self.function.outputs)
        big = 2.0 ** (policy.SCALE_IN_FEW_BITS if few else policy.SCALE)
        return np.array([-big, 1 / big, 0.0])

    def cotangents(self) -> Arrays:
        """For each output: two at random, ones, the first with zeros in half of it, then multiples of the first.

        They are numbers that the outputs' dtypes have.
        """
        if self.scalar:
            return [np.ones((1, *z.shape)) for z in self.function.outputs]
        rng = np.random.default_rng(self.seed)
        found = []
        for z in self.function.outputs:
            first, second = (_representable(g, z.dtype) for g in rng.normal(size=(2, *z.shape)))
            half = first * (rng.random(z.shape) < 0.5)
            found.append(np.stack([first, second, np.ones(z.shape), half, *(f * first for f in self.factors())]))
        return self._with_units(found) if self.units else found

    def _with_units(self, cotangents: Arrays) -> Arrays:
        """And 1 for one entry of the outputs alone, for each entry; of many, for some of them, evenly."""
        sizes = [int(np.prod(z.shape)) for z in self.function.outputs]
        entries = np.unique(np.linspace(0, sum(sizes) - 1, min(sum(sizes), policy.UNITS)).astype(int))
        rows = np.split(np.eye(sum(sizes))[entries], np.cumsum(sizes)[:-1], axis=1)
        parts = zip(cotangents, rows, strict=True)
        if not self.function.has_reference and len(entries) == sum(sizes):  # values decide on each entry by itself
            return [row.reshape(-1, *c.shape[1:]) for c, row in parts]
        return [np.concatenate([c, row.reshape(-1, *c.shape[1:])]) for c, row in parts]

    # --- the table ----------------------------------------------------------------------------------------------------

    def table(self, leaves: Leaves, cotangents: Arrays | None = None) -> Table:
        """One point, in exact arithmetic and in the user's precision."""
        cotangents = cotangents or self.cotangents()
        exact = self._exactly(leaves, cotangents)
        return self._table(leaves, exact, self._own(leaves, exact.cotangents))

    def _exactly(self, leaves: Leaves, cotangents: Arrays) -> "_Exact":
        numbers = [as_numbers(x) for x in leaves]
        values, reference = self._reference(numbers, cotangents)
        finite = [np.isfinite(v) for v in values]
        if not all(ok.all() for ok in finite):
            cotangents = [np.where(ok, c, 0) for ok, c in zip(finite, cotangents, strict=True)]
            values, reference = self._reference(numbers, cotangents)
        your_values, yours = self.rule.exact(numbers, cotangents)
        return _Exact(cotangents, values, reference, your_values, yours)

    def _reference(self, leaves: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays | None]:
        """The function's values, and its gradients for the cotangents that are no multiples of the first."""
        if not self.function.has_reference:
            return self.function.values(leaves), None
        return self.function.reference(leaves, [c[: len(c) - len(self.factors())] for c in cotangents])

    def _own(self, leaves: Leaves, cotangents: Arrays) -> list[tuple[Leaves, Leaves]]:
        return [self.rule.own(leaves, [c[k] for c in cotangents]) for k in range(len(cotangents[0]))]

    def _table(self, leaves: Leaves, exact: "_Exact", own: list[tuple[Leaves, Leaves]]) -> Table:
        return Table(
            leaves=[as_numbers(x) for x in leaves],
            precisions=[Precision.of(np.asarray(x).dtype) for x in leaves],
            output_precisions=[Precision.of(z.dtype) for z in self.function.outputs],
            cotangents=exact.cotangents,
            factors=self.factors(),
            values=exact.values,
            reference=exact.reference,
            your_values=exact.your_values,
            yours=exact.yours,
            own_values=[as_numbers(v) for v in own[0][0]],
            own=[np.stack([as_numbers(row[1][i]) for row in own]) for i in range(len(leaves))],
            typed=max(self.function.typed, self.rule.typed),
            most_entries=self.function.most_entries,
            named=self.named,
            stops=self.function.stops,
            strict=self.strict,
        )

    # --- what a table asks for ----------------------------------------------------------------------------------------

    def measured(self, table: Table, question: Any) -> Any:
        """The answer to a question."""
        base = [c[: table.base] for c in table.cotangents]
        match question:
            case Native():
                return self._native(table, base)
            case Rounded(in_float64):
                values, gradients = self.function.rounded(table.leaves, base, in_float64)
                return [_spread(v, 0) for v in values], [_spread(g[:, :3], (0, 1)) for g in gradients]
            case Constants():
                return self._constants(table, base)
            case OtherPieces():
                seeds = np.array([1.0, -1.0, *np.arange(2.0, 2 + policy.OTHER_PIECES)])
                return self.function.with_other_pieces(table.leaves, base, seeds)
            case Entries(leaf, entries):
                return self._entries(table, base, leaf, entries)
            case Chords(leaf, entries):
                return np.stack([self._chord(table, base, leaf, e) for e in entries])
            case Along(leaf, carefully):
                return self._along(table, base, leaf, carefully)
            case Neighbours():
                return self._neighbours(table, base)
            case Far(leaf):
                return self._far(table, base, leaf)
            case OutsideJit():
                return self._outside_jit(self.given(table.leaves), table.cotangents)
            case Beside(leaves, side):
                return self._beside(table, leaves, side)
        raise TypeError(f"no such question: {question}")

    def _outside_jit(self, leaves: Leaves, cotangents: Arrays) -> Arrays | str | None:
        try:
            found = self.rule.outside_jit(leaves, [c[0] for c in cotangents])
        except Exception as error:  # whatever the user's rule raises is a finding
            return f"{type(error).__name__}: {first_lines(error)}"
        return found and [as_numbers(g) for g in found]

    def given(self, leaves: Arrays) -> Leaves:
        """In the user's precision, as arrays of whichever kind the leaves are."""
        xp = jnp if any(isinstance(leaf, jax.Array) for leaf in self.leaves) else np
        return [xp.asarray(x, leaf.dtype) for x, leaf in zip(leaves, map(np.asarray, self.leaves), strict=True)]

    def _native(self, table: Table, base: Arrays) -> tuple[Arrays, Arrays]:
        """How far the reference in the user's precision is from that in float64."""
        assert table.reference
        rows = min(3, table.base)
        runs = [self.function.native(self.given(table.leaves), [c[k] for c in base]) for k in range(rows)]
        with np.errstate(all="ignore"):
            values = [as_numbers(v) - right for v, right in zip(runs[0][0], table.values, strict=True)]
            gradients = []
            for i, right in enumerate(table.reference):
                off = np.stack([as_numbers(run[1][i]) for run in runs]) - right[:rows]
                gradients.append(np.sqrt(np.mean(np.abs(off) ** 2, axis=0)))
        return values, gradients

    def _constants(self, table: Table, base: Arrays) -> tuple[Arrays, Arrays]:
        """The largest change of each entry's difference between yours and the reference."""
        rng = np.random.default_rng([self.seed, 4])
        signs = np.concatenate([np.zeros((1, 64)), rng.choice([-1.0, 1.0], (policy.OTHER_CONSTANTS, 64))])
        mine, theirs = (f.with_other_constants(table.leaves, base, signs) for f in (self.rule, self.function))
        values = [_largest_change(a - b, 0) for a, b in zip(mine[0], theirs[0], strict=True)]
        return values, [_largest_change(a - b, (0, 1)) for a, b in zip(mine[1], theirs[1], strict=True)]

    def _answer(self, table: Table, question: Any) -> Any:
        if question not in table.answers:
            table.answers[question] = self.measured(table, question)
        return table.answers[question]

    def _noise(self, table: Table, base: Arrays) -> np.ndarray | float:
        """The noise of ⟨g, f⟩ (cotangents,) in float64, where the values lose digits; as usual (0) where they do not.

        Values that keep half their digits in the user's precision keep far more of those of float64.
        """
        if table.reference is None:
            return 0.0
        deviations = self._answer(table, Native())[0]
        usual = not any(is_float64(p) for p in table.precisions) and all(
            (np.nan_to_num(np.abs(d)) <= half_the_digits(p) * np.abs(np.nan_to_num(v))).all()
            for d, v, p in zip(deviations, table.values, table.output_precisions, strict=True)
        )
        if usual:
            return 0.0
        spreads = self._answer(table, Rounded(True))[0]
        squares = [np.nansum((g * s) ** 2, axis=tuple(range(1, g.ndim))) for g, s in zip(base, spreads, strict=True)]
        return policy.VALUE_NOISE * np.sqrt(np.asarray(sum(squares)))

    def _slopes(
        self,
        table: Table,
        base: Arrays,
        directions: Arrays,
        noise: np.ndarray | float = 0.0,
        held: bool = False,
        steps: np.ndarray = policy.STEPS,
    ) -> Slopes:
        lines = [[d[k] for d in directions] for k in range(len(directions[0]))]
        found = [self.function.line(table.leaves, line, times(steps), base, held) for line in lines]
        phi, terms = (np.stack(part) for part in zip(*found, strict=True))
        return slopes(steps, phi, terms, self.function.noise, noise, self.function.staircase)

    def _entries(self, table: Table, base: Arrays, leaf: int, entries: tuple[int, ...]) -> Slopes:
        sizes = entry_sizes(table.leaves[leaf]).ravel()[list(entries)]
        directions = [np.zeros((len(entries), *x.shape)) for x in table.leaves]
        directions[leaf].reshape(len(entries), -1)[np.arange(len(entries)), list(entries)] = sizes
        noise = self._noise(table, base)
        plain = self._slopes(table, base, directions, noise).over(sizes)
        if not (table.stops and self.witness_stops):
            return plain
        return _meant(
            plain,
            self._slopes(table, base, directions, noise, True).over(sizes),
            _declared(table, leaf)[:, list(entries)].T,
        )

    def _chord(self, table: Table, base: Arrays, leaf: int, entry: int) -> np.ndarray:
        """The misfit (cotangents,) of the integral for one entry, on the side where it is less; inf if not finite."""
        nodes, weights = np.polynomial.legendre.leggauss(policy.NODES)

        def at(t: float) -> Arrays:
            moved = [x.copy() for x in table.leaves]
            moved[leaf].flat[entry] += t
            return moved

        found = []
        for long in np.array([-1, 1]) * policy.CHORD * entry_sizes(table.leaves[leaf]).flat[entry]:
            slopes = [self.rule.exact(at(long * (1 + t) / 2), base)[1][leaf] for t in nodes]
            integral = long / 2 * weights @ np.stack([g.reshape(len(g), -1)[:, entry] for g in slopes])
            change = terms = np.zeros_like(integral)
            for g, start, end in zip(base, self.function.values(at(0)), self.function.values(at(long)), strict=True):
                size = np.where(start == end, 0, np.fmax(np.abs(start), np.abs(end)))
                change = change + (g * (end - start)).reshape(len(g), -1).sum(axis=1)
                terms = terms + np.abs(g * size).reshape(len(g), -1).sum(axis=1)
            found.append(np.nan_to_num(np.abs(integral - change) / np.maximum(terms, FLOAT64.tiny), nan=np.inf))
        return np.min(found, axis=0)

    def _along(self, table: Table, base: Arrays, leaf: int | None, carefully: bool) -> Lines:
        """Ones, and at random, in the sizes of the entries."""
        rng = np.random.default_rng([self.seed, 1])
        count = 2 if table.reference is not None and leaf is None else policy.DIRECTIONS
        directions = []
        for i, x in enumerate(table.leaves):
            sizes = entry_sizes(x)
            ones = np.full(x.shape, np.sqrt(np.mean(sizes**2)) if x.size else 1.0)
            moved = np.stack([ones, *(sizes * rng.normal(size=(count, *x.shape)))])
            directions.append(moved * (leaf is None or leaf == i))
        if not carefully and table.reference is not None:
            return Lines(directions, self._slopes(table, base, directions, steps=policy.FEW_STEPS))
        noise = self._noise(table, base)
        found = self._slopes(table, base, directions, noise)
        if table.stops and self.witness_stops:
            declared = sum(d.reshape(len(d), -1) @ _declared(table, i).T for i, d in enumerate(directions))
            found = _meant(found, self._slopes(table, base, directions, noise, True), np.asarray(declared))
        return Lines(directions, found)

    def _neighbours(self, table: Table, base: Arrays) -> Arrays:
        rng = np.random.default_rng([self.seed, 2])
        found: list[Arrays] = []
        for step in policy.NEAR:
            for _ in range(policy.NEIGHBOURS):
                at = [x + step * entry_sizes(x) * rng.uniform(-1, 1, x.shape) for x in table.leaves]
                found.append(self.function.reference(at, base)[1])
        return [np.stack(leaf) for leaf in zip(*found, strict=True)]

    def _far(self, table: Table, base: Arrays, leaf: int) -> list[FarPoint]:
        rng, found = np.random.default_rng([self.seed, 6]), []
        for step in policy.FAR:
            x = table.leaves[leaf] + step * entry_sizes(table.leaves[leaf]) * rng.normal(size=table.leaves[leaf].shape)
            at = [x if i == leaf else other for i, other in enumerate(table.leaves)]
            values, gradients = self.function.reference(at, base)
            if all(np.isfinite(v).all() for v in values):
                found.append(FarPoint(x, values, gradients[leaf]))
        return found

    def _beside(self, table: Table, leaves: tuple[int, ...], side: int) -> Table | None:
        """A step aside in some leaves. Equal entries stay equal, so that a symmetric argument remains one."""
        rng = np.random.default_rng([self.seed, 3])
        moved = list(table.leaves)
        for i, x in enumerate(table.leaves):
            if i in leaves:
                values, where = np.unique(x, return_inverse=True)
                steps = rng.uniform(0.3, 1, len(values)) * rng.choice([-1, 1], len(values)) * side * policy.BESIDE
                step = steps[where].reshape(x.shape)
                size = np.sqrt(np.mean(x**2)) or 1.0
                moved[i] = np.where(x == 0, step * size, x * (1 + step))
        other = self.table(self.given(moved), table.cotangents)
        numbers = (*other.values, *(other.reference or ()))
        return other if all(np.isfinite(v).all() for v in numbers) else None


def _in_a_thread(work: Callable[[], T]) -> Callable[[], T]:
    """Begin with some work; what is returned waits for its result. When Python ends no thread can begin: it waits."""
    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(work)
    except RuntimeError:
        return work
    pool.shutdown(wait=False)
    return future.result


def entry_sizes(x: np.ndarray) -> np.ndarray:
    """The size of each entry: its own; where it is 0 that of its leaf; 1 in a leaf of zeros."""
    size = np.abs(x)
    known = size[np.isfinite(size)]
    typical = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
    return np.where((size > 0) & np.isfinite(size), size, typical if 0 < typical < np.inf else 1.0)


def _representable(x: np.ndarray, dtype: Any) -> np.ndarray:
    return np.asarray(x.astype(dtype)).astype(np.float64)


def _spread(runs: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The root mean square deviation of runs from the first of them, which is not rounded."""
    with np.errstate(all="ignore"):
        off = np.abs(runs[1:] - runs[:1])
        off = np.where(np.isfinite(off), off, np.nan)
        count = np.sum(np.isfinite(off), axis=axis)
        total = np.nansum(off**2, axis=axis)
        return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan)


def _largest_change(runs: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The largest deviation of runs from the first of them."""
    with np.errstate(all="ignore"):
        change: np.ndarray = np.max(np.nan_to_num(np.abs(runs - runs[:1]), posinf=0.0), axis=axis)
    return change


def _declared(table: Table, leaf: int) -> np.ndarray:
    """What reverse mode says of a leaf (cotangents, entries); where it says nothing, what you say."""
    declared: np.ndarray = (table.yours if table.reference is None else table.reference)[leaf][: table.base]
    return declared.reshape(table.base, -1)


def _meant(free: Slopes, held: Slopes, declared: np.ndarray) -> Slopes:
    """Slopes with what is behind a stop_gradient free or held fast, whichever reverse mode says: both may be meant.

    Solvers stop the gradients of their own factors, and values with those held fast are none of the function's. Where
    the two differ, and reverse mode says neither, nothing is known: some may be meant, and some not.
    """
    with np.errstate(all="ignore"):
        close = policy.ERROR_FACTOR * (free.error + held.error) + policy.GROSS * np.abs(free.middle)
        alike = np.abs(free.middle - held.middle) <= close
        tolerance = policy.GROSS * np.abs(declared)
        near = [np.abs(s.middle - declared) <= policy.ERROR_FACTOR * s.error + tolerance for s in (free, held)]
    known = np.select([alike | near[0], near[1]], [1, 2], 0)
    parts = zip(free, held, (np.nan, np.inf) * 2, strict=True)
    return Slopes(*(np.select([known == 1, known == 2], [a, b], nothing) for a, b, nothing in parts))
