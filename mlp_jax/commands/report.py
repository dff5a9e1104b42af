"""`mlp-jax report RUN_DIR …`: a run, or several, on one page, an HTML file with everything in it, for any browser."""

from argparse import Namespace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.commands import page
from mlp_jax.commands.comparison import write_comparison
from mlp_jax.files import Place
from mlp_jax.terminal import put
from mlp_jax.training import config as configuration
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config, yaml
from mlp_jax.training.devices import alone
from mlp_jax.training.judgement import class_names, classes_of
from mlp_jax.training.prediction import target_names
from mlp_jax.training.run import Run, load
from mlp_jax.training.shown import how_many_seeds, results_in_rows
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.streamed import trainer_of

_MOST_CLASSES = 40  # whose confusion can be read
_MOST_TARGETS = 6  # side by side
_SHOWN_ABOVE = ("results", "reason", "diverged", "classes", "baseline", "said", "early_stopping")


def run(config: Config, options: Namespace) -> None:
    """Write the page, and say where it is."""
    one, *others = run_dirs = list(dict.fromkeys(options.run_dirs))
    path: Path | Place = options.output or (Path("comparison.html") if others else RunDirectory(one).report)
    if others or config.sweep:
        write_comparison(run_dirs, path)
    else:
        write_report(one, path)
    put(path)


@page.usual_style()
def write_report(run_dir: Path, path: Path | Place) -> None:
    """Write the page of a run: results, curves, confusion or residuals, the health of the layers, and its records.

    Raises:
        InputError: there is no run, its data have changed, or matplotlib is not installed.
    """
    run = load(run_dir)
    sections = {
        "Results": _results(run),
        "Curves": _curves(run),
        **_predictions(run),
        **_layers(run),
        "Record": page.table(
            [[key, page.in_words(run.summary[key])] for key in run.summary if key not in _SHOWN_ABOVE]
        ),
        "Configuration": f"<pre>{escape(yaml.as_text(configuration.as_values(run.config)))}</pre>",
    }
    title = f"{run_dir.resolve().name}: {run.summary['status']} after {run.summary['epochs']} epochs"
    page.write(path, title, sections)


def _results(run: Run) -> str:
    diverged = run.summary.get("diverged", {})
    notes = [run.summary["reason"]] if "reason" in run.summary else []
    if not run.results:
        notes.append("none yet: the run was not finished")
    elif run.seeds:
        notes.append(f"mean ± standard deviation over {how_many_seeds(run.config, run.results)}")
    notes += [f"seed {seed} diverged: {why}" for seed, why in diverged.items()]
    if constant := run.summary.get("baseline"):
        notes.append(f"baseline: {constant['prediction']}, on the {list(run.results)[-1]} part")
    notes += [run.summary["early_stopping"]] if "early_stopping" in run.summary else []
    notes += run.summary.get("said", [])
    table = page.table(results_in_rows(run.results, 5, run.summary.get("baseline"))) if run.results else ""
    return table + "".join(f"<p>{escape(note)}</p>" for note in notes)


def _curves(run: Run) -> str:
    """The cost, and the first metric on the validation part, over the epochs; of several seeds all."""
    histories = [one.history for one in run.seeds or (run,) if one.history]
    if not histories:
        return "<p>no epoch was completed</p>"
    first = histories[0][0]
    shown = {"loss": "cost J"}
    if "validation" in first:
        metric = (*first["validation"], "loss")[1]
        shown.setdefault(metric, metric)
    figure, axes = page.figure(len(shown))
    for ax, (name, label) in zip(axes, shown.items(), strict=True):
        for part, color in (("training", "C0"), ("validation", "C1")):
            if part == "training" and name == "loss":
                page.curve(ax, [[record["loss"] for record in history] for history in histories], part, color)
            elif part in first:
                page.curve(ax, [[record[part][name] for record in history] for history in histories], part, color)
        if best := run.summary.get("best_epoch"):
            ax.axvline(best, color="0.6", lw=1, ls="--", label=f"best: {best}")
        ax.set(xlabel="epoch", ylabel=label)
        ax.legend(frameon=False)
    return page.svg(figure)


def _predictions(run: Run) -> dict[str, str]:
    """How classes are confused and ranked, for quantities predictions beside targets; on the part least trained on."""
    if run.model is None or run.config.data.source in ("arrays", "frame"):
        return {}
    config = alone(run.config)
    prepared = prepare(config)
    require_same_data(run.trained_on, prepared)
    part, (_, y) = list(prepared.parts.items())[-1]
    y_hat = trainer_of(config, prepared).predict(run.model.params, part)
    net, kind = run.net, run.net.output_unit.kind
    names = [*map(page.plain, target_names(net, run.model.target_names))]
    if kind == "quantities":
        true, found = prepared.targets.undo(y), prepared.targets.undo(y_hat)
        return {f"Predictions for the {part} part": _residuals(true, found, names[:_MOST_TARGETS])}
    if classes := class_names(net, run.model.target_names, run.model.schema):
        pictures = ""
        if len(classes) <= _MOST_CLASSES:
            confused = classes_of(net, y), classes_of(net, y_hat)
            pictures = _confusion([confused], list(map(page.plain, classes)), [""])
        if len(classes) == 2:
            column = 1 if kind == "classes" else 0
            score = y_hat[:, column]
            pictures += _rankings(classes_of(net, y), score, page.plain(classes[1]), kind != "margins")
        return {f"Classes of the {part} part": _by_class(run) + pictures}
    if kind in ("probabilities", "margins"):
        labels = [(y[:, k] >= 0.5, y_hat[:, k] > (0 if kind == "margins" else 0.5)) for k in range(y.shape[1])]
        return {f"Labels of the {part} part": _confusion(labels[:_MOST_TARGETS], ["no", "yes"], names)}
    return {}


def _by_class(run: Run) -> str:
    """Precision and recall of each class."""
    found = run.summary.get("classes", {})
    if not found:
        return ""
    rows = [[name, *("none" if v is None else f"{v:.4g}" for v in values.values())] for name, values in found.items()]
    return page.table([["", *next(iter(found.values()))], *rows[:_MOST_CLASSES]])


def _confusion(pairs: list[Any], names: list[str], titles: list[str]) -> str:
    """True classes beside those that were chosen, as counts; shaded by their share of the true class."""
    k = len(names)
    width, height = max(4.5, 0.45 * k + 2), max(4, 0.4 * k + 1.5)
    figure, axes = page.figure(len(pairs), width * len(pairs) * (0.7 if len(pairs) > 1 else 1), height)
    for ax, (true, chosen), title in zip(axes, pairs, titles, strict=False):
        counts = np.zeros((k, k), int)
        np.add.at(counts, (np.asarray(true, int), np.asarray(chosen, int)), 1)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in zip(*np.nonzero(counts), strict=True):
            ax.text(j, i, counts[i, j], ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
        ax.set(xlabel="predicted", ylabel="true", title=title)
        ax.set_xticks(range(k), names, rotation=90 if max(map(len, names)) > 3 else 0)
        ax.set_yticks(range(k), names)
    return page.svg(figure)


def _rankings(true: Any, score: Any, name: str, is_probability: bool) -> str:
    """Of two classes: ROC, precision and recall at each threshold, and whether probabilities come true."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # of those with the same score
    right, chosen = np.cumsum(true[order])[last], last + 1.0
    n, ones = len(true), true.sum()
    if not 0 < ones < n:
        return f"<p>the examples are all, or none, {escape(name)}: nothing is ranked</p>"
    figure, axes = page.figure(3 if is_probability else 2)
    axes[0].plot([0, *((chosen - right) / (n - ones))], [0, *(right / ones)])
    axes[0].plot([0, 1], [0, 1], color="0.6", lw=1)
    axes[0].set(xlabel="false alarms", ylabel=f"recall of {name}", title="ROC", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[1].plot(right / ones, right / chosen, marker="." if len(last) < 5 else None)
    axes[1].axhline(ones / n, color="0.6", lw=1)
    axes[1].set(xlabel=f"recall of {name}", ylabel="precision", title="precision and recall", ylim=(-0.02, 1.02))
    if is_probability:
        bins = np.minimum((score * 10).astype(int), 9)
        there = np.unique(bins)
        means = [[values[bins == j].mean() for j in there] for values in (score, true)]
        axes[2].plot([0, 1], [0, 1], color="0.6", lw=1)
        axes[2].scatter(*means, s=[8 + 200 * (bins == j).mean() for j in there])
        axes[2].set(
            xlabel=f"p({name})", ylabel="its share", title="reliability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
        )
    return page.svg(figure)


def _residuals(true: Any, found: Any, names: list[str]) -> str:
    figure, axes = page.figure(len(names))
    for k, (ax, name) in enumerate(zip(axes, names, strict=True)):
        ax.scatter(true[:, k], found[:, k], s=12, alpha=0.6)
        ax.axline((true[0, k], true[0, k]), slope=1, color="0.6", lw=1)
        ax.set(xlabel=f"{name}, true", ylabel="predicted")
    return page.svg(figure)


def _layers(run: Run) -> dict[str, str]:
    if run.seeds or not run.history or "layers" not in run.history[0]:
        return {}
    titles = {
        "gradient_norm": "norm of the gradient",
        "update_ratio": "update of W relative to W",
        "noise_scale": "noise scale of the gradient",
        "dead": "fraction of dead units",
    }
    titles = {name: title for name, title in titles.items() if name in run.history[0]["layers"]}
    figure, axes = page.figure(len(titles), width=4 * len(titles))
    from matplotlib import colormaps

    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        layers = np.array([record["layers"][name] for record in run.history], float).T
        for k, line in enumerate(layers[:-1] if name == "dead" else layers):
            page.curve(ax, [line], f"layer {k + 1}", colormaps["viridis"](0.9 * k / len(layers)))
        ax.set(xlabel="epoch", title=title)
        if name == "dead":
            ax.set_ylim(-0.03, 1.03)
        elif np.nanmax(layers) > 0:
            ax.set_yscale("log")
    if len(layers) <= 10:
        axes[0].legend(frameon=False, fontsize=8)
    note = "Means over the steps of each epoch. An update ratio of about 1e-3 is usual; minibatches far below the "
    note += "noise scale, in examples, are mostly noise. The first layers are dark."
    return {"Layers": f"{page.svg(figure)}<p>{note}</p>"}
