"""The same rule under the transformations of JAX, in other precisions and at other sizes: a table."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import (
    AnyFunction,
    Argnums,
    Leaves,
    first_lines,
    is_number,
    name_of,
    outputs_of,
    top_level,
)
from mlp_jax.verify.checks import Checked, is_of_operations, prepared
from mlp_jax.verify.compiled import Outputs, as_numbers, by_vjp, float64, typed
from mlp_jax.verify.examples import first_rows, more_rows, rows_of_a_batch
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.findings import Where
from mlp_jax.verify.function import TracedFunction
from mlp_jax.verify.interpreter import in_float64, trace
from mlp_jax.verify.report import CannotCheck, Leaf, Report, Verdict, reported
from mlp_jax.verify.rule import TracedRule
from mlp_jax.verify.table import Arrays, Table

Said = tuple[Verdict, float, str]  # of a row: its error, and the reason
ONE_DEVICE = "not looked at: a batch over two devices, for JAX has one here"


def check_transforms(
    f: AnyFunction,
    *args: Any,
    reference: AnyFunction | None = None,
    argnums: Argnums = None,
    seed: int = 0,
) -> Report:
    """Check that the rule of f gives the same gradient whatever JAX does with it.

    A row each for: jit, vmap over each argument, over all of them and over their last axes, a body of scan, checkpoint,
    only one argument differentiated, only one output used (a rule may be told so by symbolic zeros), the second
    derivative by each mode over each, zeros, every dtype, a batch of 1, of 0 and of two examples more; where JAX has
    two devices, half of each argument on one, under jit, and a batch on each, by shard_map. What a rule does not
    support is a row and no failure; a number that differs is. The transformed rule is held to your own rule, in
    float64; its derivative to slopes from its values. Arguments that share their first length with the first output, or
    the last argument, are the batch.

    Args:
        f: as for `check_vjp`, with its arguments.
        args: its arguments.
        reference: as for `check_vjp`.
        argnums: as for `check_vjp`.
        seed: of cotangents.

    Returns:
        A report whose leaves are the rows. It is true if it passed.

    Raises:
        CannotCheck: as for `check_vjp`.

    >>> @jax.custom_vjp
    ... def double(x):
    ...     return 2 * x
    >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
    >>> report = check_transforms(double, jnp.ones(3))
    >>> report.passed, [row.name for row in report.leaves][:2]
    (True, ['jit', 'vmap over x'])
    """
    return rows_of(f, args, reference, argnums, seed)


def rows_of(
    f: AnyFunction,
    args: tuple[Any, ...],
    reference: AnyFunction | None = None,
    argnums: Argnums = None,
    seed: int = 0,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Report:
    """What `check_transforms` returns, with those of the rows whose names are wanted."""
    started = time.perf_counter()
    checked = prepared(f, args, reference, argnums, seed)
    rows = checked.faults or [_row(name, traced) for name, traced in _rows(f, args, checked) if wanted(name)]
    notes = (ONE_DEVICE,) if len(jax.devices()) < 2 else ()
    return reported(f"check_transforms({name_of(f)})", rows, seed, started, notes=notes)


def _rows(f: AnyFunction, args: tuple[Any, ...], checked: Checked) -> Iterator[tuple[str, Callable[[], Said]]]:
    """What is said in each row, by its name."""
    assert checked.experiment
    assert checked.again
    experiment, bind, again = checked.experiment, functools.partial, checked.again
    function, rule, arguments = experiment.function, experiment.rule, top_level(checked.arguments)
    shape = tuple(function.outputs[0].shape)
    if isinstance(function, TracedFunction) and isinstance(rule, TracedRule):
        table, outputs = experiment.table(experiment.leaves), _differentiable(f, checked, rule)
        transformed = _Transformed(rule, experiment.leaves, table, outputs)
        yield "jit", bind(_outside_jit, experiment, table)
        for name, places in arguments.items():
            yield f"vmap over {name}", bind(transformed.mapped, places)
        everything = set(range(len(experiment.leaves)))
        if len(arguments) > 1:
            yield "vmap over all arguments", bind(transformed.mapped, everything)
        if any(x.ndim for x in experiment.leaves):
            yield "vmap over all, last axes", bind(transformed.mapped, everything, axis=-1)
        yield "scan", transformed.scanned
        yield "checkpoint", bind(transformed.in_part, jax.checkpoint(outputs), everything)
        for name, places in arguments.items() if len(arguments) > 1 else ():
            yield f"only {name} differentiated", bind(transformed.in_part, outputs, places)
        for k, name in enumerate(checked.output_names) if len(checked.output_names) > 1 else ():
            yield f"only {name} used", bind(transformed.in_part, outputs, everything, k)
        yield "second order", bind(_second_order, experiment, function, rule, checked.arguments.names)
        for how in ("forward over reverse", "reverse over forward", "forward over forward"):
            yield how, bind(transformed.twice, how)
        if len(jax.devices()) > 1:
            yield "jit over two devices", transformed.sharded
            yield "shard_map over two devices", lambda: transformed.shard_mapped(rows_of_a_batch(checked, table)[1])
        for_zeros = [g[-1] for g in table.yours]
        yield "zero cotangent", bind(_compared, for_zeros, [np.zeros_like(g) for g in for_zeros])
    else:

        def as_jax_says() -> Said:
            _tried(trace, rule.rule, [jnp.asarray(x) for x in experiment.leaves], list(function.outputs))
            return Verdict.OK, 0.0, ""

        for name in ("jit", *(f"vmap over {name}" for name in arguments), "scan", "second order"):
            yield name, as_jax_says
    for dtype in ("float32", "bfloat16", "float16"):
        cast = bind(lambda x, dtype: jnp.asarray(x, dtype) if is_number(x) and hasattr(x, "dtype") else x, dtype=dtype)
        yield dtype, bind(_elsewhere, again, jax.tree.map, cast, args)
    for n in (1, 0):
        yield f"batch of {n}", bind(_elsewhere, again, first_rows, args, shape, n)
    yield "larger batch", bind(_elsewhere, again, more_rows, args, shape)


def _row(name: str, said: Callable[[], Said]) -> Leaf:
    """A row with a verdict, of what a transformation has made of the rule; what raises there is not supported."""
    try:
        verdict, error, reason = said()
    except Exception as raised:
        if _OF_THE_USER not in getattr(raised, "__notes__", ()):
            raise
        kind = "" if isinstance(raised, CannotCheck) else f"{type(raised).__name__}: "
        return Leaf(name, None, "", Verdict.UNSUPPORTED, reason=kind + first_lines(raised, 100))
    return Leaf(name, None, "", verdict, error=error, reason=reason)


_OF_THE_USER = "raised by what is checked"


def _tried(make: Callable[..., Any], *args: Any) -> Any:
    """What is made with the user's rule: that this raises is a finding, and no fault of the checker."""
    try:
        return make(*args)
    except Exception as raised:
        raised.add_note(_OF_THE_USER)
        raise


def _compared(found: Arrays, right: Arrays, alike: float = policy.ALIKE) -> Said:
    """Two lists of gradients, both in exact arithmetic, or alike but for a part of the largest entry."""
    worst = 0.0
    for a, b in zip(found, right, strict=True):
        if a.shape != b.shape:
            return Verdict.STRUCTURE, 0.0, f"a gradient of shape {a.shape}, not {b.shape}"
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return Verdict.NONFINITE, 0.0, "entries that are not finite"
        with np.errstate(all="ignore"):
            off = np.max(np.abs(np.where((a == b) | ~np.isfinite(a), 0, a - b)), initial=0)
        size = np.max(np.abs(np.where(np.isfinite(b), b, 0)), initial=0)
        worst = max(worst, float(off / size) if size else float(off > 0))
    return (Verdict.OK if worst <= alike else Verdict.WRONG), worst, ""


# --- in one program ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Transformed:
    """A rule in programs of JAX, evaluated in float64, beside the rule alone."""

    rule: TracedRule
    leaves: Leaves
    table: Table
    outputs: Outputs

    def _as_alone(self, found: Leaves, right: Callable[[Leaves], Leaves]) -> Said:
        """Gradients in the user's precision, beside what is right by those of the rule alone."""
        alone = self.rule.own(self.leaves, [c[0] for c in self.table.cotangents])[1]
        digits = max(policy.half_the_digits(precision) for precision in self.table.precisions)
        pair = list(map(as_numbers, found)), list(map(as_numbers, right(alone)))
        said = _compared(*pair, digits)
        if said[0] is not Verdict.WRONG or self.table.reference is None:
            return said
        # another order of sums: as much as rounding moves the reference
        leaves = [leaf for i in range(len(self.table.leaves)) if (leaf := self.table.leaf(i)).size]
        moved = [float(np.max(leaf.spread("rounded", False), initial=0)) / leaf.size for leaf in leaves]
        return _compared(*pair, 2 * (digits + policy.SPREADS * max(moved, default=0.0)))

    def _exactly(self, f: Callable[[Leaves], Leaves], leaves: Leaves) -> Arrays:
        """The gradients by a function, traced as the user has the leaves."""
        program = _tried(trace, f, leaves)
        with float64():
            return [as_numbers(x) for x in jax.jit(in_float64(program))(*leaves)]

    def _alone(self, leaves: Arrays) -> Arrays:
        cotangents = [c[:1] for c in self.table.cotangents]
        return [g[0] for g in self.rule.exact(leaves, cotangents)[1]]

    @property
    def _cotangent(self) -> Leaves:
        return typed([c[0] for c in self.table.cotangents], self.rule.outputs)

    def mapped(self, places: set[int], axis: int = 0) -> Said:
        """Two values of some arguments at once, along an axis of each, beside one after the other."""
        leaves, g = self.leaves, self._cotangent
        pair = [jnp.stack([x, jnp.asarray(0.9 * x, x.dtype)], axis) if k in places else x for k, x in enumerate(leaves)]
        axes = [axis if k in places else None for k in range(len(leaves))]
        found = self._exactly(jax.vmap(lambda xs: self.rule.rule(xs, g)[1], in_axes=(axes,)), pair)
        parts = [[jnp.take(x, i, axis) if k in places else x for k, x in enumerate(pair)] for i in range(2)]
        one = [self._alone([as_numbers(x) for x in part]) for part in parts]
        return _compared(found, [np.stack([a, b]) for a, b in zip(*one, strict=True)])

    def in_part(self, outputs: Outputs, places: set[int], output: int | None = None) -> Said:
        """The gradients for some leaves, or of one output, of which JAX tells the rule; beside those of all."""
        leaves, g = self.leaves, self._cotangent

        def gradients(xs: Leaves) -> Leaves:
            def part(some: Leaves) -> Any:
                given = iter(some)
                outs = outputs([next(given) if k in places else x for k, x in enumerate(xs)])
                chosen = range(len(outs)) if output is None else [output]
                return _projected([g[k] for k in chosen], [outs[k] for k in chosen])

            return list(jax.grad(part)([x for k, x in enumerate(xs) if k in places]))

        cotangents = [c[:1] * (output in (None, k)) for k, c in enumerate(self.table.cotangents)]
        all_of_them = self.rule.exact([as_numbers(x) for x in leaves], cotangents)[1]
        return _compared(self._exactly(gradients, leaves), [all_of_them[k][0] for k in sorted(places)])

    def twice(self, how: str) -> Said:
        """wᵀ H v by one mode over another, beside reverse mode of your gradients."""
        g, rng = self._cotangent, np.random.default_rng(9)
        v, w = ([jnp.asarray(rng.normal(size=x.shape), x.dtype) for x in self.leaves] for _ in range(2))
        outer, _, inner = how.split()

        def slope(xs: Leaves) -> Any:
            return jax.jvp(lambda xs: _projected(g, self.outputs(xs)), (xs,), (v,))[1]

        def along(xs: Leaves) -> Any:
            return _projected(v, self.rule.rule(xs, g)[1])

        def backward(of: Callable[[Leaves], Any]) -> Callable[[Leaves], Leaves]:
            return lambda xs: [_projected(w, jax.grad(of)(xs))]

        first = slope if inner == "forward" else along
        over = backward(first) if outer == "reverse" else lambda xs: [jax.jvp(first, (xs,), (w,))[1]]
        return _compared(self._exactly(over, self.leaves), self._exactly(backward(along), self.leaves))

    def scanned(self) -> Said:
        """Σ_t f(t x) in a loop, beside the sum of its two terms' gradients."""
        leaves, g, times = self.leaves, self._cotangent, (1.0, 0.5)

        def loop(xs: Leaves) -> Any:
            def body(total: Any, t: Any) -> tuple[Any, None]:
                outs = self.outputs([jnp.asarray(t, x.dtype) * x for x in xs])
                return total + _projected(g, outs), None

            return jax.lax.scan(body, jnp.zeros((), _projected(g, g).dtype), jnp.asarray(times, jnp.float32))[0]

        terms = [[t * x for x in self._alone([t * as_numbers(x) for x in leaves])] for t in times]
        return _compared(self._exactly(jax.grad(loop), leaves), [a + b for a, b in zip(*terms, strict=True)])

    def sharded(self) -> Said:
        """Arguments with half of an axis on each of two devices, under jit, beside the same on one."""
        mesh, g = Mesh(np.array(jax.devices()[:2]), "rows"), self._cotangent
        even = [next((k for k, n in enumerate(x.shape) if n % 2 == 0), None) for x in self.leaves]
        axes = ([] if k is None else [*[None] * k, "rows"] for k in even)
        shardings = [NamedSharding(mesh, PartitionSpec(*names)) for names in axes]
        found = _tried(jax.jit(lambda xs: self.rule.rule(xs, g)[1]), jax.device_put(self.leaves, shardings))
        return self._as_alone(found, list)

    def shard_mapped(self, rows: Sequence[int]) -> Said:
        """By shard_map all rows on each of two devices: for what both have, twice the gradient of one."""
        parted, g = [k in rows for k in range(len(self.leaves))], self._cotangent
        mesh = Mesh(np.array(jax.devices()[:2]), "rows")
        specs = [PartitionSpec("rows") if has_rows else PartitionSpec() for has_rows in parted]

        def doubled(arrays: Leaves, both: Callable[[Any], Any]) -> Leaves:
            return [jnp.concatenate([x, x]) if is_own else both(x) for x, is_own in zip(arrays, parted, strict=True)]

        def on_one(*own: Any) -> Leaves:
            found = self.rule.rule(list(own), g)[1]
            return [x if is_own else jax.lax.psum(x, "rows") for x, is_own in zip(found, parted, strict=True)]

        over = jax.shard_map(on_one, mesh=mesh, in_specs=tuple(specs), out_specs=specs, check_vma=False)
        found = _tried(jax.jit(over), *doubled(self.leaves, lambda x: x))
        return self._as_alone(found, lambda alone: doubled(alone, lambda x: 2 * x))


def _projected(weights: Leaves, arrays: Leaves) -> Any:
    """Σ w x over all arrays, in single precision at least."""
    dtype = jnp.result_type(jnp.float32, *(x.dtype for x in arrays))
    return sum(jnp.sum(jnp.asarray(w, dtype) * jnp.asarray(x, dtype)) for w, x in zip(weights, arrays, strict=True))


def _differentiable(f: AnyFunction, checked: Checked, rule: TracedRule) -> Outputs:
    """F from its leaves to its floating-point outputs; where its rule is the tracer's, JAX is given that one."""
    outputs = outputs_of(f, checked.arguments, only_numbers=True)
    if checked.experiment and not is_of_operations(f, checked.arguments, checked.experiment.leaves):
        return outputs
    with_rule = jax.custom_vjp(outputs)
    with_rule.defvjp(lambda leaves: (outputs(leaves), leaves), lambda leaves, g: (rule.rule(leaves, g)[1],))
    return with_rule


def _outside_jit(experiment: Experiment, table: Table) -> Said:
    """Your rule compiled, beside itself as Python runs it."""
    table.ask("outside_jit")
    found = [f for f in experiment.judged(table)[1].leaves if f.where is Where.OUTSIDE_JIT]
    return (found[0].verdict, found[0].error, "not as outside jit") if found else (Verdict.OK, 0.0, "")


def _second_order(experiment: Experiment, function: TracedFunction, rule: TracedRule, names: Sequence[str]) -> Said:
    """JAX's derivative of your rule along a random direction, held to slopes from the values of your rule."""
    rng = np.random.default_rng([experiment.seed, 5])
    leaves = experiment.leaves
    v = [jnp.asarray(rng.normal(size=x.shape), x.dtype) for x in leaves]
    g = [jnp.asarray(rng.normal(size=z.shape), z.dtype) for z in function.outputs]

    def along(xs: Leaves) -> Leaves:
        return [_projected(v, rule.rule(xs, g)[1])]

    first = _tried(lambda: TracedFunction(trace(lambda *xs: along(list(xs)), *leaves), leaves))
    second = _tried(TracedRule, by_vjp(along, jax.vjp), leaves, first.outputs)
    witnessed = Experiment(first, second, leaves, experiment.seed, scalar=True, witness_stops=function.stops)
    return _judged(witnessed, [f"the derivative for {name}" for name in names])


# --- the same check elsewhere -----------------------------------------------------------------------------------------


def _elsewhere(again: Callable[[tuple[Any, ...]], Checked], change: Callable[..., tuple[Any, ...]], *args: Any) -> Said:
    """F checked anew at other arguments, which a change makes of the given ones."""
    checked = _tried(lambda: again(change(*args)))
    if checked.experiment is None or checked.faults:
        fault = checked.faults[0]
        verdict = Verdict.UNSUPPORTED if fault.verdict is Verdict.RAISED else fault.verdict
        return verdict, 0.0, f"{fault.name}: {fault.reason}"[:120]
    return _judged(checked.experiment, checked.arguments.names, checked.output_names)


def _judged(experiment: Experiment, names: Sequence[str], outputs: Sequence[str] = ("primal",)) -> Said:
    table = experiment.table(experiment.leaves)
    not_finite = Verdict.UNSUPPORTED, 0.0, "the function itself is not finite there"
    if not any(np.isfinite(v).any() or not v.size for v in table.values):
        return not_finite
    table.answers["outside_jit",] = None  # it has a row of its own
    _, judgement = experiment.judged(table)
    for found, name in [*zip(judgement.leaves, names, strict=True), *zip(judgement.outputs, outputs, strict=True)]:
        if not found.passes:
            if found.verdict is Verdict.NONFINITE and found.right is not None and not np.isfinite(found.right):
                return not_finite
            return found.verdict, _relative(table, found.about, found.error), f"{name}: {found.verdict.value}"
    return Verdict.OK, max((_relative(table, f.about, f.error) for f in judgement.leaves), default=0.0), ""


def _relative(table: Table, i: int, error: float) -> float:
    size = table.leaf(i).size if i < len(table.leaves) else 1.0
    return error / size if size else error
