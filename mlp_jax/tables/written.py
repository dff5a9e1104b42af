"""Tables as CSV, whose words no spreadsheet takes for formulas."""

import csv
from collections.abc import Iterable
from typing import Any


def no_formula(cell: Any) -> Any:
    """The cell; a word that a spreadsheet would take for a formula with an apostrophe before it, as OWASP advises.

    >>> [no_formula(cell) for cell in ("=1+1", "@b", "-1", "+1.5e3", -1.0)]
    ["'=1+1", "'@b", '-1', '+1.5e3', -1.0]
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


class Csv:
    """Rows of CSV into a stream.

    Attributes:
        changed: the words that were no formula, and looked like one.
    """

    def __init__(self, stream: Any) -> None:
        self.write = csv.writer(stream, lineterminator="\n").writerows
        self.changed: set[str] = set()

    def words(self, cells: Iterable[Any]) -> list[Any]:
        """Cells to be written, none of which is a formula."""
        before = list(cells)
        found = [no_formula(cell) for cell in before]
        self.changed.update(cell for cell, now in zip(before, found, strict=True) if now is not cell)
        return found

    def said(self) -> list[str]:
        """What a person should know of it."""
        example = min(self.changed, default="")
        how_many = f"{len(self.changed):,} {'name begins' if len(self.changed) == 1 else 'names begin'} as formulas do"
        return [f"{how_many}, and stand with an apostrophe before them, as {no_formula(example)!r}"] * bool(
            self.changed
        )
