#!/usr/bin/env python
"""Time the trainer beside its peers, on the digits network 64-32-10, batch 32, Adam.

    scripts/run python scripts/benchmark.py

Microseconds a training step: the trainer's own loop, with shuffling, validation, metrics and progress, after
compilation; a plain Python loop that shuffles with numpy and calls a jitted jax + optax step; scikit-learn's
MLPClassifier. Then Algorithm 6.4 against jax.grad of the same cost, each jitted. Then seconds of the whole process,
from the shell: `mlp-jax train` with a warm compilation cache beside a script that trains the same network on the
same data with scikit-learn.

Runs are interleaved; each figure is a median, each ratio the median over rounds with its range.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
import optax
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import mlp_jax
from mlp_jax.training import config as configuration
from mlp_jax.training import data
from mlp_jax.training.config import Config
from mlp_jax.training.loop import train
from mlp_jax.training.progress import PlainLines

CONFIG = Path(__file__).parent.parent / "configs" / "digits.yaml"
ROUNDS = 7
SKLEARN_SCRIPT = """
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
import warnings
warnings.simplefilter("ignore")
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, test_size=540, random_state=0)
scaler = StandardScaler().fit(x)
network = MLPClassifier((32,), batch_size=32, max_iter={epochs}, n_iter_no_change={epochs}, random_state=0)
network.fit(scaler.transform(x), y)
print(network.score(scaler.transform(x_test), y_test))
"""


def trainer_loop(config: Config) -> float:
    """Seconds of the trainer's own loop."""
    with tempfile.TemporaryDirectory() as folder:
        summary = train(config, Path(folder) / "run", reporter=PlainLines)
    return float(summary["seconds"]["training"])


def jitted_step_loop(config: Config) -> float:
    """Seconds of a Python loop over shuffled minibatches and a jitted step, as in the tutorials of jax and optax."""
    examples = data.prepare(config).parts["train"]
    x, y, n, size = examples.x.astype(np.float32), examples.y, len(examples.x), config.training.batch_size
    optimizer = optax.adam(1e-3)
    params = mlp_jax.init(mlp_jax.MLP((64, 32, 10), output="softmax"), jax.random.key(0))
    state = optimizer.init(params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        (W1, b1), (W2, b2) = params
        z = jax.nn.relu(x @ W1 + b1) @ W2 + b2
        cost = optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
        return cost + 1e-3 * ((W1**2).sum() + (W2**2).sum())

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        J, grads = jax.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, J

    for rows in (slice(size), slice(n % size)):  # compile for the last batch, too
        jax.block_until_ready(step(params, state, x[rows], y[rows]))
    random = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(config.training.epochs):
        order = random.permutation(n)
        for i in range(0, n, size):
            params, state, J = step(params, state, x[order[i : i + size]], y[order[i : i + size]])
    jax.block_until_ready(J)
    return time.perf_counter() - started


def sklearn_fit(config: Config) -> float:
    """Seconds of MLPClassifier.fit."""
    examples = data.prepare(config).parts["train"]
    epochs = config.training.epochs
    network = MLPClassifier((32,), batch_size=32, max_iter=epochs, n_iter_no_change=epochs, random_state=0)
    started = time.perf_counter()
    network.fit(examples.x.astype(np.float32), examples.y)
    return time.perf_counter() - started


def gradient(function: Callable[..., Any], widths: tuple[int, ...], n: int) -> Callable[[], float]:
    """Seconds of a jitted cost and gradient, a median over calls."""
    net = mlp_jax.MLP(widths, output="softmax", penalty=mlp_jax.L2(1e-4))
    params = mlp_jax.init(net, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (n, widths[0]))
    y = jax.random.randint(jax.random.key(2), (n,), 0, widths[-1])
    compiled = jax.jit(function, static_argnums=0).lower(net, params, x, y).compile()

    def run() -> float:
        times = []
        for _ in range(100):
            started = time.perf_counter()
            jax.block_until_ready(compiled(params, x, y))
            times.append(time.perf_counter() - started)
        return median(times)

    return run


def steps(config: Config) -> int:
    """Training steps of the whole run."""
    examples = len(data.prepare(config).parts["train"].x)
    return config.training.epochs * -(-examples // config.training.batch_size)


def process(*command: str) -> float:
    """Seconds of a whole process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def compare(title: str, unit: float, runs: dict[str, Callable[[], float]]) -> None:
    """Run all in turn, in rounds, and print medians and ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for measured in range(ROUNDS + 1):
        for name, run in runs.items():
            seconds = run()
            if measured:  # the first round warms up
                times[name].append(seconds)
    ours = next(iter(times.values()))
    print(f"\n| {title} | median | times ours |\n|---|---|---|")
    for name, theirs in times.items():
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"| {name} | {median(theirs) / unit:.3g} | {median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) |")


def main() -> None:
    """Print the machine and the tables."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    device = jax.devices()[0]
    print(f"{os.cpu_count()} cores {platform.machine()}, {device.device_kind}, Python {platform.python_version()}, "
          f"jax {jax.__version__}")  # fmt: skip
    config = configuration.load(CONFIG)
    compare(
        "µs a step",
        steps(config) * 1e-6,
        {
            "mlp_jax trainer": lambda: trainer_loop(config),
            "jax + optax, jitted step": lambda: jitted_step_loop(config),
            "scikit-learn": lambda: sklearn_fit(config),
        },
    )
    for widths, n in (((64, 32, 10), 32), ((784, 512, 512, 10), 128)):
        compare(
            f"µs a cost and gradient, {'-'.join(map(str, widths))}, batch {n}",
            1e-6,
            {
                "mlp_jax.loss_and_grad": gradient(mlp_jax.loss_and_grad, widths, n),
                "jax.value_and_grad(mlp_jax.loss)": gradient(jax.value_and_grad(mlp_jax.loss, argnums=1), widths, n),
            },
        )
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "mlp_jax", "train", str(CONFIG), "--run-dir", f"{folder}/run", "--overwrite"]
        script = SKLEARN_SCRIPT.format(epochs=config.training.epochs)
        compare(
            "seconds, whole process",
            1.0,
            {"mlp-jax train": lambda: process(*command), "scikit-learn script": lambda: process("-c", script)},
        )


if __name__ == "__main__":
    main()
