"""Is this gradient right, and if not, what is wrong with it."""

from mlp_jax.verify.checks import check_grad, check_vjp
from mlp_jax.verify.report import CannotCheck, GradientError, Leaf, Report, Verdict

__all__ = [
    "CannotCheck",
    "GradientError",
    "Leaf",
    "Report",
    "Verdict",
    "check_grad",
    "check_vjp",
]
