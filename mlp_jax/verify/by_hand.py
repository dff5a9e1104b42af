"""A gradient that somebody wrote by hand, as a rule: for which arguments it is, and in which form it comes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.subject import Arguments, Leaves, Rule, outputs_of

Argnums = int | tuple[int, ...]


class StructureError(TypeError):
    """A gradient by hand has another structure than its argument."""


class Form(NamedTuple):
    """For which arguments a gradient is, and whether it comes in a pair with the value."""

    argnums: Argnums
    with_value: bool


def is_for_jax(f: Callable[..., Any], grad_f: Callable[..., Any], arguments: Arguments) -> bool:
    """Whether JAX can trace both, or they are given its arrays; if not, they are functions of numpy arrays."""
    if any(isinstance(leaf, jax.Array) for leaf in arguments.everything):
        return True
    leaves = [jnp.asarray(leaf) for leaf in arguments.leaves]
    try:
        jax.eval_shape(outputs_of(f, arguments), leaves)
        jax.eval_shape(lambda leaves: grad_f(*arguments.rebuilt(leaves)), leaves)
    except Exception:  # numpy's functions raise on tracers; so may anything else of the user's
        return False
    return True


def find_form(args: tuple[Any, ...], result: Any, argnums: int | Sequence[int] | None) -> Form:
    """By structure and shapes: a gradient for the first argument, or the first few, else a pair with the value."""
    options: list[Argnums] = [0, *(tuple(range(k)) for k in range(len(args), 0, -1))]
    if argnums is not None:
        options = [argnums if isinstance(argnums, int) else tuple(argnums)]
    for option in options:
        if _gradient_of(args, result, option, shapes=True) is not None:
            return Form(option, with_value=False)
    if isinstance(result, tuple) and len(result) == 2 and _is_number(result[0]):
        for option in options:
            if _gradient_of(args, result[1], option, shapes=True) is not None:
                return Form(option, with_value=True)
    return Form(options[0], with_value=False)


def as_rule(f: Callable[..., Any], grad_f: Callable[..., Any], form: Form, arguments: Arguments) -> Rule:
    """Values and gradients for the leaves, from the two functions.

    The rule raises:
        StructureError: the gradient has not the structure of its arguments.
    """
    places = form.argnums

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        args = arguments.rebuilt(leaves)
        result = grad_f(*args)
        value, result = result if form.with_value else (f(*args), result)
        gradient = _gradient_of(args, result, places)
        if gradient is None:
            wanted = _in_words(_chosen(args, places))
            raise StructureError(f"the gradient must be {wanted}, as its argument is, got {_in_words(result)}")
        full = list(args)
        for k, part in [(places, gradient)] if isinstance(places, int) else zip(places, gradient, strict=True):
            full[k] = part
        by_leaf = _with_none(tuple(full))
        not_none = [k for k, x in enumerate(_with_none(args)) if x is not None]
        grads = [by_leaf[not_none[place]] for place in arguments.places]
        return [value], [np.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)]

    return rule


def _gradient_of(args: tuple[Any, ...], result: Any, argnums: Argnums, shapes: bool = False) -> Any:
    """The result, if it has the structure of the chosen arguments, and their shapes if asked; else None."""
    wanted = _chosen(args, argnums)
    if isinstance(result, list) and isinstance(argnums, tuple):
        result = tuple(result)
    if _structure(result) != _structure(wanted):
        return None
    pairs = zip(_with_none(result), _with_none(wanted), strict=True)
    fits = not shapes or all(g is None or np.shape(g) == np.shape(x) for g, x in pairs)
    return result if fits else None


def _is_number(x: Any) -> bool:
    return isinstance(x, float) or getattr(x, "shape", None) == ()


def _chosen(args: tuple[Any, ...], argnums: Argnums) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple(args[k] for k in argnums)


def _with_none(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda x: x is None)


def _structure(tree: Any) -> Any:
    return jax.tree.structure(tree, is_leaf=lambda x: x is None)


def _in_words(tree: Any) -> str:
    structure = jax.tree.structure(tree)
    return "one array" if jax.tree_util.treedef_is_leaf(structure) else str(structure).removeprefix("PyTreeDef")
