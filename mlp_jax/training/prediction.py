"""Predictions of a trained model for raw inputs, in the units and classes of the data that it was trained on."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.build import build_network
from mlp_jax.training.config import Config
from mlp_jax.training.metrics import output_of
from mlp_jax.training.store.weights import Model
from mlp_jax.training.xla import jitted


def predictions(config: Config, model: Model, x: Any) -> tuple[list[str], Iterable[list[Any]]]:
    """Predict for inputs (n, d) as they were read.

    Returns:
        The names of the columns, and a row for each input. For a softmax output the class number and the
        probability of each class; for sigmoid outputs the probabilities; for hinge outputs the margins; for quantities
        and quantiles the values, in the original units, and the standard deviations of a unit that has them.

    Raises:
        InputError: an input does not fit the network's dtype.
    """
    net = build_network(config.network)
    with np.errstate(over="ignore"):
        x = model.inputs.apply(x).astype(model.params[0].W.dtype)
    if not np.isfinite(x).all():
        raise InputError(f"an input is outside the range of {x.dtype} once it is standardised")
    z, y_hat = jitted(output_of, ("net",))(net, model.params, x)
    y_hat = np.asarray(y_hat, np.float64)
    if not np.isfinite(y_hat).all():
        raise InputError("the network's predictions are not finite: its weights are, or lead, out of range")
    names, unit = target_names(net, model.target_names), net.output_unit
    if unit.kind == "quantities":
        found = {key: np.asarray(v, np.float64) for key, v in unit.parameters(z, *model.params[-1][2:]).items()}
        columns, values = _spread(names, found, model)
        return [*names, *columns], np.concatenate([model.targets.undo(y_hat), *values], axis=1).tolist()
    if isinstance(unit, Quantiles):
        q = y_hat.reshape(len(x), len(names), -1) * model.targets.scale[:, None] + model.targets.mean[:, None]
        return [f"{name}@{level:g}" for name in names for level in unit.levels], q.reshape(len(x), -1).tolist()
    if unit.kind == "margins":
        return [f"margin({name})" for name in names], y_hat.tolist()
    probabilities = [f"p({name})" for name in names]
    if unit.kind == "probabilities":
        return probabilities, y_hat.tolist()
    return ["class", *probabilities], ([int(p.argmax()), *p.tolist()] for p in y_hat)


def _spread(names: list[str], found: dict[str, Any], model: Model) -> tuple[list[str], list[Any]]:
    """Columns for the standard deviations; of a mixture, for weight, means and standard deviations of each part."""
    if "sd" not in found:
        return [], []
    if "weights" not in found:
        return [f"sd({name})" for name in names], [found["sd"] * model.targets.scale]
    columns, values = [], []
    for j, weight in enumerate(found["weights"].T):
        columns += [f"weight {j}", *(f"{what} {j}({name})" for what in ("mean", "sd") for name in names)]
        values += [weight[:, None], model.targets.undo(found["mean"][:, j]), found["sd"][:, j] * model.targets.scale]
    return columns, values


def target_names(net: MLP, names: tuple[str, ...]) -> list[str]:
    """A name for each target or class: the data's own, or a number."""
    k = net.widths[-1]
    if len(names) == k:
        return list(names)
    if len(names) == 2 and k == 1:  # one sigmoid unit for two named classes: the probability of the second
        return [names[1]]
    return [str(j) for j in range(k)] if net.output_unit.kind == "classes" else [f"y{j}" for j in range(k)]
