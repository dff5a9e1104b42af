"""Functions of JAX as operations: their rule is `jax.vjp`, to any order."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff.operation import Operation, Traced


def by_jax(name: str, f: Callable[..., Any]) -> Operation:
    """The operation of f, a function (*arrays, **attributes) of JAX that returns a pytree; each order is one more."""

    def bprop(g: Any, out: Any, *inputs: Any, **attributes: Any) -> Any:
        arriving, structure = jax.tree.flatten(g)

        def pulled_back(*xs: Any) -> tuple[Any, ...]:
            g, inputs = jax.tree.unflatten(structure, xs[: len(arriving)]), xs[len(arriving) :]
            return pull_back(jax.vjp, functools.partial(f, **attributes), inputs, g)

        return by_jax(f"∂{name}", pulled_back)(*arriving, *inputs)

    return Operation(name, f, bprop)


def pull_back(vjp: Callable[..., Any], f: Callable[..., Any], inputs: tuple[Any, ...], g: Any) -> tuple[Any, ...]:
    """The gradients of f's inputs, from those of its value; None stands for that of what is no real number."""
    out, pullback = vjp(f, *inputs)
    arriving = jax.tree.map(lambda y, each: np.zeros(y.shape, jax.dtypes.float0) if each is None else each, out, g)
    return tuple(each if is_real(x) else None for x, each in zip(inputs, pullback(arriving), strict=True))


def is_real(x: Any) -> bool:
    """Whether x is of floating-point numbers, for which there are gradients."""
    return bool(jnp.issubdtype(x.dtype if hasattr(x, "dtype") else jnp.result_type(x), jnp.floating))


def jax_operation(f: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Any function of JAX as an operation whose rule is `jax.vjp`: one that `ops` has not, or that JAX has transformed.

    Args:
        f: a function of JAX: of `jax.numpy`, under `jax.jit` or `jax.vmap`, with a `jax.custom_vjp`; of pytrees of
            arrays, and of anything else that is static. It must be given all variables that it reads.
        name: what messages and drawings call it, after "jax."; that of the function if None.

    >>> from mlp_jax.autodiff import grad, trace
    >>> sinc = jax_operation(jnp.sinc)
    >>> round(float(grad(grad(sinc))(0.0)), 3)  # −π²/3
    -3.29
    >>> print(trace(sinc, 1.0))
    graph: 1 input, 1 operation, 1 output
      x: float32[]
      J: float32[] = jax.sinc(x)
    returns J
    """
    called = f"jax.{name or getattr(f, '__name__', type(f).__name__)}"

    @functools.wraps(f)
    def operation(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = jax.tree.flatten((args, kwargs))
        places = [
            k for k, x in enumerate(leaves) if isinstance(x, Traced | jax.Array | np.ndarray | np.generic | float)
        ]

        def of_arrays(*arrays: Any) -> Any:
            full = list(leaves)
            for k, x in zip(places, arrays, strict=True):
                full[k] = x
            args, kwargs = jax.tree.unflatten(structure, full)
            return f(*args, **kwargs)

        return by_jax(called, of_arrays)(*(leaves[k] for k in places))

    return operation
