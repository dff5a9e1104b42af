"""Which rows are for training, which are held out: by fractions, by a column, by groups, by time, in folds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError

Array = NDArray[Any]
PARTS = ("train", "validation", "test")
WORDS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}


def by_fractions(n: int, fractions: dict[str, float], seed: int, strata: Array | None, name: str) -> dict[str, Array]:
    """Rows of each part, by a permutation from the seed: round(fraction × n) of them, at least 1; the rest is train.

    Where there are strata (n,), a number for each row, each part has about the same share of each.

    Raises:
        InputError: there are too few rows.
    """
    sizes = {part: max(1, round(fraction * n)) for part, fraction in fractions.items() if fraction > 0}
    train = n - sum(sizes.values())
    if train < 1:
        raise InputError(f"{name} has {n} examples, too few for a split into train, {', '.join(sizes)}")
    order = shuffled(n, seed, strata)
    bounds = np.cumsum([train, *sizes.values()])[:-1]
    return dict(zip(("train", *sizes), np.split(order, bounds), strict=True))


def shuffled(n: int, seed: int, strata: Array | None = None) -> Array:
    """A permutation, a function of the seed, each stretch of which has about the same share of each of the strata."""
    order = np.random.default_rng(seed).permutation(n)
    if strata is None:
        return order
    place = np.empty(n)
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        # evenly over the whole; the start differs, so that the last of each do not all fall into one part
        offset = np.random.default_rng([seed, int(stratum)]).uniform() if len(rows) > 1 else 0.0
        place[rows] = (np.arange(len(rows)) + offset) / len(rows)
    return order[np.argsort(place[order], kind="stable")]


def by_time(times: Array, fractions: dict[str, float], name: str, numbers: Array) -> dict[str, Array]:
    """The earliest rows are for training, then come validation and test; equal times are in one part.

    Raises:
        InputError: a time is missing, or there are too few.
    """
    if np.isnan(times).any():
        row = int(np.argmax(np.isnan(times)))
        raise InputError(f"{name}: data.split.time: the time of row {numbers[row]} is missing; drop the row")
    return _by_units(np.unique(times, return_inverse=True)[1], fractions, lambda units: units, name)


def by_groups(groups: Array, fractions: dict[str, float], seed: int, name: str) -> dict[str, Array]:
    """No group (n,), a number for each row, is in two parts; each has about its fraction of the rows."""
    return _by_units(groups, fractions, lambda units: np.random.default_rng(seed).permutation(units), name)


def _by_units(unit: Array, fractions: dict[str, float], order: Any, name: str) -> dict[str, Array]:
    """Units one after the other in an order, until a part has its share of the rows."""
    units = order(np.arange(unit.max() + 1))
    share = np.cumsum(np.bincount(unit)[units]) / len(unit)
    held = {part: fraction for part, fraction in fractions.items() if fraction > 0}
    bounds = 1 - np.cumsum([*held.values()][::-1])[::-1]  # where each of the parts after train begins
    part_of = np.searchsorted(bounds + 1e-9, share, side="left")
    rows = {part: np.flatnonzero(np.isin(unit, units[part_of == k])) for k, part in enumerate(("train", *held))}
    if short := [part for part, chosen in rows.items() if not len(chosen)]:
        raise InputError(f"{name} has {len(units)} groups or times, too few: none is left for {', '.join(short)}")
    return rows


def by_column(words: Sequence[Any], name: str, column: str, numbers: Array) -> dict[str, Array]:
    """Rows by a column that says train, validation or test; TRUE and FALSE mean train and test.

    `numbers` are those of the rows in the file, for messages.

    Raises:
        InputError: it says something else, or no row is for training.
    """
    known = {**WORDS, "true": 0, "false": 2}
    codes = np.array([known.get(str(word).strip().lower(), -1) for word in words])
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise InputError(
            f"{name}: data.split.column: {column!r} of row {numbers[row]} is {words[row]!r}; it must be train, "
            "validation or test"
        )
    rows = {part: np.flatnonzero(codes == k) for k, part in enumerate(PARTS)}
    if not len(rows["train"]):
        raise InputError(f"{name}: data.split.column: no row of {column!r} says train")
    return {part: chosen for part, chosen in rows.items() if len(chosen)}


def fold(order: Array, k: int, folds: int, validation: float, unit: Array | None = None) -> dict[str, Array]:
    """The rows of one of several folds: that fold is the test part, of the others a fraction is for validation.

    `order` are all rows; where they are in units (n,), groups, `order` is one of the units.
    """
    pieces = np.array_split(order, folds)
    rest = np.concatenate([piece for j, piece in enumerate(pieces) if j != k])
    held = round(validation * len(order))
    chosen = {"train": rest[: len(rest) - held], "validation": rest[len(rest) - held :], "test": pieces[k]}
    if unit is not None:
        chosen = {part: np.flatnonzero(np.isin(unit, units)) for part, units in chosen.items()}
    return {part: rows for part, rows in chosen.items() if len(rows)}
