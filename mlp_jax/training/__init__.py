"""Minibatch training as a program (section 6.5.7): a configuration in, a run out.

Names are loaded when first used, so that errors in a configuration need no JAX.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax.training.fitting import fit
    from mlp_jax.training.run import Run, load

__all__ = ["Run", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlp_jax.training' has no attribute {name!r}")
    from mlp_jax.training import fitting, run

    return getattr(fitting if name == "fit" else run, name)
