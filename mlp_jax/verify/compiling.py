"""Functions under jit: as a user has them, or compiled soon instead of well, for what runs a few times."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

# The float64 programs of a check run a few dozen times: to compile them well takes longer than to run them.
SOON = {"xla_backend_optimization_level": 0}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same under jit, or as it is where its Python code needs the values."""
    return _with_fallback(jax.jit(function), function)


def compiled_soon(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, for a function that runs a few times; not to be called within another under jit."""
    return _with_fallback(jit_soon(function), function)


def jit_soon(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit`, without the optimization of LLVM where this is a CPU whose XLA knows the option."""
    return jax.jit(function, compiler_options=_options(jax.default_backend()))


def on_device(x: np.ndarray) -> jax.Array:
    """An array of numpy as one of JAX's, in its own dtype. `jnp.asarray` compiles a program for every shape."""
    return jax.device_put(x)


@cache
def _options(backend: str) -> dict[str, Any] | None:
    try:
        if backend == "cpu":
            jax.jit(lambda: 0, compiler_options=SOON)()
            return SOON
    except jax.errors.JaxRuntimeError:  # an XLA without it
        pass
    return None


def _with_fallback(jitted: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        try:
            return with_fresh_caches(lambda: jitted(*args))
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
            return with_fresh_caches(lambda: plain(*args))

    return run


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
