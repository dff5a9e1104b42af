"""Reading a configuration, writing it, and what of it determines each step."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlp_jax.errors import InputError
from mlp_jax.files import Place
from mlp_jax.training.config import problems, yaml
from mlp_jax.training.config.axes import as_axis, choices, with_choice
from mlp_jax.training.config.records import Config


def free_to_change(config: Config) -> list[str]:
    """Keys of `training` that do not change what a step computes."""
    places = ["devices", "processes"] if config.training.reproducible_over else []
    return ["epochs", "checkpoint_seconds", "tensorboard", *places]


def load(path: str | Path | Place, overrides: Iterable[str] = (), sweep: Iterable[str] = ()) -> Config:
    """Read a configuration file, apply overrides, and check everything.

    Args:
        path: a YAML file. Paths of data in it are taken from its own folder.
        overrides: assignments such as `optimizer.learning_rate=0.05`, applied in order.
        sweep: what varies, as in `optimizer.learning_rate=0.1,0.01` or `seed=0..9`.

    Returns:
        The configuration with all defaults filled in and paths made absolute.

    Raises:
        InputError: with every problem found, each with its place and the nearest valid key.
    """
    file = path if isinstance(path, Place) else Path(path)
    config = _checked(yaml.read(file, overrides, sweep), str(path))
    return _with_absolute_paths(config, Path(path).parent.absolute())


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
    config, found = _tried(document.values, document.problems)
    if config and config.axes:
        _, found = _tried_members(config)
    if config is None or found:
        raise InputError(problems.listed(name, found, document))
    return config


def _tried(values: Any, found: list[problems.Problem]) -> tuple[Config | None, list[problems.Problem]]:
    """The configuration of these values, and what is wrong with them beside what reading has found."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        return None, found + problems.in_words(error, Config, values, found)
    return None if found else config, found


def members(config: Config) -> list[Config]:
    """The configuration of each run of a sweep, in the order of `choices(config.axes)`.

    Raises:
        InputError: one is wrong.
    """
    runs, found = _tried_members(config)
    if found:
        raise InputError(problems.listed("the sweep", found, yaml.Document.of_values({})))
    return runs


def _tried_members(config: Config) -> tuple[list[Config], list[problems.Problem]]:
    """The runs of a sweep, and what is wrong with them: with a value at the value's place."""
    runs: list[Config] = []
    found: dict[problems.Problem, None] = {}
    values = yaml.as_plain(as_values(config))
    for choice in choices(config.axes):
        try:
            run, wrong = _tried(with_choice(values, yaml.as_plain(choice)), [])
        except ValueError as error:
            key, why = error.args
            run, wrong = None, [(("sweep", key), why)]
        found |= dict.fromkeys((_in_sweep(path, choice), message) for path, message in wrong)
        runs += [run] if run else []
    if any(run.several for run in runs):
        found[("sweep",), "each run must be a single one, without seeds, folds or a sweep of its own"] = None
    if any(run.network.dtype != config.network.dtype for run in runs):
        found[
            ("sweep", "network.dtype"), "one process trains in one dtype: set network.dtype, and train them apart"
        ] = None
    if any(run.training.processes != config.training.processes for run in runs):
        found[("sweep", "training.processes"), "all runs of a sweep are trained by the same processes"] = None
    if not found and len({repr(as_values(run)) for run in runs}) < len(runs):
        found[("sweep",), "two of the runs are the same"] = None
    return runs, list(found)


def _in_sweep(path: yaml.KeyPath, choice: dict[str, Any]) -> yaml.KeyPath:
    keys = [key for key in choice if path[: key.count(".") + 1] == tuple(key.split("."))]
    return ("sweep", keys[0]) if keys else path


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def absolute(path: Any) -> Any:
        if isinstance(path, tuple):
            return tuple(map(absolute, path))
        if not isinstance(path, str | Path):  # of a sweep: a section, or none
            return path
        return folder / os.path.expanduser(path)

    data = config.data
    files = {key: absolute(path) for key, path in data if isinstance(path, Path) or key == "path"}
    split = data.split.model_copy(update={part: absolute(path) for part, path in data.split.files.items()})
    network = config.network
    if start := network.start_from:
        start = start.model_copy(update={"path": absolute(start.path)})
        network = network.model_copy(update={"start_from": start})
    changed: dict[str, Any] = {"data": data.model_copy(update={**files, "split": split}), "network": network}
    if config.sweep:
        paths = {*(f"data.{key}" for key in data.files), "network.start_from", "network.start_from.path"}
        varied = {key: as_axis([absolute(path) for path in config.sweep[key]]) for key in paths & config.sweep.keys()}
        changed["sweep"] = {**config.sweep, **varied}
    return config.model_copy(update=changed)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one, by dotted keys.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
