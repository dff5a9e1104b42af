"""Predictions of a trained model for raw inputs, in the units and classes of the data that it was trained on."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from mlp_jax.mlp.network import MLP
from mlp_jax.training.build import build_network
from mlp_jax.training.checkpoint import Model
from mlp_jax.training.config import Config
from mlp_jax.training.errors import InputError
from mlp_jax.training.metrics import last_layer


def predictions(config: Config, model: Model, x: Any) -> tuple[list[str], Iterable[list[Any]]]:
    """Predict for inputs (n, d) as they were read.

    Returns:
        The names of the columns, and a row for each input. For a softmax output the class number and the
        probability of each class; for sigmoid outputs the probabilities; for linear outputs the values, in
        the original units.

    Raises:
        InputError: an input does not fit the network's dtype.
    """
    net = build_network(config.network)
    with np.errstate(over="ignore"):
        x = model.inputs.apply(x).astype(model.params[0].W.dtype)
    if not np.isfinite(x).all():
        raise InputError(f"an input is outside the range of {x.dtype} once it is standardised")
    y_hat = np.asarray(jax.jit(last_layer, static_argnums=0)(net, model.params, x).h[-1], np.float64)
    names = _target_names(net, model.target_names)
    if net.output == "linear":
        return names, model.targets.undo(y_hat).tolist()
    probabilities = [f"p({name})" for name in names]
    if net.output == "sigmoid":
        return probabilities, y_hat.tolist()
    return ["class", *probabilities], ([int(p.argmax()), *p.tolist()] for p in y_hat)


def _target_names(net: MLP, names: tuple[str, ...]) -> list[str]:
    k = net.widths[-1]
    if len(names) == k:
        return list(names)
    if len(names) == 2 and k == 1:  # one sigmoid unit for two named classes: the probability of the second
        return [names[1]]
    return [str(j) for j in range(k)] if net.output == "softmax" else [f"y{j}" for j in range(k)]
