"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from importlib.util import find_spec
from typing import Any, Self

from mlp_jax.terminal import escaped, say

_SECONDS_OF_SILENCE = 30.0


class Reporter:
    """Shows nothing; the base of those that do. Used as a context around the training."""

    def __init__(self, total: int, unit: str = "epoch") -> None:
        """Of a training of so many epochs in all; or of so many seeds, each a training."""
        self.total = total
        self.unit = unit
        self._printed = time.perf_counter()

    def start(self, done: float, examples: int) -> None:
        """Compilation is over; so many epochs or seeds were done before, and one has so many examples."""
        self.first = done
        self.examples = examples
        self.started = self._printed = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, message: str) -> None:
        """Something that the person should know."""

    def reading(self, what: str, share: float) -> None:
        """Data are being read that need not fit into memory; this share of them has been."""

    def advanced(self, done: float, records: list[dict[str, Any]]) -> None:
        """So many epochs or seeds are done, perhaps in part; `records` are the last of those just completed."""

    def _rate(self, done: float) -> str:
        rate = (done - self.first) * self.examples / (time.perf_counter() - self.started)
        thousands = 0
        while rate >= 1000 and thousands < 3:
            rate, thousands = rate / 1000, thousands + 1
        return f"{rate:.3g}{('', 'k', 'M', 'G')[thousands]} examples/s"


class PlainLines(Reporter):
    """About twenty lines for the whole run, more where an epoch takes long, to standard error."""

    def say(self, message: str) -> None:
        say(message)

    def reading(self, what: str, share: float) -> None:
        if time.perf_counter() - self._printed > _SECONDS_OF_SILENCE:
            self._print(f"reading {what}: {share:.0%}")

    def advanced(self, done: float, records: list[dict[str, Any]]) -> None:
        every = -(-self.total // 20)
        for record in records:
            k = record[self.unit]
            if k % every == 0 or k in (1, self.total):
                self._print(f"{self.unit} {k}/{self.total}  {_in_words(record, 'validation')}  {self._rate(done)}")
        if time.perf_counter() - self._printed > _SECONDS_OF_SILENCE:
            self._print(f"{self.unit} {done:.2f}/{self.total}  {self._rate(done)}")

    def _print(self, line: str) -> None:
        print(escaped(line), file=sys.stderr, flush=True)
        self._printed = time.perf_counter()


class LiveBar(Reporter):
    """A bar with loss, validation metric, examples per second and the time left."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=self.total, text="compiling", rate="")
        self._bar.start()
        return self

    def start(self, done: float, examples: int) -> None:
        super().start(done, examples)
        self._bar.update(self._task, completed=done, text="training")

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        self._bar.console.print(f"mlp-jax: {escaped(message)}", markup=False, highlight=False)

    def reading(self, what: str, share: float) -> None:
        self._bar.update(self._task, text=escaped(f"reading {what}: {share:.0%}"))

    def advanced(self, done: float, records: list[dict[str, Any]]) -> None:
        text: dict[str, Any] = {"text": _in_words(records[-1], "val.")} if records else {}
        self._bar.update(self._task, completed=round(done, 2), rate=self._rate(done), **text)


def reporter_for_terminal() -> type[Reporter]:
    """The live bar if standard error is a terminal, else plain lines, as for `!mlp-jax` in a notebook."""
    return LiveBar if sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ else PlainLines


def reporter_for_python() -> type[Reporter]:
    """In a notebook what shows the progress; elsewhere nothing, for a function of a library prints nothing unasked."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return Reporter
    return LiveBar if find_spec("ipywidgets") else PlainLines  # without widgets rich draws no bar there


def _in_words(record: dict[str, Any], validation: str) -> str:
    words = [f"loss {record['loss']:.4g}"]
    for metric, value in list(record.get("validation", {}).items())[1:2]:
        words.append(f"{validation} {metric} {value:.4f}")
    return "  ".join(words)
