"""A gradient that somebody wrote by hand, as a rule: for which arguments it is, and in which form it comes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.subject import Arguments, Leaves, Rule, outputs_of

Argnums = int | tuple[int, ...]


class StructureError(TypeError):
    """A gradient by hand has another structure than its argument."""


def is_for_jax(f: Callable[..., Any], arguments: Arguments) -> bool:
    """Whether JAX can trace f; if not, it is a function of numpy arrays."""
    try:
        jax.eval_shape(outputs_of(f, arguments), [jnp.asarray(leaf) for leaf in arguments.leaves])
    except Exception:  # numpy's functions raise on tracers; so may anything else of the user's
        return any(isinstance(leaf, jax.Array) for leaf in arguments.leaves)
    return True


def find_argnums(args: tuple[Any, ...], result: Any) -> Argnums:
    """For which arguments a gradient is, by structure and shapes: for the first, or as a tuple for the first few."""
    options: list[Argnums] = [0, *(tuple(range(k)) for k in range(len(args), 0, -1))]
    for option in options:
        if _parts(args, result, option, shapes=True):
            return option
    return 0


def as_rule(
    f: Callable[..., Any], grad_f: Callable[..., Any], arguments: Arguments, argnums: int | Sequence[int]
) -> Rule:
    """Values and gradients for the leaves, from the two functions.

    The rule raises:
        StructureError: the gradient has not the structure of its arguments.
    """
    places: Argnums = argnums if isinstance(argnums, int) else tuple(argnums)

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        args = arguments.rebuilt(leaves)
        result = grad_f(*args)
        parts = _parts(args, result, places)
        if parts is None:
            wanted = jax.tree.structure(_chosen(args, places))
            raise StructureError(
                f"the gradient must have the structure of its argument, {wanted}, got {jax.tree.structure(result)}"
            )
        value, gradient = parts
        full = list(args)
        for k, part in [(places, gradient)] if isinstance(places, int) else zip(places, gradient, strict=True):
            full[k] = part
        by_leaf = _with_none(tuple(full))
        not_none = [k for k, x in enumerate(_with_none(args)) if x is not None]
        grads = [by_leaf[not_none[place]] for place in arguments.places]
        return (
            [f(*args) if value is None else value],
            [np.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)],
        )

    return rule


def _parts(args: tuple[Any, ...], result: Any, argnums: Argnums, shapes: bool = False) -> tuple[Any, Any] | None:
    """(value or None, gradient) of a gradient, or of a pair of value and gradient; None for anything else."""
    wanted = _chosen(args, argnums)
    candidates = [(None, result)]
    if isinstance(result, tuple) and len(result) == 2 and _is_number(result[0]):
        candidates.append((result[0], result[1]))
    for value, gradient in candidates:
        if isinstance(gradient, list) and isinstance(argnums, tuple):
            gradient = tuple(gradient)
        if _structure(gradient) == _structure(wanted) and (
            not shapes
            or all(
                g is None or np.shape(g) == np.shape(x)
                for g, x in zip(_with_none(gradient), _with_none(wanted), strict=True)
            )
        ):
            return value, gradient
    return None


def _is_number(x: Any) -> bool:
    return isinstance(x, float) or getattr(x, "shape", None) == ()


def _chosen(args: tuple[Any, ...], argnums: Argnums) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple(args[k] for k in argnums)


def _with_none(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda x: x is None)


def _structure(tree: Any) -> Any:
    return jax.tree.structure(tree, is_leaf=lambda x: x is None)
