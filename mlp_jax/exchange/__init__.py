"""At home with others: models out, as ONNX, StableHLO or a NumPy file, and weights in and out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax.exchange.models import export as export
    from mlp_jax.exchange.weights.files import from_safetensors as from_safetensors
    from mlp_jax.exchange.weights.files import to_safetensors as to_safetensors
    from mlp_jax.exchange.weights.others import from_equinox as from_equinox
    from mlp_jax.exchange.weights.others import from_flax as from_flax
    from mlp_jax.exchange.weights.others import from_sklearn as from_sklearn
    from mlp_jax.exchange.weights.torch import from_torch as from_torch
    from mlp_jax.exchange.weights.torch import to_torch as to_torch

_HOMES = {
    "export": "models",
    "from_equinox": "weights.others",
    "from_flax": "weights.others",
    "from_safetensors": "weights.files",
    "from_sklearn": "weights.others",
    "from_torch": "weights.torch",
    "to_safetensors": "weights.files",
    "to_torch": "weights.torch",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlp_jax.exchange' has no attribute {name!r}")
    return getattr(import_module(f"mlp_jax.exchange.{_HOMES[name]}"), name)
