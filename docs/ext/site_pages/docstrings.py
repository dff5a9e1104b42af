"""Docstrings of the package as MyST: they are Markdown already, but for sections of arguments and for doctests.

autodoc and napoleon read them as reStructuredText, to which their tables and formulas mean nothing.
"""

import inspect
import re
from collections.abc import Iterator

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Source|Sources):(.*)")
_ENTRY = re.compile(r"(\*{0,2}[\w.`, ]+): (.*)")


def as_markdown(docstring: str) -> str:
    """The docstring with sections as bold words and lists, and doctests in fences."""
    lines = inspect.cleandoc(docstring).split("\n")
    return "\n".join(_converted(lines))


def _converted(lines: list[str]) -> Iterator[str]:
    k = 0
    while k < len(lines):
        line = lines[k]
        section = _SECTION.fullmatch(line)
        if section and not section[2]:
            body, k = _block(lines, k + 1)
            listed = _section(body) if section[1] in ("Args", "Attributes", "Raises") else body
            yield from (f"**{section[1]}**", "", *listed, "")
        elif line.startswith(">>>"):
            end = next((j for j in range(k, len(lines)) if not lines[j].strip()), len(lines))
            yield from ("", "```pycon", *lines[k:end], "```", "")
            k = end
        else:
            yield f"**{section[1]}**: {section[2].strip()}" if section else line
            k += 1


def _block(lines: list[str], start: int) -> tuple[list[str], int]:
    """The indented lines from here on, without their indentation, and where they end."""
    end = start
    while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
        end += 1
    return [line.removeprefix("    ") for line in lines[start:end]], end


def _section(body: list[str]) -> Iterator[str]:
    """An entry `name: text` is an item, and what is indented below it goes on with it; other lines are as they are."""
    for line in body:
        entry = _ENTRY.fullmatch(line)
        yield f"- `{entry[1].strip('`')}`: {entry[2]}" if entry else f"  {line.strip()}" if line[:1] == " " else line
