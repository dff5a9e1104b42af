"""Algorithm 6.4 beside jax.grad of the same cost: to trace, to compile, to run, and the memory, by depth."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import mlp_jax
from benchmarks.timing import Row, Table, compare, seconds

NETWORKS = {
    "64-32-10, batch 32": ((64, 32, 10), 32),
    "784-512-512-10, batch 128": ((784, 512, 512, 10), 128),
    "depth 3, width 64, batch 64": ((64,) * 3 + (10,), 64),
    "depth 30, width 64, batch 64": ((64,) * 30 + (10,), 64),
    "depth 300, width 64, batch 64": ((64,) * 300 + (10,), 64),
}


def of_network(name: str, widths: tuple[int, ...], n: int) -> list[Table]:
    """Four tables for one network."""
    net = mlp_jax.MLP(widths, output="softmax", penalty=mlp_jax.L2(1e-4), skip=len(widths) > 5)
    params = mlp_jax.init(net, jax.random.key(0), stacked=len(widths) > 64)
    x = jax.random.normal(jax.random.key(1), (n, widths[0]))
    y = jax.random.randint(jax.random.key(2), (n,), 0, widths[-1])
    functions = {
        "Algorithm 6.4": mlp_jax.loss_and_grad,
        "jax.value_and_grad(loss)": jax.value_and_grad(mlp_jax.loss, argnums=1),
    }

    def fresh(f: Callable[..., Any]) -> Any:
        return jax.jit(lambda params, x, y: f(net, params, x, y))

    def to_trace(f: Callable[..., Any]) -> float:
        return seconds(lambda: fresh(f).trace(params, x, y), 3)

    def to_compile(f: Callable[..., Any]) -> float:
        started = time.perf_counter()
        fresh(f).lower(params, x, y).compile()
        return time.perf_counter() - started

    def to_run(compiled: Any) -> float:
        return seconds(lambda: compiled(params, x, y), 50)

    compiled = {peer: fresh(f).lower(params, x, y).compile() for peer, f in functions.items()}
    memory = {peer: program.memory_analysis().temp_size_in_bytes / 1e3 for peer, program in compiled.items()}
    first = next(iter(memory.values()))
    sizes = Table(f"kB of temporary memory, {name}", [Row(p, size, *[size / first] * 3) for p, size in memory.items()])
    print(f"\n{sizes}", flush=True)
    return [
        compare(f"µs to run, {name}", 1e-6, {p: partial(to_run, c) for p, c in compiled.items()}),
        compare(f"ms to trace, {name}", 1e-3, {p: partial(to_trace, f) for p, f in functions.items()}),
        compare(
            f"ms to trace, lower and compile, {name}", 1e-3, {p: partial(to_compile, f) for p, f in functions.items()}
        ),
        sizes,
    ]


def tables() -> list[Table]:
    """Those of all networks."""
    return [table for name, network in NETWORKS.items() for table in of_network(name, *network)]
