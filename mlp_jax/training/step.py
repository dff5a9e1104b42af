"""Minibatch SGD (section 6.5.7) as one compiled program over data that stay on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

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
    params = network.init(net, jax.random.key(seed), initializer=initializer, bias=bias, dtype=dtype)
    return State(params, optimizer.init(params))


def shuffled_batches(seed: int, epoch: int, n: int, batch_size: int) -> NDArray[np.int32]:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Drawn on the host: XLA's sort takes ten times as long on a CPU.

    Returns:
        Numbers of examples (steps, batch_size), each example once; −1 fills up the last row.
    """
    batches = np.full(-(-n // batch_size) * batch_size, -1, np.int32)
    batches[:n] = np.random.default_rng([seed, epoch]).permutation(n)
    return batches.reshape(-1, batch_size)


@partial(jax.jit, static_argnames=("net", "optimizer"))
def run_steps(
    net: MLP,
    optimizer: optax.GradientTransformation,
    state: State,
    examples: Examples,
    batches: Any,
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
        rows = jnp.asarray(batches)[i]
        x, y = (jnp.take(part, rows, axis=0, mode="clip") for part in examples)
        J, grads = network.loss_and_grad(net, params, x, y, weights=rows >= 0)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return State(optax.apply_updates(params, updates), optimizer_state), costs.at[i].set(J)

    state, costs = jax.lax.fori_loop(first, stop, step, (state, jnp.zeros(len(batches))))
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)]).all()
    return state, costs, finite
