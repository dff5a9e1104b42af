"""What a sweep varies: keys of a configuration, and the values that each takes in turn."""

import json
import re
from itertools import product
from math import prod
from typing import Any

MOST = 1000  # runs of a sweep


def as_axis(value: Any) -> tuple[Any, ...]:
    """The values of one key: a list, in which FIRST..LAST is each whole number of a range; or such a range alone.

    Raises:
        ValueError: it is neither, has no value, one twice, or too many.

    >>> as_axis("0..3"), as_axis([0.1, "7..8"])
    ((0, 1, 2, 3), (0.1, 7, 8))
    """
    if isinstance(value, str) and _ends(value):
        value = (value,)
    if not isinstance(value, tuple | list) or not value:
        raise ValueError(f"must be a list of different values, or a range such as 0..9; got {_shown(value)}")
    values = tuple(one for entry in value for one in _range(entry))
    written = [json.dumps(one, sort_keys=True, default=str) for one in values]
    if twice := next((one for one in written if written.count(one) > 1), None):
        raise ValueError(f"must be a list of different values; {twice} is given twice")
    return values


def require_sane(axes: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """The axes of a sweep.

    Raises:
        ValueError: they make fewer than two runs, or too many.
    """
    lengths = [len(values) for values in axes.values()]
    if not 2 <= prod(lengths) <= MOST:
        many = f"{' · '.join(map(str, lengths))} = " if len(lengths) > 1 else ""
        raise ValueError(f"a sweep makes 2 to {MOST} runs; got {many}{prod(lengths) if lengths else 0}")
    return axes


def choices(axes: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Each combination of values, by key; the last key varies fastest.

    >>> choices({"optimizer.learning_rate": (0.1, 0.01), "seed": (0, 1)})[1]
    {'optimizer.learning_rate': 0.1, 'seed': 1}
    """
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _range(entry: Any) -> tuple[Any, ...]:
    ends = _ends(entry)
    if not ends:
        return (entry,)
    first, last = ends
    if not 0 <= last - first < MOST:
        raise ValueError(f"must be a range FIRST..LAST, upwards, of at most {MOST} values; got {entry}")
    return tuple(range(first, last + 1))


def _ends(entry: Any) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", entry.strip()) if isinstance(entry, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _shown(value: Any) -> str:
    return "no value" if isinstance(value, tuple | list) else repr(value)
