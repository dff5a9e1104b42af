"""mlp_jax: multilayer perceptrons as pure JAX functions, with a back-propagation that you can read.

Names are loaded when first used, so that `mlp-jax --help` and errors in a configuration need no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax import autodiff, verify
    from mlp_jax.mlp import hidden_units, output_units
    from mlp_jax.mlp.network import (
        Tape,
        backward,
        forward,
        log_density,
        loss,
        loss_and_grad,
        parameters,
        predict,
        sample,
    )
    from mlp_jax.mlp.parameters import Layer, LayerWithTheta, init, stack, unstack
    from mlp_jax.mlp.penalties import L1, L2, ElasticNet
    from mlp_jax.mlp.structure import MLP

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "MLP",
    "ElasticNet",
    "Layer",
    "LayerWithTheta",
    "Tape",
    "autodiff",
    "backward",
    "forward",
    "hidden_units",
    "init",
    "log_density",
    "loss",
    "loss_and_grad",
    "output_units",
    "parameters",
    "predict",
    "sample",
    "stack",
    "unstack",
    "verify",
]

_MODULES = {
    "autodiff": "autodiff", "verify": "verify", "hidden_units": "mlp.hidden_units", "output_units": "mlp.output_units"
}  # fmt: skip
_HOMES = {
    "MLP": "structure",
    **dict.fromkeys(("L1", "L2", "ElasticNet"), "penalties"),
    **dict.fromkeys(("Layer", "LayerWithTheta", "init", "stack", "unstack"), "parameters"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlp_jax' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"mlp_jax.{_MODULES[name]}")
    return getattr(import_module(f"mlp_jax.mlp.{_HOMES.get(name, 'network')}"), name)
