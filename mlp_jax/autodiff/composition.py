"""An operation made of operations: its rules are theirs, by the tracer."""

from collections.abc import Callable
from typing import Any

from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.transforms import vjp


def composed(name: str, f: Callable[..., Any]) -> Operation:
    """The operation that f is, a function of operations: in a graph it is one, and needs no rule of its own.

    Args:
        name: what messages and drawings call it.
        f: of arrays or variables, by position; it returns one array.

    >>> from mlp_jax.autodiff import ops
    >>> norm = composed("norm", lambda x: ops.sqrt(ops.sum(x * x)))
    >>> x = ops.asarray([3.0, 4.0])
    >>> float(norm(x)), norm.gradient(0, 1.0, norm(x), x).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """

    def bprop(g: Any, out: Any, *inputs: Any) -> tuple[Any, ...]:
        return vjp(f, *inputs)[1](g)

    return Operation(name, f, bprop)
