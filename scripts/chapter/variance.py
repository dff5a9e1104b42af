"""Sections 6.2.1.1 and 6.2.2.4: a learned variance finds the noise at each input, and needs a floor."""

import math
from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, array, panels, percent
from chapter.fitting import decaying, fit
from mlp_jax import output_units

EXAMPLES, HELD_OUT, SHOWN = 4000, 4000, 500
STEPS, BATCH, RATE = 6000, 250, 0.01
FLOORS = {"0": PURPLE, "0.001": BLUE, "0.01": GREEN, "0.1": ORANGE}
REPEATS, FALL_STEPS, FALL_EVERY, FALL_RATE = 50, 6000, 20, 0.02


def mean(x: Any) -> Any:
    """The true mean."""
    return np.sin(3 * x)


def sd(x: Any) -> Any:
    """The true standard deviation."""
    return 0.05 + 0.45 * np.sin(2 * x) ** 2


def measure() -> Numbers:
    """The learned standard deviation, held-out densities, and the cost on equal targets."""
    return recovered() | {"fall": {floor: fall(float(floor)) for floor in FLOORS}, "fall steps": FALL_STEPS}


def recovered() -> Numbers:
    """Gaussians with one variance and with one for each input, on the same data."""
    (x, y), (x_new, y_new) = (examples(seed, n) for seed, n in ((0, EXAMPLES), (1, HELD_OUT)))
    line = np.linspace(-2, 2, 161, dtype=np.float32)[:, None]
    numbers: Numbers = {
        "examples": np.round(np.c_[x, y][:SHOWN].astype(float), 3).tolist(),
        "x": line[:, 0].tolist(),
        "true": {"mean": mean(line[:, 0]).tolist(), "sd": sd(line[:, 0]).tolist()},
        "log density": {"the truth": float(true_log_density(x_new, y_new))},
    }
    for unit in ("gaussian", "heteroscedastic"):
        net = mlp_jax.MLP((1, 32, 32, 1), hidden="tanh", output=unit)
        start, optimizer = mlp_jax.init(net, jax.random.key(0)), decaying(optax.adam, STEPS)
        params, _ = fit(net, start, x, y, RATE, steps=STEPS, optimizer=optimizer, batch=BATCH, every=STEPS)
        found = mlp_jax.parameters(net, params, line)
        numbers[unit] = {name: found[name][:, 0].tolist() for name in ("mean", "sd")}
        numbers["log density"][unit] = float(mlp_jax.log_density(net, params, x_new, y_new).mean())
    return numbers


def examples(seed: int, n: int) -> tuple[Any, Any]:
    """Inputs, and targets whose noise depends on them."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-2, 2, (n, 1))
    y = mean(x) + sd(x) * draw.normal(size=x.shape)
    return x.astype(np.float32), y.astype(np.float32)


def true_log_density(x: Any, y: Any) -> Any:
    """The mean log-density of the targets under what they were drawn from."""
    return (-0.5 * ((y - mean(x)) / sd(x)) ** 2 - np.log(sd(x)) - 0.5 * math.log(2 * math.pi)).mean()


def fall(floor: float) -> list[float | None]:
    """The cost over training on examples whose targets are all equal; None once it is not a number."""
    x, y = np.linspace(-1, 1, REPEATS, dtype=np.float32)[:, None], np.ones((REPEATS, 1), np.float32)
    net = mlp_jax.MLP((1, 1), output=output_units.Heteroscedastic(floor=floor))
    start = mlp_jax.init(net, jax.random.key(0))
    _, costs = fit(net, start, x, y, FALL_RATE, steps=FALL_STEPS, optimizer=optax.sgd, every=FALL_EVERY)
    return [cost if math.isfinite(cost) else None for cost in costs.tolist()]


def bound(floor: str) -> float:
    """What the cost cannot be below."""
    return math.log(float(floor)) + 0.5 * math.log(2 * math.pi) if float(floor) else -math.inf


def sd_error(numbers: Numbers, unit: str) -> float:
    """The typical relative error of σ: the root mean square of the logarithm's."""
    ratio = array(numbers[unit]["sd"]) / array(numbers["true"]["sd"])
    return float(np.sqrt((np.log(ratio) ** 2).mean()))


def draw(numbers: Numbers) -> Figure:
    """The data with the learned band, the standard deviations, and the cost on equal targets."""
    figure, ((left, middle, right),) = panels(1, 3, height=3.5)
    x, found, true = numbers["x"], numbers["heteroscedastic"], numbers["true"]
    centre, width = array(found["mean"]), 2 * array(found["sd"])
    left.plot(*array(numbers["examples"]).T, ".", color="#b0b0b0", markersize=2.5, label="examples", rasterized=True)
    left.fill_between(x, centre - width, centre + width, color=BLUE, alpha=0.2, linewidth=0, label="learned, ± 2σ")
    left.plot(x, centre, color=BLUE, label="learned mean")
    left.set(xlabel="x", ylabel="y", ylim=(-2.2, 3.2))
    left.set_title("The learned band is as wide\nas the noise at each x")
    left.legend()
    middle.plot(x, true["sd"], color=GREY, linewidth=4, alpha=0.6, label="true σ(x)")
    middle.plot(x, found["sd"], color=BLUE, label="heteroscedastic unit")
    middle.plot(x, numbers["gaussian"]["sd"], "--", color=ORANGE, label="gaussian unit, one σ")
    middle.set(xlabel="x", ylabel="σ", ylim=(0, 0.78))
    middle.set_title(f"The heteroscedastic unit finds\nσ(x) to {percent(sd_error(numbers, 'heteroscedastic'))}")
    middle.legend()
    draw_fall(right, numbers)
    return figure


def draw_fall(panel: Any, numbers: Numbers) -> None:
    """The cost over training for each floor, and the bound of each."""
    steps = np.arange(0, FALL_STEPS + 1, FALL_EVERY)
    for floor, colour in FLOORS.items():
        costs = array(numbers["fall"][floor])
        label = f"floor {floor}" if float(floor) else "no floor"
        panel.plot(steps, costs, color=colour, label=label)
        panel.axhline(bound(floor), color=colour, linestyle=":", linewidth=1)
        if np.isnan(costs).any():
            last = int(np.isnan(costs).argmax()) - 1
            end = (steps[last], costs[last])
            panel.plot(*end, "x", color=colour, markersize=8, markeredgewidth=2)
            panel.annotate("not a number\nfrom here on", end, (8, -2), textcoords="offset points")
    panel.plot([], [], ":", color=GREY, linewidth=1, label="bound of a floor")
    panel.set(xlabel="steps of gradient descent", ylabel="cost −log p(y given x), equal targets")
    panel.set_title("Without a floor on σ, equal targets\nsend the cost to −∞")
    panel.legend(loc="lower left")


def lowest(numbers: Numbers, floor: str) -> float:
    """The least cost that was a number."""
    return float(np.nanmin(array(numbers["fall"][floor])))


def diverges(numbers: Numbers) -> bool:
    """Whether without a floor the cost is not a number in the end."""
    return None in numbers["fall"]["0"]


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    density = numbers["log density"]
    end = " and is then not a number" if diverges(numbers) else ""
    floors = ", ".join(
        f"{lowest(numbers, floor):.3f} (bound {bound(floor):.3f}) with {floor}" for floor in FLOORS if float(floor)
    )
    return (
        f"σ(x) is found to {percent(sd_error(numbers, 'heteroscedastic'), 1)} (root mean square of its logarithm's "
        f"error; one σ for all x: {percent(sd_error(numbers, 'gaussian'))}). The mean log-density of {HELD_OUT:,} new "
        f"examples is {density['heteroscedastic']:.3f} with σ(x), {density['gaussian']:.3f} with one σ, and "
        f"{density['the truth']:.3f} under the truth. On {REPEATS} equal targets, the cost falls to "
        f"{lowest(numbers, '0'):.0f} without a floor{end}; with a floor it stops: {floors}."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    density, falls = numbers["log density"], diverges(numbers) and lowest(numbers, "0") < -50
    missed = density["the truth"] - density["heteroscedastic"]
    held = {
        "σ(x) is found to 10 %": sd_error(numbers, "heteroscedastic") < 0.1,
        "new examples are likelier with σ(x) than with one σ": density["heteroscedastic"] > density["gaussian"],
        "their log-density is within 0.02 of the truth's": abs(missed) < 0.02,
        "without a floor the cost on equal targets falls below -50 and is then not a number": falls,
    }
    for floor in FLOORS:
        if float(floor):
            above = lowest(numbers, floor) - bound(floor)
            held[f"with a floor of {floor} it comes within 0.02 of its bound, never below"] = -1e-5 < above < 0.02
    return held


CLAIM = Claim(
    name="variance",
    title="A learned variance finds the noise at each input, and needs a floor",
    section="6.2.1.1, 6.2.2.4",
    says="Maximum likelihood can learn the variance of the targets as a function of the input, a heteroscedastic "
    "model. But a model that can make the variance vanish on a target that it meets exactly sends its cost to −∞, so "
    "learning must be kept from it.",
    setting=f"Left and middle: a sine with noise that depends on x, {EXAMPLES:,} examples, two hidden layers of 32 "
    f"tanh units, {STEPS:,} steps of Adam on {BATCH} examples each. Right: {REPEATS} examples whose targets are all 1, "
    f"no hidden layer, gradient descent at rate {FALL_RATE}, floors on σ of {', '.join(FLOORS)}.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
)
