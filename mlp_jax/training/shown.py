"""A run as a person sees it: its results in rows, as text on a terminal, as HTML in a notebook."""

import math
from html import escape
from typing import Any, NamedTuple

from mlp_jax.mlp.structure import MLP
from mlp_jax.training.config import Config

_WIDTH, _HEIGHT = 280, 90  # of the curve, in pixels


class Shown(NamedTuple):
    """What of a run is shown."""

    config: Config
    net: MLP
    results: dict[str, dict[str, Any]]
    history: list[dict[str, Any]]
    summary: dict[str, Any]

    def as_text(self) -> str:
        """What was trained, how far it came, and the results."""
        return "\n".join([self._heading(), *in_columns(self._rows())])

    def as_html(self) -> str:
        """The same, and the curve of the cost."""
        rows = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows()]
        notes = [self.summary[key] for key in ("reason", "early_stopping") if key in self.summary]
        words = "".join(f"<p>{escape(note)}</p>" for note in (self._heading(), *notes))
        return f"<div>{words}<table>{''.join(rows)}</table>{_curve(self.history)}</div>"

    def _heading(self) -> str:
        widths = self.net.widths
        layers = "-".join(map(str, widths)) if len(widths) < 8 else f"{len(widths) - 1} layers"
        several = f", {how_many_seeds(self.config, self.results)}" if self.config.several and self.results else ""
        parameters, status, epochs = (self.summary[key] for key in ("parameters", "status", "epochs"))
        return f"Run: {layers}, {parameters:,} parameters{several}; {status} after {epochs} epochs"

    def _rows(self) -> list[list[str]]:
        return results_in_rows(self.results, 4, self.summary.get("baseline")) if self.results else []


def results_in_rows(
    results: dict[str, dict[str, Any]], digits: int, baseline: dict[str, Any] | None = None
) -> list[list[str]]:
    """The names of the metrics, and a row for each part; then what a constant prediction gets on the last of them."""
    names = list(next(iter(results.values())))
    rows = [[part, *(number(value, digits) for value in values.values())] for part, values in results.items()]
    if baseline:
        part = list(results)[-1]
        cells = [number(baseline[part][name], digits) if name in baseline.get(part, {}) else "" for name in names]
        rows.append(["baseline", *cells])
    return [["", *names], *rows]


def in_columns(rows: list[list[str]]) -> list[str]:
    """Lines in which the cells stand below each other, numbers to the right."""
    if not rows:
        return []
    widths = [max(12, *(len(row[k]) + 2 for row in rows)) for k in range(len(rows[0]))]
    return [
        f"{name:{widths[0] - 2}}  " + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in rows
    ]


def how_many_seeds(config: Config, results: dict[str, dict[str, Any]]) -> str:
    """Over how many of its runs the results are: of seeds or folds, those that finished; else the best."""
    count = len(next(iter(next(iter(results.values())).values()))["seeds"])
    kind, numbers = config.several or ("", ())
    total = len(numbers)
    if kind == "run":
        return f"{total} runs, results of the best{f' over {count} runs' if count > 1 else ''}"
    return f"{total} {kind}s" if count == total else f"{count} of {total} {kind}s"


def number(value: Any, digits: int) -> str:
    """A number; of several runs mean ± standard deviation."""
    if isinstance(value, dict):
        has_spread = len(value["seeds"]) > 1
        return number(value["mean"], digits) + (f" ± {number(value['sd'], 2)}" if has_spread else "")
    return "not finite" if value is None else f"{value:.{digits}g}"


def _curve(history: list[dict[str, Any]]) -> str:
    """The cost over the epochs, of the training and the validation part, as SVG; "" for fewer than two epochs."""
    lines = {"training": [record["loss"] for record in history]}
    if history and "validation" in history[0]:
        lines["validation"] = [record["validation"]["loss"] for record in history]
    finite = [value for line in lines.values() for value in line if value is not None and math.isfinite(value)]
    if len(history) < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)

    def place(epoch: int, value: float) -> str:
        x = _WIDTH * epoch / (len(history) - 1)
        return f"{x:.1f},{_HEIGHT * (1 - (value - low) / ((high - low) or 1)):.1f}"

    drawn = [
        f'<polyline fill="none" stroke="{color}" points="'
        + " ".join(place(e, v) for e, v in enumerate(line) if v is not None and math.isfinite(v))
        + f'"><title>{part}</title></polyline>'
        for (part, line), color in zip(lines.items(), ("#1f77b4", "#ff7f0e"), strict=False)
    ]
    words = f"cost, {high:.4g} to {low:.4g}, over {len(history)} epochs: {' (blue), '.join(lines)}"
    words += " (orange)" if len(lines) > 1 else " (blue)"
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}"'
    return f'<svg {size} role="img" aria-label="{words}">{"".join(drawn)}</svg><p><small>{words}</small></p>'
