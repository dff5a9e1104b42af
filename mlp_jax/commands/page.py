"""A page of HTML with everything in it: tables, and pictures by matplotlib."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import Place, written_where_told
from mlp_jax.terminal import escaped

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
th { font-weight: normal; color: #666; white-space: nowrap }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; font-variant-numeric: tabular-nums }
div { overflow-x: auto }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto } svg { max-width: 100%; height: auto }
"""


def write(path: Path | Place, title: str, sections: Mapping[str, str]) -> None:
    """Write a page whose sections are HTML, by heading."""
    body = "".join(f"<h2>{heading}</h2>{content}" for heading, content in sections.items())
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )
    with written_where_told(path) as file:
        file.write(escaped(page).encode())


def in_words(value: Any) -> str:
    """A value of a summary."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(entry)}" for key, entry in value.items()) or "none"
    return "none" if value is None else str(value)


def table(rows: list[list[str]]) -> str:
    """Each row begins with its name; one whose name is empty has the names of the columns."""
    lines = []
    for row in rows:
        tags = ["th", *["td" if row[0] else "th"] * (len(row) - 1)]
        lines += ["<tr>", *(f"<{tag}>{escape(cell)}</{tag}>" for tag, cell in zip(tags, row, strict=True)), "</tr>"]
    return f"<div><table>{''.join(lines)}</table></div>"


def plain(name: str, longest: int = 24) -> str:
    """A name that matplotlib does not take for a formula, and that is not too long for an axis."""
    name = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return name.replace("$", r"\$")


def curve(ax: Any, lines: list[list[Any]], label: str | None, color: Any) -> None:
    """A line over the epochs for each seed; null becomes NaN, which is not drawn."""
    values = [np.array(line, float) for line in lines]
    for k, line in enumerate(values):
        style = {"lw": 0.9, "alpha": 0.8} if len(lines) > 1 else {}
        marker = "." if len(line) < 3 else None
        ax.plot(range(1, len(line) + 1), line, color=color, marker=marker, label=label if k == 0 else None, **style)
    shown = np.concatenate(values)
    shown = shown[np.isfinite(shown)]
    if len(shown) and shown.min() > 0 and shown.max() / 30 > shown.min():
        ax.set_yscale("log")


@contextmanager
def usual_style() -> Iterator[None]:
    """matplotlib as it comes, whatever a matplotlibrc, of the current folder too, or the process says.

    Raises:
        InputError: matplotlib is not installed, or cannot read its file.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError('a report needs matplotlib: pip install "mlp_jax[plots]"') from None
    except UnicodeDecodeError as error:
        raise InputError(f"matplotlib cannot read its matplotlibrc: {error}") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.hashsalt"] = "mlp_jax"  # else the same picture has other names in it each time
        yield


def figure(columns: int, width: float | None = None, height: float = 3.6) -> Any:
    """A figure and its axes side by side."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width or 5 * columns, height), layout="constrained")
    axes = made.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return made, axes


def svg(figure: Any) -> str:
    """A figure as SVG, to stand in the page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue().partition("?>")[2].partition(">")[2]  # without the XML declaration and the DOCTYPE
