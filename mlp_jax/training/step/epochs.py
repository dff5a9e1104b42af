"""The steps of many epochs as one compiled program, over data that stay on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.training.step.early_stopping import Best, Patience
from mlp_jax.training.step.gradient import Batch
from mlp_jax.training.step.program import Program
from mlp_jax.training.step.step import OfStep, State, observed_step
from mlp_jax.training.step.values import Values

# Of so few numbers of a step, and of an epoch, those of the epoch are gathered at once: of examples above 512 kB XLA
# divides the gather of each step among threads, which took 9 of the 22 µs of a small step.
_FEW_OF_STEP, _FEW_OF_EPOCH = 2**15, 2**20

Measure = Callable[..., Any]  # (net, params, *examples) -> a pytree of scalars


class Outcome(NamedTuple):
    """What the steps of one call gave, for a table of E epochs of S steps.

    Attributes:
        steps: of each step, (E, S, …); 0 for steps not taken.
        measures: what was measured after each completed epoch, by part, (E,) each; 0 for the others.
        finite: whether all parameters and the optimizer's state are finite after the steps of each epoch, (E,).
        ran: whether patience lasted to the beginning of each epoch, (E,).
    """

    steps: OfStep
    measures: dict[str, Any]
    finite: jax.Array
    ran: jax.Array


def run_steps(
    program: Program,
    measure: Measure,
    state: State,
    best: Best | None,
    train: tuple[Any, ...],
    watched: dict[str, tuple[Any, ...]],
    batches: Any,
    first: Any,
    stop: Any,
    patience: Patience | None = None,
    *,
    steps: Any = None,
    earlier: Any = 0.0,
    values: Values | None = None,
) -> tuple[State, Best | None, Outcome]:
    """Take the steps first ≤ i < stop, each on its minibatch, and measure after each epoch.

    One call runs many short epochs, or a part of a long one: `first` and `stop` are values, not shapes, so
    whatever they are, it is the same compiled program. A minibatch that holds fillers has weight 0 for them:
    one shape again, and each example counts once.

    Args:
        program: network, optimizer and ways of training; static under jit.
        measure: what to measure, `(net, params, *examples)` -> a pytree of scalars; static under jit, but its net
            may hold values of the trace.
        state: the state before the steps.
        best: the best so far; None without early stopping.
        train: the examples to learn from, x and y, and their weights, if they have some.
        watched: the examples to measure on, by part; for early stopping by a measure "validation", whose measure is a
            dict with program's criterion.
        batches: the minibatches of E epochs: numbers of examples (E, S, batch size), −1 for a filler; on the devices of
            an axis, each with its own rows of them.
        first: the first step, counted from the first of the E epochs.
        stop: the step after the last one.
        patience: when to take no more steps, with `best`.
        steps: how many steps an epoch has, S at most; by default S.
        earlier: what the steps before `first` add to the mean cost of their epoch.
        values: the numbers of this training, for a program that leaves them open.
    """
    program = values.put_into(program) if values else program
    epochs, slots, batch_size = batches.shape
    steps = slots if steps is None else steps
    batches = jnp.asarray(batches)

    def examples(rows: jax.Array) -> Batch:
        x, y, *of_examples = (jnp.take(part, rows, axis=0, mode="clip") for part in train)
        return Batch(x, y, jnp.where(rows >= 0, of_examples[0], 0) if of_examples else rows >= 0)

    of_step = batch_size * train[0].shape[1]
    at_once = of_step <= _FEW_OF_STEP and of_step * slots <= _FEW_OF_EPOCH

    def measures(state: State) -> dict[str, Any]:
        return {part: measure(program.net, program.chosen(state), *examples) for part, examples in watched.items()}

    def epoch(e: jax.Array, carry: Any) -> Any:
        of_epoch = examples(batches[e]) if at_once else None

        def recorded_step(i: jax.Array, carry: Any) -> Any:
            state, table = carry
            batch = jax.tree.map(lambda part: part[i], of_epoch) if of_epoch else examples(batches[e, i])
            state, of_step = observed_step(program, state, batch)
            return state, jax.tree.map(lambda rows, value: rows.at[e, i].set(value), table, of_step)

        def measured(best: Any, all_measures: Any) -> Any:
            now = measures(state)
            if best is not None and patience is not None:
                cost = _mean_cost(program, table.cost[e], batches[e]) + jnp.where(e == 0, earlier, 0)
                best = judged(program, best, state, now, cost, patience)
            return best, jax.tree.map(lambda all_epochs, value: all_epochs.at[e].set(value), all_measures, now)

        state, best, (table, all_measures, finite, ran) = carry
        goes_on = jnp.array(True) if best is None or patience is None else best.stalled < patience.epochs
        last = jnp.where(goes_on, jnp.minimum(stop - e * steps, steps), 0)
        start = jnp.maximum(first - e * steps, 0)
        state, table = jax.lax.fori_loop(start, last, recorded_step, (state, table))
        best, all_measures = jax.lax.cond(last == steps, measured, lambda *unchanged: unchanged, best, all_measures)
        finite = finite.at[e].set(_all_finite((state.params, state.optimizer)))
        return state, best, Outcome(table, all_measures, finite, ran.at[e].set(goes_on))

    outcome = Outcome(
        steps=_table(
            jax.eval_shape(lambda: observed_step(program, state, examples(batches[0, 0]))[1]), (epochs, slots)
        ),
        measures=_table(jax.eval_shape(measures, state), (epochs,)),
        finite=jnp.ones(epochs, bool),
        ran=jnp.ones(epochs, bool),
    )
    state, best, outcome = jax.lax.fori_loop(first // steps, -(-stop // steps), epoch, (state, best, outcome))
    return state, best, outcome


def _mean_cost(program: Program, costs: jax.Array, batches: jax.Array) -> jax.Array:
    """The mean over the examples of an epoch of their step's cost; of steps not taken that is 0."""
    examples = jnp.sum(batches >= 0, axis=1)
    if program.axis:
        examples = jax.lax.psum(examples, program.axis)
    return jnp.sum(costs * (examples / jnp.sum(examples)).astype(costs.dtype))


def judged(program: Program, best: Best, state: State, measures: Any, cost: Any, patience: Patience) -> Best:
    """The best so far, after an epoch with these measures and this mean cost; a criterion is low for good ones."""
    if program.criterion is None:
        return best.or_better((), cost, patience)
    value = measures["validation"][program.criterion.removeprefix("-")]
    return best.or_better(program.chosen(state), -value if program.criterion[0] == "-" else value, patience)


def _table(kinds: Any, shape: tuple[int, ...]) -> Any:
    """Zeros for a value of these kinds at each place."""
    return jax.tree.map(lambda value: jnp.zeros((*shape, *value.shape), value.dtype), kinds)


def _all_finite(tree: Any) -> jax.Array:
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
