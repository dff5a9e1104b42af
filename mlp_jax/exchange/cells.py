"""How an exported file reads cells, with NumPy alone; its source is copied as it stands."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import numpy as np


def as_columns(table: Any, names: Sequence[str]) -> dict[str, Any]:
    """The columns of these names: of a mapping, a data frame, or a list of rows that are dicts."""
    rows = isinstance(table, list | tuple)
    header = list(table[0]) if rows and table else list(getattr(table, "columns", table))
    if lost := [name for name in names if name not in header]:
        raise ValueError(f"there is no column {', '.join(lost)}; needed are {', '.join(names)}")
    return {name: [row[name] for row in table] if rows else list(table[name]) for name in names}


def as_inputs(x: Any, missing: Sequence[str], width: int) -> Any:
    """Inputs x (n, width) as float64."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"inputs x must have shape (n, {width}), got {x.shape}")
    return x


def is_missing(cell: Any, words: Sequence[str]) -> bool:
    """Whether a cell is empty: one of the words for it, a number among them too, None, or NumPy's and pandas' own."""
    if isinstance(cell, str):
        return cell.strip() in words
    whole = isinstance(cell, float | np.floating) and np.isfinite(cell) and cell == int(cell)
    return (str(int(cell)) if whole else str(cell)) in ("None", "nan", "NaT", "<NA>", *words)


def as_numbers(cells: Any, missing: Sequence[str]) -> Any:
    """Numbers and truth values as float64, NaN where one is missing."""
    truth = {"true": 1.0, "false": 0.0}

    def number(cell: Any) -> float:
        if is_missing(cell, missing):
            return np.nan
        word = cell.strip().lower() if isinstance(cell, str) else cell
        return truth[word] if word in truth else float(word)

    return np.array([number(cell) for cell in cells], np.float64)


def as_codes(cells: Any, missing: Sequence[str], codes: Mapping[str, int], other: int) -> Any:
    """The code of each category; a missing one is "" in the codes, an unseen one has the other code."""

    def word(cell: Any) -> str:
        if is_missing(cell, missing) and not (isinstance(cell, str) and cell.strip() in codes):
            return ""
        text = str(int(cell)) if isinstance(cell, float | np.floating) and cell == int(cell) else str(cell).strip()
        whole, point, rest = text.partition(".")
        return whole if text not in codes and point and not rest.strip("0") else text

    return np.array([codes.get(word(cell), other) for cell in cells])


def as_days(cells: Any, missing: Sequence[str], format: str) -> Any:
    """Days since 1970, NaN where one is missing: of dates, times of day, words of this format, or days as numbers."""

    def days(cell: Any) -> float:
        if is_missing(cell, missing):
            return np.nan
        if isinstance(cell, int | float | np.number):
            return float(cell)
        if isinstance(cell, np.datetime64):
            cell = cell.astype("datetime64[us]").item()
        if isinstance(cell, str):
            cell = cell.strip()
            if format == "hours:minutes":
                cell = time.fromisoformat(cell)
            else:
                cell = datetime.fromisoformat(cell) if format == "ISO 8601" else datetime.strptime(cell, format)
        if isinstance(cell, time):
            cell = datetime.combine(datetime(1970, 1, 1), cell)
        if not isinstance(cell, datetime):
            cell = datetime(cell.year, cell.month, cell.day)
        zone = cell.tzinfo or UTC
        return (cell.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86400

    return np.array([days(cell) for cell in cells], np.float64)
