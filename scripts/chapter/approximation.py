"""Section 6.4: one wide hidden layer can approximate any function; more layers do it with fewer parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREEN, GREY, ORANGE, array, decades, panels, percent
from chapter.fitting import decaying, fit

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
UNITS = {"sigmoid": (ORANGE, "s"), "relu": (BLUE, "o"), "linear": (GREY, "^")}
REACH = 4.0  # the wave's inputs lie in [−4, 4]
FITS = (2, 4, 16)
WAVE_STEPS, WAVE_SEEDS, WAVE_RATES = 4000, 5, (3e-3, 1e-2, 3e-2)

PARAMETERS = 1000
DEPTHS = (1, 2, 3, 4, 6, 8)
SPIRAL_STEPS, SPIRAL_SEEDS, SPIRAL_RATES = 5000, 3, (3e-3, 1e-2)
SPIRAL_EXAMPLES, SPIRAL_BATCH = 20_000, 200
PIXELS = 40


def wave(x: Any) -> Any:
    """A wave in one variable that grows to the left, of variance 1."""
    values = np.sin(3 * np.pi * x / REACH) * np.exp(-x / REACH)
    return ((values - values.mean()) / values.std()).astype(np.float32)


def spiral(x: Any) -> Any:
    """A spiral in two variables, of variance 1."""
    angle = np.arctan2(x[:, 1:], x[:, :1])
    return (np.sqrt(2) * np.cos(9 * (x**2).sum(axis=1, keepdims=True) + angle)).astype(np.float32)


def measure() -> Numbers:
    """Errors for each width and each depth, and some of the functions that were learned."""
    return wide() | deep()


def wide() -> Numbers:
    """The error of one hidden layer on the wave, for each unit and width: the best of all runs."""
    x = np.linspace(-REACH, REACH, 257, dtype=np.float32)[:, None]
    errors: dict[str, list[float]] = {unit: [] for unit in UNITS}
    fits = {}
    for unit in UNITS:
        for width in WIDTHS:
            runs = train((1, width, 1), unit, x, wave(x), WAVE_STEPS, WAVE_SEEDS, WAVE_RATES, None, REACH)
            found = np.array(runs(x))
            of_run = error(found, wave(x))
            errors[unit].append(float(of_run.min()))
            if unit == "sigmoid" and width in FITS:
                fits[str(width)] = found[of_run.argmin()][::2, 0].tolist()
    return {"x": x[::2, 0].tolist(), "wave": wave(x)[::2, 0].tolist(), "fits": fits, "width errors": errors}


def deep() -> Numbers:
    """The error on the spiral for each depth at equal parameters: of each seed the best rate, on other points."""
    x, others = (np.random.default_rng(k).uniform(-1, 1, (SPIRAL_EXAMPLES, 2)).astype(np.float32) for k in (0, 1))
    line = np.linspace(-1, 1, PIXELS, dtype=np.float32)
    pixels = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    pictures, errors, widths = {"0": image(spiral(pixels))}, [], []
    for depth in DEPTHS:
        widths.append(width_of(depth))
        layers = (2, *(widths[-1],) * depth, 1)
        runs = train(layers, "relu", x, spiral(x), SPIRAL_STEPS, SPIRAL_SEEDS, SPIRAL_RATES, SPIRAL_BATCH, 1.0)
        of_run = error(np.array(runs(others)), spiral(others))
        errors.append(of_run.reshape(SPIRAL_SEEDS, -1).min(axis=1).tolist())
        pictures[str(depth)] = image(np.array(runs(pixels))[of_run.argmin()])
    best = str(DEPTHS[int(np.median(errors, axis=1).argmin())])
    shown = {depth: pictures[depth] for depth in ("0", "1", best)}
    return {"depths": list(DEPTHS), "widths": widths, "depth errors": errors, "pictures": shown}


def train(
    widths: tuple[int, ...],
    unit: str,
    x: Any,
    y: Any,
    steps: int,
    seeds: int,
    rates: tuple[float, ...],
    batch: int | None,
    reach: float,
) -> Callable[[Any], Any]:
    """Train for all seeds and rates at once; the predictions of each run, (seeds · rates, n, 1), as a function of x."""
    net = mlp_jax.MLP(widths, hidden=unit)
    starts = [spread(mlp_jax.init(net, jax.random.key(seed)), seed, reach) for seed in range(seeds)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves).repeat(len(rates), axis=0), *starts)
    optimizer = decaying(optax.adam, steps)

    def run(params: Any, rate: Any) -> Any:
        return fit(net, params, x, y, rate, steps=steps, optimizer=optimizer, batch=batch, every=steps)[0]

    trained = jax.vmap(run)(stacked, jnp.tile(jnp.array(rates), seeds))
    return lambda x: jax.vmap(lambda params: mlp_jax.predict(net, params, x))(trained)


def spread(params: Any, seed: int, reach: float) -> Any:
    """The same parameters with biases that put the first layer's kinks and slopes all over the inputs, not at 0."""
    W = params[0].W
    b = jnp.linalg.norm(W, axis=0) * jax.random.uniform(jax.random.key(1000 + seed), W.shape[1:], W.dtype, -1, 1)
    return (mlp_jax.Layer(W, b * reach), *params[1:])


def width_of(depth: int) -> int:
    """The largest width whose network from 2 inputs to 1 output has no more parameters than allowed."""
    return max(w for w in range(1, PARAMETERS) if 3 * w + (depth - 1) * (w + 1) * w + w + 1 <= PARAMETERS)


def error(found: Any, truth: Any) -> Any:
    """The root of the mean squared error of each run; the truth has variance 1."""
    return np.sqrt(((found - truth) ** 2).mean(axis=(1, 2)))


def image(values: Any) -> list[list[float]]:
    """Pixels to two digits."""
    return np.round(values.reshape(PIXELS, PIXELS).astype(float), 2).tolist()


def draw(numbers: Numbers) -> Figure:
    """Above, fits and errors of both functions; below, the spiral and what was learned of it."""
    figure, axes = panels(2, 3, height=3.1)
    draw_fits(axes[0, 0], numbers)
    draw_widths(axes[0, 1], numbers)
    draw_depths(axes[0, 2], numbers)
    for panel, (depth, values) in zip(axes[1], numbers["pictures"].items(), strict=True):
        panel.imshow(array(values), cmap="cividis", vmin=-1.5, vmax=1.5, origin="lower", interpolation="nearest")
        panel.set(xticks=[], yticks=[])
        panel.set_title("The spiral" if depth == "0" else f"… learned by {layers(numbers, int(depth))}")
        panel.grid(False)
        panel.spines[:].set_visible(False)
    return figure


def layers(numbers: Numbers, depth: int) -> str:
    """A network of the spiral, in words."""
    width = numbers["widths"][DEPTHS.index(depth)]
    return f"{depth} layer{'s' * (depth > 1)} of {width} units"


def draw_fits(panel: Any, numbers: Numbers) -> None:
    """The wave and what a few widths make of it."""
    panel.plot(numbers["x"], numbers["wave"], color=GREY, linewidth=4, alpha=0.6, label="the wave")
    for (width, values), colour in zip(numbers["fits"].items(), (GREEN, ORANGE, BLUE), strict=True):
        panel.plot(numbers["x"], values, color=colour, linewidth=1.3, label=f"{width} units")
    panel.set(xlabel="x", ylabel="y", ylim=(-4.6, 2.3))
    panel.set_title("One layer of sigmoid units:\nthe more, the closer the fit")
    panel.legend(ncols=2, loc="lower right")


def draw_widths(panel: Any, numbers: Numbers) -> None:
    """The error against width."""
    for unit, (colour, marker) in UNITS.items():
        panel.loglog(WIDTHS, numbers["width errors"][unit], f"{marker}-", color=colour, label=unit)
    panel.set(xlabel="hidden units, one layer", ylabel="error on the wave")
    panel.set_title(
        f"Its error falls with width, to\n{percent(lowest(numbers, 'sigmoid'), 1)} of the standard deviation"
    )
    decades(panel.xaxis, panel.yaxis)
    panel.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    panel.legend(loc="lower left")


def draw_depths(panel: Any, numbers: Numbers) -> None:
    """The error against depth."""
    errors = array(numbers["depth errors"])
    panel.plot(np.repeat(DEPTHS, SPIRAL_SEEDS), errors.ravel(), "o", color=BLUE, alpha=0.4, label="each seed")
    panel.plot(DEPTHS, np.median(errors, axis=1), color=BLUE, label="median")
    panel.set_xticks(DEPTHS)
    panel.set(xlabel=f"hidden layers, {PARAMETERS:,} parameters in all", ylabel="error on the spiral", ylim=(0, None))
    best = best_depth(numbers)
    ratio = medians(numbers)[1] / medians(numbers)[best]
    panel.set_title(f"At equal parameters, {best} layers\nhave 1/{ratio:.1f} of the error of one")
    panel.legend()


def lowest(numbers: Numbers, unit: str) -> float:
    """The error at the best width."""
    return float(min(numbers["width errors"][unit]))


def medians(numbers: Numbers) -> dict[int, float]:
    """The typical error of each depth."""
    return dict(zip(DEPTHS, np.median(array(numbers["depth errors"]), axis=1).tolist(), strict=True))


def best_depth(numbers: Numbers) -> int:
    """The depth whose typical error is least."""
    errors = medians(numbers)
    return min(errors, key=lambda depth: errors[depth])


def best_width(numbers: Numbers, unit: str) -> int:
    """The width whose error is least."""
    return WIDTHS[int(np.argmin(numbers["width errors"][unit]))]


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    errors, found = medians(numbers), numbers["width errors"]
    sigmoid = best_width(numbers, "sigmoid")
    each = ", ".join(f"{depth}: {error:.2f}" for depth, error in errors.items())
    limit = " (wider ones could do no worse, but training does not find it)" if sigmoid < WIDTHS[-1] else ""
    return (
        "Errors are in standard deviations of the function. One hidden layer on the wave comes from "
        f"{found['sigmoid'][0]:.2f} with one sigmoid unit to {lowest(numbers, 'sigmoid'):.3f} with {sigmoid}{limit}, "
        f"and to {lowest(numbers, 'relu'):.3f} with {best_width(numbers, 'relu')} relu units; with linear units it "
        f"stays at {lowest(numbers, 'linear'):.2f}. On the spiral, {PARAMETERS:,} parameters in so many layers have "
        f"the error {each}. These are errors of trained networks, so bounds from above of what each could represent."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    errors, found = medians(numbers), numbers["width errors"]
    linear, deeper = found["linear"], min(errors.values())
    return {
        "one layer of sigmoid units comes within 2 % of the wave": lowest(numbers, "sigmoid") < 0.02,
        "one layer of relu units does, too": lowest(numbers, "relu") < 0.02,
        "linear hidden units stay at the error of a line": max(linear) - min(linear) < 0.01,
        "each doubling of the relu units lowers the error": bool(np.all(np.diff(found["relu"]) < 0)),
        "each doubling of the sigmoid units lowers the error": bool(np.all(np.diff(found["sigmoid"]) < 0)),
        "with equal parameters, some deeper network has less than half of the error of one layer": deeper
        < errors[1] / 2,
        "with equal parameters, each further layer lowers the error": bool(np.all(np.diff(list(errors.values())) < 0)),
    }


CLAIM = Claim(
    name="approximation",
    title="One wide layer approximates any function, deeper networks with fewer parameters",
    section="6.4, 6.4.1",
    says="A network with one hidden layer of enough squashing or rectified linear units can approximate any continuous "
    "function on a bounded set; with linear units it cannot. But the layer may have to be very large, and deeper "
    "networks can need far fewer units. Whether training finds the function is another question.",
    setting=f"A wave in one variable, {WAVE_STEPS:,} steps of Adam on all 257 points, the best of {WAVE_SEEDS} seeds "
    f"and {len(WAVE_RATES)} rates; a spiral in two, relu, {SPIRAL_STEPS:,} steps of {SPIRAL_BATCH} of "
    f"{SPIRAL_EXAMPLES:,} points, {SPIRAL_SEEDS} seeds, the better of {len(SPIRAL_RATES)} rates. The first layer's "
    "biases are drawn at random: from biases 0, all kinks of its relu units would begin at x = 0.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
)
