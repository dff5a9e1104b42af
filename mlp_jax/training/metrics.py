"""How good the predictions of a part of the data are, in one number or two per output unit."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.mlp import network
from mlp_jax.mlp.network import Tape
from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.parameters import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.data import Examples

# By the kind of the output unit. accuracy: the fraction of right classes (a probability of at least ½, a margin above
# 0). rmse: the root mean squared error in the original units; r2: the coefficient of determination; both averaged over
# the targets. coverage_error: how far the fraction of targets below a quantile is from its level, on average.
METRICS = {
    "quantities": ("rmse", "r2"),
    "quantiles": ("coverage_error",),
    "classes": ("accuracy",),
    "probabilities": ("accuracy",),
    "margins": ("accuracy",),
}

_ROWS_AT_ONCE = 4096  # bounds the memory for activations


@partial(jax.jit, static_argnames="net")
def evaluate(net: MLP, params: Params, examples: Examples, target_scale: Any) -> tuple[jax.Array, ...]:
    """The cost and the metrics on a set of examples.

    Args:
        net: the network.
        params: its parameters.
        examples: x (n, d) and y, (n,) class numbers or (n, k).
        target_scale: (k,), by which the targets were divided.

    Returns:
        The total cost J, then the metrics `METRICS[net.output_unit.kind]`, scalars.
    """
    tape = last_layer(net, params, examples.x)
    J = network.total_cost(net, params, tape, examples.y)
    return J, *_metrics(net, tape.h[-1], examples.y, target_scale)


def last_layer(net: MLP, params: Params, x: Any) -> Tape:
    """The logits z and the predictions ŷ, both (n, k), computed a bounded number of rows at a time."""

    def of_row(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        tape = network.forward(net, params, row[None])
        return tape.a[-1][0], tape.h[-1][0]

    z, y_hat = jax.lax.map(of_row, x, batch_size=_ROWS_AT_ONCE)
    return Tape(a=(z,), h=(y_hat,))


def _metrics(net: MLP, y_hat: jax.Array, y: jax.Array, target_scale: Any) -> tuple[jax.Array, ...]:
    kind = net.output_unit.kind
    if kind == "classes":
        classes = y if y.ndim == 1 else y.argmax(axis=1)
        return (jnp.mean(y_hat.argmax(axis=1) == classes),)
    if kind in ("probabilities", "margins"):
        chosen = y_hat >= 0.5 if kind == "probabilities" else y_hat > 0
        return (jnp.mean(chosen == (y >= 0.5)),)
    if y_hat.dtype.itemsize < 4:  # a mean of squares wants more digits than bfloat16 has
        y_hat, y = y_hat.astype(jnp.float32), y.astype(jnp.float32)
    if isinstance(net.output_unit, Quantiles):
        levels = jnp.asarray(net.output_unit.levels, y_hat.dtype)
        below = jnp.mean(y[:, :, None] <= y_hat.reshape(*y.shape, -1), axis=0)
        return (jnp.mean(jnp.abs(below - levels[None])),)
    squared_error = jnp.mean((y_hat - y) ** 2, axis=0)
    rmse = jnp.mean(jnp.sqrt(squared_error) * target_scale)
    r2 = jnp.mean(1 - squared_error / jnp.var(y, axis=0))
    return rmse, r2
