"""What a run directory claims, value by value, and where two of them differ."""

import csv
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import Place
from mlp_jax.tables.text import is_number, listed
from mlp_jax.training.environment import KEYS
from mlp_jax.training.store import tensors
from mlp_jax.training.store.checkpoint import newest_first
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.store.tensors import kind_of
from mlp_jax.training.store.weights import read_schema

Key = tuple[str | int, ...]

_ABSENT = object()
_VARYING = ("seconds", *KEYS)


class Difference(NamedTuple):
    """A value that differs: where and how, in words; by how much, relative to its largest entry; of which record.

    Infinitely, if it is no floating-point number, is missing, or is finite in one of the two alone.
    """

    words: str
    size: float
    epoch: int | None


def differences(before: RunDirectory, now: RunDirectory, several: bool, folder: str = "") -> Iterator[Difference]:
    """Where two directories differ in weights, names, schema, records, results and all else of the summary.

    What a training cannot give again is left out: its seconds, and the environment, of which `reproduce` speaks.
    """
    one, other = _claims(before, several), _claims(now, several)
    for file in one:
        claims = dict(_leaves(one[file])), dict(_leaves(other.get(file)))
        for key in claims[0] | claims[1]:
            pair = claims[0].get(key, _ABSENT), claims[1].get(key, _ABSENT)
            if not _are_same(*pair):
                yield _difference(folder + file, key, *pair)


def _difference(file: str, key: Key, before: Any, now: Any) -> Difference:
    epoch, size = int(key[0]) + 1 if key and file.endswith("metrics.jsonl") else None, _size(before, now)
    how = f"by {size:.1e} of its largest entry" if np.isfinite(size) else f"({_in_words(before)}, now {_in_words(now)})"
    place = f"epoch {epoch}, " * bool(epoch) + listed([".".join(map(str, key[bool(epoch) :]))])
    return Difference(f"{file}, {place} {how}", size, epoch)


def _claims(directory: RunDirectory, several: bool) -> dict[str, Any]:
    """The values in each file; of several seeds the folder itself has a summary alone."""
    weights, metrics, schema = directory.weights, directory.metrics, read_schema(directory.schema)
    claims: dict[str, Any] = {
        "config.yaml": {"training": {"epochs": directory.load_config().training.epochs}},  # of all else weights know
        "weights.safetensors": _in_tensors(weights) if weights.exists() else {},
        "schema.json": schema.model_dump() if schema else {},
        "metrics.jsonl": directory.read_metrics() if metrics.exists() else [],
        "summary.json": {key: value for key, value in directory.load_summary(several).items() if key not in _VARYING},
    }
    claims["predictions.csv"] = _in_rows(directory.predictions) if directory.predictions.exists() else []
    for newest in newest_first(directory.checkpoints)[:1]:  # from which a training goes on; some take them away
        claims["the newest checkpoint"] = _in_tensors(newest)
    return claims


def _in_rows(file: Place) -> list[list[Any]]:
    try:
        rows = [*csv.reader(file.read().decode(errors="replace").splitlines())]
    except csv.Error as error:
        raise InputError(f"{file} is damaged: {error}") from None
    return [[float(cell) if is_number(cell) else cell for cell in row] for row in rows]


def _in_tensors(file: Place) -> dict[str, Any]:
    arrays, notes = tensors.read(file)
    return {**arrays, "notes": notes}


def _leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """The values within dicts and lists, of which an empty one is a value itself."""
    if not isinstance(value, dict | list | tuple) or not value:
        yield key, value
        return
    for name, entry in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(entry, (*key, name))


def _are_same(one: Any, other: Any) -> bool:
    """To the byte: 1 is not 1.0, 0.0 not −0.0, and NaN is the NaN of the same bits."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return kind_of(one) == kind_of(other) and one.tobytes() == other.tobytes()
    return type(one) is type(other) and repr(one) == repr(other)


def _size(one: Any, other: Any) -> float:
    are_arrays = isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and kind_of(one) == kind_of(other)
    if not are_arrays and not (isinstance(one, float) and isinstance(other, float)):
        return np.inf
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(a == b, 0, np.abs(a - b))
        size = float(np.max(apart) / max(np.max(np.abs(a)), 1e-12))
    return size if np.isfinite(size) else np.inf


def _in_words(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if not isinstance(value, np.ndarray):
        return listed([repr(value)])
    bad = value.size - np.isfinite(np.asarray(value, np.float64)).sum()
    return f"{kind_of(value)}, {bad:,} of {value.size:,} not finite" if bad else kind_of(value)
