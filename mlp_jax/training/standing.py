"""How the runs of a sweep stand beside each other: those that differ in seed or fold alone are one row."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.training.config.axes import REPEATS
from mlp_jax.training.metrics import HIGHER_IS_BETTER
from mlp_jax.training.run import Run
from mlp_jax.training.shown import number

Results = dict[str, dict[str, Any]]  # by part and metric


class Entry(NamedTuple):
    """A run, what it is called, and the values of the keys that vary."""

    name: str
    varied: dict[str, Any]
    run: Run


class Row(NamedTuple):
    """Runs that differ in seed or fold alone: their other values, their names, the results of those that finished."""

    varied: dict[str, Any]
    runs: list[str]
    finished: int
    results: Results


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
    if stopping and stopping.metric in metrics:
        return part, str(stopping.metric)
    return part, metrics[min(1, len(metrics) - 1)]


def standings(entries: list[Entry], each: bool = False) -> list[Row]:
    """The rows, the best first, those without results last; equal ones in the order in which they came.

    Runs that differ in seed or fold alone are a row; or `each` is.
    """
    part, metric = judged_by(entry.run for entry in entries)
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.name if each else repr(_without_repeats(entry.varied)), []).append(entry)
    rows = []
    for group in groups.values():
        varied = group[0].varied if each else _without_repeats(group[0].varied)
        finished = [entry.run.results for entry in group if entry.run.summary["status"] == "finished"]
        rows.append(Row(varied, [entry.name for entry in group], len(finished), over_seeds(finished)))

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
    return [Row(**row) for row in summary.get("table", ())]


def in_rows(rows: list[Row], judged: tuple[str, str], digits: int = 4) -> list[list[str]]:
    """As cells, the names of the columns first: runs, values, the metric on each part, and how many runs finished."""
    part, metric = judged
    keys = list(rows[0].varied)
    last = [key.rpartition(".")[2] for key in keys]
    parts = [part, *(other for other in next((row.results for row in rows if row.results), ()) if other != part)]
    said = any(len(row.runs) > 1 or not row.finished for row in rows)
    shown = [
        [
            f"{row.runs[0]}{f' and {len(row.runs) - 1} more' if len(row.runs) > 1 else ''}",
            *(_shown(row.varied[key]) for key in keys),
            *(number(row.results[of][metric], digits) if metric in row.results.get(of, {}) else "none" for of in parts),
            *[f"{row.finished} of {len(row.runs)}"] * said,
        ]
        for row in rows
    ]
    names = [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]
    return [["", *names, *(f"{of} {metric}" for of in parts), *["finished"] * said], *shown]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):  # as it is once it was written
        value = list(value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _without_repeats(varied: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in varied.items() if key not in REPEATS}
