"""The experiment: a plan of points and cotangents, evaluated into a table, and what a table asks for, measured."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import disturbances, policy
from mlp_jax.verify.arguments import Leaves, first_lines
from mlp_jax.verify.compiled import as_numbers
from mlp_jax.verify.findings import Judgement
from mlp_jax.verify.function import Function
from mlp_jax.verify.judgement import judge
from mlp_jax.verify.policy import Precision
from mlp_jax.verify.rule import RuleUnderTest, TracedRule
from mlp_jax.verify.slopes import Slopes
from mlp_jax.verify.table import Arrays, FarPoint, Lines, Question, Table, entry_sizes
from mlp_jax.verify.witness import at_entries, chord, on_lines


@dataclass
class Experiment:
    """Evaluates a rule and its function by a plan."""

    function: Function
    rule: RuleUnderTest
    leaves: Leaves  # where, as the user has them
    seed: int  # of cotangents and directions
    scalar: bool = False  # the gradient is of one number, so that its only cotangent is 1
    units: bool = False  # the rule is a matrix: its rows are looked at one by one, and it is linear
    named: bool = False  # the user named the reference
    strict: bool = False  # rules that are no derivative on purpose fail
    witness_stops: bool = True  # a stop_gradient in the function is meant: values may hold its argument fast

    def judged(self, table: Table | None = None) -> tuple[Table, Judgement]:
        """The table, at the arguments if there is none yet, and what follows from it."""
        point = table or self.table(self.leaves)
        with np.errstate(all="ignore"):
            return point, judge(point)

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
            first, second = rng.normal(size=(2, *z.shape)).astype(z.dtype).astype(np.float64)
            half = first * (rng.random(z.shape) < 0.5)
            found.append(np.stack([first, second, np.ones(z.shape), half, *(f * first for f in self.factors())]))
        return self._with_units(found) if self.units else found

    def _with_units(self, cotangents: Arrays) -> Arrays:
        """And 1 for one entry of the outputs alone, for each entry; of many, for some of them, evenly."""
        sizes = [int(np.prod(z.shape)) for z in self.function.outputs]
        entries = np.unique(np.linspace(0, sum(sizes) - 1, min(sum(sizes), policy.UNITS)).astype(int))
        rows = np.split(np.eye(sum(sizes))[entries], np.cumsum(sizes)[:-1], axis=1)
        parts = zip(cotangents, rows, strict=True)
        if self.function.reference is None and len(entries) == sum(sizes):  # values decide on each entry by itself
            return [row.reshape(-1, *c.shape[1:]) for c, row in parts]
        return [np.concatenate([c, row.reshape(-1, *c.shape[1:])]) for c, row in parts]

    # --- the table ----------------------------------------------------------------------------------------------------

    def table(self, leaves: Leaves, cotangents: Arrays | None = None) -> Table:
        """One point, in exact arithmetic and in the user's precision."""
        cotangents, numbers = cotangents or self.cotangents(), [as_numbers(x) for x in leaves]
        values, reference = self._reference(numbers, cotangents)
        finite = [np.isfinite(v) for v in values]
        if not all(ok.all() for ok in finite):  # nothing arrives at outputs that are not
            cotangents = [np.where(ok, c, 0) for ok, c in zip(finite, cotangents, strict=True)]
            values, reference = self._reference(numbers, cotangents)
        your_values, yours = self.rule.exact(numbers, cotangents)
        own = [self.rule.own(leaves, [c[k] for c in cotangents]) for k in range(len(cotangents[0]))]
        return Table(
            leaves=numbers,
            precisions=[Precision.of(np.asarray(x).dtype) for x in leaves],
            output_precisions=[Precision.of(z.dtype) for z in self.function.outputs],
            cotangents=cotangents,
            factors=self.factors(),
            values=values,
            reference=reference,
            your_values=your_values,
            yours=yours,
            own_values=[as_numbers(v) for v in own[0][0]],
            own=[np.stack([as_numbers(row[1][i]) for row in own]) for i in range(len(leaves))],
            typed=max(self.function.typed, self.rule.typed),
            most_entries=self.function.most_entries,
            named=self.named,
            stops=self.function.stops,
            strict=self.strict,
            measure=self.measured,
        )

    def _reference(self, leaves: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays | None]:
        """The function's values, and its gradients for the cotangents that are no multiples of the first."""
        if self.function.reference is None:
            return self.function.values(leaves), None
        return self.function.reference.exact(leaves, [c[: len(c) - len(self.factors())] for c in cotangents])

    # --- what a table asks for ----------------------------------------------------------------------------------------

    def measured(self, table: Table, what: Question, *about: Any) -> Any:
        """The answer to a question, see `Table.ask`."""
        return getattr(self, f"_{what}")(table, *about)

    @property
    def _right(self) -> TracedRule:
        """The reference; without one, most is not asked for."""
        assert self.function.reference
        return self.function.reference

    def _entries(self, table: Table, leaf: int, entries: tuple[int, ...]) -> Slopes:
        return at_entries(self.function, table, leaf, entries, table.stops and self.witness_stops)

    def _along(self, table: Table, leaf: int | None, carefully: bool) -> Lines:
        return on_lines(self.function, table, leaf, carefully, self.seed, table.stops and self.witness_stops)

    def _chords(self, table: Table, leaf: int, entries: tuple[int, ...]) -> np.ndarray:
        return np.stack([chord(self.function, self.rule, table, leaf, e) for e in entries])

    def _other_pieces(self, table: Table) -> Arrays:
        seeds = np.array([1.0, -1.0, *np.arange(2.0, 2 + policy.OTHER_PIECES)])
        return self._right.disturbed("pieces", disturbances.OtherPieces, table.leaves, table.base_cotangents, seeds)[1]

    def _outside_jit(self, table: Table) -> Arrays | str | None:
        try:
            found = self.rule.outside_jit(self.given(table.leaves), [c[0] for c in table.cotangents])
        except Exception as error:  # whatever the user's rule raises is a finding
            return f"{type(error).__name__}: {first_lines(error)}"
        return found and [as_numbers(g) for g in found]

    def given(self, leaves: Arrays) -> Leaves:
        """In the user's precision, as arrays of whichever kind the leaves are."""
        xp = jnp if any(isinstance(leaf, jax.Array) for leaf in self.leaves) else np
        return [xp.asarray(x, leaf.dtype) for x, leaf in zip(leaves, map(np.asarray, self.leaves), strict=True)]

    def _native(self, table: Table) -> tuple[Arrays, Arrays]:
        assert table.reference
        rows, base = min(3, table.base), table.base_cotangents
        runs = [self._right.own(self.given(table.leaves), [c[k] for c in base]) for k in range(rows)]
        values = [as_numbers(v) - right for v, right in zip(runs[0][0], table.values, strict=True)]
        gradients = []
        for i, right in enumerate(table.reference):
            off = np.stack([as_numbers(run[1][i]) for run in runs]) - right[:rows]
            gradients.append(np.sqrt(np.mean(np.abs(off) ** 2, axis=0)))
        return values, gradients

    def _rounded(self, table: Table, in_float64: bool) -> tuple[Arrays, Arrays]:
        seeds = np.arange(policy.ROUNDINGS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15 >> 1)
        how = functools.partial(disturbances.Rounding, dtype=np.float64 if in_float64 else None)
        name, base = f"rounded in float64: {in_float64}", table.base_cotangents
        values, gradients = self._right.disturbed(name, how, table.leaves, base, seeds)
        return [_spread(v, 0) for v in values], [_spread(g[:, :3], (0, 1)) for g in gradients]

    def _constants(self, table: Table) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng([self.seed, 4])
        signs = np.concatenate([np.zeros((1, 64)), rng.choice([-1.0, 1.0], (policy.OTHER_CONSTANTS, 64))])
        runs = [
            rule.disturbed("constants", disturbances.OtherConstants, table.leaves, table.base_cotangents, signs)
            for rule in (self._right, self.rule)
            if isinstance(rule, TracedRule)  # of what is called nobody knows any
        ]
        values, gradients = jax.tree.map(lambda *same: functools.reduce(np.subtract, same), *runs)
        return [_largest_change(v, 0) for v in values], [_largest_change(g, (0, 1)) for g in gradients]

    def _neighbours(self, table: Table) -> Arrays:
        rng = np.random.default_rng([self.seed, 2])
        found: list[Arrays] = []
        for step in policy.NEAR:
            for _ in range(policy.NEIGHBOURS):
                at = [x + step * entry_sizes(x) * rng.uniform(-1, 1, x.shape) for x in table.leaves]
                found.append(self._right.exact(at, table.base_cotangents)[1])
        return [np.stack(leaf) for leaf in zip(*found, strict=True)]

    def _far(self, table: Table, leaf: int) -> list[FarPoint]:
        rng, found = np.random.default_rng([self.seed, 6]), []
        for step in policy.FAR:
            x = table.leaves[leaf] + step * entry_sizes(table.leaves[leaf]) * rng.normal(size=table.leaves[leaf].shape)
            at = [x if i == leaf else other for i, other in enumerate(table.leaves)]
            values, gradients = self._right.exact(at, table.base_cotangents)
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
