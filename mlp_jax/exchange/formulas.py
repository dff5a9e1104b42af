"""What a prediction computes, as functions of NumPy alone: operations by their names, and what becomes of cells.

An exported file holds those that it needs as they stand here, so each may use numpy, `math` and the others, no more. So
that ONNX and StableHLO can be made of them too, they call functions of `np`, and no methods but `astype`. Operations
that NumPy has by the same name, such as `exp`, are not here.
"""

import math
from typing import Any

import numpy as np

Array = Any  # of NumPy, or what stands for one while a formula is translated

# --- operations -----------------------------------------------------------------------------------


def relu(a: Array) -> Array:
    """The larger of 0 and a."""
    return np.maximum(a, 0)


def leaky_relu(a: Array, negative_slope: float = 0.01) -> Array:
    """Where a is not above 0, its slope is another."""
    return np.where(a > 0, a, negative_slope * a)


def parametric_relu(a: Array, slope: Array) -> Array:
    """Likewise, with a slope for each unit."""
    return np.where(a > 0, a, slope * a)


def maxout(a: Array, pieces: int) -> Array:
    """The largest of each group of neighbours: (n, units · pieces) to (n, units)."""
    return np.max(np.reshape(a, (a.shape[0], -1, pieces)), axis=-1)


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(−a)), where nothing overflows."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1, e) / (1 + e)


def hard_tanh(a: Array) -> Array:
    """From −1 to 1."""
    return np.minimum(np.maximum(a, -1), 1)


def softplus(a: Array) -> Array:
    """log(1 + exp(a)), where nothing overflows."""
    return np.logaddexp(a, 0)


def elu(a: Array, alpha: float = 1.0) -> Array:
    """Where a is not above 0, alpha (exp(a) − 1)."""
    return np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0)))


def erf(a: Array) -> Array:
    """The error function, which NumPy has not, entry by entry."""
    return np.vectorize(math.erf, otypes=[a.dtype])(a)


def gelu(a: Array, approximate: bool = True) -> Array:
    """A normal variable's probability to be below a, times a."""
    if approximate:
        return a * sigmoid(1.5957691216057308 * (a + 0.044715 * a * a * a))
    return a * (0.5 + 0.5 * erf(0.7071067811865476 * a))


def silu(a: Array) -> Array:
    """The sigmoid of a, times a."""
    return a * sigmoid(a)


def softmax(a: Array, axis: int = -1) -> Array:
    """exp(a), divided by its sum."""
    e = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def radial(h: Array, C: Array, s: Array) -> Array:
    """−exp(s) times the mean square of h − C, for each of the centres that are C's columns."""
    difference = np.expand_dims(h, 2) - np.expand_dims(C, 0)
    return -np.exp(s) * np.mean(difference * difference, axis=1)


def lookup(h: Array, W: Array, b: Array = 0.0, categories: tuple[int, ...] = ()) -> Array:
    """The product h W + b, where the last columns of h number categories, each with a row of W; −1 is none of them."""
    start = len(W) - sum(categories)
    k = start
    a = (h[:, :k] @ W[:k] if k else 0.0) + b
    for size in categories:
        code = h[:, k : k + 1]
        row = np.take(W[start : start + size], np.maximum(h[:, k], 0).astype("int32"), axis=0)
        a = a + np.where(code >= 0, row, 0)
        start, k = start + size, k + 1
    return a


def solve_triangular(T: Array, D: Array, lower: bool, trans: int) -> Array:
    """The X of T X = D, row by row from the first on, for lower triangular matrices T with a diagonal of ones."""
    rows: list[Array] = []
    for i in range(D.shape[-2]):
        row = D[..., i, :]
        for j, before in enumerate(rows):
            row = row - T[..., i, j : j + 1] * before
        rows.append(row)
    return np.stack(rows, axis=-2)


# --- what becomes of a column of cells ------------------------------------------------------------


def number(
    cells: Array, median: float, center: float, scale: float, marked: bool = False, robust: bool = False
) -> list[Array]:
    """Standardised, NaN taken for the median; perhaps clipped smoothly to ±3; perhaps with a mark where it was NaN."""
    missing = np.isnan(cells)
    x = (np.where(missing, median, cells) - center) / scale
    if robust:
        x = x / np.sqrt(1 + x * x / 9)
    return [x, missing] if marked else [x]


def category(code: Array, count: int) -> list[Array]:
    """One-hot, for codes 0, 1, …, count − 1; all 0 for −1."""
    return [code == k for k in range(count)]


def date(days: Array, periods: tuple[float, ...], **of_number: Any) -> list[Array]:
    """Days since 1970 as a number; then sine and cosine of their place in each period, 0 where they are missing."""
    x = number(days, **of_number)
    for period in periods:
        angle = 2 * np.pi * np.where(np.isnan(days), 0, days) / period
        x += [np.where(np.isnan(days), 0, wave) for wave in (np.sin(angle), np.cos(angle))]
    return x
