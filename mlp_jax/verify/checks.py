"""The two checks: of a function's own gradient rule, and of a gradient that somebody wrote by hand."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import by_hand, diagnosis, ours, subject, tolerance
from mlp_jax.verify.comparison import RANDOM_COTANGENTS, Case, Comparison
from mlp_jax.verify.compiling import compiled
from mlp_jax.verify.inlining import by_jax_without_rules, has_rules
from mlp_jax.verify.judgement import Judge
from mlp_jax.verify.precision import largest
from mlp_jax.verify.references import as_numbers
from mlp_jax.verify.report import CannotCheck, Leaf, Report, Verdict
from mlp_jax.verify.subject import Arguments, Leaves, Rule


def check_vjp(
    f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    seed: int = 0,
) -> Report:
    """Check the gradient that `jax.vjp` gives for f, entry by entry, against an independent one in float64.

    For outputs y, inputs x and random cotangents g the gradient is that of equation (6.47), ∇_x = Σ_j (∇_x y_j) g_j.
    What f is determines what is under test, and the strongest reference:

    - a `jax.custom_vjp` or `custom_jvp` function: its rule, against `jax.vjp` of the function beneath the decorator;
    - an `Operation`, or a function of the operations: its bprop rules, against `jax.vjp` of its f;
    - any other: `jax.vjp` of f, against forward mode or differences.

    Differences in float64 witness each but one that the user named. `tolerance` says how large an error may be.

    Args:
        f: a function of pytrees of arrays; integers, booleans, keys, None and all else are constants.
        args: its arguments, where it is checked. They are upcast to float64; the process's configuration stays.
        reference: a function whose values and `jax.vjp` are the truth.
        argnums: of which arguments the gradient is checked; of all if None.
        seed: of cotangents and directions.

    Returns:
        The report: a verdict for each floating-point leaf of the arguments and for each output.

    Raises:
        CannotCheck: f raises, returns no floating-point numbers, changes an argument, or there is nothing to check.

    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x * g,))
    >>> report = check_vjp(cube, 2.0)
    >>> report.passed, report.leaves[0].verdict.name, report.leaves[0].reference / report.leaves[0].yours
    (False, 'WRONG', 2.0)
    """
    started = time.perf_counter()
    title = f"check_vjp({subject.name_of(f)})"
    case = case_of_vjp(f, args, reference, argnums, seed)
    if faults := _forward_faults(f, case.arguments):
        return _failed(title, faults, started, seed)
    return _report(title, case, started)


def case_of_vjp(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    reference: Callable[..., Any] | None,
    argnums: int | Sequence[int] | None,
    seed: int,
) -> Case:
    """What `check_vjp` compares with what; errors as there."""
    arguments = subject.split(f, args, argnums)
    leaves = _as_jax(arguments)
    value = subject.call_once(f, arguments, leaves)
    plain, references = _truths(f, arguments, reference)
    traced = subject.undecorated(f) is None and subject.is_traceable(f, arguments)
    values = subject.numbers_in(value)
    if reference is not None:
        true = subject.numbers_in(subject.call_once(reference, arguments, leaves))
        if [np.shape(z) for z in true] != [np.shape(z) for z in values]:
            raise CannotCheck(
                f"the reference {subject.name_of(reference)} must return what {subject.name_of(f)} returns, "
                f"shapes {[np.shape(z) for z in values]}, got {[np.shape(z) for z in true]}"
            )
        values = true
    return Case(
        arguments,
        functools.partial(subject.by_tracer if traced else subject.by_jax, f),
        plain or f,
        values,
        subject.numbers_in((f if reference is None else reference)(*arguments.rebuilt(leaves))),
        references,
        named=reference is not None,
        scalar=False,
        on_jax=True,
        output_names=tuple(subject.output_names(value)),
        seed=_seeded(seed),
    )


def check_grad(
    f: Callable[..., Any],
    grad_f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    seed: int = 0,
) -> Report:
    """Check a hand-written gradient of a scalar function f, entry by entry, against `jax.grad` of f in float64.

    Functions of numpy arrays, which JAX cannot trace, are held to differences instead.

    Args:
        f: the function; it returns one number.
        grad_f: called like f; it returns the gradient for the first argument, like that argument, or a tuple for the
            first few; also (value, gradient), as `jax.value_and_grad` does.
        args: the arguments of both.
        reference: a function whose gradient is the truth, instead of f.
        argnums: for which arguments grad_f returns gradients, as in `jax.grad`; found by their shapes if None.
        seed: of directions.

    Returns:
        The report: a verdict for each floating-point leaf of those arguments.

    Raises:
        CannotCheck: f raises, does not return one number, or there is nothing to check.

    >>> report = check_grad(lambda x: np.sum(x**2), lambda x: -2 * x, np.array([1.0, 2.0]))
    >>> report.passed, report.causes
    (False, ('x: yours = -1 × reference in every entry: a sign.',))
    """
    started = time.perf_counter()
    everything = subject.split(f, args)
    on_jax = by_hand.is_for_jax(f, grad_f, everything)
    leaves = _as_jax(everything) if on_jax else list(everything.leaves)
    value = subject.call_once(f, everything, leaves)
    if np.shape(value) != ():
        raise CannotCheck(
            f"{subject.name_of(f)} must return one number, got shape {np.shape(value)}; reduce it, for example by a "
            "sum, or check its rule with check_vjp"
        )
    title = f"check_grad({subject.name_of(f)}, {subject.name_of(grad_f)})"
    before = [np.array(leaf, copy=True) for leaf in leaves]
    try:
        gradient = grad_f(*everything.rebuilt(leaves))
    except Exception as error:  # whatever the user's gradient raises is a finding
        return _failed(title, _raised(error), started, seed)
    subject.require_unchanged(grad_f, everything, before, leaves)
    form = by_hand.find_form(args, gradient, argnums)
    arguments = subject.split(f, args, form.argnums, on_jax)
    plain, references = _truths(f, arguments, reference, always=on_jax)
    case = Case(
        arguments,
        functools.partial(by_hand.as_rule, f, grad_f, form),
        plain or f,
        (value,),
        (f(*everything.rebuilt(leaves)),),
        references,
        named=reference is not None,
        scalar=True,
        on_jax=on_jax,
        output_names=("primal",),
        seed=_seeded(seed),
    )
    return _report(title, case, started)


def _seeded(seed: int) -> int:
    if not isinstance(seed, int) or seed < 0:
        raise CannotCheck(f"seed must be a whole number of at least 0, got {seed!r}")
    return seed


def _as_jax(arguments: Arguments) -> Leaves:
    return [jnp.asarray(leaf) for leaf in arguments.leaves]


def _truths(
    f: Callable[..., Any], arguments: Arguments, reference: Callable[..., Any] | None, always: bool = False
) -> tuple[Callable[..., Any] | None, tuple[tuple[str, Rule], ...]]:
    """The function without its rule, if that is known, and rules to hold the gradient to."""
    if reference is not None:
        name = f"jax.vjp of the reference {subject.name_of(reference)}"
        return reference, ((name, subject.by_jax(reference, arguments)),)
    plain = subject.undecorated(f)
    if plain is None and subject.is_traceable(f, arguments):
        of = ours.beneath(f)
        return of, (("jax.vjp", subject.by_jax(of, arguments)),)
    inner = plain or f
    references = []
    if has_rules(subject.outputs_of(inner, arguments), arguments):
        name = "jax.vjp of the function without the rules inside it"
        references.append((name, by_jax_without_rules(inner, arguments)))
    if plain is not None:
        references.append(("jax.vjp of the undecorated function", subject.by_jax(plain, arguments)))
    elif always and not references:
        references.append(("jax.grad", subject.by_jax(f, arguments)))
    return plain, tuple(references)


def _report(title: str, case: Case, started: float) -> Report:
    comparison = Comparison(case)
    names = case.arguments.names
    first, second = ([as_numbers(z) for z in run] for run in (case.values, case.repeated))
    if not _same(first, second, 16 * comparison.own_precision[0]):
        leaf = Leaf(
            "primal", np.shape(second[0]), "", Verdict.NONDETERMINISTIC,
            reason="two calls of the function differ; give it a fixed key, as in check_vjp(f, x, jax.random.key(0))",
        )  # fmt: skip
        return _failed(title, leaf, started, case.seed)
    try:
        outs, rows = comparison.own_run()
        faults = _structure_faults(case.arguments, comparison.own_leaves, rows[0], case.on_jax)
        if faults:
            return _failed(title, faults, started, case.seed)
        own = [np.stack([as_numbers(row[k]) for row in rows]) for k in range(len(names))]
        again = [as_numbers(leaf) for leaf in comparison.own_run_again()]
    except Exception as error:  # whatever the user's rule raises is a finding
        return _failed(title, _raised(error), started, case.seed)
    if comparison.values is not None and any(np.isnan(z).any() for z in comparison.values):
        raise CannotCheck(
            f"the value that {title.partition('(')[2][:-1]} is about is nan at these arguments, also in float64, so it "
            "has no gradient; choose others"
        )
    judge = Judge(comparison, ([as_numbers(z) for z in outs], own), names)
    leaves = [
        leaf if _same([a[0]], [b], comparison.own_precision[0]) else _nondeterministic(leaf)
        for leaf, a, b in zip(judge.gradients(), own, again, strict=True)
    ]
    leaves += judge.outputs()
    return Report(
        title,
        tuple(leaves),
        causes=tuple(diagnosis.causes(comparison, leaves)),
        notes=tuple(_notes(comparison, judge)),
        reproduce=f"verify.{title[:-1]}, ..., seed={case.seed})",
        seed=case.seed,
        seconds=time.perf_counter() - started,
        policy=tolerance.VERSION,
    )


def _notes(comparison: Comparison, judge: Judge) -> list[str]:
    truth = comparison.truth
    source = truth.source if truth else "slopes along random directions"
    witness = " and differences" if comparison.is_exact and comparison.witness else ""
    notes = [f"held to {source}{witness} in float64; tolerances: policy {tolerance.VERSION}"]
    if truth and not comparison.case.scalar:
        missed = (0.8 * 1e-2) ** RANDOM_COTANGENTS
        count = len(comparison.cotangents)
        notes.append(f"{count} cotangents: an error of 100 × its tolerance is missed with a chance of {missed:.0e}")
    if isinstance(comparison.yours, Exception):
        why = subject.first_lines(comparison.yours, 120)
        notes.append(f"your rule does not run in float64, so it was judged in {comparison.own_precision[1]}: {why}")
    if truth:
        idle = [
            name
            for name, g in zip(comparison.case.arguments.names, truth.gradients, strict=True)
            if g.size and not g.any()
        ]
        if judge.unseen:
            notes.append(f"too small for differences to see: {', '.join(dict.fromkeys(judge.unseen))}")
        if idle:
            notes.append(
                f"the true gradient is 0 for {', '.join(idle)}: any factor of it would pass at these arguments"
            )
    return notes


def _forward_faults(f: Callable[..., Any], arguments: Arguments) -> list[Leaf]:
    """A leaf for each output of the forward rule that has another shape or, if it is of whole numbers, other values."""

    def forward(leaves: Leaves) -> Any:
        return jax.vjp(lambda xs: f(*arguments.rebuilt(xs)), leaves)[0]

    leaves = _as_jax(arguments)
    named, _ = jax.tree_util.tree_flatten_with_path(f(*arguments.rebuilt(leaves)))
    try:
        found = jax.tree.leaves(jax.eval_shape(forward, leaves))
        if not all(subject.is_number(right) for _, right in named):
            found = jax.tree.leaves(compiled(forward)(leaves))
    except Exception:  # the rule will say it, too
        return []
    faults = []
    for yours, (path, right) in zip(found, named, strict=False):
        if np.shape(yours) != np.shape(right):
            reason = f"the forward rule's output has shape {np.shape(yours)}, the function's {np.shape(right)}"
        elif not subject.is_number(right) and not np.array_equal(np.asarray(yours), np.asarray(right)):
            reason = "the forward rule's output is not the function's"
        else:
            continue
        name, dtype = f"primal{jax.tree_util.keystr(path)}", str(np.asarray(right).dtype)
        faults.append(Leaf(name, np.shape(right), dtype, Verdict.PRIMAL, reason=reason))
    return faults


def _failed(title: str, leaves: Leaf | list[Leaf], started: float, seed: int) -> Report:
    found = (leaves,) if isinstance(leaves, Leaf) else tuple(leaves)
    return Report(
        title, found, reproduce=f"verify.{title[:-1]}, ..., seed={seed})", seed=seed,
        seconds=time.perf_counter() - started, policy=tolerance.VERSION,
    )  # fmt: skip


def _same(first: list[np.ndarray], second: list[np.ndarray], eps: float) -> bool:
    """Whether two runs agree, but for the order of sums in another thread."""
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return False
        finite = np.isfinite(a)
        if largest(a[finite] - b[finite]) > 64 * eps * largest(a):
            return False
    return True


def _nondeterministic(leaf: Leaf) -> Leaf:
    return Leaf(leaf.name, leaf.shape, leaf.dtype, Verdict.NONDETERMINISTIC, reason="two runs of your rule differ")


def _raised(error: Exception) -> Leaf:
    message = subject.first_lines(error)
    structure = isinstance(error, by_hand.StructureError) or (
        "Custom VJP bwd rule" in message and "must produce" in message
    )
    verdict = Verdict.STRUCTURE if structure else Verdict.RAISED
    return Leaf("gradient", (), "", verdict, reason=message if structure else f"{type(error).__name__}: {message}")


def _structure_faults(arguments: Arguments, leaves: Leaves, gradients: Leaves, on_jax: bool) -> list[Leaf]:
    """A leaf for each gradient whose shape or dtype is not that of its array."""
    faults = []
    for name, x, g in zip(arguments.names, leaves, gradients, strict=True):
        shape, dtype = np.shape(x), np.asarray(x).dtype
        got = np.asarray(g).dtype
        if np.shape(g) != shape:
            reason = f"the gradient must have shape {shape}, got {np.shape(g)}"
        elif not jnp.issubdtype(got, jnp.floating) or (on_jax and got != dtype):
            reason = f"the gradient must have dtype {dtype}, got {got}"
        else:
            continue
        faults.append(Leaf(name, shape, str(dtype), Verdict.STRUCTURE, reason=reason))
    return faults
