"""Linear algebra, under the names of jax.numpy.linalg; rules by Giles (2008) and, of eigenvectors, Magnus (1985).

Where a derivative does not exist it is not finite: of `eigh`'s vectors and of `svd`'s at equal values, of `inv`, `det`
and `slogdet` at a singular matrix, of `pinv` where the rank changes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff.operation import Array, Operation
from mlp_jax.autodiff.operations.arranging import diagonal, tril, triu
from mlp_jax.autodiff.operations.elementwise import abs, where
from mlp_jax.autodiff.operations.reductions import max, min, sum
from mlp_jax.autodiff.operations.shaping import expand_dims, squeeze, transpose

__all__ = [
    "cholesky", "det", "eigh", "eigvalsh", "inv", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
    "svdvals",
]  # fmt: skip


def _per_row(w: Array) -> Array:
    return expand_dims(w, -1)


def _per_column(w: Array) -> Array:
    return expand_dims(w, -2)


def _on_diagonal(shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(jnp.eye(shape[-1], dtype=bool), shape)


def _diagonal_matrix(w: Array) -> Array:
    return where(_on_diagonal((*w.shape, w.shape[-1])), _per_row(w), 0)


inv: Operation = Operation("inv", jnp.linalg.inv, (lambda g, out, a: -(out.mT @ g @ out.mT),))


def _pinv_rule(g: Array, out: Array, a: Array) -> Array:
    """By Golub and Pereyra (1973), for a rank that stays as it is: −Pᵀ G Pᵀ and what the two null spaces add."""
    of_columns = (g.mT - a @ (out @ g.mT)) @ (out @ out.mT)
    of_rows = (out.mT @ out) @ (g.mT - (g.mT @ out) @ a)
    return of_columns + of_rows - out.mT @ g @ out.mT


pinv = Operation("pinv", jnp.linalg.pinv, (_pinv_rule,))


def _solve_rule(g: Array, out: Array, a: Array, b: Array) -> tuple[Any, Any]:
    g_b = _solve(a.mT, g)
    return -(g_b @ out.mT), g_b


_solve: Operation = Operation("solve", jnp.linalg.solve, _solve_rule)


def solve(a: Array, b: Array) -> Array:
    """The x of a x = b, of vectors (n,) or of columns (…, n, k)."""
    return squeeze(_solve(a, expand_dims(b, -1)), -1) if b.ndim == 1 else _solve(a, b)


def _triangular_rule(g: Array, out: Array, a: Array, b: Array, lower: bool, trans: int) -> tuple[Any, Any]:
    g_b = _triangular(a, g, lower=lower, trans=1 - trans)
    g_a = -(out @ g_b.mT if trans else g_b @ out.mT)
    return tril(g_a) if lower else triu(g_a), g_b


_triangular: Operation = Operation(
    "solve_triangular",
    lambda a, b, lower, trans: jax.scipy.linalg.solve_triangular(a, b, lower=lower, trans=trans),
    _triangular_rule,
)


def solve_triangular(a: Array, b: Array, trans: int | str = 0, lower: bool = False) -> Array:
    """The x of a x = b, or of aᵀ x = b, for a triangular a; of vectors or columns."""
    transposed = int(trans not in (0, "N"))
    columns = expand_dims(b, -1) if b.ndim == 1 else b
    x = _triangular(a, columns, lower=lower, trans=transposed)
    return squeeze(x, -1) if b.ndim == 1 else x


def _cholesky_rule(g: Array, out: Array, a: Array) -> Array:
    """½ L⁻ᵀ (P + Pᵀ) L⁻¹ with P the lower half of Lᵀ G: the diagonal counts half."""
    P = out.mT @ g
    P = tril(P) - 0.5 * _diagonal_matrix(diagonal(P, axis1=-2, axis2=-1))
    return 0.5 * _triangular(out, _triangular(out, P + P.mT, lower=True, trans=1).mT, lower=True, trans=1)


cholesky = Operation("cholesky", jnp.linalg.cholesky, (_cholesky_rule,))
det = Operation("det", jnp.linalg.det, (lambda g, out, a: expand_dims(g * out, (-2, -1)) * inv(a).mT,))
slogdet = Operation("slogdet", jnp.linalg.slogdet, (lambda g, out, a: expand_dims(g[1], (-2, -1)) * inv(a).mT,))


def _reciprocal_off_diagonal(differences: Any) -> Any:
    """1/x off the diagonal, 0 on it."""
    on = _on_diagonal(differences.shape)
    return where(on, 0, 1 / where(on, 1, differences))


def _eigh_rule(g: Array, out: Array, a: Array, UPLO: Any = None) -> Array:
    """V (diag g_w + Vᵀ g_V ∘ F) Vᵀ, symmetric, with F_ij = 1/(w_j − w_i)."""
    (g_w, g_v), (w, v) = g, out
    inner = _diagonal_matrix(g_w) + (v.mT @ g_v) * _reciprocal_off_diagonal(_per_column(w) - _per_row(w))
    full = v @ inner @ v.mT
    return 0.5 * (full + full.mT)


eigh = Operation("eigh", lambda a, UPLO=None: jnp.linalg.eigh(a, UPLO), (_eigh_rule,))


def eigvalsh(a: Array, UPLO: Any = None) -> Array:
    """The eigenvalues of a symmetric matrix, in ascending order."""
    return eigh(a, UPLO=UPLO)[0]


def _svd_rule(g: Array, out: Array, a: Array) -> Array:
    """U (diag g_s + (F ∘ skew Uᵀ g_U) S + S (F ∘ skew Vᵀ g_V)) Vᵀ, and what g_U and g_V have outside of both spaces."""
    (g_u, g_s, g_vt), (u, s, vt) = g, out
    v, g_v = vt.mT, g_vt.mT
    F = _reciprocal_off_diagonal((_per_column(s) - _per_row(s)) * (_per_column(s) + _per_row(s)))
    of_u, of_v = u.mT @ g_u, v.mT @ g_v
    inner = (F * (of_u - of_u.mT)) * _per_column(s) + _per_row(s) * (F * (of_v - of_v.mT)) + _diagonal_matrix(g_s)
    full = u @ inner @ vt
    if a.shape[-2] > a.shape[-1]:
        full = full + ((g_u - u @ of_u) / _per_column(s)) @ vt
    if a.shape[-2] < a.shape[-1]:
        full = full + (u / _per_column(s)) @ (g_v - v @ of_v).mT
    return full


class SVD(NamedTuple):
    """A = U diag(S) Vh."""

    U: Any
    S: Any
    Vh: Any


_svd = Operation("svd", lambda a: SVD(*jnp.linalg.svd(a, full_matrices=False)), (_svd_rule,))


def svd(a: Array, full_matrices: bool = False, compute_uv: bool = True) -> Array:
    """U, S and Vh of the thin decomposition, or S alone; all of U and Vh, `full_matrices`, has no derivative.

    Raises:
        ValueError: full_matrices with the vectors.
    """
    if full_matrices and compute_uv:
        raise ValueError("the vectors of svd are differentiable with full_matrices=False alone")
    return _svd(a) if compute_uv else _svd(a)[1]


def svdvals(a: Array) -> Array:
    """The singular values, in descending order."""
    return _svd(a)[1]


def _qr_rule(g: Array, out: Array, a: Array) -> Array:
    """(g_Q + Q copyltu M) R⁻ᵀ with M = R g_Rᵀ − g_Qᵀ Q, for at least as many rows as columns."""
    (g_q, g_r), (q, r) = g, out
    if a.shape[-2] < a.shape[-1]:
        raise NotImplementedError(f"qr has a rule for at least as many rows as columns, got {a.shape}")
    M = r @ triu(g_r).mT - g_q.mT @ q
    symmetric = tril(M) + tril(M, -1).mT
    return _triangular(r, (g_q + q @ symmetric).mT, lower=False, trans=0).mT


qr = Operation("qr", jnp.linalg.qr, (_qr_rule,))


def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """A norm of vectors or matrices, as `jax.numpy.linalg.norm`; the derivative of the Euclidean one at 0 is nan."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if ord in (None, "fro") or (ord == 2 and len(axes) == 1):
        return sum(x * x, axes, keepdims=keepdims) ** 0.5
    if len(axes) == 1:
        if ord in (np.inf, -np.inf):
            return (max if ord > 0 else min)(abs(x), axes, keepdims=keepdims)
        return sum(abs(x) ** ord, axes, keepdims=keepdims) ** (1 / ord)
    if len(axes) != 2:
        raise ValueError(f"norm has no order {ord!r} for {len(axes)} axes of an array of {x.ndim}")
    others = [k for k in range(x.ndim) if k not in [axis % x.ndim for axis in axes]]
    of_matrices = _matrix_norm(transpose(x, (*others, *axes)), ord)
    return expand_dims(of_matrices, axes) if keepdims else of_matrices


def _matrix_norm(x: Array, ord: Any) -> Array:
    if ord in ("nuc", 2, -2):
        s = svdvals(x)
        return sum(s, -1) if ord == "nuc" else s[..., 0 if ord == 2 else -1]
    sums = sum(abs(x), -2 if ord in (1, -1) else -1)
    return (max if ord > 0 else min)(sums, -1)
