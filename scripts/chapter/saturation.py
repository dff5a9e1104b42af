"""Section 6.2.2: where an output unit saturates, the squared error has no gradient; maximum likelihood has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn import datasets

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, ORANGE, array, decades, panels, percent
from chapter.fitting import accuracy, digits, fit, norm, standardized

BIASES = range(21)
START = 10
STEPS = 2000
RATES = {"sgd": 1.0, "adam": 0.01}
OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}
COSTS = {"cross_entropy": ("cross-entropy", BLUE), "squared_error": ("squared error", ORANGE)}
UNITS = {"sigmoid": "Sigmoid unit, tumours", "softmax": "Softmax unit, digits"}
ENOUGH = 0.9


def measure() -> Numbers:
    """The gradient for each wrong bias, and the accuracy over training from one of them."""
    shown = np.unique(np.geomspace(1, STEPS, 60).round().astype(int))
    numbers: Numbers = {"biases": list(BIASES), "steps": shown.tolist()}
    for unit in UNITS:
        widths, (x, y) = problem(unit)
        for cost in COSTS:
            net = mlp_jax.MLP(widths, output=unit, cost=cost)
            found = {"gradient": [gradient(net, x, y, bias) for bias in BIASES]}
            for name, optimizer in OPTIMIZERS.items():
                start = wrong_start(net, START)
                _, right = fit(net, start, x, y, RATES[name], steps=STEPS, optimizer=optimizer, measure=accuracy)
                found[name] = right[shown].tolist()
            numbers[f"{unit} {cost}"] = found
    return numbers


def problem(unit: str) -> tuple[tuple[int, int], tuple[Any, Any]]:
    """The widths of a network without hidden layer, inputs and targets."""
    if unit == "softmax":
        return (64, 10), digits()
    x, y = standardized(datasets.load_breast_cancer)
    return (30, 1), (x, y[:, None].astype(np.float32))


def wrong_start(net: mlp_jax.MLP, bias: float) -> Any:
    """Initial parameters that are sure of one class, which most examples do not have."""
    (layer,) = mlp_jax.init(net, jax.random.key(0))
    first_class = jnp.zeros(layer.W.shape[1]).at[0].set(-bias if net.output == "sigmoid" else bias)
    return (mlp_jax.Layer(layer.W, first_class),)


def gradient(net: mlp_jax.MLP, x: Any, y: Any, bias: float) -> float:
    """The size of the gradient at such parameters."""
    return float(norm(mlp_jax.loss_and_grad(net, wrong_start(net, bias), x, y)[1]))


def steps_needed(numbers: Numbers, unit: str, cost: str, optimizer: str = "sgd") -> int | None:
    """The first of the measured steps after which the accuracy is enough, or None."""
    enough = array(numbers[f"{unit} {cost}"][optimizer]) >= ENOUGH
    return numbers["steps"][int(enough.argmax())] if enough.any() else None


def remains(numbers: Numbers, unit: str, cost: str) -> float:
    """The gradient at the worst bias, as a part of that at none."""
    sizes = numbers[f"{unit} {cost}"]["gradient"]
    return float(sizes[-1] / sizes[0])


def draw(numbers: Numbers) -> Figure:
    """A row for each unit: the gradient against the bias, and the accuracy over training."""
    figure, axes = panels(2, 2, height=3, sharex="col", sharey="col")
    for (unit, title), (left, right) in zip(UNITS.items(), axes, strict=True):
        for cost, (label, colour) in COSTS.items():
            found = numbers[f"{unit} {cost}"]
            left.semilogy(numbers["biases"], found["gradient"], color=colour, label=label)
            right.semilogx(numbers["steps"], found["sgd"], color=colour, label=label)
            right.semilogx(numbers["steps"], found["adam"], ":", color=colour, label="the same with Adam")
        left.set(ylabel="size of the gradient", xticks=BIASES[::5])
        left.set_title(f"{title}: the surer of a wrong class,\nthe less gradient has the squared error")
        right.set(ylabel="training accuracy", ylim=(0, 1.03))
        right.set_title(f"Steps of gradient descent from bias {START} to {percent(ENOUGH)}:\n{race(numbers, unit)}")
        decades(left.yaxis, right.xaxis)
    axes[1, 0].set_xlabel("initial bias towards the wrong class")
    axes[1, 1].set_xlabel("training steps")
    axes[0, 0].legend()
    axes[0, 1].legend(loc="lower left", ncols=2)
    return figure


def race(numbers: Numbers, unit: str) -> str:
    """How many steps each cost needs to enough accuracy."""
    needed = {label: steps_needed(numbers, unit, cost) for cost, (label, _) in COSTS.items()}
    return ", ".join(f"{steps or f'not in {STEPS:,}'} by {label}" for label, steps in needed.items())


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    text = ""
    for unit in UNITS:
        sizes = {cost: numbers[f"{unit} {cost}"]["gradient"] for cost in COSTS}
        text += (
            f"On a {unit} unit with a wrong bias of {START}, the gradient of the squared error is "
            f"{sizes['squared_error'][START]:.2g}, that of the cross-entropy {sizes['cross_entropy'][START]:.2g}; from "
            f"there, the steps of gradient descent to {percent(ENOUGH)} accuracy are {race(numbers, unit)}. "
        )
    quick = {cost: [steps_needed(numbers, unit, cost, "adam") or f"over {STEPS:,}" for unit in UNITS] for cost in COSTS}
    return text + (
        "Adam divides a gradient by its size, and so undoes some of the harm: it needs "
        f"{quick['cross_entropy'][0]} and {quick['squared_error'][0]} steps on the sigmoid unit, but "
        f"{quick['cross_entropy'][1]} and {quick['squared_error'][1]} on the softmax unit."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    held = {}
    for unit in UNITS:
        kept, lost = (remains(numbers, unit, cost) for cost in COSTS)
        held[f"{unit}: at a bias of {BIASES[-1]} the squared error has less than 1 % of its gradient left"] = (
            lost < 0.01
        )
        held[f"{unit}: at that bias the cross-entropy has more than half of its gradient"] = kept > 0.5
        first, second = (steps_needed(numbers, unit, cost) for cost in COSTS)
        slower = first is not None and (second is None or second > 10 * first)
        held[f"{unit}: gradient descent on the squared error needs more than 10 times the steps"] = slower
    return held


CLAIM = Claim(
    name="saturation",
    title="Cross-entropy learns from a saturated output unit, squared error does not",
    section="6.2.2",
    says="The logarithm of the cost undoes the exponential of the output unit, so that the gradient is large where the "
    "answer is wrong. The squared error loses it: a sigmoid or softmax unit that saturates at the wrong answer hardly "
    "learns.",
    setting="Networks without hidden layer, a sigmoid unit on scikit-learn's breast_cancer and a softmax unit on its "
    "digits, whose initial bias makes them sure of one class; gradient descent at rate 1 and Adam at rate 0.01, all "
    "examples a step.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
    commands=(
        "scripts/run mlp-jax train configs/chapter/saturation.yaml",
        "scripts/run mlp-jax train configs/chapter/saturation.yaml --set network.cost=squared_error",
    ),
)
