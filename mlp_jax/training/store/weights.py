"""The weights of a trained network, with what a prediction needs besides."""

from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import Place, write_atomically
from mlp_jax.mlp.params import Params, param_types, pays_as_one_loop, require_fit, stack, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.preparation import Prepared, Scaling
from mlp_jax.tables.schema import Schema
from mlp_jax.training.store import tensors
from mlp_jax.training.store.forms import WeightNotes


class Model(NamedTuple):
    """All that a prediction needs besides the network's structure."""

    params: Params
    inputs: Scaling
    targets: Scaling
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]
    data: str  # fingerprint of the examples that it was trained on
    class_weights: tuple[float, ...] | None  # of the network, which may be those of these examples
    schema: Schema | None = None  # of a table: how it becomes inputs


def model_of(params: Params, net: MLP, prepared: Prepared) -> Model:
    """The model of a network's parameters that were trained on these data."""
    names = prepared.input_names, prepared.target_names
    scalings = prepared.inputs, prepared.targets
    return Model(params, *scalings, *names, prepared.fingerprint, net.class_weights, prepared.schema)


def save_weights(path: Place, net: MLP, model: Model, config: str) -> None:
    """Write `layers.0.W`, `layers.0.b`, …, mean and scale of `inputs` and `targets`, and the config's fingerprint.

    The schema, of a table, stands beside them, in `schema.json`.
    """
    arrays = {"layers": unstack(net, model.params), "inputs": model.inputs, "targets": model.targets}
    names = {"input_names": list(model.input_names), "target_names": list(model.target_names)}
    notes: dict[str, Any] = {**names, "data": model.data, "config": config}
    if model.class_weights:
        notes["class_weights"] = list(model.class_weights)
    if model.schema:
        write_atomically(path.beside("schema.json"), model.schema.as_json().encode())
    tensors.write(path, tensors.by_path(arrays), notes)


def load_weights(path: Place, net: MLP, config: str) -> Model:
    """Read what `save_weights` wrote for a configuration of this fingerprint.

    Raises:
        InputError: no such file, a damaged one, or one of another network.
    """
    arrays, notes = tensors.read(path, WeightNotes)
    try:
        params = tensors.filled({"layers": param_types(net)}, arrays)["layers"]
        require_fit(net, params)
        inputs, targets = (Scaling(arrays[f"{what}.mean"], arrays[f"{what}.scale"]) for what in ("inputs", "targets"))
    except KeyError as error:
        raise InputError(f"{path} has no {error}; it belongs to another network") from None
    except ValueError as error:
        raise InputError(f"{path} belongs to another network: {error}") from None
    if notes["config"] != config:
        raise InputError(f"{path} does not belong to the config.yaml beside it: one of them was changed")
    names = tuple(notes["input_names"]), tuple(notes["target_names"])
    _require_one_for_each(path, "inputs", net.inputs, inputs)
    _require_one_for_each(path, "targets", net.widths[-1], targets)
    if pays_as_one_loop(net):
        params = stack(net, params)
    class_weights = tuple(notes["class_weights"]) if "class_weights" in notes else None
    if schema := read_schema(path.beside("schema.json")):
        _require_fit(path.beside("schema.json"), schema, net)
    return Model(params, inputs, targets, *names, notes["data"], class_weights, schema)


def read_schema(path: Place) -> Schema | None:
    """The schema in a file; None if there is none.

    Raises:
        InputError: it cannot be read, with the place in it.
    """
    try:
        return Schema.of_json(path.read(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _require_one_for_each(path: Place, what: str, n: int, scaling: Scaling) -> None:
    """Raise an InputError unless there is a mean and a scale for each of n columns, or one for class numbers."""
    for name, values in scaling._asdict().items():
        if values.shape not in ((), (n,)) or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise InputError(f"{path}: {what}.{name} must be {n} finite numbers, got {values.dtype} {values.shape}")
    if not (scaling.scale > 0).all():
        raise InputError(f"{path}: {what}.scale must be positive")


def _require_fit(path: Place, schema: Schema, net: MLP) -> None:
    """Raise an InputError unless a schema, which a person may have edited, has the network's inputs and classes."""
    if schema.columns and len(schema.inputs) != net.widths[0]:
        raise InputError(f"{path} has {len(schema.inputs)} inputs, the network {net.widths[0]}: categories may be "
                         "renamed, not added or removed")  # fmt: skip
    k = net.widths[-1] if net.output_unit.kind == "classes" and len(schema.targets) == 1 else 2
    for target in schema.targets:
        if target.classes is not None and len(target.classes) != k:
            raise InputError(f"{path}: {target.name} has {len(target.classes)} classes, in the network it has {k}")
