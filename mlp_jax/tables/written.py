"""Words in a CSV that a spreadsheet would take for formulas."""

from typing import Any


def no_formula(cell: Any) -> Any:
    """The cell; a word that a spreadsheet would take for a formula with an apostrophe before it, as OWASP advises.

    >>> [no_formula(cell) for cell in ("=1+1", "@b", "-1", "+1.5e3", "-1,5", -1.0)]
    ["'=1+1", "'@b", '-1', '+1.5e3', '-1,5', -1.0]
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return cell
    if cell[0] in "+-" and not cell[1:].strip("0123456789.,:% "):  # a number, date, telephone number, or a sign alone
        return cell
    try:
        float(cell)
        return cell
    except ValueError:
        return f"'{cell}"
