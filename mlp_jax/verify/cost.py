"""What a rule costs beside no rule at all: what it keeps for its backward pass, in bytes, and the flops of that."""

from contextlib import suppress
from typing import Any

import jax

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import Leaves, is_number
from mlp_jax.verify.compiled import Outputs
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.function import TracedFunction
from mlp_jax.verify.interpreter import RULES, calls, without_rules
from mlp_jax.verify.rule import TracedRule

SAYS = "the rule costs more than none: its backward pass needs {}; without it, {}"
_UNCOUNTED = ("scan", "while", "pallas", "pure_callback", "io_callback", "ffi")


def note(experiment: Experiment, outputs: Outputs) -> str:
    """That the rule within outputs (of leaves) costs clearly more than none; nothing where it does not.

    That is, far more bytes or flops, and no less of the other: to compute again what is not kept is a bargain.
    """
    function, rule = experiment.function, experiment.rule
    if not (isinstance(function, TracedFunction) and isinstance(rule, TracedRule) and function.reference):
        return ""
    if experiment.scalar or experiment.units or not calls(function.program, *RULES):
        return ""
    plain = without_rules(function.program)
    counted = not any(calls(program, *_UNCOUNTED) for program in (rule.program, function.reference.program))
    with suppress(Exception):  # as of a rule that looks at where it is called: no report is given up for its cost
        costs = [_cost(f, experiment.leaves, counted) for f in (outputs, lambda xs: plain(*xs))]
        pairs = list(zip(*costs, policy.NO_COST, strict=True))
        is_dear = any(mine > policy.COSTLY * other and mine - other > least for mine, other, least in pairs)
        if is_dear and all(mine >= other for mine, other, _ in pairs):
            return SAYS.format(*(f"{kept:,} bytes" + f" and {flops:,.0f} flops" * counted for kept, flops in costs))
    return ""


def _cost(outputs: Outputs, leaves: Leaves, counted: bool) -> tuple[int, float]:
    """Bytes that `jax.vjp` keeps, and flops of its backward pass by XLA's count, in which a loop is made once."""
    numbers: Outputs = lambda xs: [z for z in outputs(xs) if is_number(z)]  # noqa: E731
    values, pullback = jax.eval_shape(lambda xs: jax.vjp(numbers, xs), leaves)
    kept = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pullback))
    lowered: Any = jax.jit(lambda back, g: back(g)).lower(pullback, values) if counted else None
    return kept, float((lowered.cost_analysis() or {}).get("flops", 0)) if counted else 0.0
