"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self


class Reporter:
    """Shows nothing; the base of those that do. Used as a context around the training."""

    def __init__(self, epochs: int) -> None:
        """Of a training of so many epochs in all."""
        self.epochs = epochs

    def start(self, done: int, examples: int) -> None:
        """Compilation is over; so many epochs were done before, and one has so many examples."""
        self.first = done
        self.examples = examples
        self.started = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def within_epoch(self, done: float) -> None:
        """So many epochs are done, the last of them in part."""

    def after_epoch(self, done: int, record: dict[str, Any]) -> None:
        """So many epochs are done; `record` is the last one's line of metrics."""

    def _rate(self, done: float) -> float:
        return (done - self.first) * self.examples / (time.perf_counter() - self.started)


class PlainLines(Reporter):
    """About twenty lines for the whole run, to standard error."""

    def after_epoch(self, done: int, record: dict[str, Any]) -> None:
        """Print a line, if it is this epoch's turn."""
        every = -(-self.epochs // 20)
        if done % every == 0 or done in (1, self.epochs):
            text = f"epoch {done}/{self.epochs}  {_in_words(record)}  {self._rate(done):,.0f} examples/s"
            print(text, file=sys.stderr, flush=True)


class LiveBar(Reporter):
    """A bar with loss, validation metric, examples per second and the time left."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._shown = 0.0
        self._bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            TextColumn("{task.fields[rate]:,.0f} examples/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=self.epochs, text="compiling", rate=0)
        self._bar.start()
        return self

    def start(self, done: int, examples: int) -> None:
        """Show that training has begun."""
        super().start(done, examples)
        self._show(completed=done, text="training")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def within_epoch(self, done: float) -> None:
        """Move the bar, at most ten times a second."""
        if time.perf_counter() - self._shown > 0.1:
            self._show(completed=done, rate=self._rate(done))

    def after_epoch(self, done: int, record: dict[str, Any]) -> None:
        """Move the bar and show the metrics, at most ten times a second, and at the end."""
        if done == self.epochs or time.perf_counter() - self._shown > 0.1:
            self._show(completed=done, rate=self._rate(done), text=_in_words(record))

    def _show(self, **fields: Any) -> None:
        self._bar.update(self._task, **fields)
        self._shown = time.perf_counter()


def reporter_for_terminal() -> type[Reporter]:
    """The live bar if standard error is a terminal, else plain lines."""
    return LiveBar if sys.stderr.isatty() else PlainLines


def _in_words(record: dict[str, Any]) -> str:
    words = [f"loss {record['loss']:.4g}"]
    for metric, value in list(record.get("validation", {}).items())[1:2]:
        words.append(f"validation {metric} {value:.4f}")
    return "  ".join(words)
