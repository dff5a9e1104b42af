#!/usr/bin/env python
"""Time the library beside its peers.

    scripts/run python scripts/benchmark.py [training] [autodiff]

training: the digits network 64-32-10, batch 32, Adam. Microseconds a training step: the trainer's own loop, with
shuffling, validation, metrics and progress, after compilation; a plain Python loop that shuffles with numpy and calls
a jitted jax + optax step; scikit-learn's MLPClassifier. Then Algorithm 6.4 against jax.grad of the same cost, each
jitted. Then seconds of the whole process, from the shell: `mlp-jax train` with a warm compilation cache beside a
script that trains the same network on the same data with scikit-learn.

autodiff: mlp_jax.autodiff.grad against jax.grad. Under jit, for an MLP and a program of 200 operations: the time to
trace, the flops that XLA counts, the time to run. Without jit, for a chain of 1,000 operations: the time per operation,
also of autograd and torch where they are installed (the extra `benchmark`), each on one thread.

Runs are interleaved; each figure is a median, each ratio the median over rounds with its range.
"""

import contextlib
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
from mlp_jax import autodiff
from mlp_jax.training import config as configuration
from mlp_jax.training import data
from mlp_jax.training.config import Config
from mlp_jax.training.fitting import fit
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
        run = fit(config, run_dir=Path(folder) / "run", reporter=PlainLines)
    return float(run.summary["seconds"]["training"])


def jitted_step_loop(config: Config) -> float:
    """Seconds of a Python loop over shuffled minibatches and a jitted step, as in the tutorials of jax and optax."""
    examples = data.prepare(config).parts["train"]
    x, y, n = examples.x.astype(np.float32), examples.y, len(examples.x)
    size = data.batch_size(config, n)
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

    return lambda: seconds(lambda: compiled(params, x, y), 100)


def steps(config: Config) -> int:
    """Training steps of the whole run."""
    examples = len(data.prepare(config).parts["train"].x)
    return config.training.epochs * -(-examples // data.batch_size(config, examples))


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


def mlp(o: Any) -> Callable[..., Any]:
    """The cost of a network in the functions of a library, for parameters, inputs and one-hot targets."""

    def cost(params: Any, x: Any, y: Any) -> Any:
        *hidden, (W, b) = params
        for V, c in hidden:
            x = o.relu(x @ V + c)
        return -o.mean(o.sum(y * o.log_softmax(x @ W + b), axis=-1))

    return cost


def mixed_program(o: Any) -> Callable[..., Any]:
    """About 200 operations of many kinds."""

    def cost(W: Any, b: Any, x: Any) -> Any:
        for _ in range(11):
            h = o.tanh(o.matmul(x, W) + b)
            x = h * o.sigmoid(h) + 0.5 * x
            x = x / (1 + o.sum(o.exp(-(x**2)), axis=1, keepdims=True)) + o.maximum(h, 0.1 * x)
            x = o.where(h > 0, x, o.sin(x)) - o.mean(x, axis=0, keepdims=True)
        return o.mean(o.logsumexp(x, axis=1))

    return cost


def chain(sin: Any, tanh: Any) -> Callable[[Any], Any]:
    """1,000 operations on one array, and a sum."""

    def cost(x: Any) -> Any:
        for _ in range(250):
            x = tanh(sin(x) * 1.01) + 0.1
        return x.sum()

    return cost


class JaxFunctions:
    """jax.numpy and jax.nn under one name, as mlp_jax.autodiff.ops is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jax.numpy if hasattr(jax.numpy, name) else jax.nn, name)


def normal(*shape: int) -> jax.Array:
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def compiled_gradients(name: str, program: Callable[[Any], Any], args: tuple[Any, ...]) -> None:
    """Print tables for the gradient of a program under jit."""

    def ours() -> Any:
        return jax.jit(autodiff.grad(program(autodiff.ops)))

    def theirs() -> Any:
        return jax.jit(jax.grad(program(JaxFunctions())))

    def trace(make: Callable[[], Any]) -> Callable[[], float]:
        return lambda: seconds(lambda: make().trace(*args), 5)

    def run(compiled: Any) -> Callable[[], float]:
        return lambda: seconds(lambda: compiled(*args), 50)

    peers = {"mlp_jax.autodiff.grad": ours, "jax.grad": theirs}
    compiled = {peer: make().lower(*args).compile() for peer, make in peers.items()}
    compare(f"ms to trace, {name}", 1e-3, {peer: trace(make) for peer, make in peers.items()})
    compare(f"µs to run, {name}", 1e-6, {peer: run(program) for peer, program in compiled.items()})
    for peer, gradient in compiled.items():
        print(f"{peer}: {gradient.cost_analysis()['flops']:,.0f} flops")


def eager_gradients(n: int) -> None:
    """Print a table for the gradient without jit, on n entries."""
    x = jax.numpy.full(n, 0.5)
    runs: dict[str, Callable[[], Any]] = {
        "mlp_jax.autodiff.grad": lambda: autodiff.grad(chain(autodiff.ops.sin, autodiff.ops.tanh))(x),
        "jax.grad": lambda: jax.grad(chain(jax.numpy.sin, jax.numpy.tanh))(x),
        "jax, forward only": lambda: chain(jax.numpy.sin, jax.numpy.tanh)(x),
    }
    with contextlib.suppress(ImportError):
        import autograd
        import autograd.numpy

        v = np.full(n, 0.5, np.float32)
        runs["autograd"] = lambda: autograd.grad(chain(autograd.numpy.sin, autograd.numpy.tanh))(v)
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
        runs["torch"] = lambda: chain(torch.sin, torch.tanh)(torch.full((n,), 0.5, requires_grad=True)).backward()
    calls = 3 if n < 1_000_000 else 1

    def time_of(run: Callable[[], Any]) -> Callable[[], float]:
        return lambda: seconds(run, calls)

    timed = {peer: time_of(run) for peer, run in runs.items()}
    compare(f"µs an operation, chain of 1,000 on {n:,} entries", 1e-3, timed)


def seconds(run: Callable[[], Any], calls: int) -> float:
    """A median over calls."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return median(times)


def training() -> None:
    """Print tables for the trainer."""
    warnings.simplefilter("ignore", ConvergenceWarning)
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


def main() -> None:
    """Print the machine and the tables that were asked for, or all."""
    device = jax.devices()[0]
    print(f"{os.cpu_count()} cores {platform.machine()}, {device.device_kind}, Python {platform.python_version()}, "
          f"jax {jax.__version__}")  # fmt: skip
    asked = sys.argv[1:] or ["training", "autodiff"]
    if not set(asked) <= {"training", "autodiff"}:
        sys.exit(f"benchmark.py: what to time is training or autodiff, got {' '.join(asked)}")
    if "training" in asked:
        training()
    if "autodiff" in asked:
        layers = zip((784, 512, 512), (512, 512, 10), strict=True)
        params = [(normal(n, m) / n**0.5, jax.numpy.zeros(m)) for n, m in layers]
        y = jax.nn.one_hot(jax.numpy.arange(128) % 10, 10)
        compiled_gradients("MLP 784-512-512-10, batch 128", mlp, (params, normal(128, 784), y))
        compiled_gradients("200 mixed operations", mixed_program, (normal(32, 32) / 6, normal(1, 32), normal(64, 32)))
        for n in (1, 1_000, 1_000_000):
            eager_gradients(n)


if __name__ == "__main__":
    main()
