"""What arguments must be, in words: checks that several records make."""

import difflib
import math
from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral, Real
from typing import Any


def finite(what: str, value: Any, least: float = -math.inf) -> float:
    """The value as a float, or a ValueError: it is not a finite number, or below the least."""
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if not (math.isfinite(number) and number >= least):
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(f"{what} must be a finite number{bound}, got {value!r}")
    return number


def whole(what: str, value: Any) -> int:
    """The value as an int, or a ValueError: it is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}")
    return int(value)


def require_made(what: str, value: Any) -> None:
    """Raise a ValueError for a function or class that makes what was meant."""
    if callable(value) and hasattr(value, "__name__"):
        raise ValueError(f"{what}: {value.__name__} makes one; call it, as in {value.__name__}()")


def require_known(what: str, name: Any, known: Iterable[str], record: type | None = None) -> None:
    """Raise a ValueError with the nearest known name, unless `name` is one, or a record of the given type."""
    if record is not None and isinstance(name, record):
        return
    require_made(what, name)
    if not isinstance(name, str) or name not in known:
        nearest = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)})")
