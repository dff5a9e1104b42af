"""A gradient that somebody wrote by hand, as a rule: for which arguments it is, and in which form it comes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.arguments import AnyFunction, Argnums, Arguments, Leaves
from mlp_jax.verify.compiled import Rule

Places = int | tuple[int, ...]


class StructureError(TypeError):
    """A gradient by hand has another structure than its argument."""


class Form(NamedTuple):
    """For which arguments a gradient is, whether it comes with the value; of a Jacobian the output's shape."""

    argnums: Places
    with_value: bool
    outer: tuple[int, ...] | None = None


def is_traceable(f: AnyFunction, args: Sequence[Any]) -> bool:
    """Whether JAX can trace a function at arguments, all of which are arrays for it."""
    try:
        jax.eval_shape(f, *args)
    except Exception:  # numpy's functions raise on tracers; so may anything else of the user's
        return False
    return True


def find_form(args: tuple[Any, ...], result: Any, argnums: Argnums, outer: tuple[int, ...] | None = None) -> Form:
    """By structure and shapes: a gradient for the first argument, or the first few, else a pair with the value."""
    options: list[Places] = [0, *(tuple(range(k)) for k in range(len(args), 0, -1))]
    if argnums is not None:
        options = [argnums if isinstance(argnums, int) else tuple(argnums)]
    candidates = [(result, False)]
    if outer is None and isinstance(result, tuple) and len(result) == 2 and _is_number(result[0]):
        candidates.append((result[1], True))
    for gradient, with_value in candidates:
        for option in options:
            if _gradient_of(args, gradient, option, outer or ()) is not None:
                return Form(option, with_value, outer)
    return Form(options[0], False, outer)


def as_rule(f: AnyFunction, grad_f: AnyFunction, form: Form, arguments: Arguments) -> Rule:
    """Values and gradients for the leaves, from the two functions.

    The rule raises:
        StructureError: the gradient has not the structure of its arguments.
    """

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        args = arguments.rebuilt(leaves)
        result = grad_f(*args)
        value, result = result if form.with_value else (f(*args), result)
        gradient = _gradient_of(args, result, form.argnums)
        if gradient is None:
            wanted = _in_words(_chosen(args, form.argnums))
            raise StructureError(f"the gradient must be {wanted}, as its argument is, got {_in_words(result)}")
        full = list(args)
        if isinstance(form.argnums, int):
            full[form.argnums] = gradient
        else:
            for k, part in zip(form.argnums, gradient, strict=True):
                full[k] = part
        grads = [g for x, g in zip(_flat(args)[0], _flat(tuple(full))[0], strict=True) if x is not None]
        parts = [_part(arguments, k, grads[place]) for k, place in enumerate(arguments.places)]
        if form.outer is not None:
            parts = [_pulled(cotangents[0], part, x) for x, part in zip(leaves, parts, strict=True)]
        zeros = (jnp.zeros_like if isinstance(x, jax.Array) else np.zeros_like for x in leaves)
        return [value], [of(x) if g is None else g for of, x, g in zip(zeros, leaves, parts, strict=True)]

    return rule


def _part(arguments: Arguments, k: int, gradient: Any) -> Any:
    """Of a gradient that for the k-th leaf: for z = x + iy JAX's is ∂f/∂x − i ∂f/∂y."""
    place = arguments.places[k]
    if gradient is None or arguments.places.count(place) == 1:
        return gradient
    return -gradient.imag if place in arguments.places[:k] else gradient.real


def _pulled(g: Any, jacobian: Any, x: Any) -> Any:
    """gᵀ J, by its shapes (*outer) and (*outer, *shape of x)."""
    if jacobian is None or np.shape(jacobian) != (wanted := np.shape(g) + np.shape(x)):
        if jacobian is None:
            return None
        raise StructureError(
            f"the Jacobian must have the output's axes, then the argument's: {wanted}, got {np.shape(jacobian)}"
        )
    if isinstance(jacobian, jax.Array):
        return jnp.tensordot(jnp.asarray(g, jacobian.dtype), jacobian, np.ndim(g))
    return np.tensordot(g, jacobian, np.ndim(g))


def _gradient_of(args: tuple[Any, ...], result: Any, argnums: Places, outer: tuple[int, ...] | None = None) -> Any:
    """The result, if it has the structure of the chosen arguments, and shapes after `outer` if given; else None."""
    if isinstance(result, list) and isinstance(argnums, tuple):
        result = tuple(result)
    (found, structure), (wanted, as_wanted) = _flat(result), _flat(_chosen(args, argnums))
    if structure != as_wanted:
        return None
    pairs = zip(found, wanted, strict=True)
    fits = outer is None or all(g is None or np.shape(g) == outer + np.shape(x) for g, x in pairs)
    return result if fits else None


def _is_number(x: Any) -> bool:
    return isinstance(x, float) or getattr(x, "shape", None) == ()


def _chosen(args: tuple[Any, ...], argnums: Places) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple(args[k] for k in argnums)


def _flat(tree: Any) -> tuple[list[Any], Any]:
    """Leaves and structure, where None is a leaf."""
    return jax.tree.flatten(tree, is_leaf=lambda x: x is None)


def _in_words(tree: Any) -> str:
    structure = jax.tree.structure(tree)
    return "one array" if jax.tree_util.treedef_is_leaf(structure) else str(structure).removeprefix("PyTreeDef")
