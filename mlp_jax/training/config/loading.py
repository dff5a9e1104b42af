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
from mlp_jax.training.config.axes import as_axis, choices, require_sane
from mlp_jax.training.config.records import Config


def free_to_change(config: Config) -> list[str]:
    """Keys of `training` that do not change what a step computes."""
    return ["epochs", "checkpoint_seconds", "tensorboard", *(["devices"] if config.training.reproducible_over else [])]


def load(path: str | Path, overrides: Iterable[str] = (), sweep: Iterable[str] = ()) -> Config:
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
    path = Path(path)
    return _checked(yaml.read(path, overrides, sweep), path, path.parent.absolute())


def as_values(config: Config) -> dict[str, Any]:
    """The configuration as plain values, for writing; what optax leaves to its own defaults is left out."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    if config.seeds:
        del values["seed"]
    return values


def as_given(config: Config) -> dict[str, Any]:
    """`as_values` of a sweep, without defaults: what is one for its first run may be wrong for another."""
    return config.model_dump(mode="json", exclude_none=True, exclude_unset=True)


def members(config: Config) -> list[Config]:
    """The configuration of each run of a sweep, in the order of `choices(config.axes)`.

    Raises:
        InputError: one is wrong.
    """
    runs, problems_found = _runs(yaml.Document.of_values(as_given(config)), config.axes)
    if problems_found:
        raise InputError(problems.listed("the sweep", problems_found))
    return runs


def fingerprint(config: Config) -> str:
    """A SHA-256 of what determines each step."""
    values = as_values(config)
    values["training"] = {key: value for key, value in values["training"].items() if key not in free_to_change(config)}
    for key in config.data.files:  # moved data are the same data
        section, _, name = f"data.{key}".rpartition(".")
        (values["data"]["split"] if section == "data.split" else values["data"]).pop(name)
    values["network"].get("start_from", {}).pop("path", None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def from_values(values: Any) -> Config:
    """The configuration of a dict as a file would give it, lists included; paths start at the current folder.

    Raises:
        InputError: with every problem found, each with its key and the nearest valid one.
    """
    return _checked(yaml.Document.of_values(values), "the configuration", Path.cwd())


def _checked(document: yaml.Document, name: str | Path, folder: Path) -> Config:
    axes = _axes_in(document.values)
    runs, found = _runs(document, axes) if axes else ([], [])
    # a sweep's other keys must be right for one run at least; its own values are those of the first
    first = {key: values[0] for key, values in axes.items() if key != "seed" or "seeds" not in document.values}
    config, of_whole = _tried(document.varied(first, alone=False) if first else document)
    if config is None or found:
        raise InputError(problems.listed(name, [*found, *of_whole]))
    config = _with_absolute_paths(config, folder)
    if not config.sweep:
        return config
    runs = [_with_absolute_paths(run, folder) for run in runs]
    return config.model_copy(update={"sweep": {key: _as_read(key, axes, runs) for key in config.sweep}})


def _axes_in(values: Any) -> dict[str, tuple[Any, ...]]:
    """What a sweep in these values varies; nothing where that is wrong, as the check of the whole will say."""
    try:
        axes = {key: as_axis(of) for key, of in (values.get("sweep") or {}).items() if key.split(".")}
        return require_sane(axes | ({"seed": as_axis(values["seeds"])} if values.get("seeds") is not None else {}))
    except (AttributeError, ValueError):
        return {}


def _runs(document: yaml.Document, axes: dict[str, tuple[Any, ...]]) -> tuple[list[Config], list[problems.Line]]:
    """The runs of a sweep, and what is wrong with them."""
    tried = [_tried(document.varied(choice)) for choice in choices(axes)]
    runs, found = [run for run, _ in tried if run], [line for _, lines in tried for line in lines]
    wrong = []
    if any(run.several for run in runs):
        wrong.append((("sweep",), "each run must be a single one, without seeds, folds or a sweep of its own"))
    if len({run.network.dtype for run in runs}) > 1:
        wrong.append((("sweep", "network.dtype"), "one process trains in one dtype: train them apart"))
    return runs, [*found, *problems.located(wrong, document)]


def _tried(document: yaml.Document) -> tuple[Config | None, list[problems.Line]]:
    """The configuration, or what is wrong with it."""
    found, config = document.problems, None
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found = found + problems.in_words(error, Config, document)
    return None if found else config, problems.located(found, document)


def _as_read(key: str, axes: dict[str, tuple[Any, ...]], runs: list[Config]) -> tuple[Any, ...]:
    """The values of a key as the runs have them: 1 as 1.0 where a number is meant, paths absolute."""
    found = {}
    for choice, run in zip(choices(axes), runs, strict=True):
        value: Any = as_values(run)
        for part in key.split("."):
            value = (value or {}).get(part)
        found[repr(choice[key])] = value
    try:
        return as_axis(tuple(found.values()))
    except ValueError as error:
        raise InputError(f"the sweep of {key} {error}") from None


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
