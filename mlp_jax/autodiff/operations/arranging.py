"""Operations that repeat, pad, order and pick entries; most are compositions, and the graph shows what of."""

import builtins
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff.operation import Array, Operation, zero
from mlp_jax.autodiff.operations.elementwise import asarray, mul, where
from mlp_jax.autodiff.operations.reductions import sum
from mlp_jax.autodiff.operations.shaping import (
    At,
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    getitem,
    reshape,
    split,
    take_along_axis,
    transpose,
)

__all__ = [
    "append", "argsort", "array_split", "atleast_1d", "atleast_2d", "column_stack", "cross", "diag", "diagonal", "diff",
    "dsplit", "dynamic_slice", "dynamic_update_slice", "fliplr", "flipud", "hsplit", "hstack", "outer", "pad", "ravel",
    "repeat", "roll", "rot90", "segment_sum", "select", "sort", "take", "tile", "top_k", "trace", "tril", "triu",
    "vsplit", "vstack",
]  # fmt: skip

# --- parts of matrices ------------------------------------------------------------------------------

tril: Operation = Operation("tril", jnp.tril, (lambda g, out, x, k=0: tril(g, k=k),))
triu: Operation = Operation("triu", jnp.triu, (lambda g, out, x, k=0: triu(g, k=k),))


def _places_on_diagonal(rows: int, columns: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    n = builtins.max(0, builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0)))
    return np.arange(n) + builtins.max(0, -offset), np.arange(n) + builtins.max(0, offset)


def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The entries [i, i + offset] over two axes, as the last axis."""
    first, second = axis1 % x.ndim, axis2 % x.ndim
    others = [k for k in range(x.ndim) if k not in (first, second)]
    moved = transpose(x, (*others, first, second))
    return getitem(moved, (Ellipsis, *_places_on_diagonal(x.shape[first], x.shape[second], offset)))


def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum over a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


def diag(x: Array, k: int = 0) -> Array:
    """The diagonal of a matrix, or the matrix of a diagonal."""
    if x.ndim == 2:
        return diagonal(x, k)
    n = x.shape[0] + builtins.abs(k)
    return At(jnp.zeros((n, n), x.dtype))[_places_on_diagonal(n, n, k)].add(x)


def outer(x: Array, y: Array) -> Array:
    """All products of an entry of x with one of y."""
    return mul(reshape(x, (-1, 1)), reshape(y, (1, -1)))


def cross(x: Array, y: Array, axis: int = -1) -> Array:
    """The cross product of vectors of three entries along an axis."""
    return roll(x, -1, axis) * roll(y, -2, axis) - roll(x, -2, axis) * roll(y, -1, axis)


def diff(x: Array, n: int = 1, axis: int = -1) -> Array:
    """The differences of neighbours along an axis, n times."""
    for _ in range(n):
        left, right = split(x, [1], axis)[1], split(x, [x.shape[axis] - 1], axis)[0]
        x = left - right
    return x


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Of each place the choice whose condition is the first that holds there."""
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        default = where(condition, choice, default)
    return default


# --- joining, splitting, turning -----------------------------------------------------------------------


def ravel(x: Array) -> Array:
    """All entries as one row."""
    return reshape(x, -1)


def atleast_1d(x: Array) -> Array:
    """With one axis at least."""
    return x if np.ndim(x) else reshape(asarray(x), (1,))


def atleast_2d(x: Array) -> Array:
    """With two axes at least; a vector is a row."""
    return x if np.ndim(x) > 1 else reshape(asarray(x), (1, -1))


def vstack(arrays: Sequence[Any]) -> Any:
    """Join rows, or matrices, below each other."""
    return concatenate([atleast_2d(x) for x in arrays])


def hstack(arrays: Sequence[Any]) -> Any:
    """Join beside each other, along axis 1, or 0 of vectors."""
    arrays = [atleast_1d(x) for x in arrays]
    return concatenate(arrays, axis=0 if arrays[0].ndim == 1 else 1)


def column_stack(arrays: Sequence[Any]) -> Any:
    """Join vectors, as columns, and matrices."""
    return concatenate([expand_dims(x, 1) if x.ndim == 1 else x for x in arrays], axis=1)


def append(x: Array, values: Array, axis: int | None = None) -> Array:
    """Join two arrays; None joins them as rows."""
    return concatenate([x, values], axis)


def array_split(x: Array, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """`split` into sections that may differ by one in length."""
    if isinstance(indices_or_sections, int):
        sections = np.array_split(np.arange(x.shape[axis]), indices_or_sections)
        indices_or_sections = np.cumsum([len(section) for section in sections])[:-1].tolist()
    return split(x, indices_or_sections, axis)


vsplit, hsplit, dsplit = (partial(split, axis=axis) for axis in range(3))
flipud, fliplr = (partial(flip, axis=axis) for axis in range(2))


def rot90(x: Array, k: int = 1) -> Array:
    """The first two axes, turned k quarters."""
    order = (1, 0, *range(2, x.ndim))
    for _ in range(k % 4):
        x = flip(transpose(x, order), axis=0)
    return x


roll: Operation = Operation(
    "roll",
    jnp.roll,
    (lambda g, out, x, shift, axis=None: roll(g, _negative(shift), axis),),
)


def _negative(shift: Any) -> Any:
    return tuple(-k for k in shift) if isinstance(shift, tuple | list) else -shift


# --- repeating and padding ------------------------------------------------------------------------------


def repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Each entry, or each along an axis, as many times as `repeats` says."""
    if axis is None:
        return repeat(reshape(x, -1), repeats, 0)
    places = np.repeat(np.arange(x.shape[axis]), np.asarray(repeats))
    return take(x, places, axis)


def tile(x: Array, reps: int | Sequence[int]) -> Array:
    """The whole array, side by side, as many times along each axis as `reps` says."""
    times = [reps] if isinstance(reps, int) else list(reps)
    shape = [1] * (len(times) - x.ndim) + list(x.shape)
    times = [1] * (len(shape) - len(times)) + times
    apart = reshape(x, tuple(k for n in shape for k in (1, n)))
    whole = broadcast_to(apart, tuple(k for pair in zip(times, shape, strict=True) for k in pair))
    return reshape(whole, tuple(n * k for n, k in zip(shape, times, strict=True)))


_pad: Operation = Operation(
    "pad",
    lambda x, widths, constant_values: jnp.pad(x, widths, constant_values=constant_values),
    (
        lambda g, out, x, widths, constant_values: g[
            tuple([slice(a, a + n) for (a, _), n in zip(widths, x.shape, strict=True)])
        ],
    ),
)


def pad(x: Array, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Array:
    """More entries around an array: a constant, or by any other mode of `numpy.pad` that repeats entries."""
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    if mode == "constant":
        return _pad(x, widths=tuple((int(a), int(b)) for a, b in widths), constant_values=constant_values)
    for axis, (before, after) in enumerate(widths):
        x = take(x, np.pad(np.arange(x.shape[axis]), (before, after), mode), axis)  # type: ignore[call-overload]
    return x


# --- order ----------------------------------------------------------------------------------------------

argsort = Operation("argsort", jnp.argsort, (zero,))


def sort(x: Array, axis: int | None = -1, descending: bool = False) -> Array:
    """The entries in order along an axis; None takes x as one row."""
    if axis is None:
        return sort(reshape(x, -1), descending=descending)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis)


def top_k(x: Array, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The k largest entries along an axis, from the largest on, and their places."""
    places = _top_places(x, k=k, axis=axis)
    return take_along_axis(x, places, axis), places


_top_places = Operation("top_places", lambda x, k, axis: jax.lax.top_k(x, k, axis=axis)[1], (zero,))

# --- places that are computed -----------------------------------------------------------------------------


def take(x: Array, indices: Array, axis: int | None = None) -> Array:
    """The entries at these places along an axis; None takes x as one row."""
    if axis is None:
        return getitem(reshape(x, -1), asarray(indices))
    return getitem(x, (*[slice(None)] * (axis % x.ndim), asarray(indices)))


def segment_sum(data: Any, segment_ids: Any, num_segments: int) -> Any:
    """The sums of the rows of each segment, as `jax.ops.segment_sum`."""
    return At(jnp.zeros((num_segments, *data.shape[1:]), data.dtype))[asarray(segment_ids)].add(data)


_dynamic_slice: Operation = Operation(
    "dynamic_slice",
    lambda x, *starts, sizes: jax.lax.dynamic_slice(x, starts, sizes),
    lambda g, out, x, *starts, sizes: (
        _dynamic_update_slice(jnp.zeros(x.shape, x.dtype), g, *starts),
        *[None] * len(starts),
    ),
)
_dynamic_update_slice: Operation = Operation(
    "dynamic_update_slice",
    lambda x, update, *starts: jax.lax.dynamic_update_slice(x, update, starts),
    lambda g, out, x, update, *starts: (
        _dynamic_update_slice(g, jnp.zeros(update.shape, update.dtype), *starts),
        _dynamic_slice(g, *starts, sizes=tuple(update.shape)),
        *[None] * len(starts),
    ),
)


def dynamic_slice(x: Array, start_indices: Sequence[Any], slice_sizes: Sequence[int]) -> Array:
    """The block of these sizes that begins at places which may be computed; moved inside where it would not fit."""
    return _dynamic_slice(x, *start_indices, sizes=tuple(slice_sizes))


def dynamic_update_slice(x: Array, update: Any, start_indices: Sequence[Any]) -> Array:
    """x with a block replaced, which begins at places that may be computed."""
    return _dynamic_update_slice(x, update, *start_indices)
