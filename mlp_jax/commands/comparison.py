"""The page of several runs, of a sweep or any others: how they stand, their curves, and in what they differ."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.commands import page
from mlp_jax.files import Place
from mlp_jax.training import config as configuration
from mlp_jax.training.config import yaml
from mlp_jax.training.config.axes import REPEATS
from mlp_jax.training.run import Run, load
from mlp_jax.training.standing import Entry, Row, in_rows, judged_by, standings
from mlp_jax.training.store.directory import RunDirectory

_MOST_KEYS, _MOST_LABELS = 6, 10  # that can be read
_SPREAD = 10.0  # of positive values, from which on an axis is logarithmic
# Of a summary, what a run depends on beside its configuration.
_BESIDE = ("data", "examples", "device", "processors", "versions", "x64", "flags", "git")


@page.usual_style()
def write_comparison(run_dirs: list[Path], path: Path | Place) -> None:
    """Write the page of the runs in these directories, of a sweep all that it has.

    Raises:
        InputError: there is no run in one of them, a file is damaged, or matplotlib is not installed.
    """
    found = [entry for run_dir in run_dirs for entry in _runs_of(run_dir, len(run_dirs) > 1)]
    settings = {name: configuration.flat(configuration.as_values(run.config)) for name, run in found}
    varied = _differing(settings)
    entries = [Entry(name, {key: settings[name].get(key) for key in varied}, run) for name, run in found]
    rows, judged = standings(entries, each=len(run_dirs) > 1), judged_by(run for _, run in found)
    shared = {key: value for key, value in settings[found[0][0]].items() if key not in varied}
    sections = {
        "Results": page.table(in_rows(rows, judged)),
        "Curves": _curves(rows, entries, judged),
        **_keys(entries, judged),
        **({"What differs": _differences(found, settings, varied)} if len(run_dirs) > 1 else {}),
        **_unfinished(found),
        "The same in all": f"<pre>{escape(yaml.as_text(shared))}</pre>",
    }
    names = ", ".join(run_dir.resolve().name for run_dir in run_dirs[:_MOST_LABELS])
    page.write(path, f"{names}: {len(found)} runs", sections)


def _runs_of(run_dir: Path, among_others: bool) -> list[tuple[str, Run]]:
    run = load(run_dir)
    if not run.config.several:
        return [(str(run_dir), run)]
    folders = [one.path for one in RunDirectory(run_dir).children(run.config) if one.holds_run()]
    names = [str(folder) if among_others else folder.name for folder in folders]
    return list(zip(names, run.seeds, strict=True))


def _differing(values: dict[str, dict[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all of several runs."""
    keys = dict.fromkeys(key for of_one in values.values() for key in of_one)
    return [key for key in keys if len({repr(of_one.get(key)) for of_one in values.values()}) > 1]


def _curves(rows: list[Row], entries: list[Entry], judged: tuple[str, str]) -> str:
    """The cost on the training part, and what the runs are judged by, over the epochs; the best is dark."""
    part, metric = judged
    runs = {entry.name: entry.run for entry in entries}
    shown: dict[str, Any] = {"cost J, training": lambda record: record["loss"]}
    if all(part in record for run in runs.values() for record in run.history[:1]):
        shown[f"{metric}, {part}"] = lambda record: record[part].get(metric)
    figure, axes = page.figure(len(shown), height=4.2)
    from matplotlib import colormaps

    for ax, (label, value) in zip(axes, shown.items(), strict=True):
        for k, row in reversed(list(enumerate(rows))):
            color = colormaps["viridis"](0.85 * k / max(1, len(rows) - 1))
            lines = [[value(record) for record in runs[name].history] for name in row.runs if runs[name].history]
            if lines:
                page.curve(ax, lines, _label(row) if len(rows) <= _MOST_LABELS else None, color)
        ax.set(xlabel="epoch", ylabel=label)
    if 1 < len(rows) <= _MOST_LABELS:
        axes[-1].legend(*(part[::-1] for part in axes[-1].get_legend_handles_labels()), frameon=False, fontsize=8)
    return page.svg(figure)


def _label(row: Row) -> str:
    words = [f"{key.rpartition('.')[2]}={_short(value)}" for key, value in row.varied.items()]
    return page.plain(", ".join(words) or row.runs[0], longest=48)


def _keys(entries: list[Entry], judged: tuple[str, str]) -> dict[str, str]:
    """Each key that varies against what the runs are judged by."""
    part, metric = judged
    judged_runs = [entry for entry in entries if np.isfinite(_value(entry, judged))]
    keys = [key for key in entries[0].varied if key not in REPEATS]
    keys = [key for key in keys if len({repr(entry.varied.get(key)) for entry in judged_runs}) > 1][:_MOST_KEYS]
    if not keys:
        return {}
    figure, axes = page.figure(len(keys), width=max(5.0, 3.6 * len(keys)))
    for ax, key in zip(axes, keys, strict=True):
        values, found = [entry.varied[key] for entry in judged_runs], [_value(entry, judged) for entry in judged_runs]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            ax.scatter(values, found, s=14, alpha=0.6)
            if min(values) > 0 and max(values) >= _SPREAD * min(values):
                ax.set_xscale("log")
        else:
            names = list(dict.fromkeys(map(_short, values)))
            ax.scatter([names.index(_short(value)) for value in values], found, s=14, alpha=0.6)
            ax.set_xticks(range(len(names)), [page.plain(name) for name in names], rotation=90 * (len(names) > 4))
        ax.set(xlabel=page.plain(key), ylabel=page.plain(f"{part} {metric}"))
    return {"Each key": page.svg(figure)}


def _value(entry: Entry, judged: tuple[str, str]) -> float:
    part, metric = judged
    value = entry.run.results.get(part, {}).get(metric) if entry.run.summary["status"] == "finished" else None
    return float("nan") if value is None else float(value)


def _differences(found: list[tuple[str, Run]], settings: dict[str, dict[str, Any]], varied: list[str]) -> str:
    """In what the runs differ: the keys of their configurations, and what they depend on beside these."""
    beside = {name: configuration.flat({key: run.summary.get(key) for key in _BESIDE}) for name, run in found}
    keys = [(key, settings) for key in varied] + [(key, beside) for key in _differing(beside)]
    rows = [[key, *(_short(of_one.get(key)) for of_one in values.values())] for key, values in keys]
    return page.table([["", *settings], *rows]) if rows else "<p>nothing but results</p>"


def _unfinished(found: list[tuple[str, Run]]) -> dict[str, str]:
    rows = [
        [name, run.summary["status"], run.summary.get("reason", f"after {run.summary['epochs']} epochs")]
        for name, run in found
        if run.summary["status"] != "finished"
    ]
    return {"Not finished": page.table(rows)} if rows else {}


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else page.in_words(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
