"""Predictions of a trained model for raw inputs, in the units and classes of the data that it was trained on."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.structure import MLP
from mlp_jax.training.build import build_network
from mlp_jax.training.checkpoint import Model
from mlp_jax.training.config import Config
from mlp_jax.training.errors import InputError
from mlp_jax.training.metrics import last_layer


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
    tape = jax.jit(last_layer, static_argnums=0)(net, model.params, x)
    y_hat = np.asarray(tape.h[-1], np.float64)
    names, unit = _target_names(net, model.target_names), net.output_unit
    match unit.kind:
        case "quantities":
            sd = unit.parameters(tape.a[-1], *model.params[-1][2:]).get("sd")
            if sd is None or sd.shape != y_hat.shape:
                return names, model.targets.undo(y_hat).tolist()
            both = np.concatenate([model.targets.undo(y_hat), np.asarray(sd, np.float64) * model.targets.scale], axis=1)
            return [*names, *(f"sd({name})" for name in names)], both.tolist()
        case "quantiles":
            assert isinstance(unit, Quantiles)
            q = y_hat.reshape(len(x), len(names), -1)
            in_units = q * model.targets.scale[:, None] + model.targets.mean[:, None]
            return [f"{name}@{level:g}" for name in names for level in unit.levels], in_units.reshape(
                len(x), -1
            ).tolist()
        case "margins":
            return [f"margin({name})" for name in names], y_hat.tolist()
    probabilities = [f"p({name})" for name in names]
    if unit.kind == "probabilities":
        return probabilities, y_hat.tolist()
    return ["class", *probabilities], ([int(p.argmax()), *p.tolist()] for p in y_hat)


def _target_names(net: MLP, names: tuple[str, ...]) -> list[str]:
    k = net.widths[-1]
    if len(names) == k:
        return list(names)
    if len(names) == 2 and k == 1:  # one sigmoid unit for two named classes: the probability of the second
        return [names[1]]
    return [str(j) for j in range(k)] if net.output_unit.kind == "classes" else [f"y{j}" for j in range(k)]
