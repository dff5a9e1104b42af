"""A training step of our trainer beside those of peers: the same network, data, minibatches and optimizer.

Each peer is written as its own documentation does it, for speed: one compiled or eager step in a loop that shuffles.
All use SGD with momentum 0.9, float32, softmax with the cross-entropy, relu, no penalty.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import Table, Worker, compare_workers, seconds
from mlp_jax.training import fit
from mlp_jax.training.progress import PlainLines

RATE, MOMENTUM = 1e-3, 0.9


class Task(NamedTuple):
    """A network and how it is trained: n examples, each once an epoch."""

    widths: tuple[int, ...]
    batch: int
    n: int
    epochs: int

    @property
    def name(self) -> str:
        """As in 64-32-10, batch 32."""
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}"

    def data(self) -> tuple[Any, Any]:
        """Inputs and classes."""
        rng = np.random.default_rng(0)
        return rng.normal(size=(self.n, self.widths[0])).astype(np.float32), rng.integers(0, self.widths[-1], self.n)

    def batches(self) -> Iterator[Any]:
        """The numbers of the examples of each minibatch, shuffled anew each epoch."""
        rng = np.random.default_rng(0)
        for _ in range(self.epochs):
            order = rng.permutation(self.n)
            yield from (order[i : i + self.batch] for i in range(0, self.n, self.batch))


SMALL = Task((64, 32, 10), 32, 1280, 60)
MIDDLE = Task((784, 512, 512, 10), 128, 1280, 24)
LARGE = Task((784, 1024, 1024, 1024, 10), 512, 2048, 6)


def ours(task: Task, **network: Any) -> Callable[[], float]:
    """The trainer's own loop, with shuffling, records and progress; compilation apart."""
    settings = {
        "data": {"split": {"validation": 0.0, "test": 0.0}, "standardize_inputs": False},
        "network": {"widths": task.widths, "output": "softmax", **network},
        "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
        "training": {"epochs": task.epochs, "batch_size": task.batch},
    }
    data = task.data()

    def run() -> float:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            return float(fit(settings, data, reporter=PlainLines).summary["seconds"]["training"])

    return run


def plain_cost(params: Any, x: Any, y: Any) -> Any:
    """The cost in plain JAX."""
    *hidden, (W, b) = params
    for V, c in hidden:
        x = jax.nn.relu(x @ V + c)
    return optax.softmax_cross_entropy_with_integer_labels(x @ W + b, y).mean()


def plain_params(task: Task) -> Any:
    """Initial parameters as pairs."""
    layers = zip(task.widths, task.widths[1:], strict=False)
    rng = np.random.default_rng(0)
    return [(jnp.asarray(rng.normal(size=s, scale=s[0] ** -0.5), jnp.float32), jnp.zeros(s[1])) for s in layers]


def jitted_loop(task: Task) -> Callable[[], float]:
    """A Python loop over a jitted step of jax and optax."""
    optimizer = optax.sgd(RATE, MOMENTUM)

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        J, grads = jax.value_and_grad(plain_cost)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, J

    x, y = task.data()

    def run() -> float:
        params = plain_params(task)
        state = optimizer.init(params)
        jax.block_until_ready(step(params, state, x[: task.batch], y[: task.batch]))
        started = time.perf_counter()
        for rows in task.batches():
            params, state, J = step(params, state, x[rows], y[rows])
        jax.block_until_ready((params, J))
        return time.perf_counter() - started

    return run


def scanned(task: Task) -> Callable[[], float]:
    """One jitted scan over the steps of an epoch, in plain jax and optax."""
    optimizer = optax.sgd(RATE, MOMENTUM)
    x, y = map(jnp.asarray, task.data())

    @jax.jit
    def epoch(params: Any, state: Any, batches: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            J, grads = jax.value_and_grad(plain_cost)(params, x[rows], y[rows])
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), J

        return jax.lax.scan(step, (params, state), batches)

    def run() -> float:
        params = plain_params(task)
        state = optimizer.init(params)
        steps = task.n // task.batch
        jax.block_until_ready(epoch(params, state, np.zeros((steps, task.batch), int)))
        started = time.perf_counter()
        batches = task.batches()
        for _ in range(task.epochs):
            (params, state), J = epoch(params, state, np.stack([next(batches) for _ in range(steps)]))
        jax.block_until_ready((params, J))
        return time.perf_counter() - started

    return run


def equinox_loop(task: Task) -> Callable[[], float]:
    """Equinox's MLP with filter_jit and optax."""
    import equinox as eqx

    keys = jax.random.split(jax.random.key(0), len(task.widths) - 1)
    optimizer = optax.sgd(RATE, MOMENTUM)
    layers: list[Any] = []
    for k, (n_in, n_out) in enumerate(zip(task.widths, task.widths[1:], strict=False)):
        layers += [eqx.nn.Linear(n_in, n_out, key=keys[k]), eqx.nn.Lambda(jax.nn.relu)]
    initial = eqx.nn.Sequential(layers[:-1])
    x, y = task.data()

    def cost(model: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

    @eqx.filter_jit  # type: ignore[untyped-decorator]
    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        J, grads = eqx.filter_value_and_grad(cost)(model, x, y)
        updates, state = optimizer.update(grads, state, model)
        return eqx.apply_updates(model, updates), state, J

    def run() -> float:
        model, state = initial, optimizer.init(eqx.filter(initial, eqx.is_array))
        jax.block_until_ready(step(model, state, x[: task.batch], y[: task.batch])[2])
        started = time.perf_counter()
        for rows in task.batches():
            model, state, J = step(model, state, x[rows], y[rows])
        jax.block_until_ready(J)
        return time.perf_counter() - started

    return run


def flax_loop(task: Task) -> Callable[[], float]:
    """flax.nnx with its jit and optimizer."""
    from flax import nnx

    x, y = task.data()
    layers: list[Any] = []
    for n_in, n_out in zip(task.widths, task.widths[1:], strict=False):
        layers += [nnx.Linear(n_in, n_out, rngs=nnx.Rngs(0)), nnx.relu]

    def cost(model: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @nnx.jit  # type: ignore[untyped-decorator]
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        J, grads = nnx.value_and_grad(cost)(model, x, y)
        optimizer.update(model, grads)
        return J

    model = nnx.Sequential(*layers[:-1])
    optimizer = nnx.Optimizer(model, optax.sgd(RATE, MOMENTUM), wrt=nnx.Param)

    def run() -> float:
        jax.block_until_ready(step(model, optimizer, x[: task.batch], y[: task.batch]))
        started = time.perf_counter()
        for rows in task.batches():
            J = step(model, optimizer, x[rows], y[rows])
        jax.block_until_ready(J)
        return time.perf_counter() - started

    return run


def torch_loop(task: Task) -> Callable[[], float]:
    """PyTorch, eager, as in its tutorials."""
    import torch

    layers: list[Any] = []
    for n_in, n_out in zip(task.widths, task.widths[1:], strict=False):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    x, y = map(torch.from_numpy, task.data())

    def run() -> float:
        started = time.perf_counter()
        for rows in task.batches():
            chosen = torch.from_numpy(rows)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
        return time.perf_counter() - started

    return run


def sklearn_fit(task: Task) -> Callable[[], float]:
    """scikit-learn's MLPClassifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, y = task.data()

    def run() -> float:
        network = MLPClassifier(
            task.widths[1:-1], batch_size=task.batch, solver="sgd", learning_rate_init=RATE, momentum=MOMENTUM,
            nesterovs_momentum=False, alpha=0, max_iter=task.epochs, n_iter_no_change=task.epochs,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            started = time.perf_counter()
            network.fit(x, y)
            return time.perf_counter() - started

    return run


def numpy_loop(task: Task) -> Callable[[], float]:
    """NumPy with its BLAS, by hand, in place where that saves time."""
    x, y = task.data()

    def run() -> float:
        params = [(np.array(W), np.array(b)) for W, b in plain_params(task)]
        speeds = [(np.zeros_like(W), np.zeros_like(b)) for W, b in params]
        started = time.perf_counter()
        for rows in task.batches():
            h = [x[rows]]
            for W, b in params[:-1]:
                a = h[-1] @ W
                a += b
                h.append(np.maximum(a, 0, out=a))
            z = h[-1] @ params[-1][0]
            z += params[-1][1]
            z -= z.max(axis=1, keepdims=True)
            g = np.exp(z, out=z)
            g /= g.sum(axis=1, keepdims=True)
            g[np.arange(len(rows)), y[rows]] -= 1
            g /= len(rows)
            for k in reversed(range(len(params))):
                W, b = params[k]
                grads = h[k].T @ g, g.sum(axis=0)
                if k:
                    g = g @ W.T
                    g *= h[k] > 0
                for speed, grad, value in zip(speeds[k], grads, (W, b), strict=True):
                    speed *= MOMENTUM
                    speed += grad
                    value -= RATE * speed
        return time.perf_counter() - started

    return run


def products_alone(task: Task) -> Callable[[], float]:
    """The matrix products of the steps and nothing else, by NumPy's BLAS, into memory that is there."""
    layers = list(zip(task.widths, task.widths[1:], strict=False))
    rng = np.random.default_rng(0)
    B = task.batch
    sets = [tuple(rng.normal(size=s).astype(np.float32) for s in ((B, i), (i, o), (B, o))) for i, o in layers]
    results = [tuple(np.empty(s, np.float32) for s in ((B, o), (i, o), (B, i))) for i, o in layers]

    def step() -> None:
        for (h, W, g), (a, gW, gh) in zip(sets, results, strict=True):
            np.matmul(h, W, out=a)
            np.matmul(h.T, g, out=gW)
            if h is not sets[0][0]:
                np.matmul(g, W.T, out=gh)

    steps = task.epochs * -(-task.n // task.batch)
    return lambda: steps * seconds(step, min(steps, 50))


def jax_products_alone(task: Task) -> Callable[[], float]:
    """The same by XLA, in one program that does nothing else."""
    layers = list(zip(task.widths, task.widths[1:], strict=False))
    B = task.batch
    sets = [tuple(jnp.ones(s) for s in ((B, i), (i, o), (B, o))) for i, o in layers]

    @jax.jit
    def step(sets: Any) -> Any:
        forward = [(h @ W, h.T @ g) for h, W, g in sets]
        return forward, [g @ W.T for _, W, g in sets[1:]]

    steps = task.epochs * -(-task.n // task.batch)
    return lambda: steps * seconds(lambda: step(sets), min(steps, 50))


def of_several(task: Task, sweep: dict[str, Any] | None = None) -> Callable[[], float]:
    """Training of one network, or of those of a sweep side by side."""
    settings = {
        "data": {"split": {"validation": 0.0, "test": 0.0}},
        "network": {"widths": task.widths, "output": "softmax", "penalty": {"l2": 1e-4}},
        "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
        "training": {"epochs": task.epochs, "batch_size": task.batch},
        **({"sweep": sweep} if sweep else {}),
    }
    data = task.data()
    return lambda: float(fit(settings, data).summary["seconds"]["training"])


PEERS = {
    "jax + optax, a scan over the steps": "scanned",
    "jax + optax, a loop over a jitted step": "jitted_loop",
    "equinox": "equinox_loop",
    "flax.nnx": "flax_loop",
    "PyTorch": "torch_loop",
    "scikit-learn": "sklearn_fit",
    "NumPy": "numpy_loop",
    "the matrix products alone, NumPy": "products_alone",
    "the matrix products alone, jax": "jax_products_alone",
}


def steps_of(task: Task) -> Table:
    """Microseconds a step, ours and of each peer that is installed."""
    workers = {"mlp_jax": Worker(__name__, "ours", task)}
    workers |= {name: Worker(__name__, maker, task) for name, maker in PEERS.items()}
    if task is not SMALL:
        workers["mlp_jax, products: bfloat16"] = Worker(__name__, "ours", task, products="bfloat16")
    steps = task.epochs * -(-task.n // task.batch)
    return compare_workers(f"µs a training step, {task.name}", steps * 1e-6, workers)


def several_together() -> Table:
    """Ten seeds, and 64 networks that differ in rate, penalty and seed, beside one."""
    rates, penalties = [RATE * factor for factor in (0.1, 0.3, 1, 2)], [1e-5, 1e-4, 1e-3, 1e-2]
    workers = {
        "10 seeds": Worker(__name__, "of_several", SMALL, {"seed": "0..9"}),
        "64 networks": Worker(
            __name__,
            "of_several",
            SMALL,
            {"optimizer.learning_rate": rates, "network.penalty.l2": penalties, "seed": "0..3"},
        ),
        "1 network": Worker(__name__, "of_several", SMALL),
    }
    return compare_workers(f"ms of training, {SMALL.name}", 1e-3, workers)
