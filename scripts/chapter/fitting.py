"""Training for the claims, by the package's own compiled loop, and the data that several claims share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

import mlp_jax
from mlp_jax.training.step import Program, initial_state, run_steps

Params = Any
Optimizer = Callable[[Any], optax.GradientTransformation]  # of a learning rate
Measure = Callable[[mlp_jax.MLP, Params, Any, Any], Any]


def cost(net: mlp_jax.MLP, params: Params, x: Any, y: Any) -> Any:
    """The total cost: what `fit` measures if not told otherwise."""
    return mlp_jax.loss(net, params, x, y)


def accuracy(net: mlp_jax.MLP, params: Params, x: Any, y: Any) -> Any:
    """The fraction of the examples whose class is the likeliest."""
    likeliest = mlp_jax.predict(net, params, x)
    classes = (likeliest[:, 0] > 0.5) if net.output == "sigmoid" else likeliest.argmax(axis=1)
    return jnp.mean(classes == jnp.reshape(y, classes.shape))


@partial(jax.jit, static_argnames=("net", "optimizer", "steps", "batch", "every", "measure"))
def fit(
    net: mlp_jax.MLP,
    params: Params,
    x: Any,
    y: Any,
    rate: Any,
    *,
    steps: int,
    optimizer: Optimizer = optax.adam,
    batch: int | None = None,
    every: int = 1,
    measure: Measure = cost,
    seed: int = 0,
) -> tuple[Params, Any]:
    """Train, and measure on all examples before the first step and after each `every` steps.

    Args:
        net: the network.
        params: its parameters.
        x: the inputs.
        y: the targets.
        rate: the learning rate.
        steps: how many.
        optimizer: of optax, as a function of the learning rate.
        batch: examples a step, drawn with replacement; None takes all.
        every: steps between two measures.
        measure: of the network, the parameters and all examples.
        seed: of the draws.
    """
    program = Program(net, optimizer(rate))
    shape = steps // every, every
    if batch is None:
        rows = jnp.broadcast_to(jnp.arange(len(x), dtype=jnp.int32), (*shape, len(x)))
    else:
        keys = jax.random.split(jax.random.key(seed), shape)
        draw = partial(jax.random.randint, shape=(batch,), minval=0, maxval=len(x))
        rows = jax.vmap(jax.vmap(draw))(keys)
    state, _, outcome = run_steps(
        program,
        measure,
        initial_state(program, params),
        best=None,
        train=(x, y),
        watched={"all": (x, y)},
        batches=rows,
        first=0,
        stop=shape[0] * every,
    )
    start = measure(net, params, x, y)
    measures = outcome.measures["all"]
    return state.params, jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), start, measures)


def decaying(optimizer: Optimizer, steps: int) -> Optimizer:
    """An optimizer whose rate falls to 0 over all steps along a cosine."""
    return lambda rate: optimizer(lambda step: rate * (1 + jnp.cos(jnp.pi * step / steps)) / 2)


def standardized(source: Callable[..., Any]) -> tuple[Any, Any]:
    """Inputs of mean 0 and variance 1, and targets, of one of scikit-learn's data sets."""
    x, y = source(return_X_y=True)
    return StandardScaler().fit_transform(x).astype(np.float32), y


def digits() -> tuple[Any, Any]:
    """Handwritten digits: 1,797 images of 8 × 8 pixels, and their classes."""
    return standardized(datasets.load_digits)


def norm(tree: Any) -> Any:
    """The Euclidean norm of all leaves together."""
    return optax.tree.norm(tree)
