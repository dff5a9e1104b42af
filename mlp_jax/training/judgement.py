"""What a mean over all examples hides: how each class fares, and what a constant prediction would reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.preparation import Scaling
from mlp_jax.tables.schema import Schema
from mlp_jax.tables.text import listed

Array = NDArray[Any]


def class_names(net: MLP, names: Sequence[str], schema: Schema | None) -> list[str]:
    """A name for each class that the network tells apart; none of several targets, quantities and quantiles."""
    unit, k = net.output_unit, net.widths[-1]
    classes = k if unit.kind == "classes" else 2 if unit.kind in ("probabilities", "margins") and k == 1 else 0
    known = schema.targets[0].classes if schema and len(schema.targets) == 1 else None
    found = known or (names if len(names) == classes else None)
    return list(found or map(str, range(classes)))


def classes_of(net: MLP, y: Array) -> Array:
    """The class numbers (n,) of targets, or of predictions."""
    if y.ndim == 2 and y.shape[1] == 1:
        return (y[:, 0] > 0 if net.output_unit.kind == "margins" else y[:, 0] >= 0.5).astype(int)
    return y.argmax(axis=1) if y.ndim == 2 else y


def by_class(
    net: MLP, y: Array, y_hat: Array, names: Sequence[str], weights: Array | None = None
) -> dict[str, dict[str, float]]:
    """Precision, recall, their harmonic mean and the number of examples of each class; NaN for what has none."""
    true, chosen = classes_of(net, y), classes_of(net, y_hat)
    w = np.ones(len(true)) if weights is None else weights
    found = {}
    with np.errstate(invalid="ignore"):
        for k, name in enumerate(names):
            right = w[(true == k) & (chosen == k)].sum()
            there, predicted = w[true == k].sum(), w[chosen == k].sum()
            found[name] = {
                "precision": float(right / predicted),
                "recall": float(right / there),
                "f1": float(2 * right / (there + predicted)),
                "examples": float(there),
            }
    return found


def baseline(
    net: MLP,
    train: Array,
    y: Array,
    names: Sequence[str],
    target_names: Sequence[str],
    targets: Scaling,
    weights: dict[str, Array],
    part: str,
) -> dict[str, Any]:
    """What the best constant gets on a part: the majority and the shares of the training part, or its mean."""
    of_train, of_part = (weights.get(which, np.ones(len(rows))) for which, rows in (("train", train), (part, y)))
    if names:
        true = classes_of(net, y)
        shares = np.bincount(classes_of(net, train), of_train, len(names)) / of_train.sum()
        metrics = {"accuracy": float(np.average(true == shares.argmax(), weights=of_part))}
        if net.output_unit.kind != "margins":
            with np.errstate(divide="ignore"):
                metrics["log_loss"] = float(-np.average(np.log(shares)[true], weights=of_part))
        return {"prediction": f"always {listed([names[shares.argmax()]])}", part: metrics}
    if net.output_unit.kind in ("probabilities", "margins"):  # of several labels
        often = np.average(train >= 0.5, axis=0, weights=of_train) >= 0.5
        right = np.average((y >= 0.5) == often, axis=0, weights=of_part)
        return {"prediction": "of each label what is more frequent", part: {"accuracy": float(right.mean())}}
    if net.output_unit.kind != "quantities":
        return {}
    error = (y - np.average(train, axis=0, weights=of_train)) * targets.scale
    rmse, mae = (np.average(of, axis=0, weights=of_part) for of in (error**2, np.abs(error)))
    of_each = [f"({name})" for name in target_names] if len(rmse) > 1 else [""]
    metrics = {f"rmse{name}": float(value) for name, value in zip(of_each, np.sqrt(rmse), strict=True)}
    metrics |= {f"mae{name}": float(value) for name, value in zip(of_each, mae, strict=True)}
    spread = np.average((y - np.average(y, axis=0, weights=of_part)) ** 2, axis=0, weights=of_part) * targets.scale**2
    metrics["r2"] = float(np.mean(1 - rmse / np.where(spread > 0, spread, 1)))
    return {"prediction": "the mean", part: metrics}
