"""`mlp-jax report RUN_DIR`: a run on one page, an HTML file with everything in it, to be opened by any browser."""

import html
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import write_atomically
from mlp_jax.training import config as configuration
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config, yaml
from mlp_jax.training.prediction import target_names
from mlp_jax.training.run import Run, load
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.trainer import Trainer

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
thead th { border-bottom: 1px solid #999 } .note { color: #666 } pre { background: #f5f5f5; padding: .8rem;
  overflow-x: auto } svg { max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) { body { background: #1c1c1e; color: #ddd } .note { color: #999 }
  pre { background: #2a2a2d } figure svg { background: #fff; border-radius: 4px } }
figure { margin: 0 }
"""
_MOST_CLASSES = 40  # whose confusion can be read


def run(config: Config, options: Namespace) -> None:
    """Write the page, and say where it is."""
    path = options.output or RunDirectory(options.run_dir).report
    write_report(options.run_dir, path)
    print(path)


def write_report(run_dir: Path, path: Path) -> None:
    """Write the page of a run: results, curves, confusion or residuals, the health of the layers, and its records.

    Raises:
        InputError: there is no run, its data have changed, or matplotlib is not installed.
    """
    run = load(run_dir)
    sections = [
        ("Results", _results(run)),
        ("Curves", _curves(run)),
        *_predictions(run),
        *_layers(run),
        ("Record", _record(run)),
        ("Configuration", f"<pre>{html.escape(yaml.as_text(configuration.as_values(run.config)))}</pre>"),
    ]
    title = f"{run_dir.resolve().name}: {run.summary['status']} after {run.summary['epochs']} epochs"
    reason = f"<p>{html.escape(run.summary['reason'])}</p>" if "reason" in run.summary else ""
    body = "".join(f"<h2>{heading}</h2>{content}" for heading, content in sections)
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>{reason}{body}</body></html>\n"
    )
    write_atomically(path, page.encode())


def _results(run: Run) -> str:
    if not run.results:
        return '<p class="note">none yet: the run was not finished</p>'
    metrics = list(next(iter(run.results.values())))
    rows = [[part, *(_number(values[metric]) for metric in metrics)] for part, values in run.results.items()]
    diverged = run.summary.get("diverged", {})
    which = f"{len(run.seeds) - len(diverged)} of {len(run.seeds)}" if diverged else f"{len(run.seeds)}"
    of = f'<p class="note">mean ± standard deviation over {which} seeds</p>' if run.seeds else ""
    of += "".join(f"<p>seed {seed} diverged: {html.escape(why)}</p>" for seed, why in diverged.items())
    return _table(["", *metrics], rows) + of


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return f"{_number(value['mean'])} ± {_number(value['sd'])}"
    return "not finite" if value is None else f"{value:.5g}"


def _curves(run: Run) -> str:
    """The cost, and the first metric on the validation part, over the epochs; of several seeds all."""
    histories = [one.history for one in run.seeds or (run,) if one.history]
    if not histories:
        return '<p class="note">no epoch was completed</p>'
    first = histories[0][0]
    metric = list(first["validation"])[1] if "validation" in first else None
    figure, axes = _figure(1, 2 if metric else 1)
    _curve(axes[0], [[record["loss"] for record in history] for history in histories], "training", "C0")
    axes[0].set(xlabel="epoch", ylabel="cost J")
    for part, color in (("validation", "C1"), ("training", "C0")):
        if metric and part in first:
            _curve(axes[1], [[record[part][metric] for record in history] for history in histories], part, color)
    if metric:
        _curve(axes[0], [[record["validation"]["loss"] for record in h] for h in histories], "validation", "C1")
        axes[1].set(xlabel="epoch", ylabel=metric)
    if (best := run.summary.get("best_epoch")) and metric:
        for ax in axes:
            ax.axvline(best, color="0.6", lw=1, ls="--", label=f"best: {best}")
    for ax in axes:
        ax.legend(frameon=False)
    return _svg(figure)


def _curve(ax: Any, lines: list[list[Any]], label: str, color: str) -> None:
    """A line for each seed."""
    style = {"lw": 0.7, "alpha": 0.5} if len(lines) > 1 else {"lw": 1.5}
    for line in lines:
        values = np.array(line, float)  # null becomes NaN, which is not drawn
        ax.plot(np.arange(1, len(values) + 1), values, color=color, marker="." if len(values) < 3 else None, **style)
    ax.plot([], [], color=color, label=label)
    shown = np.concatenate([np.array(line, float) for line in lines])
    if np.nanmin(shown) > 0 and np.nanmax(shown) > 30 * np.nanmin(shown):
        ax.set_yscale("log")


def _predictions(run: Run) -> list[tuple[str, str]]:
    """For classes how they are confused, for quantities predictions beside targets; on the part least trained on."""
    if run.model is None or run.config.data.source == "arrays":
        return []
    prepared = prepare(run.config)
    require_same_data(run.trained_on, prepared)
    trainer = Trainer(run.config, prepared)
    part = list(prepared.parts)[-1]
    y = prepared.parts[part].y
    y_hat = trainer.predict(run.model.params, part)
    # $ would begin a formula for matplotlib
    names = [name.replace("$", r"\$") for name in target_names(run.net, run.model.target_names)]
    kind = run.net.output_unit.kind
    if kind == "classes" and len(names) <= _MOST_CLASSES:
        classes = y if y.ndim == 1 else y.argmax(axis=1)
        return [(f"Classes of the {part} part", _confusion(classes, y_hat.argmax(axis=1), names))]
    if kind in ("probabilities", "margins") and y.shape[1] == 1:
        chosen = y_hat[:, 0] >= (0.5 if kind == "probabilities" else 0)
        return [(f"Classes of the {part} part", _confusion(y[:, 0] >= 0.5, chosen, ["0", "1"]))]
    if kind == "quantities":
        true, found = prepared.targets.undo(y), prepared.targets.undo(y_hat)
        return [(f"Predictions for the {part} part", _residuals(true, found, names))]
    return []


def _confusion(true: Any, chosen: Any, names: list[str]) -> str:
    k = len(names)
    counts = np.zeros((k, k), int)
    np.add.at(counts, (np.asarray(true, int), np.asarray(chosen, int)), 1)
    figure, (ax,) = _figure(1, 1, width=max(4.5, 0.45 * k + 2), height=max(4, 0.4 * k + 1.5))
    ax.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        dark = counts[i, j] > 0.5 * counts[i].sum()
        ax.text(j, i, counts[i, j], ha="center", va="center", color="white" if dark else "black", fontsize=9)
    ax.set(xticks=range(k), yticks=range(k), xlabel="predicted", ylabel="true")
    ax.set_xticklabels(names, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticklabels(names)
    return _svg(figure)


def _residuals(true: Any, found: Any, names: list[str]) -> str:
    shown = min(len(names), 6)
    figure, axes = _figure(1, shown, width=4.2 * shown)
    for k, ax in enumerate(axes):
        ends = min(true[:, k].min(), found[:, k].min()), max(true[:, k].max(), found[:, k].max())
        ax.plot(ends, ends, color="0.6", lw=1)
        ax.scatter(true[:, k], found[:, k], s=12, alpha=0.6)
        ax.set(xlabel=f"{names[k]}, true", ylabel="predicted")
    return _svg(figure)


def _layers(run: Run) -> list[tuple[str, str]]:
    if run.seeds or not run.history or "layers" not in run.history[0]:
        return []
    titles = {
        "gradient_norm": "norm of the gradient",
        "update_ratio": "update of W relative to W",
        "dead": "fraction of dead units",
    }
    figure, axes = _figure(1, 3, width=12, height=3.2)
    from matplotlib import colormaps

    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        lines = np.array([record["layers"][name] for record in run.history], float)
        for k in range(lines.shape[1] - (name == "dead")):
            color = f"C{k}" if lines.shape[1] <= 10 else colormaps["viridis"](k / lines.shape[1])
            ax.plot(np.arange(1, len(lines) + 1), lines[:, k], color=color, label=f"layer {k + 1}")
        ax.set(xlabel="epoch", title=title)
        if name == "dead":
            ax.set_ylim(-0.03, 1.03)
        elif np.nanmax(lines) > 0:
            ax.set_yscale("log")
    if lines.shape[1] <= 10:
        axes[0].legend(frameon=False, fontsize=8)
    note = (
        '<p class="note">Means over the steps of each epoch. An update ratio of about 1e-3 is usual. Of more than '
        "ten layers, the first are dark and the last are light.</p>"
    )
    return [("Layers", _svg(figure) + note)]


def _record(run: Run) -> str:
    rows = [(key, value) for key, value in run.summary.items() if key not in ("results", "reason", "diverged")]
    return _table([], [[key, _in_words(value)] for key, value in rows], numbers=False)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(entry)}" for key, entry in value.items()) or "none"
    return "none" if value is None else str(value)


def _table(header: list[str], rows: list[list[str]], numbers: bool = True) -> str:
    def cells(row: list[str], tag: str) -> str:
        kinds = ["", *[' class="number"' if numbers else ""] * (len(row) - 1)]
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>" if header else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _figure(rows: int, columns: int, width: float | None = None, height: float = 3.6) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError('a report needs matplotlib: pip install "mlp_jax[plots]"') from None
    figure = Figure(figsize=(width or 5 * columns, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    text = stream.getvalue()
    return f"<figure>{text[text.index('<svg') :]}</figure>"
