"""Sections 6.3 and 6.6: rectified linear units train where sigmoid units stall, the more so the deeper the network."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREY, ORANGE, array, decades, panels
from chapter.fitting import digits, fit

DEPTHS = (2, 8, 20)
UNITS = {"relu": (BLUE, "o"), "sigmoid": (ORANGE, "s")}
STARTS = ("normal", "glorot", "he", "lecun", "orthogonal")
WIDTH = 32
STEPS, BATCH, SEEDS = 1000, 32, 3
OPTIMIZERS = {"gradient descent": (optax.sgd, (0.01, 0.1, 1.0)), "Adam": (optax.adam, (1e-3, 1e-2))}
CHANCE = math.log(10)
LEAST = 1e-4  # below it, costs are drawn as equal


def measure() -> Numbers:
    """The training cost reached, for each optimizer, depth, unit, initializer and seed."""
    x, y = digits()
    return {
        name: {
            f"depth {depth}": {
                unit: {start: reached(x, y, depth, unit, start, optimizer, rates) for start in STARTS} for unit in UNITS
            }
            for depth in DEPTHS
        }
        for name, (optimizer, rates) in OPTIMIZERS.items()
    }


def reached(x: Any, y: Any, depth: int, unit: str, start: str, optimizer: Any, rates: tuple[float, ...]) -> list[float]:
    """The training cost after all steps at the best rate, for each seed."""
    net = mlp_jax.MLP((64, *(WIDTH,) * depth, 10), hidden=unit, output="softmax")
    starts = [mlp_jax.init(net, jax.random.key(seed), initializer=start) for seed in range(SEEDS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)

    def train(params: Any, rate: Any) -> Any:
        return fit(net, params, x, y, rate, steps=STEPS, optimizer=optimizer, batch=BATCH, every=STEPS)[1][-1]

    costs = jax.vmap(jax.vmap(train, (None, 0)), (0, None))(stacked, jnp.array(rates))
    return jnp.nan_to_num(costs, nan=jnp.inf).min(axis=1).tolist()


def typical(numbers: Numbers, optimizer: str, depth: int, unit: str) -> dict[str, float]:
    """The median over seeds, for each initializer."""
    found = numbers[optimizer][f"depth {depth}"][unit]
    return {start: float(np.median(array(costs))) for start, costs in found.items()}


def best(numbers: Numbers, depth: int, unit: str) -> float:
    """The lowest typical cost, of all optimizers and initializers."""
    return min(min(typical(numbers, name, depth, unit).values()) for name in OPTIMIZERS)


def learning(numbers: Numbers, optimizer: str, depth: int, unit: str) -> list[str]:
    """The initializers from which the unit typically comes far below the cost of chance."""
    return [start for start, cost in typical(numbers, optimizer, depth, unit).items() if cost < CHANCE / 5]


def draw(numbers: Numbers) -> Figure:
    """A row for each optimizer, a panel for each depth, a line for each initializer."""
    figure, axes = panels(len(OPTIMIZERS), len(DEPTHS), height=2.4, sharex=True, sharey=True)
    for name, row in zip(OPTIMIZERS, axes, strict=True):
        for depth, panel in zip(DEPTHS, row, strict=True):
            draw_panel(panel, numbers[name][f"depth {depth}"])
            counts = [len(learning(numbers, name, depth, unit)) for unit in UNITS]
            panel.set_title(f"{depth} hidden layers: relu learns from\n{counts[0]} of {len(STARTS)} starts, "
                            f"sigmoid from {counts[1]}")  # fmt: skip
        row[0].set_ylabel(f"initial weights, {name}")
    for panel in axes[-1]:
        panel.set_xlabel(f"training cost (learned: below {CHANCE / 5:.2f})")
    axes[0, 0].invert_yaxis()
    axes[0, 0].legend(loc="lower left")
    axes[0, 0].annotate("chance", (CHANCE, 4), (-4, 0), textcoords="offset points", ha="right", color="#555555")
    return figure


def draw_panel(panel: Any, found: dict[str, dict[str, list[float]]]) -> None:
    """The costs of both units from each initializer: the median over seeds, on a line from least to most."""
    panel.axvline(CHANCE, color=GREY, linewidth=1)
    for (unit, (colour, marker)), shift in zip(UNITS.items(), (-0.15, 0.15), strict=True):
        costs = np.maximum([array(found[unit][start]) for start in STARTS], LEAST)
        rows = np.arange(len(costs)) + shift
        panel.hlines(rows, costs.min(axis=1), costs.max(axis=1), color=colour, linewidth=1)
        panel.semilogx(np.median(costs, axis=1), rows, marker, color=colour, label=unit)
    panel.set_yticks(range(len(STARTS)), list(STARTS))
    panel.grid(False, axis="y")
    decades(panel.xaxis)


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    costs = [
        f"with {depth} hidden layers, relu {best(numbers, depth, 'relu'):.2g} and sigmoid "
        f"{best(numbers, depth, 'sigmoid'):.2g}"
        for depth in DEPTHS
    ]
    descent = ", ".join(learning(numbers, "gradient descent", DEPTHS[-1], "relu")) or "none"
    return (
        f"The lowest cost: {'; '.join(costs)}; chance has {CHANCE:.2g}. The initial weights matter, too: at "
        f"{DEPTHS[-1]} hidden layers, the starts from which gradient descent brings relu below a fifth of chance are: "
        f"{descent}."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    deepest = [learning(numbers, name, DEPTHS[-1], "sigmoid") for name in OPTIMIZERS]
    small = [learning(numbers, name, depth, "relu") for name in OPTIMIZERS for depth in DEPTHS[1:]]
    descent = learning(numbers, "gradient descent", DEPTHS[-1], "relu")
    held = {}
    for depth in DEPTHS:
        relu, sigmoid = (best(numbers, depth, unit) for unit in UNITS)
        held[f"{depth} hidden layers: relu reaches less than half of the cost of sigmoid"] = relu < sigmoid / 2
    return held | {
        f"{DEPTHS[-1]} hidden layers: sigmoid learns from no start": not any(deepest),
        f"{DEPTHS[-1]} hidden layers: gradient descent trains relu from `he`, which is made for it": "he" in descent,
        f"{DEPTHS[1]} and more: weights as small as those of `normal` stop relu": not any("normal" in s for s in small),
    }


CLAIM = Claim(
    name="relu",
    title="Rectified linear units train where sigmoid units stall",
    section="6.3.1, 6.3.2, 6.6",
    says="A sigmoid unit saturates, and gradients fade on their way through many of them; a rectified linear unit that "
    "is active passes them on whole. To replace sigmoid by rectified linear hidden units was one of the two changes "
    "that improved feedforward networks most.",
    setting=f"Digits; hidden layers of {WIDTH} units; {STEPS:,} steps of {BATCH} examples; for each start the best "
    f"rate of {', '.join(map(str, OPTIMIZERS['gradient descent'][1]))} for gradient descent, and of "
    f"{', '.join(map(str, OPTIMIZERS['Adam'][1]))} for Adam; the median of {SEEDS} seeds, and their range.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
    commands=(
        "scripts/run mlp-jax train configs/chapter/relu.yaml",
        "scripts/run mlp-jax train configs/chapter/relu.yaml --set network.hidden=sigmoid",
        "scripts/run mlp-jax train configs/chapter/relu.yaml --set network.initializer=normal",
    ),
)
