"""What the checker knows of the rest of this package: its operations, and its units. No other file here imports it.

All else in this folder is JAX and numpy alone, and so is what is imported here.
"""

from collections.abc import Callable
from typing import Any

from mlp_jax.autodiff import Operation, trace
from mlp_jax.autodiff import vjp as vjp
from mlp_jax.autodiff.tracing import input_names as input_names
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS

# Units h = f(a), entry by entry: what a hidden layer may be made of.
ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    unit.name: unit for unit in HIDDEN_UNITS.values() if unit.is_elementwise
}


def is_operation(f: Any) -> bool:
    """Whether f is an operation, and so has bprop rules of its own."""
    return isinstance(f, Operation)


def beneath(f: Any) -> Any:
    """The function of arrays beneath an operation's rules; any other as it is."""
    return f.f if isinstance(f, Operation) else f


def is_of_operations(outputs: Callable[[list[Any]], list[Any]], leaves: list[Any]) -> bool:
    """Whether a function computes with our operations, and with Python's operators, alone."""
    try:
        graph = trace(outputs, leaves)
    except Exception:  # it is another's function: whatever it raises on variables of a graph
        return False
    return any(graph.operation_of(v) is not None for v in graph.variables)
