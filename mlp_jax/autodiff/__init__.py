"""Back-propagation through any function of the operations (section 6.5)."""

from mlp_jax.autodiff import ops, scalar
from mlp_jax.autodiff.backprop import gradient
from mlp_jax.autodiff.control import checkpoint, vmap
from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.operation import Operation, TracingError, zero
from mlp_jax.autodiff.operations.adapter import jax_operation
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.transforms import composed, grad, hessian, hvp, jacobian, jvp, stop_gradient, value_and_grad, vjp
from mlp_jax.autodiff.variable import Variable, named

__all__ = [
    "Graph", "Operation", "TracingError", "Variable", "checkpoint", "composed", "grad", "gradient", "hessian", "hvp",
    "jacobian", "jax_operation", "jvp", "named", "ops", "scalar", "stop_gradient", "trace", "value_and_grad", "vjp",
    "vmap", "zero",
]  # fmt: skip
