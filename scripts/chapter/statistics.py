"""Section 6.2.1.2: the cost chooses which statistic of the targets a network learns."""

from statistics import NormalDist
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

SPREAD = 0.8  # of the logarithm of the noise
EXAMPLES, SHOWN = 5000, 400
STEPS, BATCH, RATE = 6000, 250, 0.01
LEVELS = (0.1, 0.5, 0.9)
DOTTED: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 3, "alpha": 0.5}
UNITS: dict[str, Any] = {
    "squared error": "linear",
    "absolute error": "laplace",
    "quantile cost": output_units.Quantiles(levels=LEVELS),
}
# Each statistic: its colour, and the cost that should learn it.
TRUTHS = {
    "10 % quantile": (GREEN, "quantile cost, 10 %"),
    "median": (BLUE, "absolute error"),
    "mean": (ORANGE, "squared error"),
    "90 % quantile": (PURPLE, "quantile cost, 90 %"),
}


def wave(x: Any) -> Any:
    """What the noise is added to."""
    return np.sin(2 * np.pi * x)


def truths(x: Any) -> dict[str, Any]:
    """The statistics of a wave with log-normal noise."""
    low, middle, high = (np.exp(SPREAD * NormalDist().inv_cdf(level)) for level in LEVELS)
    above = {"10 % quantile": low, "median": middle, "mean": np.exp(SPREAD**2 / 2), "90 % quantile": high}
    return {name: wave(x) + value for name, value in above.items()}


def measure() -> Numbers:
    """What each cost learns, and its distance to each statistic."""
    draw = np.random.default_rng(0)
    x = draw.uniform(0, 1, (EXAMPLES, 1)).astype(np.float32)
    y = (wave(x) + np.exp(SPREAD * draw.normal(size=x.shape))).astype(np.float32)
    line = np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    learned: dict[str, Any] = {}
    for cost, unit in UNITS.items():
        net = mlp_jax.MLP((1, 32, 32, 1), hidden="tanh", output=unit)
        start, optimizer = mlp_jax.init(net, jax.random.key(0)), decaying(optax.adam, STEPS)
        params, _ = fit(net, start, x, y, RATE, steps=STEPS, optimizer=optimizer, batch=BATCH, every=STEPS)
        columns = np.array(mlp_jax.predict(net, params, line)).T
        names = [cost] if len(columns) == 1 else [f"{cost}, {percent(level)}" for level in LEVELS]
        learned |= dict(zip(names, columns, strict=True))
    statistics = truths(line[:, 0])
    distances = {
        name: {truth: float(np.sqrt(((curve - true) ** 2).mean())) for truth, true in statistics.items()}
        for name, curve in learned.items()
    }
    return {
        "examples": np.round(np.c_[x, y][:SHOWN].astype(float), 3).tolist(),
        "x": line[:, 0].tolist(),
        "truths": {name: curve.tolist() for name, curve in statistics.items()},
        "learned": {name: curve.tolist() for name, curve in learned.items()},
        "distances": distances,
    }


def draw(numbers: Numbers) -> Figure:
    """The learned curves on the data, and the distance of each to each statistic."""
    figure, ((left, right),) = panels(1, 2, height=3.8, width_ratios=(1.15, 1))
    left.plot(*array(numbers["examples"]).T, ".", color="#c4c4c4", markersize=3, label="examples", rasterized=True)
    for truth, (colour, cost) in TRUTHS.items():
        left.plot(numbers["x"], numbers["learned"][cost], color=colour, label=cost)
        left.plot(numbers["x"], numbers["truths"][truth], color=colour, **DOTTED)
    left.plot([], [], color=GREY, **DOTTED, label="the true statistic")
    left.set(xlabel="x", ylabel="y", ylim=(-1.1, 7.4))
    left.set_title("Each cost learns its own statistic of the same data")
    left.legend(ncols=2)
    names = list(numbers["learned"])
    for truth, (colour, _) in TRUTHS.items():
        distances = [numbers["distances"][name][truth] for name in names]
        right.plot(distances, range(len(names)), "o", color=colour, markersize=6, label=f"to the {truth}")
    hits = sum(nearest(numbers, name) == truth for name, truth in own_statistics().items())
    right.set_yticks(range(len(names)), names)
    right.set(xlabel="distance of the learned curve, root mean square", xlim=(0, 3.5))
    right.set_ylim(len(names) - 0.5, -0.5)
    right.set_title(f"{hits} of {len(names)} curves are nearest to their own statistic")
    right.legend(loc="upper right")
    return figure


def nearest(numbers: Numbers, name: str) -> str:
    """The statistic that the curve is nearest to."""
    distances = numbers["distances"][name]
    return min(distances, key=lambda truth: distances[truth])


def own_statistics() -> dict[str, str]:
    """What each cost should learn."""
    return {cost: truth for truth, (_, cost) in TRUTHS.items()} | {"quantile cost, 50 %": "median"}


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    distances = numbers["distances"]
    each = "; ".join(
        f"{name}: nearest to the {nearest(numbers, name)}, {min(distances[name].values()):.3f} away"
        for name in numbers["learned"]
    )
    between = distances["squared error"]["median"]
    return f"{each}. The curve of the squared error is {between:.2f} away from the median."


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    own = own_statistics()
    return {f"{cost} learns the {truth}": nearest(numbers, cost) == truth for cost, truth in own.items()} | {
        "no learned curve is further than 0.2 from its own": all(
            numbers["distances"][cost][truth] < 0.2 for cost, truth in own.items()
        )
    }


CLAIM = Claim(
    name="statistics",
    title="Squared error learns the mean, absolute error the median, the quantile cost quantiles",
    section="6.2.1.2",
    says="Minimising the mean squared error gives a function that predicts the mean of the targets for each input; "
    "minimising the mean absolute error gives one that predicts their median. (The quantile cost is the same argument "
    "for other quantiles; it is not in the book.)",
    setting=f"A sine with log-normal noise (σ = {SPREAD} of its logarithm), whose mean and quantiles are known; "
    f"{EXAMPLES:,} examples; two hidden layers of 32 tanh units; {STEPS:,} steps of Adam on {BATCH} examples each. The "
    "curves are compared with the true statistics on 101 points.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
)
