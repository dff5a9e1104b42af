"""The theory of rounding: what is allowed contains the true error of right rules, and is not much more.

Random functions are composed from this package's operations, whose bprop rules are right; their gradients in a random
precision are held to the same rules in exact arithmetic, entry by entry.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.autodiff import ops, vjp
from mlp_jax.verify import policy
from mlp_jax.verify.compiled import by_vjp
from mlp_jax.verify.experiment import Experiment
from mlp_jax.verify.function import TracedFunction
from mlp_jax.verify.interpreter import trace
from mlp_jax.verify.one_leaf import spread_of
from mlp_jax.verify.rule import TracedRule

STEPS = (
    lambda h, w: ops.tanh(h),
    lambda h, w: ops.sigmoid(h),
    lambda h, w: ops.softplus(h),
    lambda h, w: ops.softmax(h),
    lambda h, w: ops.sin(h),
    lambda h, w: ops.exp(0.3 * h),
    lambda h, w: h @ w,
    lambda h, w: h * h - 0.7 * h,
    lambda h, w: h / (1.5 + ops.tanh(h)),
    lambda h, w: h - ops.mean(h),
)


def errors_and_allowances(seed):
    """Of every entry that is not 0: the error of the right rule in its precision, and what is allowed."""
    rng = np.random.default_rng(seed)
    steps = rng.choice(len(STEPS), rng.integers(3, 7))
    dtype = ("float32", "float16", "bfloat16")[seed % 3]
    leaves = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((12, 8), (8, 8))]

    def outputs(xs):
        h, w = xs
        for k in steps:
            h = STEPS[k](h, w)
        return [h]

    function = TracedFunction(trace(lambda *xs: outputs(list(xs)), *leaves), leaves)
    rule = TracedRule(by_vjp(outputs, vjp), leaves, function.outputs)
    experiment = Experiment(function, rule, leaves, seed)
    table = experiment.table(leaves)
    found = []
    for i in range(2):
        column = table.leaf(i)
        spread = spread_of(column)
        rows = slice(0, 3)
        units = policy.ULPS * column.precision.eps * np.abs(column.reference[rows])
        limit = policy.SPREADS * spread + units + 2 * column.precision.tiny
        shown = column.reference[rows] != 0
        found.append(np.stack([np.abs(column.own - column.yours)[rows][shown], limit[shown]]))
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 46), marks=pytest.mark.slow)], ids=["few", "many"])
def test_what_is_allowed_contains_the_error_of_right_rules_and_is_not_much_more(seeds):
    error, limit = np.concatenate([errors_and_allowances(seed) for seed in seeds], axis=1)
    assert len(error) > 250 * len(seeds)
    assert np.mean(error <= limit) >= 0.999
    assert np.median(limit[error > 0] / error[error > 0]) < 100
