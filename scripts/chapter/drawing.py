"""The look of all pictures: few colours that the colour-blind can tell apart, thin frames."""

import io
import math
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullLocator

BLUE, ORANGE, GREEN, PURPLE, GREY, BLACK = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#8c8c8c", "#222222"
MARKERS = "osD^v"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.fonttype": "path",
    "svg.hashsalt": "mlp_jax",  # the same names inside the file each time
}
matplotlib.rcParams.update(STYLE)


def panels(rows: int, columns: int, height: float = 3.3, **options: Any) -> tuple[Figure, Any]:
    """A figure as wide as a page, and its axes in an array (rows, columns)."""
    figure = Figure(figsize=(9.2, height * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def decades(*axes: Any) -> None:
    """Ticks 1, 10, 100 on a logarithmic axis, without smaller ones between them."""
    for axis in axes:
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: in_words(value)))


def in_words(power: float) -> str:
    """A power of ten: in digits if that is short."""
    return f"{power:g}" if 1e-2 <= power < 1e4 else f"$10^{{{math.log10(power):.0f}}}$"


def percent(part: float, digits: int = 0) -> str:
    """A part of 1 in per cent."""
    return f"{100 * part:.{digits}f} %"


def svg(figure: Figure) -> str:
    """The picture as text, the same for the same numbers, without digits that cannot be seen."""
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=200, facecolor="white", metadata={"Date": None, "Creator": None})
    text = re.sub(r"(?<![\d.])[1-9]\d*\.\d{3,}", lambda number: f"{float(number[0]):.2f}", file.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def array(values: Any) -> Any:
    """Numbers from a JSON file: null is a number that is not finite."""
    return np.array(values, dtype=float)
