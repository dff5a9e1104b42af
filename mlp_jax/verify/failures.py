"""Findings that need no numbers: a rule that raises, or returns another structure, or is not the same twice."""

import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import compiled
from mlp_jax.verify.arguments import Leaves, first_lines
from mlp_jax.verify.by_hand import StructureError
from mlp_jax.verify.compiled import Outputs, as_numbers, by_vjp
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.function import TracedFunction
from mlp_jax.verify.interpreter import RULES, Program, calls, fingerprint, is_float, trace, without_rules
from mlp_jax.verify.report import Leaf, Verdict
from mlp_jax.verify.rule import TracedRule


def rule_that_raises(error: Exception, program: Program | None, leaves: Leaves) -> Leaf:
    """The finding on an exception: JAX's own, where it looks at what the rule returned, is about its structure."""
    message = first_lines(error)
    if program is not None and _has_no_reverse_mode(program, leaves, error):
        reason = (
            f"JAX cannot go backwards through it (check_jvp looks forward), and it has no rule of its own: {message}"
        )
        return Leaf("gradient", (), "", Verdict.NO_REVERSE_MODE, reason=reason)
    if isinstance(error, StructureError) or _is_about_structure(error):
        return Leaf("gradient", (), "", Verdict.STRUCTURE, reason=message)
    return Leaf("gradient", (), "", Verdict.RAISED, reason=f"{type(error).__name__}: {message}")


def _is_about_structure(error: Exception) -> bool:
    """Whether JAX's pullback raised it about what the rule returned: no code of the user's was running."""
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    ours = max((k for k, file in enumerate(frames) if file.parent == Path(__file__).parent), default=-1)
    in_pullback = isinstance(error, TypeError | ValueError) and frames[ours].name == Path(compiled.__file__).name
    return in_pullback and not any(map(_is_the_users, frames[ours + 1 :]))


def _is_the_users(file: Path) -> bool:
    of_python = file.is_relative_to(Path(traceback.__file__).parent) and "site-packages" not in file.parts
    return not (of_python or file.is_relative_to(Path(jax.__file__).parent))


def _has_no_reverse_mode(program: Program, leaves: Leaves, error: Exception) -> bool:
    """Whether the function itself raises this, without any rules."""
    if not calls(program, *RULES):
        return True
    plain = without_rules(program)
    outputs = [jnp.zeros(a.shape, a.dtype) for a in program.out_avals if jnp.issubdtype(a.dtype, jnp.floating)]
    try:
        jax.eval_shape(by_vjp(lambda xs: plain(*xs), jax.vjp), leaves, outputs)
    except Exception as other:  # the same one, if it is the function's
        return type(other) is type(error) and str(other) == str(error)
    return False


def structure_faults(names: Sequence[str], experiment: Experiment, output_names: Sequence[str]) -> list[Leaf]:
    """A leaf for each gradient that has another shape or dtype than its array, and each output that is not f's."""
    function, rule, leaves = experiment.function, experiment.rule, experiment.leaves
    if not (isinstance(rule, TracedRule) and isinstance(function, TracedFunction)):
        gradients = rule.own(leaves, [np.ones(z.shape) for z in function.outputs])[1]
        on_numpy = not any(isinstance(x, jax.Array) for x in leaves)
        return _gradient_faults(names, leaves, list(map(np.asarray, gradients)), any_float=on_numpy)
    found = _gradient_faults(names, leaves, rule.gradients, any_float=False)
    floats = iter(output_names)
    for right, yours in zip(function.all_outputs, rule.values, strict=False):
        name = next(floats, "primal") if is_float(right.dtype) else "primal"
        if right.shape != yours.shape:
            reason = f"the forward rule's output has shape {yours.shape}, the function's {right.shape}"
            found.append(Leaf(name, right.shape, str(right.dtype), Verdict.PRIMAL, reason=reason))
    if found:
        return found
    if all(is_float(z.dtype) for z in function.all_outputs):
        return []
    reason = "the forward rule's output is not the function's"
    return [
        Leaf("primal", np.shape(z), str(z.dtype), Verdict.PRIMAL, reason=reason)
        for z, yours in zip(function.all_values(leaves), rule.all_values(leaves), strict=False)
        if not is_float(z.dtype) and not np.array_equal(np.asarray(z), np.asarray(yours))
    ]


def _gradient_faults(names: Sequence[str], leaves: Leaves, gradients: Sequence[Any], any_float: bool) -> list[Leaf]:
    faults = []
    for name, x, g in zip(names, leaves, gradients, strict=True):
        shape, dtype = np.shape(x), np.asarray(x).dtype
        wanted = f"shape {shape}, got {g.shape}" if g.shape != shape else ""
        if not wanted and not (jnp.issubdtype(g.dtype, jnp.floating) and (any_float or g.dtype == dtype)):
            wanted = f"dtype {dtype}, got {g.dtype}"
        if wanted:
            reason = f"the gradient must have {wanted}"
            faults.append(Leaf(name, shape, str(dtype), Verdict.STRUCTURE, reason=reason))
    return faults


def two_runs_differ(names: Sequence[str], experiment: Experiment, outputs: Outputs) -> list[Leaf]:
    """The findings that function or rule are not the same when they are traced, or called, again."""
    function, rule, leaves = experiment.function, experiment.rule, experiment.leaves
    runs: list[Callable[[], Any]]
    if isinstance(function, TracedFunction) and isinstance(rule, TracedRule):
        runs = [
            lambda: _without_addresses(trace(lambda *xs: outputs(list(xs)), *leaves)),
            lambda: _without_addresses(trace(lambda *given: rule.rule(*given), leaves, list(rule.outputs))),
        ]
        function_differs, rule_differs = (run() != run() for run in runs)
    else:
        ones = [np.ones(z.shape) for z in function.outputs]
        runs = [lambda: function.values([as_numbers(x) for x in leaves]), lambda: rule.own(leaves, ones)[1]]
        twice = [[list(map(as_numbers, run())) for _ in range(2)] for run in runs]
        function_differs, rule_differs = (
            not all(np.array_equal(a, b, True) for a, b in zip(*results, strict=True)) for results in twice
        )
    if function_differs:
        reason = "two calls of the function differ; give it a fixed key, as in check_vjp(f, x, jax.random.key(0))"
        return [Leaf("primal", None, "", Verdict.NONDETERMINISTIC, reason=reason)]
    reason = "two runs of your rule differ"
    return [Leaf(name, None, "", Verdict.NONDETERMINISTIC, reason=reason) for name in names if rule_differs]


def _without_addresses(program: Program) -> tuple[Any, ...]:
    """What two traces of one program share: a rule that is made anew each time is printed with where it lies."""
    text, *constants = fingerprint(program)
    return re.sub(r" at 0x[0-9a-f]+", "", text), *constants
