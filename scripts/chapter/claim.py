"""What a claim of the chapter is, to the script that reproduces it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim of the book, and how to see whether it shows.

    Attributes:
        name: of the claim on the command line, and of its files.
        title: in a few words.
        section: of the book.
        says: what the book says.
        setting: what is trained on what.
        measure: trains, and returns everything that the picture and the text show, as plain numbers and lists.
        draw: the picture of these numbers.
        result: the numbers in a few sentences.
        statements: what should be seen, in words, and whether these numbers show it.
        commands: the same from the shell, with `mlp-jax train`.
    """

    name: str
    title: str
    section: str
    says: str
    setting: str
    measure: Callable[[], Numbers]
    draw: Callable[[Numbers], Figure]
    result: Callable[[Numbers], str]
    statements: Callable[[Numbers], dict[str, bool]]
    commands: tuple[str, ...] = ()
