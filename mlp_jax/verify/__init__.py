"""Is this gradient right, and if not, what is wrong with it."""

from mlp_jax.verify.auditing.audit import audit
from mlp_jax.verify.checks import check_grad, check_vjp
from mlp_jax.verify.forward import check_jvp
from mlp_jax.verify.intentions import intended
from mlp_jax.verify.matrices import check_hvp, check_jacobian
from mlp_jax.verify.mutation import Mutations, mutate
from mlp_jax.verify.report import CannotCheck, GradientError, Leaf, Report, Verdict
from mlp_jax.verify.transforms import check_transforms

__all__ = [
    "CannotCheck",
    "GradientError",
    "Leaf",
    "Mutations",
    "Report",
    "Verdict",
    "audit",
    "check_grad",
    "check_hvp",
    "check_jacobian",
    "check_jvp",
    "check_transforms",
    "check_vjp",
    "intended",
    "mutate",
]
