"""Sums of products: matrices and tensors. For C = A B the rules are ∇_A = G Bᵀ and ∇_B = Aᵀ G (section 6.5.6)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff.operation import Array, Operation, innermost
from mlp_jax.autodiff.operations.elementwise import mul
from mlp_jax.autodiff.operations.shaping import expand_dims, reshape, squeeze, transpose

__all__ = ["affine", "dot", "einsum", "inner", "kron", "matmul", "tensordot"]


def _matmul_rule_a(g: Array, out: Array, a: Array, b: Array, out_sharding: Any = None, **how: Any) -> Array:
    if b.ndim == 1:
        return matmul(expand_dims(g, -1), expand_dims(b, 0), **how) if a.ndim > 1 else g * b
    if a.ndim == 1:
        return squeeze(matmul(b, expand_dims(g, -1), **how), -1)
    return _laid_out_as(a, g, b.mT, how)


def _matmul_rule_b(g: Array, out: Array, a: Array, b: Array, out_sharding: Any = None, **how: Any) -> Array:
    if a.ndim == 1:
        return g * a if b.ndim == 1 else matmul(expand_dims(a, -1), expand_dims(g, -2), **how)
    if b.ndim == 1:
        return squeeze(matmul(a.mT, expand_dims(g, -1), **how), -1)
    return _laid_out_as(b, a.mT, g, how)


def _laid_out_as(x: Array, left: Any, right: Any, how: dict[str, Any]) -> Array:
    """The product of two matrices that is the gradient of x, in the layout of x on a mesh with explicit axes.

    There, a product over a sharded axis must be told its result's layout. On other meshes the compiler decides.
    """
    x = innermost(x)
    sharding = x.sharding if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x).sharding
    explicit = sharding is not None and jax.sharding.AxisType.Explicit in sharding.mesh.axis_types
    if explicit and left.ndim == right.ndim == 2:
        how = {**how, "out_sharding": sharding}
    return matmul(left, right, **how)


# `precision` and `preferred_element_type`, where given, hold for the products of the gradient, too.
matmul: Operation = Operation("matmul", jnp.matmul, (_matmul_rule_a, _matmul_rule_b))

# Algorithm 6.3, "a ← b + W h", for rows that are examples: h (n, n_in), W (n_in, n_out), b (n_out,).
affine = Operation(
    "affine",
    lambda h, W, b: h @ W + jnp.expand_dims(b, 0),
    (
        lambda g, out, h, W, b: _matmul_rule_a(g, out, h, W),
        lambda g, out, h, W, b: _matmul_rule_b(g, out, h, W),
        lambda g, out, h, W, b: g,
    ),
)


# --- sums of products in Einstein's notation --------------------------------------------------------


def _einsum_rule(g: Array, out: Array, *operands: Any, subscripts: str, **how: Any) -> tuple[Any, ...]:
    terms, result = explicit_indices(subscripts, operands)
    return tuple(_einsum_gradient(i, g, terms, result, operands, how) for i in range(len(operands)))


def _einsum_gradient(i: int, g: Array, terms: list[str], result: str, operands: tuple[Any, ...], how: Any) -> Any:
    """Another sum of products: g with the other operands.

    An index of operand i that they do not have was summed alone, so its gradient is repeated along it; an index that
    operand i has twice named a diagonal, so its gradient is 0 off the diagonal.
    """
    x, term = operands[i], terms[i]
    others = [(t, o) for j, (t, o) in enumerate(zip(terms, operands, strict=True)) if j != i]
    distinct = ""
    for k, letter in enumerate(term):
        if letter in distinct:
            fresh = next(c for c in _LETTERS if c not in "".join(terms) + distinct)
            others.append((letter + fresh, jnp.eye(x.shape[k], dtype=g.dtype)))
            letter = fresh
        elif max((y.shape[t.index(letter)] for t, y in [(result, g), *others] if letter in t), default=-1) < x.shape[k]:
            others.append((letter, jnp.ones(x.shape[k], g.dtype)))
        distinct += letter
    inputs = ",".join([result, *(t for t, _ in others)])
    return _einsum(g, *(o for _, o in others), subscripts=f"{inputs}->{distinct}", **how)


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_indices(subscripts: str, operands: Sequence[Any]) -> tuple[list[str], str]:
    """The indices of each operand and of the result, with letters for `...` and for a result that is not written."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    unused = [c for c in _LETTERS if c not in subscripts]
    longest = ""
    for k, (term, x) in enumerate(zip(terms, operands, strict=True)):
        if "..." in term:
            count = x.ndim - len(term) + 3
            letters = "".join(unused[:count])[::-1]  # counted from the right, as broadcasting does
            longest = max(longest, letters, key=len)
            terms[k] = term.replace("...", letters)
    if arrow:
        return terms, result.replace("...", longest)
    once = sorted(c for c in set("".join(terms)) - set(longest) if "".join(terms).count(c) == 1)
    return terms, longest + "".join(once)


_einsum: Operation = Operation(
    "einsum", lambda *operands, subscripts, **how: jnp.einsum(subscripts, *operands, **how), _einsum_rule
)


def einsum(subscripts: Any, *operands: Any, **how: Any) -> Any:
    """A sum of products, as in `einsum("ij,jk->ik", a, b)` or `einsum(a, [0, 1], b, [1, 2], [0, 2])`.

    `precision` and `preferred_element_type` are passed on, and to the products of its gradient.
    """
    if not isinstance(subscripts, str):
        arguments = (subscripts, *operands)
        terms = ["".join("..." if k is Ellipsis else _LETTERS[k] for k in term) for term in arguments[1::2]]
        result = arguments[2 * len(terms) :]
        operands = arguments[: 2 * len(terms) : 2]
        subscripts = ",".join(terms)
        if result:
            subscripts += "->" + "".join("..." if k is Ellipsis else _LETTERS[k] for k in result[0])
    return _einsum(*operands, subscripts=subscripts, **how)


def tensordot(a: Array, b: Array, axes: int | Sequence[Any] = 2, **how: Any) -> Array:
    """Sum products over the last `axes` axes of a and the first of b, or over pairs of axes."""
    of_a: Sequence[int]
    of_b: Sequence[int]
    if isinstance(axes, int):
        of_a, of_b = range(a.ndim - axes, a.ndim), range(axes)
    else:
        of_a, of_b = ([entry] if isinstance(entry, int) else entry for entry in axes)
    letters_a, letters_b = list(_LETTERS[: a.ndim]), list(_LETTERS[a.ndim : a.ndim + b.ndim])
    for k, j in zip(of_a, of_b, strict=True):
        letters_b[j] = letters_a[k]
    result = [c for c in letters_a + letters_b if (c in letters_a) != (c in letters_b)]
    return einsum(f"{''.join(letters_a)},{''.join(letters_b)}->{''.join(result)}", a, b, **how)


def dot(a: Array, b: Array, **how: Any) -> Array:
    """The sum of products over the last axis of a and the last but one of b; of scalars, their product."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return mul(a, b)
    return matmul(a, b, **how) if b.ndim <= 2 else tensordot(a, b, ([a.ndim - 1], [b.ndim - 2]), **how)


def inner(a: Array, b: Array) -> Array:
    """The sum of products over the last axes of both; of scalars, their product."""
    return mul(a, b) if np.ndim(a) == 0 or np.ndim(b) == 0 else tensordot(a, b, (-1, -1))


def kron(a: Array, b: Array) -> Array:
    """The Kronecker product: b, times each entry of a; the one of fewer axes gets more in front."""
    n = max(a.ndim, b.ndim)
    a, b = (reshape(x, (1,) * (n - x.ndim) + tuple(x.shape)) for x in (a, b))
    products = tensordot(a, b, 0)  # (*a.shape, *b.shape)
    order = [axis for pair in zip(range(n), range(n, 2 * n), strict=True) for axis in pair]
    return reshape(transpose(products, order), [k * m for k, m in zip(a.shape, b.shape, strict=True)])
