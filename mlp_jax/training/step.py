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
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.data import Examples
from mlp_jax.training.metrics import evaluate


class Best(NamedTuple):
    """The parameters with the lowest validation cost so far, that cost, and after how many epochs none was lower."""

    params: Params
    loss: jax.Array
    since: jax.Array


class State(NamedTuple):
    """What a training step changes; and for early stopping, the best so far."""

    params: Params
    optimizer: optax.OptState
    best: Best | None = None


class Patience(NamedTuple):
    """When to stop: after so many epochs without a validation cost lower by more than min_delta."""

    epochs: Any
    min_delta: Any


@partial(jax.jit, static_argnames=("net", "optimizer", "initializer", "bias", "dtype", "stacked", "keep_best"))
def initial_state(
    net: MLP,
    optimizer: optax.GradientTransformation,
    seed: Any,
    *,
    initializer: str | None,
    bias: float,
    dtype: str,
    stacked: bool,
    keep_best: bool,
) -> State:
    """The state before the first step, a function of the seed; arguments as for `init`."""
    params = init(net, jax.random.key(seed), initializer=initializer, bias=bias, dtype=dtype, stacked=stacked)
    best = Best(params, jnp.array(jnp.inf), jnp.array(0)) if keep_best else None
    return State(params, optimizer.init(params), best)


def shuffled_batches(seed: int, epoch: int, n: int, batch_size: int) -> NDArray[np.int32]:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Drawn on the host: XLA's sort takes ten times as long on a CPU.

    Returns:
        Numbers of examples (steps, batch_size), each example once; −1 fills up the last row.
    """
    batches = np.full(-(-n // batch_size) * batch_size, -1, np.int32)
    batches[:n] = np.random.default_rng([seed, epoch]).permutation(n)
    return batches.reshape(-1, batch_size)


class Outcome(NamedTuple):
    """What the steps of one call gave, for a table of E epochs of S steps.

    Attributes:
        costs: J of each step, (E, S); 0 for steps not taken.
        validation: cost and metrics on the validation part after each epoch that was completed, (E,) each.
        finite: whether all parameters are finite after the steps of each epoch, (E,).
        ran: whether patience lasted to the beginning of each epoch, (E,).
    """

    costs: jax.Array
    validation: Any
    finite: jax.Array
    ran: jax.Array


@partial(jax.jit, static_argnames=("net", "optimizer"))
def run_steps(
    net: MLP,
    optimizer: optax.GradientTransformation,
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
        net: the network.
        optimizer: the optimizer.
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
            (params, optimizer_state, best), costs = carry
            rows = batches[e, i]
            x, y = (jnp.take(part, rows, axis=0, mode="clip") for part in train)
            J, grads = network.loss_and_grad(net, params, x, y, weights=rows >= 0)
            updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
            return State(optax.apply_updates(params, updates), optimizer_state, best), costs.at[e, i].set(J)

        state, costs, results, finite, ran = carry
        goes_on = jnp.array(True) if patience is None else state.best.since < patience.epochs
        last = jnp.where(goes_on, jnp.minimum(stop - e * steps, steps), 0)
        state, costs = jax.lax.fori_loop(jnp.maximum(first - e * steps, 0), last, step, (state, costs))
        state, results = jax.lax.cond(last == steps, evaluated, lambda e, *unchanged: unchanged, e, state, results)
        return state, costs, results, finite.at[e].set(_all_finite(state.params)), ran.at[e].set(goes_on)

    def evaluated(e: jax.Array, state: State, results: Any) -> Any:
        now = evaluate_validation(state)
        if patience is not None:
            state = state._replace(best=_better(state, now[0], patience.min_delta))
        return state, jax.tree.map(lambda all_epochs, value: all_epochs.at[e].set(value), results, now)

    def evaluate_validation(state: State) -> Any:
        return validation and evaluate(net, state.params, validation, target_scale)

    results = jax.tree.map(lambda value: jnp.zeros(epochs, value.dtype), jax.eval_shape(evaluate_validation, state))
    carry = (state, jnp.zeros((epochs, steps)), results, jnp.ones(epochs, bool), jnp.ones(epochs, bool))
    state, costs, results, finite, ran = jax.lax.fori_loop(first // steps, -(-stop // steps), epoch, carry)
    return state, Outcome(costs, results, finite, ran)


def _better(state: State, loss: jax.Array, min_delta: Any) -> Best:
    assert state.best
    is_better = loss < state.best.loss - min_delta
    now = Best(state.params, loss.astype(state.best.loss.dtype), jnp.array(0))
    before = state.best._replace(since=state.best.since + 1)
    return jax.tree.map(partial(jnp.where, is_better), now, before)


def _all_finite(params: Params) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
