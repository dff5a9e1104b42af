"""The standard streams of a command: what cannot be written stops no work, and text from files gives no orders."""

import codecs
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

# What a terminal without a sign gets in its place; of others the number.
_PLAIN = {"±": "+-", "·": "*", "…": "...", "∂": "d", "−": "-", "→": "->", "≤": "<=", "≥": ">=", "×": "x"}


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, _by_number(sign)) for sign in signs), error.end


codecs.register_error("mlp_jax.plain", _in_plain_signs)


class Stream(io.TextIOWrapper):
    """A stream whose reader may go, or whose disk fill up: from then on, what is written is dropped.

    Attributes:
        forgives: the errors at which it drops; others are raised.
        is_gone: whether it drops.
    """

    forgives: type[OSError] = OSError
    is_gone = False

    def write(self, text: str) -> int:
        """Write, while there is somebody to read it."""
        self._try(super().write, text)
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        self._try(super().flush)

    def _try(self, do: Callable[..., Any], *what: str) -> None:
        try:
            if not self.is_gone:
                do(*what)
        except self.forgives:
            self.is_gone = True


def open_streams() -> None:
    """Make `sys.stdout` and `sys.stderr` such streams, also where they were closed, as cron and daemons do.

    Results that a full disk does not take are an error; a reader of results who has seen enough is none.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file of the run would be standard error
        pass
    os.close(descriptor)
    for name, number, forgives in (("stdout", 1, BrokenPipeError), ("stderr", 2, OSError)):
        before = getattr(sys, name)
        encoding = before.encoding if before else "utf-8"
        buffer = before.detach() if before else os.fdopen(number, "wb", closefd=False)
        in_lines = number == 2 or os.isatty(number)
        with suppress(AttributeError, OSError):  # on Windows
            os.set_blocking(number, True)  # else what a slow reader does not take at once is lost
        stream = Stream(buffer, encoding=encoding, errors="mlp_jax.plain", line_buffering=in_lines)
        stream.forgives = forgives
        setattr(sys, name, stream)


def is_gone(stream: object) -> bool:
    """Whether nobody reads any more what is written there."""
    return isinstance(stream, Stream) and stream.is_gone


def say(message: str) -> None:
    """A line to standard error, from the command and not its result; a name of a million letters is cut."""
    lines = (line[:4000] for line in escaped(message).split("\n"))
    with suppress(OSError):
        print("mlp-jax: " + "\n".join(lines), file=sys.stderr, flush=True)


def leave(message: str, status: int) -> NoReturn:
    """End the process at once, with a line to standard error: from a signal or a thread, an exception would be lost."""
    show_cursor = b"\x1b[?25h" * bool(sys.stderr and sys.stderr.isatty())  # which the bar hides
    with suppress(OSError):  # nobody hears it
        os.write(2, show_cursor + f"mlp-jax: {escaped(message)}\n".encode())
    os._exit(status)


def put(result: object) -> None:
    """Lines of a result, to standard output."""
    print(escaped(str(result)))


_HARMLESS = "\n\xa0\u200c\u200d\u202f\u3000"  # blanks, and joiners of Persian, Indic letters and emoji


def escaped(text: str) -> str:
    """Text in which control characters, and those that turn the direction of writing, are seen and not obeyed.

    >>> escaped("a" + chr(27) + "[31m" + chr(0x202E))
    'a\\\\x1b[31m\\\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _HARMLESS else _by_number(sign) for sign in text)


def _by_number(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
