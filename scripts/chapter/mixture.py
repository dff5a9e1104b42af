"""Section 6.2.2.4: where several answers are right, a mixture of Gaussians can give them all, one Gaussian cannot."""

from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREY, ORANGE, array, panels
from chapter.fitting import decaying, fit
from mlp_jax import output_units

NOISE = 0.05
EXAMPLES, HELD_OUT, SHOWN = 4000, 4000, 400
STEPS, BATCH, RATE = 6000, 250, 0.01
UNITS: dict[str, Any] = {
    "mixture": output_units.Mixture(components=5),
    "heteroscedastic": "heteroscedastic",
    "gaussian": "gaussian",
}
COLOURS = {"mixture": BLUE, "heteroscedastic": ORANGE}
SLICES = (0.35, 0.5, 0.8)
Y = np.linspace(-0.4, 1.4, 181)


def forward(y: Any) -> Any:
    """The function whose inverse is to be learned: for some x there are three y."""
    return y + 0.3 * np.sin(2 * np.pi * y)


def true_density(x: Any, y: Any) -> Any:
    """p(y given x), for y uniform in [0, 1], by Bayes' rule on a fine grid."""
    grid = np.linspace(0, 1, 2001)
    joint = np.exp(-0.5 * ((x - forward(y)) / NOISE) ** 2) * ((y >= 0) & (y <= 1))
    evidence = np.exp(-0.5 * ((x[..., None] - forward(grid)) / NOISE) ** 2).mean(axis=-1)
    return joint / evidence


def examples(seed: int, n: int) -> tuple[Any, Any]:
    """Values y, and noisy values of the function as inputs x."""
    draw = np.random.default_rng(seed)
    y = draw.uniform(0, 1, (n, 1))
    x = forward(y) + NOISE * draw.normal(size=y.shape)
    return x.astype(np.float32), y.astype(np.float32)


def measure() -> Numbers:
    """Held-out log-densities, samples, and densities at a few inputs."""
    (x, y), (x_new, y_new) = examples(0, EXAMPLES), examples(1, HELD_OUT)
    numbers: Numbers = {
        "log density": {"the truth": float(np.log(true_density(x_new[:, 0], y_new[:, 0])).mean())},
        "samples": {"examples": points(x_new, y_new)},
        "y": Y.tolist(),
        "density": {"the truth": {str(at): true_density(np.full(len(Y), at), Y).tolist() for at in SLICES}},
    }
    for name, unit in UNITS.items():
        net = mlp_jax.MLP((1, 32, 32, 1), hidden="tanh", output=unit)
        start, optimizer = mlp_jax.init(net, jax.random.key(0)), decaying(optax.adam, STEPS)
        params, _ = fit(net, start, x, y, RATE, steps=STEPS, optimizer=optimizer, batch=BATCH, every=STEPS)
        numbers["log density"][name] = float(mlp_jax.log_density(net, params, x_new, y_new).mean())
        if name in COLOURS:
            numbers["samples"][name] = points(x_new, mlp_jax.sample(net, params, x_new, jax.random.key(1)))
            numbers["density"][name] = {str(at): density(net, params, at) for at in SLICES}
    return numbers


def points(x: Any, y: Any) -> list[list[float]]:
    """Some of the points, to three digits."""
    return np.round(np.c_[x, y][:SHOWN].astype(float), 3).tolist()


def density(net: mlp_jax.MLP, params: Any, x: float) -> list[float]:
    """p(y given x) of a network."""
    y = Y[:, None].astype(np.float32)
    return np.exp(mlp_jax.log_density(net, params, np.full_like(y, x), y)).tolist()


def draw(numbers: Numbers) -> Figure:
    """Above, examples and samples; below, densities at a few inputs."""
    figure, axes = panels(2, 3, height=2.7)
    found = numbers["log density"]
    titles = {
        "examples": "New examples: for x near 0.5,\nthree y are right",
        "mixture": f"Samples of the mixture do the same:\nlog-density {found['mixture']:.2f}",
        "heteroscedastic": f"Samples of a Gaussian do not:\nlog-density {found['heteroscedastic']:.2f}",
    }
    for panel, (name, title) in zip(axes[0], titles.items(), strict=True):
        x, y = array(numbers["samples"][name]).T
        panel.plot(x, y, ".", color=COLOURS.get(name, GREY), markersize=3, rasterized=True)
        panel.set(xlabel="x", ylabel="y", xlim=(-0.15, 1.15), ylim=(-0.4, 1.4))
        panel.set_title(title)
    for panel, at in zip(axes[1], SLICES, strict=True):
        values = {name: numbers["density"][name][str(at)] for name in ("the truth", *COLOURS)}
        panel.fill_between(numbers["y"], values["the truth"], color=GREY, alpha=0.35, linewidth=0, label="the truth")
        for name, label in (("mixture", "mixture"), ("heteroscedastic", "Gaussian")):
            panel.plot(numbers["y"], values[name], color=COLOURS[name], linewidth=1.5, label=label)
        panel.set(xlabel="y", ylabel=f"p(y given x = {at})", xlim=(-0.25, 1.25), ylim=(0, None))
        panel.set_title(f"Density of y at x = {at}")
    axes[1, 0].legend()
    return figure


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    found = numbers["log density"]
    return (
        f"The mean log-density of {HELD_OUT:,} new examples is {found['mixture']:.3f} with a mixture of "
        f"{UNITS['mixture'].components} Gaussians, {found['heteroscedastic']:.3f} with one Gaussian whose variance "
        f"depends on x, {found['gaussian']:.3f} with one of constant variance, and {found['the truth']:.3f} under the "
        "truth."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    truth, mixture, *gaussians = (numbers["log density"][name] for name in ("the truth", *UNITS))
    return {
        "new examples are likelier under the mixture than under a Gaussian": mixture > max(gaussians),
        "the mixture comes within 0.1 of the truth's log-density": truth - mixture < 0.1,
        "a Gaussian misses at least half a nat of it": truth - max(gaussians) > 0.5,
    }


CLAIM = Claim(
    name="mixture",
    title="A mixture of Gaussians learns an inverse with several answers, a Gaussian does not",
    section="6.2.2.4",
    says="A mixture density network describes targets with several modes for the same input, which a Gaussian output "
    "cannot: its one mode is put between them.",
    setting="The inverse of x = y + 0.3 sin 2πy + ε (Bishop 1994), ε Gaussian with σ = "
    f"{NOISE}; {EXAMPLES:,} examples, two hidden layers of 32 tanh units, {STEPS:,} steps of Adam on {BATCH} "
    "examples each.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
)
