"""Functions under jit: as a user has them, or compiled soon instead of well, for what runs a few times."""

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

# The float64 programs of a check run a few dozen times, and to compile them well takes longer than that. Without LLVM's
# optimization it takes half the time, and without XLA's newer emitter of loops a quarter. Their numbers are as precise,
# and they run at most twice as long; but not convolutions, which would run 20 times as long.
SOON = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}

Jit = Callable[[Callable[..., Any]], Callable[..., Any]]


def compiled(function: Callable[..., Any], jit: Jit = jax.jit) -> Callable[..., Any]:
    """The same under jit, or as it is where its Python code needs the values."""
    jitted = jit(function)

    def run(*args: Any) -> Any:
        try:
            return with_fresh_caches(lambda: jitted(*args))
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
            return with_fresh_caches(lambda: function(*args))

    return run


def jit_soon(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` with the options of `SOON`, where this is a CPU whose XLA knows them; not to be used within a jit."""
    return jax.jit(function, compiler_options=_options(jax.default_backend()))


def on_device(x: np.ndarray) -> jax.Array:
    """An array of numpy as one of JAX's, in its own dtype. `jnp.asarray` compiles a program for every shape."""
    return jax.device_put(x)


@cache
def _options(backend: str) -> dict[str, Any] | None:
    known: dict[str, Any] = {}
    for option, value in SOON.items() if backend == "cpu" else ():
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # an XLA without it
            jax.jit(lambda: 0, compiler_options={option: value})()
            known[option] = value
    return known or None


def with_fresh_caches(run: Callable[[], Any]) -> Any:
    """run(), once more without JAX's caches if they confused 32 and 64 bits.

    JAX 0.10 keeps the program of an operation on a float64 array of numpy, which a function closes over, from the one
    mode to the other, and then fails.
    """
    try:
        return run()
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        if not any(sign in str(error) for sign in ("verifier errors", "RuntimeProgramInputMismatch")):
            raise
        jax.clear_caches()
        return run()
