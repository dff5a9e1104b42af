"""Forward rules: tangents, held to the function as gradients are.

Of F(t) = f(x + Σ_k (t_k − 1) v_k) the derivative for t_k is the tangent J v_k: a forward rule at random tangents v_k is
a rule for the gradient of F at t = 1, and all that decides about gradients decides about it, output by output. Tangents
that are multiples of the first are divided by their factor, so that a rule that is not linear in them shows.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import (
    AnyFunction,
    Argnums,
    Arguments,
    Leaves,
    first_lines,
    is_number,
    name_of,
    outputs_of,
    real_parts,
    split,
)
from mlp_jax.verify.by_hand import StructureError, is_traceable
from mlp_jax.verify.checks import FROM_VALUES, Checked, completed, description_of, require_seed, traced
from mlp_jax.verify.compiled import Outputs, as_numbers, by_vjp
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.function import CalledFunction, Function, TracedFunction
from mlp_jax.verify.hypotheses import constant_factor
from mlp_jax.verify.report import Leaf, Report, Verdict, reported
from mlp_jax.verify.rule import TracedRule
from mlp_jax.verify.table import entry_sizes

FACTORS = (1.0, 1.0, 1.0, 1.0, -(2.0**policy.SCALE_IN_FEW_BITS), 2.0**-policy.SCALE_IN_FEW_BITS, 1.0)
ADJOINT = "adjoint: <J v, u> = <v, J^T u>"


def check_jvp(f: AnyFunction, jvp_f: AnyFunction | None, *args: Any, argnums: Argnums = None, seed: int = 0) -> Report:
    """Check a forward rule: the tangents of f, ẏ = J ẋ, entry by entry of each output.

    They are held to reverse mode of what f computes without any rules, and to slopes from its values; the latter alone
    decide where JAX cannot go backwards through f (`while_loop`), or cannot trace it (numpy). A last row holds them to
    the gradients that `jax.vjp` gives with the rules of f, ⟨J v, u⟩ = ⟨v, Jᵀ u⟩.

    Args:
        f: a function of pytrees of arrays.
        jvp_f: the rule as for `custom_jvp.defjvp`: (primals, tangents) -> (value, tangent of the value), both tuples as
            long as args; None for what `jax.jvp` gives for f itself, say with its own rule.
        args: the arguments, where it is checked.
        argnums: of which arguments the tangents are not 0; of all if None.
        seed: of tangents.

    Returns:
        The report, true if it passed: for each floating-point output a verdict on its tangents, and one on its value.

    Raises:
        CannotCheck: as for `check_vjp`.

    >>> @jax.custom_jvp
    ... def cube(x):
    ...     return x**3
    >>> _ = cube.defjvp(lambda x, t: (x[0] ** 3, 2 * x[0] ** 2 * t[0]))
    >>> report = check_jvp(cube, None, jnp.array([1.0, 2.0]))
    >>> report.passed, report.causes
    (False, ('tangent of primal: yours = 0.6667 × reference in every entry: a constant factor.',))
    """
    started = time.perf_counter()
    require_seed(seed)
    arguments = split(f, args, argnums)
    on_jax = is_traceable(lambda *xs: f(*arguments.rebuilt(xs)), [jnp.asarray(x) for x in arguments.leaves])
    leaves = [jnp.asarray(x) if on_jax else np.asarray(x) for x in arguments.leaves]
    lines = _Lines(leaves, seed)
    names: list[str] = []
    numbers = outputs_of(f, arguments, names, only_numbers=True)
    title = f"check_jvp({name_of(f)}{'' if jvp_f is None else f', {name_of(jvp_f)}'})"
    tangents = _tangents(f, jvp_f, arguments)
    start: Leaves = [np.ones(len(FACTORS), (jnp if on_jax else np).result_type(*leaves))]
    start = [jnp.asarray(start[0])] if on_jax else start
    numbers(leaves)
    parts, pushed = [], []
    for k, name in enumerate(names):
        checked = _of_one_output(k, name, f, numbers, tangents, lines, start, on_jax)
        parts.append(description_of(title, checked))
        pushed.append(checked.experiment)
    rows = [leaf for part in parts for leaf in part.leaves]
    of_lines = [leaf.shape == start[0].shape for leaf in rows]  # findings on t: which t it is tells nobody anything
    rows = [replace(x, shape=None, index=x.index and ()) if of else x for x, of in zip(rows, of_lines, strict=True)]
    if on_jax and all(leaf.verdict is Verdict.OK for leaf in rows):
        rows.append(_adjoint(numbers, lines, leaves, start, pushed))
    causes, notes = (tuple(dict.fromkeys(s for part in parts for s in part[k])) for k in (1, 2))
    return reported(title, rows, seed, started, causes=causes, notes=notes)


class _Lines:
    """x + Σ_k (t_k − 1) v_k through the arguments, where v_k has the sizes of their entries.

    Two at random, ones, the first with zeros in half of it, the first twice more, for its multiples, and nothing.
    """

    def __init__(self, leaves: Leaves, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        self.leaves, self.directions = leaves, []
        for x in leaves:
            size = entry_sizes(as_numbers(x))
            a, b = size * rng.normal(size=(2, *size.shape))
            rows = np.stack([a, b, size, a * (rng.random(size.shape) < 0.5), a, a, 0 * a])
            self.directions.append(np.asarray(rows.astype(x.dtype)))

    def at(self, t: Any) -> Leaves:
        """The arguments there."""
        on_jax = isinstance(t, jax.Array)
        pairs = list(zip(self.leaves, self.directions, strict=True))
        if on_jax:
            return [x + jnp.tensordot(t.astype(x.dtype) - 1, jnp.asarray(rows), 1) for x, rows in pairs]
        return [x + np.tensordot(t - 1, rows, 1) for x, rows in pairs]

    def tangents(self, k: int) -> Leaves:
        """The k-th, in the arguments' dtypes; multiples as they are."""
        return [np.asarray(FACTORS[k] * rows[k], rows.dtype) for rows in self.directions]


def _tangents(f: AnyFunction, jvp_f: AnyFunction | None, arguments: Arguments) -> Callable[[Leaves, Leaves], Any]:
    """(leaves, their tangents) -> (values, tangents) of the floating-point outputs."""

    def of_leaves(leaves: Leaves, tangents: Leaves) -> tuple[Leaves, Leaves]:
        if jvp_f is None:
            value, out = jax.jvp(lambda xs: f(*arguments.rebuilt(xs)), (leaves,), (tangents,))
        else:
            nothing = [_no_tangent(x) for x in arguments.everything]
            value, out = jvp_f(arguments.rebuilt(leaves), arguments.rebuilt(tangents, nothing))
        got, wanted = (str(jax.tree.structure(tree)) for tree in (out, value))
        if got != wanted:
            raise StructureError(f"the tangent must be like the value, {wanted}, got {got}")
        pairs = zip(real_parts(jax.tree.leaves(value)), real_parts(jax.tree.leaves(out)), strict=True)
        values, parts = zip(*((y, t) for y, t in pairs if is_number(y)), strict=True)
        for y, t in zip(values, parts, strict=True):
            if np.shape(y) != np.shape(t):
                raise StructureError(f"the tangent must have the value's shape {np.shape(y)}, got {np.shape(t)}")
        return list(values), list(parts)

    return of_leaves


def _of_one_output(
    k: int,
    name: str,
    f: AnyFunction,
    numbers: Outputs,
    tangents: Callable[[Leaves, Leaves], Any],
    lines: _Lines,
    start: Leaves,
    on_jax: bool,
) -> Checked:
    """The gradient of the k-th output along the lines, by your tangents."""
    of_lines: Outputs = lambda ts: [numbers(lines.at(ts[0]))[k]]  # noqa: E731

    def rule(ts: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        xs, xp = lines.at(ts[0]), jnp if on_jax else np
        rows = [tangents(xs, [xp.asarray(t) for t in lines.tangents(n)]) for n in range(len(FACTORS))]
        moving = [xp.asarray(row[1][k]) / factor for row, factor in zip(rows, FACTORS, strict=True)]
        projected = [xp.sum(xp.where(cotangents[0] == 0, 0, cotangents[0] * t)) for t in moving]
        return [rows[0][0][k]], [xp.stack(projected).astype(ts[0].dtype)]

    arguments = split(f, (start[0],))
    arguments = replace(arguments, names=(f"tangent of {name}",), all_names=(f"tangent of {name}",))
    program = traced(of_lines, f, arguments, start) if on_jax else None
    function: Function = TracedFunction(program, start) if program else CalledFunction(of_lines, start, on_jax)
    source = f"reverse mode without the rules inside, and {FROM_VALUES}" if function.reference else FROM_VALUES
    checked = Checked(arguments, [name], source, of_lines, hypotheses=(constant_factor,))
    checked = completed(checked, function, (rule if program else None, rule), start, on_jax, seed=0, units=True)
    if checked.experiment is None:
        return checked._replace(faults=[replace(f, name=arguments.names[0]) for f in checked.faults])
    return checked


def _no_tangent(x: Any) -> Any:
    """Of a constant, as JAX has it."""
    if is_number(x) or np.iscomplexobj(x):
        return 0 * x
    return np.zeros(x.shape, jax.dtypes.float0) if isinstance(x, jax.Array) else None


def _adjoint(
    numbers: Outputs, lines: _Lines, leaves: Leaves, start: Leaves, pushed: Sequence[Experiment | None]
) -> Leaf:
    """Your tangents beside the gradients that JAX gives with the rules of f, in exact arithmetic."""
    outputs = [e.function.outputs[0] for e in pushed if e]
    rng = np.random.default_rng(0)
    u = [rng.normal(size=(1, *z.shape)) for z in outputs]
    try:
        back = TracedRule(by_vjp(numbers, jax.vjp), leaves, outputs)
    except Exception as raised:  # JAX cannot go backwards, or a reverse rule raises, for which check_vjp is there
        return Leaf(ADJOINT, None, "", Verdict.UNSUPPORTED, reason=first_lines(raised, 100))
    gradients = back.exact([as_numbers(x) for x in leaves], u)[1]
    at_start = [as_numbers(start[0])]
    mine = [e.rule.exact(at_start, [g])[1][0][0, 0] for e, g in zip(pushed, u, strict=True) if e]
    terms = [np.ravel(g[0] * as_numbers(rows[0])) for g, rows in zip(gradients, lines.directions, strict=True)]
    size = float(sum(np.sum(np.abs(t)) for t in terms)) or 1.0
    error = abs(float(sum(mine)) - float(sum(np.sum(t) for t in terms))) / size
    close = error <= policy.ULPS * policy.FLOAT32_EPS or not np.isfinite(error)
    return Leaf(
        ADJOINT, None, "", Verdict.OK if close else Verdict.WRONG, error, reason="forward and reverse rule differ"
    )
