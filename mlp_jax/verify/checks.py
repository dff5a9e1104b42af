"""The two checks: of a function's own gradient rule, and of a gradient that somebody wrote by hand."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import Operation
from mlp_jax.verify import diagnosis, subject, tolerance
from mlp_jax.verify.comparison import RANDOM_COTANGENTS, Case, Comparison
from mlp_jax.verify.judgement import Judge
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
    arguments = subject.split(f, args, argnums)
    leaves = _as_jax(arguments)
    value = subject.call_once(f, arguments, leaves)
    plain, references = _truths(f, arguments, reference)
    outputs = subject.outputs_of(plain or f, arguments)
    ours = subject.undecorated(f) is None and subject.is_traceable(f, arguments)
    rule = subject.by_tracer(f, arguments) if ours else subject.by_jax(f, arguments)
    case = Case(
        arguments,
        rule,
        outputs,
        tuple(z for z in jax.tree.leaves(value) if subject.is_number(z)) if reference is None else tuple(outputs(leaves)),
        references,
        named=reference is not None,
        scalar=False,
        on_jax=True,
        output_names=tuple(subject.output_names(value)),
        seed=seed,
    )
    return _report(f"check_vjp({subject.name_of(f)})", f, case, started)


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
    on_jax = _is_for_jax(f, everything)
    value = subject.call_once(f, everything, _as_jax(everything) if on_jax else everything.leaves)
    if np.shape(value) != ():
        raise CannotCheck(
            f"{subject.name_of(f)} must return one number, got shape {np.shape(value)}; reduce it, for example by a "
            "sum, or check its rule with check_vjp"
        )
    gradient = _call_gradient(grad_f, everything, on_jax)
    if isinstance(gradient, Leaf):
        return _failed(f"check_grad({subject.name_of(grad_f)})", gradient, started, seed)
    argnums = _places(args, gradient) if argnums is None else argnums
    arguments = subject.split(f, args, argnums)
    rule = _by_hand(f, grad_f, arguments, argnums)
    plain, references = _truths(f, arguments, reference, always=on_jax)
    case = Case(
        arguments,
        rule,
        subject.outputs_of(plain or f, arguments),
        (value,),
        references,
        named=reference is not None,
        scalar=True,
        on_jax=on_jax,
        output_names=(),
        seed=seed,
    )
    return _report(f"check_grad({subject.name_of(grad_f)})", f, case, started)


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
    if plain is not None:
        return plain, (("jax.vjp of the undecorated function", subject.by_jax(plain, arguments)),)
    if subject.is_traceable(f, arguments):
        of = f.f if isinstance(f, Operation) else f
        return of, (("jax.vjp", subject.by_jax(of, arguments)),)
    if always:
        return None, (("jax.grad", subject.by_jax(f, arguments)),)
    return None, ()


def _report(title: str, f: Any, case: Case, started: float) -> Report:
    comparison = Comparison(case)
    names = case.arguments.names
    repeated = [as_numbers(z) for z in case.plain(comparison.own_leaves)]
    if not _same([as_numbers(z) for z in case.values], repeated, comparison.own_precision[0]):
        leaf = Leaf(
            "primal", np.shape(repeated[0]), "", Verdict.NONDETERMINISTIC,
            reason="two calls of the function differ; give it a fixed key, as in check_vjp(f, x, jax.random.key(0))",
        )  # fmt: skip
        return _failed(title, leaf, started, case.seed)
    try:
        outs, rows = comparison.own_run(comparison.cotangents)
        faults = _structure_faults(case.arguments, comparison.own_leaves, rows[0], case.on_jax)
        if faults:
            return _failed(title, faults, started, case.seed)
        own = [np.stack([as_numbers(row[k]) for row in rows]) for k in range(len(names))]
        again = [as_numbers(leaf) for leaf in comparison.own_run(comparison.cotangents[:1])[1][0]]
    except Exception as error:  # whatever the user's rule raises is a finding
        return _failed(title, _raised(error), started, case.seed)
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
    notes = [f"held to {source} in float64, {len(comparison.cotangents)} cotangents; tolerances: policy {tolerance.VERSION}"]
    if not comparison.case.scalar:
        missed = (0.8 * 1e-2) ** RANDOM_COTANGENTS
        notes.append(f"an error of 100 × its tolerance is missed with a chance of {missed:.0e}")
    if isinstance(comparison.yours, Exception):
        why = subject.first_lines(comparison.yours, 120)
        notes.append(f"your rule does not run in float64, so it was judged in {comparison.own_precision[1]}: {why}")
    if truth:
        idle = [
            name for name, g in zip(comparison.case.arguments.names, truth.gradients, strict=True) if g.size and not g.any()
        ]
        if idle:
            notes.append(f"the true gradient is 0 for {', '.join(idle)}: any factor of it would pass at these arguments")
    return notes


def _failed(title: str, leaves: Leaf | list[Leaf], started: float, seed: int) -> Report:
    found = (leaves,) if isinstance(leaves, Leaf) else tuple(leaves)
    return Report(
        title, found, reproduce=f"verify.{title[:-1]}, ..., seed={seed})", seed=seed,
        seconds=time.perf_counter() - started, policy=tolerance.VERSION,
    )  # fmt: skip


def _same(first: list[np.ndarray], second: list[np.ndarray], eps: float) -> bool:
    """Whether two runs agree, but for the order of sums in another thread."""
    with np.errstate(all="ignore"):
        return all(
            a.shape == b.shape
            and np.array_equal(np.isfinite(a), np.isfinite(b))
            and np.nanmax(np.abs(a - b), initial=0) <= 64 * eps * np.nanmax(np.abs(a), initial=0)
            for a, b in zip(first, second, strict=True)
        )


def _nondeterministic(leaf: Leaf) -> Leaf:
    return Leaf(leaf.name, leaf.shape, leaf.dtype, Verdict.NONDETERMINISTIC, reason="two runs of your rule differ")


def _raised(error: Exception) -> Leaf:
    message = subject.first_lines(error)
    structure = isinstance(error, TypeError | ValueError) and "Custom VJP bwd rule must produce" in message
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


# --- gradients by hand --------------------------------------------------------------------------------------


def _is_for_jax(f: Callable[..., Any], arguments: Arguments) -> bool:
    try:
        jax.eval_shape(subject.outputs_of(f, arguments), _as_jax(arguments))
    except Exception:  # numpy's functions raise on tracers; so may anything else of the user's
        return any(isinstance(leaf, jax.Array) for leaf in arguments.leaves)
    return True


def _call_gradient(grad_f: Callable[..., Any], arguments: Arguments, on_jax: bool) -> Any:
    try:
        return grad_f(*arguments.rebuilt(_as_jax(arguments) if on_jax else list(arguments.leaves)))
    except Exception as error:
        return _raised(error)


def _places(args: tuple[Any, ...], gradient: Any) -> int | tuple[int, ...]:
    """For which arguments a gradient is, by its structure and shapes: the first, else the first few."""
    options: list[int | tuple[int, ...]] = [0, *(tuple(range(k)) for k in range(len(args), 0, -1))]
    for option in options:
        if _fitted(args, gradient, option) is not None:
            return option
    return 0


def _fitted(args: tuple[Any, ...], gradient: Any, argnums: int | tuple[int, ...], exact: bool = True) -> Any:
    """The gradients for the leaves of the chosen arguments, or None where their structure does not fit."""
    for candidate in (gradient, gradient[1] if isinstance(gradient, tuple) and len(gradient) == 2 else None):
        wanted = args[argnums] if isinstance(argnums, int) else tuple(args[k] for k in argnums)
        got = tuple(candidate) if isinstance(candidate, list) and isinstance(wanted, tuple) else candidate
        leaves, tree = jax.tree.flatten(wanted, is_leaf=lambda x: x is None)
        others, other_tree = jax.tree.flatten(got, is_leaf=lambda x: x is None)
        if tree == other_tree and (
            not exact or all(b is None or np.shape(a) == np.shape(b) for a, b in zip(leaves, others, strict=True))
        ):
            return got
    return None


def _by_hand(
    f: Callable[..., Any], grad_f: Callable[..., Any], arguments: Arguments, argnums: int | Sequence[int]
) -> Rule:
    """The rule that a hand-written gradient is: its gradient times the cotangent."""
    numbers = argnums if isinstance(argnums, int) else tuple(argnums)

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        args = arguments.rebuilt(leaves)
        gradient = grad_f(*args)
        fitted = _fitted(args, gradient, numbers, exact=False)
        if fitted is None:
            wanted = jax.tree.structure(args[numbers] if isinstance(numbers, int) else tuple(args[k] for k in numbers))
            raise StructureError(
                f"the gradient must have the structure of its argument, {wanted}, got {jax.tree.structure(gradient)}"
            )
        full = list(args)
        for k, part in [(numbers, fitted)] if isinstance(numbers, int) else zip(numbers, fitted, strict=True):
            full[k] = part
        flat = jax.tree.leaves(tuple(full), is_leaf=lambda x: x is None)
        kept = jax.tree.leaves(args, is_leaf=lambda x: x is None)
        places = [j for j, x in enumerate(kept) if x is not None]
        grads = [flat[places[k]] for k in arguments.places]
        return [f(*args)], [np.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)]

    return rule


class StructureError(TypeError):
    """A gradient by hand has another structure than its argument."""
