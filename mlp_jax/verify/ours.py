"""What the checker knows of the rest of this package: its operations, and its units. No other file here imports it.

All else in this folder is JAX and numpy alone. What is here is loaded only where a program has loaded it already, or a
fault in a network is to be named.
"""

import sys
from collections.abc import Callable
from typing import Any


def is_operation(f: Any) -> bool:
    """Whether f is an operation, and so has bprop rules of its own."""
    if "mlp_jax.autodiff" not in sys.modules:
        return False
    from mlp_jax.autodiff import Operation

    return isinstance(f, Operation)


def beneath(f: Any) -> Any:
    """The function of arrays beneath an operation's rules; any other as it is."""
    return f.f if is_operation(f) else f


def is_of_operations(outputs: Callable[[list[Any]], list[Any]], leaves: list[Any]) -> bool:
    """Whether a function computes with our operations, and with Python's operators, alone."""
    if "mlp_jax.autodiff" not in sys.modules:
        return False
    from mlp_jax.autodiff import trace

    try:
        graph = trace(outputs, leaves)
    except Exception:  # it is another's function: whatever it raises on variables of a graph
        return False
    return any(graph.operation_of(v) is not None for v in graph.variables)


def vjp(outputs: Callable[[list[Any]], list[Any]], leaves: list[Any]) -> Any:
    """The tracer's vjp: Algorithms 6.5 and 6.6."""
    from mlp_jax import autodiff

    return autodiff.vjp(outputs, leaves)


def elementwise_units() -> dict[str, Callable[[Any], Any]]:
    """Units h = f(a), entry by entry: what a hidden layer may be made of."""
    from mlp_jax.mlp.hidden_units import HIDDEN_UNITS

    return {unit.name: unit for unit in HIDDEN_UNITS.values() if unit.is_elementwise}
