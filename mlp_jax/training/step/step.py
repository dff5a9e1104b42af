"""One step of minibatch SGD (section 6.5.7) as a pure function: (state, batch) -> (state, J)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_jax.mlp.checks import whole
from mlp_jax.mlp.params import Params, stacked_layers
from mlp_jax.training.step.average import Average
from mlp_jax.training.step.gradient import Batch, apart, cost_of, gradient
from mlp_jax.training.step.health import Health, health
from mlp_jax.training.step.program import Program, merged


class State(NamedTuple):
    """What a step changes: the parameters, the optimizer's memory, and with `ema` the average."""

    params: Params
    optimizer: optax.OptState
    average: Average | None = None


def initial_state(program: Program, params: Params) -> State:
    """The state before the first step.

    Raises:
        ValueError: frozen layers that there are not, or in parameters that are stacked, where an entry is not a layer;
            a decay that is not between 0 and 1; microbatches below 1.
    """
    if program.frozen and any(stacked_layers(layer) for layer in params):
        raise ValueError("frozen names layers, and these parameters are stacked; pass mlp_jax.unstack(net, params)")
    if beyond := [k for k in program.frozen if k not in range(len(params))]:
        raise ValueError(f"frozen names layer {beyond[0]}; the network has {len(params)}, counted from 0")
    if program.ema is not None and not 0 < program.ema < 1:
        raise ValueError(f"ema must be between 0 and 1, got {program.ema}")
    whole("microbatches", program.microbatches)
    average = None if program.ema is None else Average.start(params)
    return State(params, program.optimizer.init(program.trained(params)), average)


def take_step(program: Program, state: State, batch: Batch) -> tuple[State, jax.Array]:
    """One step: J and ∇J on a minibatch by Algorithms 6.3 and 6.4, then the optimizer's update.

    Args:
        program: the network, the optimizer and the ways of training; static under jit.
        state: the state before the step.
        batch: the minibatch.

    Returns:
        The state after the step, and the total cost J before it, a scalar.

    Raises:
        ValueError: shapes that do not fit the network.

    Two steps of gradient descent towards y = 1 · x, with learning rate ½: w ← w − ½ (w x − y) x.

    >>> import mlp_jax
    >>> program = Program(mlp_jax.MLP(widths=(1, 1), bias=False), optax.sgd(0.5))
    >>> state = initial_state(program, (mlp_jax.Layer(jnp.zeros((1, 1)), None),))
    >>> batch = Batch(x=jnp.ones((1, 1)), y=jnp.ones((1, 1)))
    >>> for _ in range(2):
    ...     state, J = take_step(program, state, batch)
    ...     print(float(J), state.params[0].W.item())
    0.5 0.5
    0.125 0.75
    """
    if batch.weights is None:
        batch = batch._replace(weights=jnp.ones(len(batch.x), bool))
    batch = Batch(*map(jnp.asarray, batch))
    if len(batch.x) % program.microbatches:
        raise ValueError(f"{len(batch.x)} examples cannot be cut into {program.microbatches} microbatches of one size")
    state, of_step = observed_step(program, state, batch)
    return state, of_step.cost


class OfStep(NamedTuple):
    """What a step gives besides the state: J, and the health of the layers where that is watched."""

    cost: Any
    health: Health | None


def observed_step(program: Program, state: State, batch: Batch) -> tuple[State, OfStep]:
    """`take_step`, and what was watched."""
    J, grads, seen = gradient(program, state.params, batch)
    trained = program.trained(state.params)
    grads = program.trained(grads)

    def value(trained: Any) -> jax.Array:  # for optimizers that search along a line
        return cost_of(program, merged(trained, state.params), batch)

    optimizer = optax.with_extra_args_support(program.optimizer)
    updates, memory = optimizer.update(grads, state.optimizer, trained, value=J, grad=grads, value_fn=value)
    params = merged(optax.apply_updates(trained, updates), state.params)
    average = state.average
    if average is not None and program.ema is not None:
        average = average.with_next(params, program.ema)
    watched = None
    if seen:
        of_layers = program.trained(params), trained, grads, seen
        never = jnp.sum(batch.weights != 0) > batch.weights.size
        watched = apart(lambda of: health(*of), of_layers, never) if program.parts > 1 else health(*of_layers)
    return State(params, memory, average), OfStep(J, watched)
