"""How good the predictions of a part of the data are: metrics by the kind of the output unit, inside a program of XLA.

To add a metric, write a function of `Predictions` and name it in `METRICS`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp import network
from mlp_jax.mlp.cost import as_targets
from mlp_jax.mlp.output_units.base import OutputUnit
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.step.gradient import apart, of_each

_ROWS_AT_ONCE = 4096  # bounds the memory for activations
_BINS = 15


class Predictions(NamedTuple):
    """What a metric is a function of: arrays in float32 at least.

    Attributes:
        unit: the output unit.
        y: the targets (n, k), one-hot rows for classes.
        y_hat: the predictions ŷ (n, k), or (n, k · levels) for quantiles.
        z: the logits (n, k').
        theta: the parameters that the output unit has of its own, if any.
        scale: (k,), by which the targets were divided.
        weights: of the examples, (n,); None where each counts once.
    """

    unit: OutputUnit
    y: Any
    y_hat: Any
    z: Any
    theta: tuple[Any, ...]
    scale: Any
    weights: Any

    def mean(self, values: Any, axis: int | None = None) -> jax.Array:
        """The mean over the examples of values (n,) or (n, k), and unless axis is 0, over the targets."""
        w = self.weights.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
        means = jnp.sum(w * values, axis=0) / jnp.sum(w)
        return means if axis == 0 else jnp.mean(means)


class Spread(NamedTuple):
    """How rows are divided: into parts of one size, on the devices of an axis if there is one, each as many."""

    parts: int
    axis: str | None


def measured(
    net: MLP,
    params: Params,
    x: Any,
    y: Any,
    target_scale: Any,
    weights: Any,
    rankings: tuple[str, ...] = (),
    spread: Spread | None = None,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """The cost and the metrics on a set of examples, and the predictions ŷ.

    Of inputs x (n, d) and targets y, (n,) class numbers or (n, k), which were divided by target_scale (k,), and weights
    (n,): the total cost J as "loss", each of `metrics_of(net)`, and of `RANKINGS` those that are asked for. They are
    scalars, but for those that each of several targets has, (k,).
    """
    if spread is None:
        z, y_hat = output_of(net, params, x)
        return measured_of(net, params, z, y_hat, y, target_scale, weights, rankings)
    never = jnp.sum(weights != 0) > weights.size
    output = _in_parts(net, params, x, never, spread)

    def measured(of: Any) -> Any:
        params, (z, y_hat), y, weights = of
        return measured_of(net, params, z, y_hat, y, target_scale, weights, rankings)

    found: tuple[dict[str, jax.Array], jax.Array] = apart(measured, (params, output, y, weights), never)
    return found


def measured_of(
    net: MLP,
    params: Params,
    z: jax.Array,
    y_hat: jax.Array,
    y: Any,
    target_scale: Any,
    weights: Any,
    rankings: tuple[str, ...] = (),
) -> tuple[dict[str, jax.Array], jax.Array]:
    """The same, of logits z (n, k') and predictions that are there already."""
    J = network.total_cost(net, params, z, y, weights)
    z, y_hat, *theta = (_wide(value) for value in (z, y_hat, *params[-1][2:]))
    targets = as_targets(net.output_unit, y, z, net.widths[-1])
    predictions = Predictions(net.output_unit, targets, y_hat, z, tuple(theta), target_scale, weights)
    found = {"loss": J} | {name: metric(predictions) for name, metric in metrics_of(net).items()}
    w = weights.astype(y_hat.dtype)
    return found | {name: RANKINGS[name](y_hat, targets, w) for name in rankings}, y_hat


@cache
def measure_with(rankings: tuple[str, ...] = (), spread: Spread | None = None) -> Callable[..., dict[str, jax.Array]]:
    """Cost and metrics alone, by `measured`; one function for each, so that programs are compiled once."""

    def evaluate(net: MLP, params: Params, x: Any, y: Any, target_scale: Any, weights: Any) -> dict[str, jax.Array]:
        return measured(net, params, x, y, target_scale, weights, rankings, spread)[0]

    return evaluate


def metrics_of(net: MLP) -> dict[str, Callable[[Predictions], jax.Array]]:
    """The metrics for the output unit of a network, the one that is shown first at the front."""
    return METRICS[net.output_unit.kind]


def names_of(net: MLP, targets: list[str]) -> tuple[str, ...]:
    """The names of what `measured` gives: "loss", and the metrics; of those that each target has, with its name."""
    several = net.output_unit.kind == "quantities" and len(targets) > 1
    names = ["loss"]
    for name in metrics_of(net):
        names += [f"{name}({target})" for target in targets] if several and name in ("rmse", "mae") else [name]
    return tuple(names)


def output_of(net: MLP, params: Params, x: Any) -> tuple[jax.Array, jax.Array]:
    """The logits z (n, k') and the predictions ŷ, computed a bounded number of rows at a time."""

    def of_row(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        tape = network.forward(net, params, row[None])
        return tape.a[-1][0], tape.h[-1][0]

    z, y_hat = jax.lax.map(of_row, x, batch_size=_ROWS_AT_ONCE)
    return z, y_hat


def _in_parts(net: MLP, params: Params, x: Any, never: jax.Array, spread: Spread) -> tuple[jax.Array, jax.Array]:
    """`output_of` by parts, to the same bits on whatever devices; each has all rows, and computes its own."""
    parts = x.reshape(spread.parts, -1, x.shape[1])
    if spread.axis:
        here = spread.parts // jax.lax.axis_size(spread.axis)
        parts = jax.lax.dynamic_slice_in_dim(parts, here * jax.lax.axis_index(spread.axis), here)
    of_parts = of_each(lambda x: output_of(net, params, x), parts, never)
    mine = jax.tree.map(lambda v: v.reshape(-1, v.shape[-1]), of_parts)
    found: tuple[jax.Array, jax.Array] = jax.lax.all_gather(mine, spread.axis, tiled=True) if spread.axis else mine
    return found


def _wide(values: jax.Array) -> jax.Array:
    """A mean wants more digits than bfloat16 has."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


# --- quantities: in the original units ---------------------------------------------------------------


def rmse(p: Predictions) -> jax.Array:
    """Root mean squared error; of several targets one for each, for their units may differ."""
    return _of_one(jnp.sqrt(_squared_error(p)) * p.scale)


def mae(p: Predictions) -> jax.Array:
    """Mean absolute error; of several targets one for each."""
    return _of_one(p.mean(jnp.abs(p.y_hat - p.y), axis=0) * p.scale)


def r2(p: Predictions) -> jax.Array:
    """The coefficient of determination, averaged over the targets; of constant targets 1 or 0."""
    constant = p.y.max(axis=0) == p.y.min(axis=0)
    variance = p.mean((p.y - p.mean(p.y, axis=0)[None]) ** 2, axis=0)
    explained = 1 - _squared_error(p) / jnp.where(constant, 1, variance)
    return jnp.mean(jnp.where(constant, (_squared_error(p) == 0).astype(p.y.dtype), explained))


def nll(p: Predictions) -> jax.Array:
    """The mean of −log p(y given x), a density, of the unit's own distribution.

    That of linear and laplace has scale 1 (after standardisation).
    """
    return jnp.sum(jnp.log(p.scale)) - p.mean(p.unit.log_density(p.z, p.y, *p.theta))


def coverage_error(p: Predictions) -> jax.Array:
    """How far the fraction of targets below a quantile is from its level, on average."""
    levels = jnp.asarray(p.unit.levels, p.y_hat.dtype)  # type: ignore[attr-defined]
    below = p.mean((p.y[:, :, None] <= p.y_hat.reshape(*p.y.shape, -1)).astype(p.y_hat.dtype), axis=0)
    return jnp.mean(jnp.abs(below - levels[None]))


def _squared_error(p: Predictions) -> jax.Array:
    return p.mean((p.y_hat - p.y) ** 2, axis=0)


def _of_one(of_targets: jax.Array) -> jax.Array:
    """What there is of one target is a scalar."""
    return of_targets[0] if of_targets.shape == (1,) else of_targets


# --- two classes: how well the one is ranked before the other; of arrays of JAX, or of numpy with np=numpy ----


def auc(y_hat: Any, y: Any, weights: Any, np: Any = jnp) -> Any:
    """The area under the ROC curve, averaged over the targets: how often a 1 is ranked above a 0; ties count half."""
    areas = []
    for score, is_one in zip(y_hat.T, (y >= 0.5).T, strict=True):
        ones, zeros = np.where(is_one, weights, 0), np.where(is_one, 0, weights)
        below, at_most = _sums_below(score, zeros, np)
        areas.append(np.sum(ones * (below + at_most) / 2) / (np.sum(ones) * np.sum(zeros)))
    return sum(areas) / len(areas)


def average_precision(y_hat: Any, y: Any, weights: Any, np: Any = jnp) -> Any:
    """The mean, over the examples of class 1, of the precision at their threshold; averaged over the targets."""
    means = []
    for score, is_one in zip(y_hat.T, (y >= 0.5).T, strict=True):
        ones = np.where(is_one, weights, 0)
        right, chosen = (np.sum(of) - _sums_below(score, of, np)[0] for of in (ones, weights))
        means.append(np.sum(ones * right / np.where(chosen > 0, chosen, 1)) / np.sum(ones))
    return sum(means) / len(means)


def _sums_below(score: Any, weights: Any, np: Any) -> tuple[Any, Any]:
    """For each score, the sum of the weights of those that are lower, and of those that are not higher."""
    order = np.argsort(score)
    sums = np.concatenate([np.zeros(1, weights.dtype), np.cumsum(weights[order])])
    ranked = score[order]
    return sums[np.searchsorted(ranked, score)], sums[np.searchsorted(ranked, score, side="right")]


# Not measured after each epoch unless early stopping watches one: sorting takes XLA half a second to compile.
RANKINGS = {"auc": auc, "average_precision": average_precision}


def is_ranking(net: MLP) -> bool:
    """Whether its predictions rank one of two classes before the other."""
    return net.output_unit.kind in ("probabilities", "margins")


# --- classes: one of several, or for each target one of two -----------------------------------------


def accuracy(p: Predictions) -> jax.Array:
    """The fraction of right classes (a probability of at least ½, a margin above 0), over all targets."""
    return p.mean(_is_right(p).astype(p.y_hat.dtype))


def macro_f1(p: Predictions) -> jax.Array:
    """The mean over the classes of 2 TP / (2 TP + FP + FN); of several targets, the mean over them of that of class 1.

    Classes that are neither there nor predicted are left out; such a target counts 0, as in scikit-learn.
    """
    if p.unit.kind == "classes":
        return _macro_f1(p.y.argmax(axis=1), p.y_hat.argmax(axis=1), p.y.shape[1], p.weights)
    true, chosen = p.y >= 0.5, _is_one(p)
    if true.shape[1] == 1:
        return _macro_f1(true[:, 0].astype(int), chosen[:, 0].astype(int), 2, p.weights)
    true, chosen = (p.mean(is_one.astype(p.y.dtype), axis=0) for is_one in (true, chosen))
    right = p.mean((p.y >= 0.5).astype(p.y.dtype) * _is_one(p).astype(p.y.dtype), axis=0)
    return jnp.mean(2 * right / jnp.where(true + chosen > 0, true + chosen, 1))


def log_loss(p: Predictions) -> jax.Array:
    """The mean of −log p(y given x)."""
    return -p.mean(p.unit.log_density(p.z, p.y, *p.theta))


def calibration_error(p: Predictions) -> jax.Array:
    """How far accuracy and confidence are apart, on average over 15 equal intervals of the confidence.

    The confidence is the probability of the class chosen (Guo et al. 2017).
    """
    confidence = p.y_hat.max(axis=1) if p.unit.kind == "classes" else jnp.maximum(p.y_hat, 1 - p.y_hat)
    gaps = _is_right(p).astype(confidence.dtype).reshape(confidence.shape) - confidence
    weights = (p.weights / jnp.mean(p.weights)).reshape(-1, *[1] * (gaps.ndim - 1)).astype(gaps.dtype)
    gaps, confidence = (gaps * weights).ravel(), confidence.ravel()
    bins = jnp.clip(jnp.ceil(confidence * _BINS) - 1, 0, _BINS - 1)
    in_bin = bins[:, None] == jnp.arange(_BINS, dtype=bins.dtype)[None]
    return jnp.sum(jnp.abs(jnp.sum(jnp.where(in_bin, gaps[:, None], 0), axis=0))) / len(gaps)


def _is_right(p: Predictions) -> jax.Array:
    if p.unit.kind == "classes":
        return p.y_hat.argmax(axis=1) == p.y.argmax(axis=1)
    return _is_one(p) == (p.y >= 0.5)


def _is_one(p: Predictions) -> jax.Array:
    return p.y_hat > 0 if p.unit.kind == "margins" else p.y_hat >= 0.5


def _macro_f1(true: jax.Array, chosen: jax.Array, k: int, weights: Any) -> jax.Array:
    of_true, of_chosen = (jax.nn.one_hot(classes, k) for classes in (true, chosen))
    w = weights[:, None].astype(of_true.dtype)
    found = jnp.sum(w * (of_true + of_chosen), axis=0)  # 2 TP + FP + FN
    f1 = 2 * jnp.sum(w * of_true * of_chosen, axis=0) / jnp.where(found > 0, found, 1)
    return jnp.sum(f1) / jnp.sum(found > 0, dtype=found.dtype)


# By the kind of the output unit, the one that is shown first at the front; scikit-learn's where it has them.
HIGHER_IS_BETTER = ("accuracy", "macro_f1", "r2", "auc", "average_precision")
_OF_PROBABILITIES = (accuracy, macro_f1, log_loss, calibration_error)
METRICS: dict[str, dict[str, Callable[[Predictions], jax.Array]]] = {
    kind: {metric.__name__: metric for metric in metrics}
    for kind, metrics in {
        "quantities": (rmse, mae, r2, nll),
        "quantiles": (coverage_error,),
        "classes": _OF_PROBABILITIES,
        "probabilities": _OF_PROBABILITIES,
        "margins": (accuracy, macro_f1),
    }.items()
}
