"""The two main checks: of a function's own gradient rule, and of a gradient that somebody wrote by hand."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.forks import require_no_fork
from mlp_jax.verify import by_hand, cost, ours
from mlp_jax.verify.arguments import AnyFunction, Argnums, Arguments, Leaves, first_lines, name_of, outputs_of, split
from mlp_jax.verify.compiled import Outputs, Rule, by_vjp
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.failures import rule_that_raises, structure_faults, two_runs_differ
from mlp_jax.verify.function import CalledFunction, Function, TracedFunction
from mlp_jax.verify.hypotheses import Hypothesis
from mlp_jax.verify.intentions import declared
from mlp_jax.verify.interpreter import Program, trace, without_rules
from mlp_jax.verify.report import ON_PURPOSE, CannotCheck, Leaf, Report, reported
from mlp_jax.verify.rule import CalledRule, RuleUnderTest, TracedRule
from mlp_jax.verify.special import at_special_points
from mlp_jax.verify.wording import Description, described

FROM_VALUES = "slopes from values"


class Checked(NamedTuple):
    """What is under test, ready to be evaluated; or why it cannot be, as leaves of a report."""

    arguments: Arguments  # the leaves and constants
    output_names: list[str]  # what a report calls the outputs
    source: str = ""  # what it is held to, in words
    outputs: Outputs = list  # of the function, from its leaves
    again: Callable[[tuple[Any, ...]], "Checked"] | None = None  # the same check at other arguments
    experiment: Experiment | None = None  # by which it is judged
    faults: Sequence[Leaf] = ()  # what is wrong before anything is computed
    hypotheses: Sequence[Hypothesis] = ()  # on causes, where not all make sense


def check_vjp(
    f: AnyFunction,
    *args: Any,
    reference: AnyFunction | None = None,
    argnums: Argnums = None,
    seed: int = 0,
    strict: bool = False,
    special: bool = False,
) -> Report:
    """Check the gradient that `jax.vjp` gives for f, entry by entry.

    It is right if it agrees with the derivative of the function, up to what rounding at your precision can change and
    what a kink leaves open. For outputs y, inputs x and cotangents g the gradient is that of equation (6.47),
    ∇_x = Σ_j (∇_x y_j) g_j. The rule's formula is held to the function in float64, with two witnesses: reverse mode of
    what the function computes without any `custom_vjp` or `custom_jvp`, and slopes from its values; and the rule as you
    have it to half the digits of its precision. docs/verify.md derives each verdict.

    Args:
        f: a function of pytrees of arrays: with a rule of its own, with rules inside it, or of the operations of
            `mlp_jax.autodiff`; a complex leaf is two real ones, by JAX's convention (docs/verify.md); integers,
            booleans, keys, None and all else are constants.
        args: its arguments, where it is checked.
        reference: a function whose values and `jax.vjp` are the truth, where that is not f's own derivative; see also
            `intended`.
        argnums: of which arguments the gradient is checked; of all if None.
        seed: of cotangents and directions.
        strict: whether rules that are no derivative on purpose fail, too: a surrogate for the derivative of a step, and
            what scales or clips the gradient of an identity.
        special: whether to look at special points, too: each leaf with an entry that is 0, −0, ±1, denormal, tied with
            the largest of its row, or at, near and between the constants that the function compares with.

    Returns:
        The report, true if it passed: a verdict for each floating-point leaf of the arguments and for each output.

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
    checked = prepared(f, args, reference, argnums, seed, strict)
    return report_on(f"check_vjp({name_of(f)})", checked, seed, started, special)


def check_grad(
    f: AnyFunction,
    grad_f: AnyFunction,
    *args: Any,
    reference: AnyFunction | None = None,
    argnums: Argnums = None,
    seed: int = 0,
) -> Report:
    """Check a hand-written gradient of a scalar function f, entry by entry, as `check_vjp` checks a rule.

    Functions of numpy arrays, which JAX cannot trace, are held to slopes from their values.

    Args:
        f: the function; it returns one number.
        grad_f: called like f; it returns the gradient for the first argument, like that argument, or a tuple for the
            first few; also (value, gradient), as `jax.value_and_grad` does.
        args: the arguments of both.
        reference: a function whose gradient is the truth, instead of f.
        argnums: for which arguments grad_f returns gradients, as in `jax.grad`; found by their shapes if None.
        seed: of directions.

    Returns:
        The report, true if it passed: a verdict for each floating-point leaf of those arguments.

    Raises:
        CannotCheck: f raises, does not return one number, or there is nothing to check.

    >>> report = check_grad(lambda x: np.sum(x**2), lambda x: -2 * x, np.array([1.0, 2.0]))
    >>> report.passed, report.causes
    (False, ('x: yours = -1 × reference in every entry: a sign.',))
    """
    started = time.perf_counter()
    checked = prepared_by_hand(f, grad_f, args, reference, argnums, seed)
    return report_on(f"check_grad({name_of(f)}, {name_of(grad_f)})", checked, seed, started)


# --- the rule of a function -------------------------------------------------------------------------------------------


def prepared(
    f: AnyFunction,
    args: tuple[Any, ...],
    reference: AnyFunction | None,
    argnums: Argnums,
    seed: int,
    strict: bool = False,
) -> Checked:
    """What `check_vjp` checks; errors as there."""
    require_seed(seed)
    arguments = split(f, args, argnums)
    leaves = [jnp.asarray(x) for x in arguments.leaves]
    names: list[str] = []
    outputs, beneath = outputs_of(f, arguments, names), outputs_of(ours.beneath(f), arguments)
    numbers = outputs_of(f, arguments, names, only_numbers=True)
    vjp: AnyFunction = jax.vjp
    if is_of_operations(f, arguments, leaves):
        outputs, beneath, vjp = numbers, outputs_of(ours.beneath(f), arguments, only_numbers=True), ours.vjp
    program = traced(beneath, f, arguments, leaves)
    meant = None if reference else declared(f)
    function: Function
    if program is None:
        function, source = CalledFunction(numbers, leaves, on_jax=True), FROM_VALUES
    else:
        function, source = _held_to(reference, program, f, arguments, leaves, "jax.vjp", meant)

    rules = (by_vjp(outputs, vjp) if program else None), by_vjp(numbers, vjp)
    again = lambda others: prepared(f, others, reference, argnums, seed, strict)  # noqa: E731
    checked = Checked(arguments, names, source, outputs, again)
    named = (reference or meant) is not None
    return completed(checked, function, rules, leaves, True, program, seed=seed, named=named, strict=strict)


def is_of_operations(f: Any, arguments: Arguments, leaves: Leaves) -> bool:
    """Whether the gradient rule of f is the tracer's, which has no complex numbers."""
    is_complex = len(set(arguments.places)) < len(arguments.places)
    if is_complex or isinstance(f, jax.custom_vjp | jax.custom_jvp):
        return False
    return ours.is_operation(f) or ours.is_of_operations(lambda xs: jax.tree.leaves(f(*arguments.rebuilt(xs))), leaves)


# --- a gradient by hand -----------------------------------------------------------------------------------------------


def prepared_by_hand(
    f: AnyFunction,
    grad_f: AnyFunction,
    args: tuple[Any, ...],
    reference: AnyFunction | None,
    argnums: Argnums,
    seed: int,
    jacobian: bool = False,
) -> Checked:
    """What `check_grad` checks, and `check_jacobian`; errors as there."""
    require_seed(seed)
    arguments, names = split(f, args), ["primal"]
    both: AnyFunction = lambda *xs: [called(*arguments.rebuilt(xs)) for called in (f, grad_f)]  # noqa: E731
    on_jax = any(isinstance(leaf, jax.Array) for leaf in arguments.everything)
    on_jax = on_jax or by_hand.is_traceable(both, [jnp.asarray(leaf) for leaf in arguments.leaves])
    array = jnp.asarray if on_jax else np.asarray
    leaves = [array(x) for x in arguments.leaves]
    program = traced(outputs_of(f, arguments), f, arguments, leaves) if on_jax else None
    if program is None:
        values = _require_a_value(outputs_of(f, arguments), f, arguments, leaves)
        shapes = [np.shape(z) for z in values]
    else:
        shapes = [a.shape for a in program.out_avals]
    if jacobian and len(shapes) != 1:
        raise CannotCheck(f"{name_of(f)} must return one array, got {len(shapes)}; check each by itself")
    if not jacobian and shapes != [()]:
        shape = shapes[0] if len(shapes) == 1 else (len(shapes),)
        raise CannotCheck(
            f"{name_of(f)} must return one number, got shape {shape}; reduce it, for example by a sum, or check its "
            "rule with check_vjp"
        )
    before = [np.array(leaf, copy=True) for leaf in leaves]
    try:
        gradient, is_traced = None, False
        if program is not None:
            with contextlib.suppress(jax.errors.JAXTypeError):  # its Python code needs the values
                gradient = jax.eval_shape(lambda xs: grad_f(*arguments.rebuilt(xs)), leaves)
                is_traced = True
        gradient = gradient if is_traced else grad_f(*arguments.rebuilt(leaves))
    except Exception as error:  # whatever the user's gradient raises is a finding
        return Checked(arguments, names, faults=[rule_that_raises(error, None, leaves)])
    _require_unchanged(grad_f, arguments, before, leaves)
    form = by_hand.find_form(args, gradient, argnums, shapes[0] if jacobian else None)
    arguments = split(f, args, form.argnums)
    leaves = [array(x) for x in arguments.leaves]
    outputs = outputs_of(f, arguments)
    program = program and traced(outputs, f, arguments, leaves)
    function: Function
    if program is None:
        function, source = CalledFunction(lambda xs: [f(*arguments.rebuilt(xs))], leaves, on_jax), FROM_VALUES
    else:
        function, source = _held_to(reference, program, f, arguments, leaves, "jax.grad")
    by_args = by_hand.as_rule(f, grad_f, form, arguments)

    rules = (by_args if is_traced else None), by_args
    again = lambda others: prepared_by_hand(f, grad_f, others, reference, form.argnums, seed, jacobian)  # noqa: E731
    checked = Checked(arguments, names, source, outputs, again)
    named = reference is not None
    plan: dict[str, Any] = {"seed": seed, "named": named, "scalar": not jacobian, "units": jacobian}
    return completed(checked, function, rules, leaves, on_jax, **plan)


# --- both -------------------------------------------------------------------------------------------------------------


def _held_to(
    reference: AnyFunction | None,
    program: Program,
    f: AnyFunction,
    arguments: Arguments,
    leaves: Leaves,
    by: str,
    meant: AnyFunction | None = None,
) -> tuple[Function, str]:
    """The program of f, or of the user's reference, with its gradients; and which, in words.

    Of what is meant for a gradient alone, the values are none.
    """
    own_values, reference = reference is None, reference or meant
    if reference is None:
        return TracedFunction(program, leaves), f"reverse mode without the rules inside, and {FROM_VALUES}"
    name, outputs = name_of(reference), outputs_of(reference, arguments)
    plain = traced(outputs, reference, arguments, leaves)
    if plain is None:
        raise CannotCheck(f"JAX must be able to trace the reference {name}; write it with jax.numpy")
    yours, others = ([a.shape for a in p.out_avals] for p in (program, plain))
    if yours != others:
        raise CannotCheck(f"the reference {name} must return what {name_of(f)} returns, shapes {yours}, got {others}")
    gradients = by_vjp(outputs, jax.vjp)
    if not own_values:
        return TracedFunction(plain, leaves, gradients), f"{by} of the reference {name}"
    values = without_rules(program)
    named = TracedFunction(program, leaves, lambda xs, g: (values(*xs), gradients(xs, g)[1]))
    return named, f"{by} of {name}, as was declared to be intended"


def completed(
    checked: Checked,
    function: Function,
    rules: tuple[Rule | None, Rule],  # to be traced, if JAX may be able to; and to be called
    leaves: Leaves,
    on_jax: bool,
    program: Program | None = None,
    **plan: Any,
) -> Checked:
    """With the experiment by a plan, and what is wrong before anything is computed."""
    try:
        rule: RuleUnderTest | None = None
        if rules[0] is not None:
            with contextlib.suppress(jax.errors.JAXTypeError):  # its Python code needs the values
                rule = TracedRule(rules[0], leaves, function.outputs)
        if rule is None:
            rule = CalledRule(rules[1], function.outputs, on_jax)
            rule.own(leaves, [np.ones(z.shape) for z in function.outputs])
        experiment = Experiment(function, rule, leaves, **plan)
    except Exception as error:  # whatever the user's rule raises is a finding
        return checked._replace(faults=[rule_that_raises(error, program, leaves)])
    faults = structure_faults(checked.arguments.names, experiment, checked.output_names)
    return checked._replace(experiment=experiment, faults=faults)


def require_seed(seed: Any) -> None:
    """Refuse what is no seed, and a process in which JAX would hang."""
    require_no_fork()
    if not isinstance(seed, int) or seed < 0:
        raise CannotCheck(f"seed must be a whole number of at least 0, got {seed!r}")


def traced(outputs: Outputs, f: AnyFunction, arguments: Arguments, leaves: Leaves) -> Program | None:
    """The program of the outputs of f, or None where JAX cannot trace it."""
    try:
        return trace(lambda *xs: outputs(list(xs)), *leaves)
    except CannotCheck:
        raise
    except Exception:  # it may need the values, or be wrong at these arguments: the next call tells
        _require_a_value(outputs, f, arguments, leaves)
        return None


def _require_a_value(outputs: Outputs, f: AnyFunction, arguments: Arguments, leaves: Leaves) -> Leaves:
    """What f returns when Python calls it; refused if it raises, or changes an argument in place."""
    before = [np.array(leaf, copy=True) for leaf in leaves]
    try:
        values = outputs(leaves)
    except CannotCheck:
        raise
    except Exception as error:
        raise CannotCheck(
            f"{name_of(f)} raised {type(error).__name__} at these arguments: {first_lines(error)}{_hint(error)}"
        ) from error
    _require_unchanged(f, arguments, before, leaves)
    return values


def _require_unchanged(f: AnyFunction, arguments: Arguments, before: Leaves, after: Leaves) -> None:
    for name, old, new in zip(arguments.names, before, after, strict=True):
        if not np.array_equal(old, np.asarray(new), equal_nan=True):
            raise CannotCheck(f"{name_of(f)} changes its argument {name} in place; let it work on a copy")


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "; it is out of memory: check with smaller arguments, a fault in a rule shows there, too"
    if isinstance(error, TypeError) and "missing" in text and ("'key'" in text or "'rng'" in text):
        return "; a function that needs a key is checked with one, as in check_vjp(f, x, jax.random.key(0))"
    return ""


def report_on(title: str, checked: Checked, seed: int, started: float, special: bool = False) -> Report:
    """The report on what was prepared, at its arguments, and at special points if asked."""
    leaves, causes, notes = description_of(title, checked)
    if special and checked.experiment and not checked.faults:
        meant = {leaf.name for leaf in leaves if leaf.verdict in ON_PURPOSE}
        more, note = at_special_points(checked.experiment, checked.arguments.names, checked.output_names, meant)
        leaves, notes = (*leaves, *more), (*notes, note)
    return reported(title, leaves, seed, started, causes=causes, notes=notes)


def description_of(title: str, checked: Checked) -> Description:
    """What is to be said of what was prepared, at its arguments."""
    if checked.faults or checked.experiment is None:
        return Description(tuple(checked.faults))
    table, judgement = checked.experiment.judged()
    if all(np.isnan(v).all() for v in table.values):
        raise CannotCheck(
            f"the value that {title.partition('(')[2][:-1]} is about is nan at these arguments, also in float64, so it "
            "has no gradient; choose others"
        )
    if not judgement.passes:
        differ = two_runs_differ(checked.arguments.names, checked.experiment, checked.outputs)
        if differ:
            return Description(tuple(differ))
    return described(checked, table, judgement, cost.note(checked.experiment, checked.outputs))
