"""Batches: a function of operations for one example, of all examples at once."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.control.body import Body, closed, leaves_of
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.operations.adapter import pull_back
from mlp_jax.autodiff.transforms import vjp

Axes = tuple[int | None, ...]


def _vmap_rule(g: Any, out: Any, *inputs: Any, body: Body, axes: Axes) -> tuple[Any, ...]:
    """The pullbacks of all examples; what they share gets the sum."""
    each = vmap(lambda g, inputs: pull_back(vjp, body, inputs, g), in_axes=(0, axes))(g, inputs)
    return tuple(
        None if gradient is None else ops.sum(gradient, 0) if axis is None else ops.moveaxis(gradient, 0, axis)
        for gradient, axis in zip(each, axes, strict=True)
    )


_vmap = Operation("vmap", lambda *inputs, body, axes: jax.vmap(body, axes)(*inputs), _vmap_rule)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0) -> Callable[..., Any]:
    """f of each example of a batch, as `jax.vmap`, for a function of the operations, inside and outside of `grad`.

    Args:
        f: a function of the operations, of one example; it may read variables that are not among its arguments.
        in_axes: over which axis of each argument the examples lie: one number, or a tuple with one, None or a pytree
            of them for each; None is for what all examples share.
        out_axes: where that axis is in what is returned.

    >>> from mlp_jax.autodiff import grad
    >>> total = lambda W, x: ops.sum(vmap(lambda row: ops.tanh(W @ row))(x))
    >>> grad(total)(ops.asarray([[0.0, 0.0]]), ops.asarray(3 * [[1.0, 1.0]])).tolist()
    [[3.0, 3.0]]
    """

    @functools.wraps(f)
    def of_batch(*args: Any) -> Any:
        leaves, tree = leaves_of(args)
        axes = _axis_of_each_leaf(tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes,) * len(args), args)
        types = [_without(axis, as_type(x)) for axis, x in zip(axes, leaves, strict=True)]
        body, outer, out_tree = closed(f, types, tree)
        out = _vmap(*leaves, *outer, body=body, axes=(*axes, *[None] * len(outer)))
        return out_tree.unflatten([ops.moveaxis(y, 0, out_axes) if out_axes else y for y in out])

    return of_batch


def _axis_of_each_leaf(in_axes: Any, args: Any) -> Axes:
    """in_axes has one for a whole argument, or for a part of it."""
    axes: list[int | None] = []

    def extend(axis: int | None, part: Any) -> None:
        axes.extend([axis] * len(jax.tree.leaves(part)))

    jax.tree.map(extend, in_axes, args, is_leaf=lambda axis: axis is None)
    return tuple(axes)


def _without(axis: int | None, x: Any) -> Any:
    """The type of one example."""
    if axis is None:
        return x
    axis %= len(x.shape)
    return jax.ShapeDtypeStruct(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)
