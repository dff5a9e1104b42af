"""What a sweep varies: keys of a configuration, and the values that each takes in turn."""

import re
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

_MOST = 1000  # runs of a sweep
FOLD = "data.split.fold"
REPEATS = ("seed", FOLD)  # keys of runs that are the same experiment again


def as_axis(value: Any) -> tuple[Any, ...]:
    """The values of one key: a list, in which FIRST..LAST is each whole number of a range; or such a range alone.

    >>> as_axis("0..3"), as_axis([0.1, "7..8"])
    ((0, 1, 2, 3), (0.1, 7, 8))
    """
    entries = (value,) if isinstance(value, str) and ".." in value else value
    if not isinstance(entries, tuple | list) or not entries:
        raise ValueError(f"must be a list of different values, or a range such as 0..9; got {value!r}")
    values = tuple(str(one) if isinstance(one, Path) else one for entry in entries for one in _range(entry))
    written = list(map(repr, values))
    if twice := next((one for one in written if written.count(one) > 1), None):
        raise ValueError(f"must be a list of different values; {twice} is given twice")
    return values


def _range(entry: Any) -> tuple[Any, ...]:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", entry.strip()) if isinstance(entry, str) else None
    if not found:
        return (entry,)
    first, last = map(int, found.groups())
    if not 0 <= last - first < _MOST:
        raise ValueError(f"must be a range FIRST..LAST, upwards, of at most {_MOST} values; got {entry}")
    return tuple(range(first, last + 1))


def require_sane(axes: dict[str, tuple[Any, ...]]) -> None:
    """Raise a ValueError if these make fewer than two runs, or too many."""
    lengths = [len(values) for values in axes.values()]
    if not 2 <= prod(lengths) <= _MOST:
        many = f"{' · '.join(map(str, lengths))} = " if len(lengths) > 1 else ""
        raise ValueError(f"a sweep makes 2 to {_MOST} runs; got {many}{prod(lengths) if lengths else 0}")


def choices(axes: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Each combination of values, by key; the last key varies fastest.

    >>> choices({"optimizer.learning_rate": (0.1, 0.01), "seed": (0, 1)})[1]
    {'optimizer.learning_rate': 0.1, 'seed': 1}
    """
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def with_choice(values: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """The values of one run of a sweep.

    Raises:
        ValueError: of a key, and why: it goes through a value that has no keys.

    >>> with_choice({"optimizer": {"name": "adam"}, "sweep": {}}, {"optimizer.learning_rate": 0.1})
    {'optimizer': {'name': 'adam', 'learning_rate': 0.1}}
    """
    one = {key: value for key, value in values.items() if key not in ("sweep", "seeds")}
    for key, value in choice.items():
        *sections, last = key.split(".")
        section = one
        for name in sections:
            inner = section.get(name) or {}
            if not isinstance(inner, dict):
                raise ValueError(key, f"{name} is a value, it has no keys")
            section[name] = dict(inner)
            section = section[name]
        section[last] = value
    return one
