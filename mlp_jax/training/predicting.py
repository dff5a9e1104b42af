"""Predictions of a trained model for raw inputs, in the units and classes of the data that it was trained on."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from mlp_jax.training.build import build_network
from mlp_jax.training.checkpoint import Model
from mlp_jax.training.config import Config
from mlp_jax.training.metrics import last_layer


def predictions(config: Config, model: Model, x: Any) -> tuple[list[str], Iterable[list[Any]]]:
    """Predict for inputs (n, d) as they were read.

    Returns:
        The names of the columns, and a row for each input. For a softmax output the class number and the
        probability of each class; for sigmoid outputs the probabilities; for linear outputs the values, in
        the original units.
    """
    net = build_network(config.network)
    x = model.inputs.apply(x).astype(model.params[0].W.dtype)
    y_hat = np.asarray(jax.jit(last_layer, static_argnums=0)(net, model.params, x).h[-1], np.float64)
    names = model.target_names if len(model.target_names) == y_hat.shape[1] else map(str, range(y_hat.shape[1]))
    if net.output == "softmax":
        rows = ([int(p.argmax()), *p.tolist()] for p in y_hat)
        return ["class", *(f"p({name})" for name in names)], rows
    return list(names), model.targets.undo(y_hat).tolist()
