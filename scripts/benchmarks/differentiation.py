"""mlp_jax.autodiff.grad beside jax.grad: under jit, and operation by operation beside autograd and torch."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.timing import Table, compare, seconds
from mlp_jax import autodiff


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


def compiled_gradients(name: str, program: Callable[[Any], Any], args: tuple[Any, ...]) -> list[Table]:
    """Tables for the gradient of a program under jit."""

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
    for peer, gradient in compiled.items():
        print(f"{peer}, {name}: {gradient.cost_analysis()['flops']:,.0f} flops")
    return [
        compare(f"ms to trace, {name}", 1e-3, {peer: trace(make) for peer, make in peers.items()}),
        compare(f"µs to run, {name}", 1e-6, {peer: run(program) for peer, program in compiled.items()}),
    ]


def eager_gradients(n: int) -> Table:
    """The gradient without jit, on n entries; torch on one thread."""
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
    return compare(f"µs an operation, chain of 1,000 on {n:,} entries", 1e-3, timed)


def tables() -> list[Table]:
    """All of them."""
    layers = zip((784, 512, 512), (512, 512, 10), strict=True)
    params = [(normal(n, m) / n**0.5, jax.numpy.zeros(m)) for n, m in layers]
    y = jax.nn.one_hot(jax.numpy.arange(128) % 10, 10)
    return [
        *compiled_gradients("MLP 784-512-512-10, batch 128", mlp, (params, normal(128, 784), y)),
        *compiled_gradients("200 mixed operations", mixed_program, (normal(32, 32) / 6, normal(1, 32), normal(64, 32))),
        *(eager_gradients(n) for n in (1, 1_000, 1_000_000)),
    ]
