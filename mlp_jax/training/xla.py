"""How XLA compiles single programs: options of theirs alone, for its flags are the process's and stay as they are."""

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, wraps
from typing import Any

import jax

from mlp_jax.mlp.structure import MLP

# On a CPU; what each gains is in docs/speed.md.
SOONER_COMPILED = (("xla_backend_optimization_level", 1),)
_FOR_SMALL_PRODUCTS = (*SOONER_COMPILED, ("xla_cpu_multi_thread_eigen", False))
_FOR_TINY_PRODUCTS = (*_FOR_SMALL_PRODUCTS, ("xla_cpu_experimental_ynn_fusion_type", ""))  # by loops of XLA's own

_KEPT = 128  # programs: those of about thirty networks, of 10 MB each

# Operations of the largest matrix product of a step, by measurement on two cores: up to the first, XLA's own loops pay
# for narrow layers with few weights; up to the second, its options for small products; up to the third, one thread for
# each of several trainings: beyond, one program keeps all cores busy.
_VERY_FEW, _FEW, _SOME = 2**19, 2**20, 2**24
_NARROW, _FEW_WEIGHTS = 64, 2**11


@lru_cache(_KEPT)
def jitted(
    function: Callable[..., Any], static: tuple[str, ...], of: Hashable, options: tuple[tuple[str, Any], ...] = ()
) -> Any:
    """`jax.jit` of a function, with the options where this is a CPU whose XLA knows them.

    One for each network `of` which it is: what JAX keeps of a function goes with it, so that a process in which a
    thousand networks are trained keeps the programs of the last ones.
    """

    @wraps(function)
    def of_network(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    known = options if jax.default_backend() == "cpu" and _are_known(options) else ()
    return jax.jit(of_network, static_argnames=static, compiler_options=dict(known) or None)


@cache
def _are_known(options: tuple[tuple[str, Any], ...]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options))()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@contextmanager
def compiling(*programs: Any) -> Iterator[None]:
    """Compile what `jax.jit(f).lower` gave beside what the block does: later calls of f find it compiled.

    Tracing holds Python's lock, XLA does not; and it is traced here, for JAX's settings are those of a thread.
    """
    with ThreadPoolExecutor(1) as pool:
        with suppress(RuntimeError):  # the interpreter is ending, and starts no thread: compiled at the first call
            for program in programs:
                pool.submit(program.compile)
        yield


def options_for_steps(net: MLP, batch_size: int) -> tuple[tuple[str, Any], ...]:
    """The options that suit the program of a network's training steps."""
    layers, operations = _layers(net), _largest_product(net, batch_size)
    is_tiny = max(map(max, layers)) <= _NARROW and max(n * m for n, m in layers) <= _FEW_WEIGHTS
    if is_tiny and operations <= _VERY_FEW:
        return _FOR_TINY_PRODUCTS
    return _FOR_SMALL_PRODUCTS if operations <= _FEW else ()


def threads_pay(net: MLP, batch_size: int) -> bool:
    """Whether several trainings of this size side by side, each in a thread, take less time than one after another."""
    return jax.default_backend() == "cpu" and not is_debugging() and _largest_product(net, batch_size) <= _SOME


def _largest_product(net: MLP, batch_size: int) -> int:
    return max(2 * batch_size * n * m for n, m in _layers(net))


def _layers(net: MLP) -> list[tuple[int, int]]:
    """The shapes of the weights, without rows for categories, which are looked up."""
    return [(net.inputs, net.shapes[0][1]), *net.shapes[1:]]


def is_debugging() -> bool:
    """Whether a setting is on that JAX heeds only where it compiles or runs a program by itself."""
    config: Any = jax.config
    return bool(config.jax_disable_jit or config.jax_debug_nans or config.jax_debug_infs)
