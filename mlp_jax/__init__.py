"""mlp_jax: multilayer perceptrons as pure JAX functions, with a back-propagation that you can read.

Names are loaded when first used, so that `mlp-jax --help` and errors in a configuration need no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax import autodiff, verify
    from mlp_jax.mlp.network import MLP, Layer, Tape, backward, forward, init, loss, loss_and_grad, predict
    from mlp_jax.mlp.penalties import L1, L2

__version__ = "0.1.0"
__all__ = [
    "L1",
    "L2",
    "MLP",
    "Layer",
    "Tape",
    "autodiff",
    "backward",
    "forward",
    "init",
    "loss",
    "loss_and_grad",
    "predict",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlp_jax' has no attribute {name!r}")
    if name in ("autodiff", "verify"):
        return import_module(f"mlp_jax.{name}")
    home = "penalties" if name in ("L1", "L2") else "network"
    return getattr(import_module(f"mlp_jax.mlp.{home}"), name)
