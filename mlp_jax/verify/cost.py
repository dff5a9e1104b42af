"""What a rule costs beside no rule at all: what it keeps for its backward pass, in bytes, and the flops of that."""

from collections.abc import Sequence
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

SAYS = "the rule costs more than none: its backward pass needs {mine}; without it, {plainly}"
_UNCOUNTED = ("scan", "while", "pallas", "pure_callback", "io_callback", "ffi")


def note(experiment: Experiment, outputs: Outputs) -> str:
    """That the rule within outputs (of leaves) costs clearly more than none; nothing where it does not."""
    function, rule = experiment.function, experiment.rule
    if not (isinstance(function, TracedFunction) and isinstance(rule, TracedRule) and function.reference):
        return ""
    if experiment.scalar or experiment.units or not calls(function.program, *RULES):
        return ""
    plain = without_rules(function.program)
    counted = not any(calls(program, *_UNCOUNTED) for program in (rule.program, function.reference.program))
    with suppress(Exception):  # as of a rule that looks at where it is called: no report is given up for its cost
        yours, others = (_cost(f, experiment.leaves, counted) for f in (outputs, lambda xs: plain(*xs)))
        if is_clearly_more(yours, others):
            mine, plainly = (
                f"{kept:,} bytes" + f" and {flops:,.0f} flops" * counted for kept, flops in (yours, others)
            )
            return SAYS.format(mine=mine, plainly=plainly)
    return ""


def is_clearly_more(yours: Sequence[float], others: Sequence[float]) -> bool:
    """Of (bytes, flops), whether one is far more and none is less: to compute again what is not kept is a bargain."""
    pairs = list(zip(yours, others, policy.NO_COST, strict=True))
    more = any(mine > policy.COSTLY * other and mine - other > least for mine, other, least in pairs)
    return more and all(mine >= other for mine, other, _ in pairs)


def _cost(outputs: Outputs, leaves: Leaves, counted: bool) -> tuple[int, float]:
    """Bytes that `jax.vjp` keeps, and flops of its backward pass by XLA's count, in which a loop is made once."""

    def numbers(xs: Leaves) -> Leaves:
        return [z for z in outputs(xs) if is_number(z)]

    values, pullback = jax.eval_shape(lambda xs: jax.vjp(numbers, xs), leaves)
    kept = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pullback))
    lowered: Any = jax.jit(lambda back, g: back(g)).lower(pullback, values) if counted else None
    return kept, float((lowered.cost_analysis() or {}).get("flops", 0)) if counted else 0.0
