"""Back-propagation through any function of the operations (section 6.5)."""

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.operations import Operation

__all__ = ["Operation", "ops"]
