"""How good the predictions of a part of the data are, in a few numbers per kind of output unit."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.mlp import network
from mlp_jax.mlp.network import Tape
from mlp_jax.mlp.output_units import Quantiles, as_targets
from mlp_jax.mlp.parameters import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.data import Examples

# By the kind of the output unit, the one that is shown first. All are those of scikit-learn where it has them.
#   accuracy: the fraction of right classes (a probability of at least ½, a margin above 0); of several targets that of
#       all their entries
#   macro_f1: the mean over the classes of 2 TP / (2 TP + FP + FN); classes that are neither there nor predicted are
#       left out. Of several targets: the mean over them
#   log_loss: the mean of −log p(y given x)
#   calibration_error: how far accuracy and confidence (the probability of the class chosen) are apart, on average over
#       15 equal intervals of the confidence (Guo et al. 2017)
#   rmse, mae: root mean squared and mean absolute error in the original units; r2: the coefficient of determination (of
#       constant targets 1 or 0); averaged over the targets
#   nll: the mean of −log p(y given x), a density in the original units; of the unit's own distribution, which for
#       linear and laplace has scale 1 (after standardisation)
#   coverage_error: how far the fraction of targets below a quantile is from its level, on average
METRICS = {
    "quantities": ("rmse", "mae", "r2", "nll"),
    "quantiles": ("coverage_error",),
    "classes": ("accuracy", "macro_f1", "log_loss", "calibration_error"),
    "probabilities": ("accuracy", "macro_f1", "log_loss", "calibration_error"),
    "margins": ("accuracy", "macro_f1"),
}

_ROWS_AT_ONCE = 4096  # bounds the memory for activations
_BINS = 15


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
    z, y_hat, *theta = (_wide(value) for value in (tape.a[-1], tape.h[-1], *params[-1][2:]))
    y = as_targets(net.output_unit, examples.y, z, net.widths[-1])
    match net.output_unit.kind:
        case "quantities":
            return J, *_of_quantities(net, z, y_hat, y, theta, target_scale)
        case "quantiles":
            return J, _coverage_error(net, y_hat, y)
        case "classes":
            chosen = y_hat.argmax(axis=1)
            is_right = chosen == y.argmax(axis=1)
            f1 = _macro_f1(y.argmax(axis=1), chosen, net.widths[-1])
            confidence = y_hat.max(axis=1)
        case "probabilities" | "margins" as kind:
            at_least_half = y_hat >= 0.5 if kind == "probabilities" else y_hat > 0
            is_right = at_least_half == (y >= 0.5)
            f1 = _f1_of_targets(y >= 0.5, at_least_half)
            confidence = jnp.maximum(y_hat, 1 - y_hat)
    accuracy = jnp.mean(is_right, dtype=y_hat.dtype)
    if net.output_unit.kind == "margins":
        return J, accuracy, f1
    log_loss = -jnp.mean(net.output_unit.log_density(z, y, *theta))
    return J, accuracy, f1, log_loss, _calibration_error(is_right, confidence)


def last_layer(net: MLP, params: Params, x: Any) -> Tape:
    """The logits z and the predictions ŷ, both (n, k), computed a bounded number of rows at a time."""

    def of_row(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        tape = network.forward(net, params, row[None])
        return tape.a[-1][0], tape.h[-1][0]

    z, y_hat = jax.lax.map(of_row, x, batch_size=_ROWS_AT_ONCE)
    return Tape(a=(z,), h=(y_hat,))


def _wide(values: jax.Array) -> jax.Array:
    """A mean wants more digits than bfloat16 has."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _of_quantities(net: MLP, z: Any, y_hat: Any, y: Any, theta: Any, target_scale: Any) -> tuple[jax.Array, ...]:
    squared_error = jnp.mean((y_hat - y) ** 2, axis=0)
    rmse = jnp.mean(jnp.sqrt(squared_error) * target_scale)
    mae = jnp.mean(jnp.mean(jnp.abs(y_hat - y), axis=0) * target_scale)
    constant = y.max(axis=0) == y.min(axis=0)
    explained = 1 - squared_error / jnp.where(constant, 1, jnp.var(y, axis=0))
    r2 = jnp.mean(jnp.where(constant, (squared_error == 0).astype(y.dtype), explained))
    nll = jnp.sum(jnp.log(target_scale)) - jnp.mean(net.output_unit.log_density(z, y, *theta))
    return rmse, mae, r2, nll


def _coverage_error(net: MLP, y_hat: Any, y: Any) -> jax.Array:
    assert isinstance(net.output_unit, Quantiles)
    levels = jnp.asarray(net.output_unit.levels, y_hat.dtype)
    below = jnp.mean(y[:, :, None] <= y_hat.reshape(*y.shape, -1), axis=0)
    return jnp.mean(jnp.abs(below - levels[None]))


def _macro_f1(true: jax.Array, chosen: jax.Array, k: int) -> jax.Array:
    of_true, of_chosen = (jax.nn.one_hot(classes, k) for classes in (true, chosen))
    right = jnp.sum(of_true * of_chosen, axis=0)
    found = jnp.sum(of_true + of_chosen, axis=0)  # 2 TP + FP + FN
    return jnp.sum(2 * right / jnp.maximum(found, 1)) / jnp.sum(found > 0, dtype=found.dtype)


def _f1_of_targets(true: jax.Array, chosen: jax.Array) -> jax.Array:
    if true.shape[1] == 1:
        return _macro_f1(true[:, 0].astype(int), chosen[:, 0].astype(int), 2)
    right, found = jnp.sum(true & chosen, axis=0), jnp.sum(true, axis=0) + jnp.sum(chosen, axis=0)
    return jnp.mean(2 * right / jnp.maximum(found, 1))


def _calibration_error(is_right: jax.Array, confidence: jax.Array) -> jax.Array:
    gaps, confidence = (is_right.astype(confidence.dtype) - confidence).ravel(), confidence.ravel()
    bins = jnp.clip(jnp.ceil(confidence * _BINS) - 1, 0, _BINS - 1)
    in_bin = bins[:, None] == jnp.arange(_BINS, dtype=bins.dtype)[None]
    return jnp.sum(jnp.abs(jnp.sum(jnp.where(in_bin, gaps[:, None], 0), axis=0))) / len(gaps)
