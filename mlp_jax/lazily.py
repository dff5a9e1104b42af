"""JAX and the operations, imported when they are first used: for registries that a configuration is checked against.

A wrong configuration is told in a third of the time that importing JAX takes. A file that takes names from here has
`from __future__ import annotations`, for an annotation such as `jax.Array` would import JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["jax", "jnp", "np", "ops"]


class _Module:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from mlp_jax.autodiff import ops
else:
    jax, jnp, np, ops = map(_Module, ("jax", "jax.numpy", "numpy", "mlp_jax.autodiff.ops"))
