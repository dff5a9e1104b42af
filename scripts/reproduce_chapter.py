#!/usr/bin/env python
"""Train, measure and draw what chapter 6 of the Deep Learning Book claims.

    scripts/run python scripts/reproduce_chapter.py [--only NAME ...] [--output docs]

Each claim is a module of scripts/chapter. Of each come OUTPUT/figures/chapter/NAME.svg and NAME.json, the picture and
every number in it, and a section of OUTPUT/chapter.md, which says what shows and what does not. With --only, the other
sections are made again from the numbers that are there.
"""

import argparse
import difflib
import importlib
import json
import math
import os
import re
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chapter.claim import Claim, Numbers

DOCS = Path(__file__).parent.parent / "docs"
NAMES = ("linear", "statistics", "variance", "mixture", "saturation", "relu", "approximation", "cost")  # as in the book
COMMAND = "scripts/run python scripts/reproduce_chapter.py"
DIGITS = 5
WIDTH = 120

INTRODUCTION = f"""# Chapter 6, claim by claim

`{COMMAND}` makes this page: it trains, measures, draws, and judges each
statement by the numbers it found. Every number of a picture is in the JSON file beside it. Section numbers are those of
[chapter 6](https://www.deeplearningbook.org/contents/mlp.html). Seconds are those of {os.cpu_count()} cores.

| claim | section | statements that show | seconds |
|---|---|---|---|
"""


def main() -> None:
    """Reproduce what was asked for, or all, and write the page."""
    options = arguments()
    folder = options.output / "figures" / "chapter"
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    for name in options.only or NAMES:
        print(f"{name:14}", end="", flush=True)
        claim = load(name)
        numbers = reproduce(claim, folder)
        shown = claim.statements(numbers)
        print(f"{numbers['seconds']:5.1f} s   {sum(shown.values())} of {len(shown)} statements show", flush=True)
    print(f"{'all':14}{time.perf_counter() - started:5.1f} s   {write_page(options.output, folder)}")


def arguments() -> argparse.Namespace:
    """The command line; an unknown name ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--output", type=Path, default=DOCS, metavar="FOLDER", help="by default docs")
    options = parser.parse_args()
    for name in options.only or ():
        if name not in NAMES:
            nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0)[0]
            parser.error(f"unknown claim {name}; did you mean {nearest}? (claims: {', '.join(NAMES)})")
    return options


def load(name: str) -> "Claim":
    """The claim of a module of scripts/chapter."""
    claim: Claim = importlib.import_module(f"chapter.{name}").CLAIM
    return claim


def reproduce(claim: "Claim", folder: Path) -> "Numbers":
    """Measure, write the numbers, draw them as they were written, and return them."""
    from chapter.drawing import svg

    started = time.perf_counter()
    numbers = rounded(claim.measure())
    numbers["seconds"] = round(time.perf_counter() - started, 1)
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in numbers.items()]
    (folder / f"{claim.name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    (folder / f"{claim.name}.svg").write_text(svg(claim.draw(numbers)), encoding="utf-8")
    return numbers


def rounded(value: Any) -> Any:
    """The same numbers with few digits; None for one that is not finite."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def write_page(output: Path, folder: Path) -> Path:
    """Write the page of all claims whose numbers are in the folder."""
    rows, sections = "", ""
    for name in NAMES:
        file = folder / f"{name}.json"
        if file.exists():
            claim, numbers = load(name), json.loads(file.read_text(encoding="utf-8"))
            shown = claim.statements(numbers)
            rows += f"| [{claim.title}](#{anchor(claim.title)}) | {claim.section} | "
            rows += f"{sum(shown.values())} of {len(shown)} | "
            rows += f"{numbers['seconds']:.0f} |\n"
            sections += section(claim, numbers)
    page = output / "chapter.md"
    page.write_text(INTRODUCTION + rows + sections, encoding="utf-8")
    return page


def section(claim: "Claim", numbers: "Numbers") -> str:
    """The claim, how it was tried, the picture, and what shows."""
    files = f"figures/chapter/{claim.name}"
    says = wrapped(f"**The book** (section{'s' * (',' in claim.section)} {claim.section}): {claim.says}")
    tried = wrapped(f"**Tried:** {claim.setting}")
    found = wrapped(f"**Found** ([all numbers]({files}.json)): {claim.result(numbers)}")
    commands = "\n".join((f"{COMMAND} --only {claim.name}", *claim.commands))
    statements = claim.statements(numbers)
    shown = listed("Shows", [statement for statement, holds in statements.items() if holds])
    missing = listed("Does not show", [statement for statement, holds in statements.items() if not holds])
    return f"""
## {claim.title}

{says}

{tried}

```
{commands}
```

![{claim.title}]({files}.svg)

{found}
{shown}{missing}"""


def anchor(title: str) -> str:
    """The address of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def wrapped(paragraph: str) -> str:
    """Lines of the width of all files here."""
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def listed(title: str, statements: list[str]) -> str:
    """A list under its title, or nothing."""
    return "\n".join(["", f"{title}:", "", *(f"- {statement}" for statement in statements), ""]) if statements else ""


if __name__ == "__main__":
    main()
