"""Timing side by side: interleaved rounds, medians, and ratios with their range."""

import importlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax

ROUNDS = 7


class Row(NamedTuple):
    """What one program took, in the table's unit, and how that compares with the first of the table in each round."""

    name: str
    median: float
    ratio: float
    low: float
    high: float


class Table(NamedTuple):
    """A title with its unit, and a row for each program; ours is the first."""

    title: str
    rows: list[Row]

    def __str__(self) -> str:
        lines = [f"| {self.title} | median | times ours |", "|---|---|---|"]
        lines += [f"| {r.name} | {r.median:.3g} | {r.ratio:.2f} ({r.low:.2f}–{r.high:.2f}) |" for r in self.rows]
        return "\n".join(lines)


def compare(title: str, unit: float, runs: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> Table:
    """Run all in turn, in rounds, each giving its seconds; the first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for measured in range(rounds + 1):
        for name, run in runs.items():
            taken = run()
            if measured:
                times[name].append(taken)
    ours = next(iter(times.values()))
    rows = []
    for name, theirs in times.items():
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        rows.append(Row(name, median(theirs) / unit, median(ratios), ratios[0], ratios[-1]))
    table = Table(title, rows)
    print(f"\n{table}", flush=True)
    return table


class Worker:
    """A program in a process of its own, so that the threads of one library do not disturb another.

    Args:
        module: where its maker is.
        maker: the name of a function that, given the arguments, returns a function that runs it once and gives its
            seconds.
    """

    def __init__(self, module: str, maker: str, *args: Any, **kwargs: Any) -> None:
        self.call = module, maker, args, kwargs

    def __enter__(self) -> Self:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self.call), daemon=True)
        self._process.start()
        theirs.close()
        self.installed = bool(self._connection.recv())
        return self

    def __call__(self) -> float:
        self._connection.send(True)
        return float(self._connection.recv())

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        self._process.join()


def _work(connection: Connection, module: str, maker: str, args: Any, kwargs: Any) -> None:
    try:
        run = getattr(importlib.import_module(module), maker)(*args, **kwargs)
    except ImportError:
        connection.send(False)
        return
    connection.send(True)
    try:
        while connection.recv():
            connection.send(run())
    except EOFError:
        return


def compare_workers(title: str, unit: float, workers: dict[str, Worker], rounds: int = ROUNDS) -> Table:
    """As `compare`, of those that are installed."""
    with ExitStack() as stack:
        started = {name: stack.enter_context(worker) for name, worker in workers.items()}
        return compare(title, unit, {name: w for name, w in started.items() if w.installed}, rounds)


def seconds(run: Callable[[], Any], calls: int) -> float:
    """A median over calls."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return median(times)
