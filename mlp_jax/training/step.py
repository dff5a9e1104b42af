"""Minibatch SGD (section 6.5.7) as one compiled program over data that stay on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_jax.mlp import network
from mlp_jax.mlp.network import MLP, Params
from mlp_jax.training.data import Examples


class State(NamedTuple):
    """What a training step changes."""

    params: Params
    optimizer: optax.OptState


@partial(jax.jit, static_argnames=("net", "optimizer", "initializer", "bias", "dtype"))
def initial_state(
    net: MLP,
    optimizer: optax.GradientTransformation,
    seed: Any,
    *,
    initializer: str | None,
    bias: float,
    dtype: str,
) -> State:
    """The state before the first step, a function of the seed."""
    key = jax.random.fold_in(jax.random.key(seed), _INIT)
    params = network.init(net, key, initializer=initializer, bias=bias, dtype=dtype)
    return State(params, optimizer.init(params))


@partial(jax.jit, static_argnames=("n", "batch_size"))
def shuffled_batches(seed: Any, epoch: Any, n: int, batch_size: int) -> jax.Array:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Returns:
        Numbers of examples (steps, batch_size), each example once; −1 fills up the last row.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _SHUFFLE), epoch)
    filler = jnp.full(-n % batch_size, -1)
    return jnp.concatenate([jax.random.permutation(key, n), filler]).reshape(-1, batch_size)


@partial(jax.jit, static_argnames=("net", "optimizer"))
def run_steps(
    net: MLP,
    optimizer: optax.GradientTransformation,
    state: State,
    examples: Examples,
    batches: jax.Array,
    first: Any,
    stop: Any,
) -> tuple[State, jax.Array, jax.Array]:
    """Take the steps first ≤ i < stop of an epoch: J and ∇J on minibatch i, then the optimizer's update.

    A row of `batches` with fillers is a minibatch in which they weigh 0, so that there is one compiled shape
    and each example counts once. `first` and `stop` are values, not shapes: any part of an epoch runs in the
    same program.

    Returns:
        The state after the steps, the cost J of each step of the epoch (0 for steps not taken here), and
        whether all parameters are finite.
    """

    def step(i: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        (params, optimizer_state), costs = carry
        rows = batches[i]
        x, y = (jnp.take(part, rows, axis=0, mode="clip") for part in examples)
        J, grads = network.loss_and_grad(net, params, x, y, weights=rows >= 0)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return State(optax.apply_updates(params, updates), optimizer_state), costs.at[i].set(J)

    state, costs = jax.lax.fori_loop(first, stop, step, (state, jnp.zeros(len(batches))))
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)]).all()
    return state, costs, finite


# What random numbers are drawn for: keys for one purpose never serve another.
_INIT, _SHUFFLE = 0, 1
