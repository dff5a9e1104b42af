"""The weights of a trained network, with what a prediction needs besides."""

from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import InputError
from mlp_jax.files import write_atomically
from mlp_jax.mlp.params import Params, param_types, pays_as_one_loop, require_fit, stack, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.preparation import Prepared, Scaling
from mlp_jax.tables.schema import Schema
from mlp_jax.training.store import tensors


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


def schema_of(weights: Path) -> Path:
    """Where the schema is, beside the weights."""
    return weights.with_name("schema.json")


def save_weights(path: Path, net: MLP, model: Model, config: str) -> None:
    """Write `layers.0.W`, `layers.0.b`, …, mean and scale of `inputs` and `targets`, and the config's fingerprint.

    The schema, of a table, stands beside them, in `schema.json`.
    """
    arrays = {"layers": unstack(net, model.params), "inputs": model.inputs, "targets": model.targets}
    names = {"input_names": list(model.input_names), "target_names": list(model.target_names)}
    notes: dict[str, Any] = {**names, "data": model.data, "config": config}
    if model.class_weights:
        notes["class_weights"] = list(model.class_weights)
    if model.schema:
        write_atomically(schema_of(path), model.schema.as_json().encode())
    tensors.write(path, tensors.by_path(arrays), notes)


def load_weights(path: Path, net: MLP, config: str) -> Model:
    """Read what `save_weights` wrote for a configuration of this fingerprint.

    Raises:
        InputError: no such file, a damaged one, or one of another network.
    """
    arrays, notes = tensors.read(path)
    try:
        params = tensors.filled({"layers": param_types(net)}, arrays)["layers"]
        require_fit(net, params)
        inputs, targets = (Scaling(arrays[f"{what}.mean"], arrays[f"{what}.scale"]) for what in ("inputs", "targets"))
        if notes["config"] != config:
            raise InputError(f"{path} does not belong to the config.yaml beside it: one of them was changed")
        names = tuple(notes["input_names"]), tuple(notes["target_names"])
        if pays_as_one_loop(net):
            params = stack(net, params)
        class_weights = tuple(notes["class_weights"]) if "class_weights" in notes else None
        file = schema_of(path)
        schema = Schema.of_json(file.read_bytes(), str(file)) if file.exists() else None
        if schema and schema.columns and len(schema.inputs) != net.widths[0]:
            raise InputError(f"{file} has {len(schema.inputs)} inputs, the network {net.widths[0]}: categories may be "
                             "renamed, not added or removed")  # fmt: skip
        return Model(params, inputs, targets, *names, notes["data"], class_weights, schema)
    except KeyError as error:
        raise InputError(f"{path} has no {error}; it belongs to another network") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} belongs to another network: {error}") from None
