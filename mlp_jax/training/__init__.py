"""Minibatch training as a program (section 6.5.7): a configuration in, a run out; and its step as a pure function.

Names are loaded when first used, so that errors in a configuration need no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax.training.fitting import fit as fit
    from mlp_jax.training.run import Run as Run
    from mlp_jax.training.run import load as load
    from mlp_jax.training.step import Batch as Batch
    from mlp_jax.training.step import Program as Program
    from mlp_jax.training.step import State as State
    from mlp_jax.training.step import initial_state as initial_state
    from mlp_jax.training.step import take_step as take_step

_HOMES = {
    "fit": "fitting", "Run": "run", "load": "run",
    **dict.fromkeys(("Batch", "Program", "State", "initial_state", "take_step"), "step"),
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlp_jax.training' has no attribute {name!r}")
    return getattr(import_module(f"mlp_jax.training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
