"""Operations that move entries without changing them: shapes, joining, splitting, indexing."""

import builtins
import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff.operation import Array, Operation, Traced, zero

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flip", "getitem", "moveaxis", "put_along_axis", "reshape",
    "scatter_add", "split", "squeeze", "stack", "swapaxes", "take_along_axis", "transpose",
]  # fmt: skip

reshape: Operation = Operation("reshape", jnp.reshape, (lambda g, out, x, shape: reshape(g, x.shape),))
broadcast_to = Operation("broadcast_to", jnp.broadcast_to, (lambda g, out, x, shape: g,))
expand_dims: Operation = Operation("expand_dims", jnp.expand_dims, (lambda g, out, x, axis: squeeze(g, axis),))
squeeze: Operation = Operation("squeeze", jnp.squeeze, (lambda g, out, x, axis=None: reshape(g, x.shape),))
flip: Operation = Operation("flip", jnp.flip, (lambda g, out, x, axis=None: flip(g, axis),))


def _transpose_rule(g: Array, out: Array, x: Array, axes: Any = None) -> Array:
    if axes is None:
        return transpose(g)
    places = [k % x.ndim for k in axes]
    return transpose(g, tuple(sorted(range(x.ndim), key=places.__getitem__)))


transpose: Operation = Operation("transpose", jnp.transpose, (_transpose_rule,))


def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """The transpose that exchanges two axes."""
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(x, tuple(axes))


def moveaxis(x: Array, source: int, destination: int) -> Array:
    """The transpose that moves one axis and keeps the order of the others."""
    axes = [k for k in range(x.ndim) if k != source % x.ndim]
    axes.insert(destination % x.ndim, source % x.ndim)
    return transpose(x, tuple(axes))


# --- joining and splitting --------------------------------------------------------------------------


def _concatenate_rule(g: Array, out: Array, *arrays: Any, axis: int) -> tuple[Any, ...]:
    *cuts, _ = accumulate(x.shape[axis] for x in arrays)
    return _split(g, cuts=tuple(cuts), axis=axis)


_concatenate: Operation = Operation(
    "concatenate", lambda *arrays, axis: jnp.concatenate(arrays, axis), _concatenate_rule
)


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """Join arrays along an existing axis; None joins them as rows."""
    if axis is None:
        return _concatenate(*(reshape(x, -1) for x in arrays), axis=0)
    return _concatenate(*arrays, axis=axis)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Join arrays along a new axis."""
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


_split: Operation = Operation(
    "split",
    lambda x, cuts, axis: tuple(jnp.split(x, cuts, axis=axis)),
    (lambda g, out, x, cuts, axis: _concatenate(*g, axis=axis),),
)


def split(x: Array, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut an array along an axis into equal sections, or at the given indices."""
    cuts = indices_or_sections
    return list(_split(x, cuts=cuts if isinstance(cuts, int) else tuple(map(operator.index, cuts)), axis=axis))


# --- indexing ---------------------------------------------------------------------------------------


class _Slice(NamedTuple):
    """A slice as an attribute: those of Python 3.11 cannot be hashed."""

    start: int | None
    stop: int | None
    step: int | None

    def __repr__(self) -> str:
        start, stop, step = ("" if k is None else str(k) for k in self)
        return f"{start}:{stop}" + (f":{step}" if step else "")


class _Array(NamedTuple):
    """The place of the next array in an index."""

    def __repr__(self) -> str:
        return "array"


def _with_arrays(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    remaining = iter(arrays)
    return tuple(
        slice(*entry) if isinstance(entry, _Slice) else next(remaining) if isinstance(entry, _Array) else entry
        for entry in index
    )


def _scatter_add(g: Array, *arrays: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> jax.Array:
    if arrays or not all(
        isinstance(n, int) for n in shape
    ):  # padding needs the lengths, which in an export are symbols
        # An index out of bounds read the nearest entry. Here it is dropped, so that no gradient passes, as in JAX.
        return jnp.zeros(shape, g.dtype).at[_with_arrays(index, arrays)].add(g)
    return _place(g, index, shape)


def _place(g: Array, index: tuple[Any, ...], shape: tuple[int, ...]) -> jax.Array:
    """Zeros of `shape` with g at a basic index: a padding, which is much cheaper than a scatter."""
    rest = len(shape) - builtins.sum(entry is not None and entry is not Ellipsis for entry in index)
    full: list[Any] = []
    for entry in (*index, *([] if Ellipsis in index else [Ellipsis])):
        full += [_Slice(None, None, None)] * rest if entry is Ellipsis else [] if entry is None else [entry]
    ranges = [
        range(*(slice(*entry) if isinstance(entry, _Slice) else _one(entry, n)).indices(n))
        for entry, n in zip(full, shape, strict=True)
    ]
    g = jnp.reshape(g, [len(r) for r in ranges])
    backwards = tuple(k for k, r in enumerate(ranges) if r.step < 0)
    g = jnp.flip(g, backwards) if backwards else g
    ranges = [r if r.step > 0 else r[::-1] for r in ranges]
    padding = [
        (r.start, n - 1 - r[-1], r.step - 1) if len(r) else (n, 0, 0) for r, n in zip(ranges, shape, strict=True)
    ]
    return jax.lax.pad(g, jnp.zeros((), g.dtype), padding)


def _one(k: int, n: int) -> slice:
    """The entry that x[k] reads: out of bounds, the nearest."""
    k = max(0, min(k + n if k < 0 else k, n - 1))
    return slice(k, k + 1)


def _rule_of_indexing(rule: Any) -> Any:
    """No gradient for the arrays of an index."""
    return lambda g, out, x, *arrays, **attributes: (rule(g, x, *arrays, **attributes), *[None] * len(arrays))


_getitem: Operation = Operation(
    "getitem",
    lambda x, *arrays, index: x[_with_arrays(index, arrays)],
    _rule_of_indexing(lambda g, x, *arrays, index: scatter_add(g, *arrays, index=index, shape=x.shape)),
)
scatter_add: Operation = Operation(
    "scatter_add",
    _scatter_add,
    _rule_of_indexing(lambda g, x, *arrays, index, shape: _getitem(g, *arrays, index=index)),
)


def _apart(index: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """An index as an attribute, and its arrays, which are inputs."""
    template: list[Any] = []
    arrays: list[Any] = []
    for entry in index if isinstance(index, tuple) else (index,):
        if isinstance(entry, slice):
            template.append(
                _Slice(*(None if k is None else operator.index(k) for k in (entry.start, entry.stop, entry.step)))
            )
        elif entry is None or entry is Ellipsis:
            template.append(entry)
        elif (
            isinstance(entry, Traced | bool | jax.Array)
            or np.ndim(entry)
            or getattr(entry, "dtype", None) == np.dtype(bool)
        ):
            template.append(_Array())
            arrays.append(np.asarray(entry) if isinstance(entry, list) else entry)
        else:
            template.append(operator.index(entry))
    return tuple(template), arrays


def getitem(x: Array, index: Any) -> Array:
    """x[index], with whole numbers, slices, None, ... and arrays of whole numbers or truth values."""
    template, arrays = _apart(index)
    return _getitem(x, *arrays, index=template)


# x with other entries at an index. Of places that the index names twice, which value stays is not defined.
_scatter_set: Operation = Operation(
    "scatter_set",
    lambda x, values, *arrays, index: x.at[_with_arrays(index, arrays)].set(values),
    lambda g, out, x, values, *arrays, index: (
        _scatter_set(g, jnp.zeros((), g.dtype), *arrays, index=index),
        _getitem(g, *arrays, index=index),
        *[None] * len(arrays),
    ),
)
_scatter_plus = Operation(
    "scatter_plus",
    lambda x, values, *arrays, index: x.at[_with_arrays(index, arrays)].add(values),
    lambda g, out, x, values, *arrays, index: (g, _getitem(g, *arrays, index=index), *[None] * len(arrays)),
)


class At:
    """`x.at` of a variable: x with other entries at an index, by `x.at[index].set(values)`, and so on."""

    def __init__(self, x: Array, index: Any = ...) -> None:
        self._x = jnp.asarray(x) if not isinstance(x, Traced) else x
        self._index = index

    def __getitem__(self, index: Any) -> "At":
        return At(self._x, index)

    def get(self) -> Any:
        """The entries."""
        return getitem(self._x, self._index)

    def set(self, values: Array) -> Any:
        """With these values in their place."""
        template, arrays = _apart(self._index)
        return _scatter_set(self._x, values, *arrays, index=template)

    def add(self, values: Array) -> Any:
        """With these values added, once for each time that the index names a place."""
        template, arrays = _apart(self._index)
        return _scatter_plus(self._x, values, *arrays, index=template)

    def multiply(self, values: Array) -> Any:
        """With the entries multiplied."""
        return self.set(self.get() * values)


def _put_along_axis(g: Array, indices: Array, shape: tuple[int, ...], axis: int) -> jax.Array:
    places = [jnp.expand_dims(jnp.arange(n), [j for j in range(len(shape)) if j != k]) for k, n in enumerate(shape)]
    places[axis] = indices
    return jnp.zeros(shape, g.dtype).at[tuple(places)].add(g)


_take_along_axis: Operation = Operation(
    "take_along_axis",
    jnp.take_along_axis,
    (lambda g, out, x, indices, axis: put_along_axis(g, indices, shape=x.shape, axis=axis), zero),
)
put_along_axis: Operation = Operation(
    "put_along_axis",
    _put_along_axis,
    (lambda g, out, x, indices, shape, axis: _take_along_axis(g, indices, axis=axis), zero),
)


def take_along_axis(x: Array, indices: Array, axis: int | None = -1) -> Array:
    """The entries of x at `indices` along an axis; None takes x as one row."""
    return (
        _take_along_axis(reshape(x, -1), indices, axis=0) if axis is None else _take_along_axis(x, indices, axis=axis)
    )
