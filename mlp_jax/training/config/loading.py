"""Reading a configuration, writing it, and what of it determines each step."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlp_jax.errors import InputError
from mlp_jax.training.config import problems, yaml
from mlp_jax.training.config.records import Config


def free_to_change(config: Config) -> list[str]:
    """Keys of `training` that do not change what a step computes."""
    return ["epochs", "checkpoint_seconds", "tensorboard", *(["devices"] if config.training.reproducible_over else [])]


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file, apply overrides, and check everything.

    Args:
        path: a YAML file. Paths of data in it are taken from its own folder.
        overrides: assignments such as `optimizer.learning_rate=0.05`, applied in order.

    Returns:
        The configuration with all defaults filled in and paths made absolute.

    Raises:
        InputError: with every problem found, each with its place and the nearest valid key.
    """
    path = Path(path)
    config = _checked(yaml.read(path, overrides), path)
    return _with_absolute_paths(config, path.parent.absolute())


def as_values(config: Config) -> dict[str, Any]:
    """The configuration as plain values, for writing; what optax leaves to its own defaults is left out."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    if config.seeds:
        del values["seed"]
    return values


def fingerprint(config: Config) -> str:
    """A SHA-256 of what determines each step."""
    values = as_values(config)
    values["training"] = {key: value for key, value in values["training"].items() if key not in free_to_change(config)}
    for key in config.data.files:  # moved data are the same data
        section, _, name = f"data.{key}".rpartition(".")
        (values["data"]["split"] if section == "data.split" else values["data"]).pop(name, None)
    values["network"].get("start_from", {}).pop("path", None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def from_values(values: Any) -> Config:
    """The configuration of a dict as a file would give it, lists included; paths start at the current folder.

    Raises:
        InputError: with every problem found, each with its key and the nearest valid one.
    """
    document = yaml.Document.of_values(values)
    return _with_absolute_paths(_checked(document, "the configuration"), Path.cwd())


def _checked(document: yaml.Document, name: str | Path) -> Config:
    found, config = document.problems, None
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found = found + problems.in_words(error, Config, document)
    if config is None or found:
        raise InputError(problems.listed(name, found, document))
    return config


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def absolute(path: Any) -> Any:
        if isinstance(path, tuple):
            return tuple(map(absolute, path))
        return folder / os.path.expanduser(path)

    data = config.data
    files = {key: absolute(path) for key, path in data if isinstance(path, Path) or key == "path"}
    split = data.split.model_copy(update={part: absolute(path) for part, path in data.split.files.items()})
    network = config.network
    if start := network.start_from:
        start = start.model_copy(update={"path": absolute(start.path)})
        network = network.model_copy(update={"start_from": start})
    return config.model_copy(update={"data": data.model_copy(update={**files, "split": split}), "network": network})


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one, by dotted keys.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
