"""Minibatch SGD (section 6.5.7) as one compiled program over data that stay on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from mlp_jax.mlp import network
from mlp_jax.mlp.parameters import Params, init
from mlp_jax.training.data import Examples
from mlp_jax.training.health import Health, health, is_alive
from mlp_jax.training.metrics import evaluate
from mlp_jax.training.program import Average, Program, merged


class Best(NamedTuple):
    """The parameters with the lowest validation cost so far, that cost, and after how many epochs none was lower."""

    params: Params
    loss: jax.Array
    since: jax.Array


class State(NamedTuple):
    """What a training step changes; for early stopping, the best so far; for `ema`, the average."""

    params: Params
    optimizer: optax.OptState
    best: Best | None = None
    average: Average | None = None


class Patience(NamedTuple):
    """When to stop: after so many epochs without a validation cost lower by more than min_delta."""

    epochs: Any
    min_delta: Any


class OfStep(NamedTuple):
    """What a step gives besides the state: J, and the health of the layers where that is watched."""

    cost: Any
    health: Health | None


class Outcome(NamedTuple):
    """What the steps of one call gave, for a table of E epochs of S steps.

    Attributes:
        steps: of each step, (E, S, …); 0 for steps not taken.
        training: cost and metrics on the training part after each completed epoch, (E,) each, where watched.
        validation: the same on the validation part, if there is one.
        finite: whether all parameters and the optimizer's state are finite after the steps of each epoch, (E,).
        ran: whether patience lasted to the beginning of each epoch, (E,).
    """

    steps: OfStep
    training: Any
    validation: Any
    finite: jax.Array
    ran: jax.Array


def initial_state(
    program: Program,
    seed: Any,
    *,
    initializer: str | None,
    bias: float,
    dtype: str,
    stacked: bool,
    keep_best: bool,
) -> State:
    """The state before the first step, a function of the seed; arguments as for `init`."""
    params = init(program.net, jax.random.key(seed), initializer=initializer, bias=bias, dtype=dtype, stacked=stacked)
    best = Best(params, jnp.array(jnp.inf), jnp.array(0)) if keep_best else None
    average = None if program.ema is None else Average.start(params)
    return State(params, program.optimizer.init(program.trained(params)), best, average)


def shuffled_batches(seed: int, epoch: int, n: int, batch_size: int, width: int | None = None) -> NDArray[np.int32]:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Drawn on the host: XLA's sort takes ten times as long on a CPU.

    Returns:
        Numbers of examples (steps, width), each example once; −1 fills up the last row, and each row to `width`, by
        default the batch size.
    """
    steps = -(-n // batch_size)
    batches = np.full((steps, width or batch_size), -1, np.int32)
    order = np.random.default_rng([seed, epoch]).permutation(n)
    whole = n // batch_size
    batches[:whole, :batch_size] = order[: whole * batch_size].reshape(whole, batch_size)
    batches[whole:, : n - whole * batch_size] = order[whole * batch_size :]
    return batches


def run_steps(
    program: Program,
    state: State,
    train: Examples,
    validation: Examples | None,
    target_scale: jax.Array,
    batches: Any,
    first: Any,
    stop: Any,
    patience: Patience | None = None,
) -> tuple[State, Outcome]:
    """Take the steps first ≤ i < stop: J and ∇J on minibatch i, then the optimizer's update.

    One call runs many short epochs, or a part of a long one: `first` and `stop` are values, not shapes, so
    whatever they are, it is the same compiled program. A minibatch that holds fillers has weight 0 for them:
    one shape again, and each example counts once.

    Args:
        program: network, optimizer and ways of training.
        state: the state before the steps.
        train: the examples to learn from.
        validation: the examples to evaluate after each epoch, if any.
        target_scale: (k,), for the metrics.
        batches: the minibatches of E epochs, (E, S, batch size), from `shuffled_batches`.
        first: the first step, counted from the first of the E epochs.
        stop: the step after the last one.
        patience: when to take no more steps, if the state keeps the best; it must have validation examples.
    """
    epochs, steps, _ = batches.shape
    batches = jnp.asarray(batches)

    def epoch(e: jax.Array, carry: Any) -> Any:
        def step(i: jax.Array, carry: Any) -> Any:
            state, table = carry
            state, of_step = take_step(program, state, train, batches[e, i])
            return state, jax.tree.map(lambda rows, value: rows.at[e, i].set(value), table, of_step)

        state, table, results, finite, ran = carry
        goes_on = jnp.array(True) if patience is None else state.best.since < patience.epochs
        last = jnp.where(goes_on, jnp.minimum(stop - e * steps, steps), 0)
        state, table = jax.lax.fori_loop(jnp.maximum(first - e * steps, 0), last, step, (state, table))
        state, results = jax.lax.cond(last == steps, evaluated, lambda e, *unchanged: unchanged, e, state, results)
        return (
            state,
            table,
            results,
            finite.at[e].set(_all_finite((state.params, state.optimizer))),
            ran.at[e].set(goes_on),
        )

    def evaluated(e: jax.Array, state: State, results: Any) -> Any:
        now = evaluate_parts(state)
        if patience is not None:
            state = state._replace(best=_better(state, program.chosen(state), now[1][0], patience.min_delta))
        return state, jax.tree.map(lambda all_epochs, value: all_epochs.at[e].set(value), results, now)

    def evaluate_parts(state: State) -> Any:
        params = program.chosen(state)
        watched = evaluate(program.net, params, train, target_scale) if program.watch else None
        return watched, validation and evaluate(program.net, params, validation, target_scale)

    results = jax.tree.map(lambda value: jnp.zeros(epochs, value.dtype), jax.eval_shape(evaluate_parts, state))
    of_step = jax.eval_shape(lambda: take_step(program, state, train, batches[0, 0])[1])
    table = jax.tree.map(lambda value: jnp.zeros((epochs, steps, *value.shape), value.dtype), of_step)
    carry = (state, table, results, jnp.ones(epochs, bool), jnp.ones(epochs, bool))
    state, table, results, finite, ran = jax.lax.fori_loop(first // steps, -(-stop // steps), epoch, carry)
    training, validated = results
    return state, Outcome(table, training, validated, finite, ran)


def run_steps_of_seeds(program: Program, state: State, *args: Any) -> tuple[State, Outcome]:
    """The same for a stack of states and their minibatches, one for each seed: for a device with many cores."""
    axes = (0, None, None, None, 0, None, None, None)
    return jax.vmap(partial(run_steps, program), in_axes=axes)(state, *args)


def take_step(program: Program, state: State, train: Examples, rows: jax.Array) -> tuple[State, OfStep]:
    """One step of the optimizer on the examples of these numbers; −1 is none."""
    x, y = (jnp.take(part, rows, axis=0, mode="clip") for part in train)
    J, grads, alive = _gradient(program, state.params, x, y, rows >= 0)
    trained = program.trained(state.params)
    grads = program.trained(grads)

    def value(trained: Any) -> jax.Array:  # for optimizers that search along a line
        return network.loss(program.net, merged(trained, state.params), x, y, weights=rows >= 0)

    updates, optimizer = program.optimizer.update(grads, state.optimizer, trained, value=J, grad=grads, value_fn=value)
    params = merged(optax.apply_updates(trained, updates), state.params)
    average = state.average
    if average is not None and program.ema is not None:
        average = average.with_next(params, program.ema)
    watched = health(program.net, program.trained(params), trained, grads, alive) if program.watch else None
    return State(params, optimizer, state.best, average), OfStep(J, watched)


def _gradient(program: Program, params: Params, x: Any, y: Any, weights: Any) -> tuple[jax.Array, Params, Any]:
    """J, its gradient and which units are alive; of the minibatch at once, or of its parts one after the other.

    J is a mean weighted by the examples, so it is the mean of the parts' costs weighted by the parts' shares.
    """

    def of(x: Any, y: Any, weights: Any) -> Any:
        tape = network.forward(program.net, params, x)
        J_and_grads = network.cost_and_gradient(program.net, params, tape, y, weights)
        return J_and_grads, is_alive(program.net, tape, weights) if program.watch else None

    if program.microbatches == 1:
        (J, grads), alive = of(x, y, weights)
        return J, grads, alive

    parts = jax.tree.map(lambda v: v.reshape(program.microbatches, -1, *v.shape[1:]), (x, y, weights))
    totals = jax.vmap(lambda y, weights: jnp.sum(network.example_weights(program.net, y, weights)))(*parts[1:])
    total = jnp.sum(totals)
    shares = jnp.where(total > 0, totals / total, 1 / program.microbatches)

    def add(sums: Any, part: Any) -> Any:
        share, of_part = part
        values, alive = of(*of_part)
        return jax.tree.map(lambda s, value: s + share.astype(s.dtype) * value.astype(s.dtype), sums, values), alive

    kinds = jax.eval_shape(of, *jax.tree.map(lambda v: v[0], parts))[0]
    wide = jax.tree.map(lambda v: jnp.zeros(v.shape, jnp.promote_types(v.dtype, jnp.float32)), kinds)
    sums, alive = jax.lax.scan(add, wide, (shares, parts))
    J, grads = jax.tree.map(lambda s, kind: s.astype(kind.dtype), sums, kinds)
    return J, grads, jax.tree.map(lambda units: units.any(axis=0), alive)


def _better(state: State, params: Params, loss: jax.Array, min_delta: Any) -> Best:
    assert state.best
    is_better = loss < state.best.loss - min_delta
    now = Best(params, loss.astype(state.best.loss.dtype), jnp.array(0))
    before = state.best._replace(since=state.best.since + 1)
    return jax.tree.map(partial(jnp.where, is_better), now, before)


def _all_finite(tree: Any) -> jax.Array:
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
