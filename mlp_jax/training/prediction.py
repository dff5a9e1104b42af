"""Predictions of a trained model for raw inputs, in the units and classes of the data that it was trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.guest import as_guest
from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.arrow import pa
from mlp_jax.tables.frames import as_table, is_frame
from mlp_jax.tables.numbers import as_numbers
from mlp_jax.tables.reading import as_array, require_inputs
from mlp_jax.tables.schema import Surprises
from mlp_jax.tables.targets import Target
from mlp_jax.tables.text import require_columns
from mlp_jax.training.batches import filled_up
from mlp_jax.training.build import build_network
from mlp_jax.training.config import Config
from mlp_jax.training.metrics import output_of
from mlp_jax.training.store.weights import Model
from mlp_jax.training.xla import jitted


def encoded(
    config: Config,
    model: Model,
    x: Any,
    net: MLP,
    where: str = "x",
    first_row: int = 0,
    found: Surprises | None = None,
) -> NDArray[Any]:
    """Inputs as the network takes them, before the scaling of arrays: of an array, or of a table by its names.

    What a table holds that the training part does not is added to what was `found`.

    Raises:
        InputError: columns are missing, or a cell does not fit.
    """
    columns = model.schema.used if model.schema else []
    if is_frame(x) and (columns or model.input_names):
        table = as_table(x, where, getattr(config.data, "missing", None) or ())
        if model.schema and columns:
            x = model.schema.encode(table, config.network.dtype, where, first_row)
            if found is not None:
                found.add(model.schema.surprises(table, x))
            return x
        require_columns(where, model.input_names, table.column_names)
        x = np.stack([as_numbers(table.column(name)) for name in model.input_names], axis=1)
    x = as_array("the inputs x", x)
    if model.schema and columns:
        if any(len(column.inputs) > 1 or column.kind != "number" for column in columns):
            names = ", ".join(column.name for column in columns)
            raise InputError(f"{where} has no names: give a data frame, or a file, with the columns {names}")
        require_inputs(where, x, len(columns))
        table = pa.table({column.name: x[:, k] for k, column in enumerate(columns)})
        return encoded(config, model, table, net, where, first_row, found)
    require_inputs(where, x, net.inputs)
    return x


@as_guest()
def predictions(config: Config, model: Model, x: Any) -> dict[str, NDArray[Any]]:
    """Predict for encoded inputs (n, d): columns by name, (n,) each.

    For a softmax output, or one sigmoid or hinge output, the class, by its name where the data are a table, and the
    probability of each; for several sigmoid outputs the probabilities; for hinge outputs the margins; for quantities
    and quantiles the values, in the original units, and the standard deviations of a unit that has them.

    Raises:
        InputError: an input does not fit the network's dtype.
    """
    net = build_network(config.network)
    with np.errstate(over="ignore"):
        x = model.inputs.apply(x).astype(model.params[0].W.dtype)
    if not np.isfinite(x).all():
        raise InputError(f"an input is outside the range of {x.dtype} once it is standardised")
    # One program for all penalties and for nearly as many rows.
    plain = net.penalised_by(None)
    z, y_hat = jitted(output_of, ("net",), plain)(plain, model.params, filled_up(x, x.dtype))
    y_hat = np.asarray(y_hat)[: len(x)]  # by JAX it would be a program for each number of rows
    digits = y_hat.astype("float32") if y_hat.dtype == "bfloat16" else y_hat
    y_hat = digits.astype(np.float64)
    if not np.isfinite(y_hat).all():
        raise InputError("the network's predictions are not finite: its weights are, or lead, out of range")
    names, unit = target_names(net, model.target_names), net.output_unit
    if unit.kind == "quantities":
        found = {key: np.asarray(v, float)[: len(x)] for key, v in unit.parameters(z, *model.params[-1][2:]).items()}
        columns, values = _spread(names, found, model)
        numbers = np.concatenate([model.targets.undo(y_hat), *values], axis=1)
        return dict(zip([*names, *columns], numbers.T, strict=True))
    if isinstance(unit, Quantiles):
        q = y_hat.reshape(len(x), len(names), -1) * model.targets.scale[:, None] + model.targets.mean[:, None]
        levels = [f"{name}@{level:g}" for name in names for level in unit.levels]
        return dict(zip(levels, q.reshape(len(x), -1).T, strict=True))
    targets = model.schema.targets if model.schema else ()
    if unit.kind == "classes":
        chosen = y_hat.argmax(axis=1)
        return _classes(targets, chosen) | {f"p({name})": p for name, p in zip(names, digits.T, strict=True)}
    if len(targets) == 1 and targets[0].classes:  # one output for two classes
        chosen = (y_hat[:, 0] > 0 if unit.kind == "margins" else y_hat[:, 0] >= 0.5).astype(int)
        of_classes = {f"margin({names[0]})": digits[:, 0]}
        if unit.kind == "probabilities":
            of_classes = {f"p({targets[0].classes[0]})": 1 - digits[:, 0], f"p({names[0]})": digits[:, 0]}
        return _classes(targets, chosen) | of_classes
    what = "margin" if unit.kind == "margins" else "p"
    return {f"{what}({name})": p for name, p in zip(names, digits.T, strict=True)}


def _classes(targets: Sequence[Target], chosen: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The class of each row: its name under that of the target, or its number where classes have no names."""
    if len(targets) == 1 and targets[0].classes:
        return {targets[0].name: np.array(targets[0].classes, object)[chosen]}
    return {"class": chosen}


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
