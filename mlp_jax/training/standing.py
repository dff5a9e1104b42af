"""How the runs of a sweep stand beside each other: those that differ in their seed alone are one row."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.training.metrics import HIGHER_IS_BETTER
from mlp_jax.training.run import Run
from mlp_jax.training.shown import number

_FEW = 4  # names that are shown
Results = dict[str, dict[str, Any]]  # by part and metric


class Entry(NamedTuple):
    """A run, what it is called, and the values of the keys that vary."""

    name: str
    varied: dict[str, Any]
    run: Run


class Row(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        varied: the values of the keys that vary, but for the seed.
        runs: their names.
        results: of those that finished, see `over_seeds`; empty if none did.
    """

    varied: dict[str, Any]
    runs: tuple[str, ...]
    results: Results

    @property
    def finished(self) -> int:
        """How many of the runs did."""
        return len(next(iter(next(iter(self.results.values())).values()))["seeds"]) if self.results else 0


def judged_by(runs: Iterable[Run]) -> tuple[str, str]:
    """The part and the metric by which runs are compared: of the validation part, if there is one, what was watched.

    That is the metric of early stopping, or the first that the output unit has.
    """
    found = [run for run in runs if run.results]
    if not found:
        return "validation", "loss"
    results, stopping = found[0].results, found[0].config.training.early_stopping
    part = "validation" if "validation" in results else list(results)[-1]
    metrics = list(results[part])
    watched = stopping and stopping.metric
    return part, watched if watched in metrics else metrics[min(1, len(metrics) - 1)]


def standings(entries: list[Entry], each: bool = False) -> list[Row]:
    """The rows, the best first, those without results last; equal ones in the order in which they came.

    Runs that differ in their seed alone are a row; or `each` is.
    """
    part, metric = judged_by(entry.run for entry in entries)
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.name if each else repr(_without_seed(entry.varied)), []).append(entry)
    rows = [
        Row(
            group[0].varied if each else _without_seed(group[0].varied),
            tuple(entry.name for entry in group),
            over_seeds([entry.run.results for entry in group if entry.run.summary["status"] == "finished"]),
        )
        for group in groups.values()
    ]

    def rank(row: Row) -> float:
        value = row.results.get(part, {}).get(metric, {}).get("mean")
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if metric in HIGHER_IS_BETTER else float(value)

    return sorted(rows, key=rank)


def over_seeds(results: list[dict[str, dict[str, float]]]) -> Results:
    """Mean, standard deviation and all values of each metric over the runs that finished.

    >>> over_seeds([{"test": {"accuracy": 0.5}}, {"test": {"accuracy": 1.0}}])["test"]["accuracy"]["mean"]
    0.75
    """
    return {
        part: {metric: _statistics([result[part][metric] for result in results]) for metric in metrics}
        for part, metrics in (results[0] if results else {}).items()
    }


def _statistics(values: list[float]) -> dict[str, Any]:
    has_spread = len(values) > 1 and np.isfinite(values).all()
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if has_spread else float("nan"),  # one value has no spread
        "seeds": values,
    }


def of_summary(summary: dict[str, Any]) -> list[Row]:
    """The rows that the summary of a sweep has."""
    return [Row(row["varied"], tuple(row["runs"]), row["results"]) for row in summary.get("table", ())]


def in_rows(rows: list[Row], judged: tuple[str, str], digits: int = 4) -> list[list[str]]:
    """As cells, the names of the columns first: runs, values, the metric on each part, and how many runs finished."""
    part, metric = judged
    keys = list(rows[0].varied)
    last = [key.rpartition(".")[2] for key in keys]
    parts = [part, *(other for other in next((row.results for row in rows if row.results), ()) if other != part)]
    said = any(len(row.runs) > 1 or not row.finished for row in rows)
    shown = [
        [
            _names(row.runs),
            *(_shown(row.varied[key]) for key in keys),
            *(number(row.results[of][metric], digits) if metric in row.results.get(of, {}) else "none" for of in parts),
            *[f"{row.finished} of {len(row.runs)}"] * said,
        ]
        for row in rows
    ]
    names = [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]
    return [["", *names, *(f"{of} {metric}" for of in parts), *["finished"] * said], *shown]


def _names(runs: tuple[str, ...]) -> str:
    """As in run-3, run-0..9 or run-0,4,8; of names without a number, each of the first few."""
    before = {name.rpartition("-")[0] for name in runs}
    numbers = [name.rpartition("-")[2] for name in runs]
    if len(before) > 1 or not all(map(str.isdecimal, numbers)):
        return ", ".join([*runs[:_FEW], *["…"] * (len(runs) > _FEW)])
    if len(runs) > 2 and [int(number) for number in numbers] == list(range(int(numbers[0]), int(numbers[-1]) + 1)):
        return f"{runs[0]}..{numbers[-1]}"
    return ",".join([runs[0], *numbers[1:_FEW], *["…"] * (len(runs) > _FEW)])


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _without_seed(varied: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in varied.items() if key != "seed"}
