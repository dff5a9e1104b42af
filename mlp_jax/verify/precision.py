"""Float64 for a while, without changing the process; and how precise a function's own numbers are."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FLOAT32 = 2.0**-23
FLOAT64 = 2.0**-52


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """64-bit numbers and plain promotion within the block and this thread; the process is left as it was."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def is_float(dtype: Any) -> bool:
    """Whether a dtype is one of real floating-point numbers, those of half precision included."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def limits(dtype: Any) -> Any:
    """What numpy.finfo tells, of half precision, too."""
    return jnp.finfo(dtype)  # type: ignore[no-untyped-call]


def eps(dtype: Any) -> float:
    """The distance from 1 to the next number."""
    return float(limits(dtype).eps)


def largest(x: np.ndarray, axis: int | tuple[int, ...] | None = None) -> Any:
    """The largest size of the entries that are finite, 0 if there are none."""
    return np.max(np.abs(np.where(np.isfinite(x), x, 0)), axis=axis, initial=0.0)


class Program(NamedTuple):
    """What a function does, read off its jaxpr: its coarsest numbers, and what cuts or replaces derivatives."""

    eps: float = FLOAT64
    stops: bool = False  # it has a stop_gradient
    custom: bool = False  # it has a custom_vjp or a custom_jvp
    loops: bool = False  # it has a loop that ends when something is reached
    convolves: bool = False


def inspect_program(f: Any, *args: Any) -> Program | None:
    """Trace f in float64, and look; None if JAX cannot trace it."""
    try:
        with float64():
            program = Program()
            for equation in _equations(jax.make_jaxpr(f)(*args)):
                name = equation.primitive.name
                dtypes = [getattr(v.aval, "dtype", np.int32) for v in equation.outvars]
                coarsest = max((eps(dtype) for dtype in dtypes if is_float(dtype)), default=0.0)
                program = Program(
                    max(program.eps, coarsest),
                    program.stops or name == "stop_gradient",
                    program.custom or name.startswith(("custom_vjp", "custom_jvp", "custom_lin")),
                    program.loops or name == "while",
                    program.convolves or name == "conv_general_dilated",
                )
            return program
    except Exception:  # whatever a user's function raises when traced
        return None


def same_program(f: Any, *args: Any) -> bool:
    """Whether tracing f twice gives the same program with the same constants."""
    texts, constants = [], []
    try:
        for _ in range(2):
            jaxpr = jax.make_jaxpr(lambda *xs: f(*xs))(*args)
            texts.append(re.sub(r"0x[0-9a-f]+", "", str(jaxpr)))
            constants.append([np.asarray(c) for c in jaxpr.consts])
    except Exception:  # it cannot be traced
        return False
    return texts[0] == texts[1] and all(np.array_equal(a, b) for a, b in zip(*constants, strict=True))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr, those of inner ones (of scan, cond, jit) included."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                if hasattr(inner, "eqns") or hasattr(getattr(inner, "jaxpr", None), "eqns"):
                    yield from _equations(inner)
