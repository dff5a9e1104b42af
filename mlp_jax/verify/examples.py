"""What each single example gives to the gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.compiling import compiled
from mlp_jax.verify.subject import Leaves, by_jax

MOST = 64  # so many examples at most are looked at one by one


def shares(comparison: Comparison) -> list[Arrays]:
    """The part of each leaf's gradient that is each example's, if the arguments' rows are examples; else none."""
    try:
        return _by_cotangents(comparison) or _by_copies(comparison) or []
    except Exception:  # arguments whose rows are no examples after all
        return []


def _by_cotangents(c: Comparison) -> list[Arrays] | None:
    """What each example gives to the gradients: those of its row of the outputs."""
    shapes = {np.shape(z)[:1] for z in c.case.values}
    if len(shapes) != 1 or not c.reference or not (shape := shapes.pop()) or not 1 < shape[0] <= MOST:
        return None
    (n,) = shape
    found = []
    for i in range(n):
        masked = [[z * (np.arange(n) == i).reshape(-1, *[1] * (z.ndim - 1)) for z in g] for g in c.cotangents]
        found.append(c.pull(c.reference[1], c.leaves, masked))
    return found


def _by_copies(c: Comparison) -> list[Arrays] | None:
    """For a mean over examples: R − R(example i becomes example 0) = (t_i − t_0) / n, and t_0 by n copies of it."""
    if c.truth is None or not c.case.on_jax or not c.case.references or c.g_of_scalar is None:
        return None
    arguments, f = c.case.arguments, c.case.function
    args = jax.tree.unflatten(arguments.tree, arguments.everything)
    arrays = [k for k, x in enumerate(args) if hasattr(x, "shape") and np.ndim(x) > 0]
    if not arrays or not 1 < (n := np.shape(args[arrays[-1]])[0]) <= MOST:
        return None
    rows = [k for k in arrays if np.shape(args[k])[0] == n]

    def rule(leaves: Leaves, cotangents: Leaves, order: jax.Array) -> tuple[Leaves, Leaves]:
        def reordered(*args: Any) -> Any:
            return f(*(jnp.asarray(x)[order] if k in rows else x for k, x in enumerate(args)))

        return by_jax(reordered, arguments)(leaves, cotangents)

    fast = compiled(rule, c.jit)

    def at(order: np.ndarray) -> Arrays:
        return c.pull(lambda leaves, g: fast(leaves, g, order), c.leaves, c.cotangents)

    first = at(np.zeros(n, int))
    found = []
    for i in range(n):
        order = np.arange(n)
        order[i] = 0
        replaced = at(order)
        # rows of x itself are not compared: their place in the batch has changed
        found.append(
            [
                R - other + copies / n if np.shape(copies)[1:2] != (n,) else np.zeros_like(R)
                for R, other, copies in zip(c.truth.gradients, replaced, first, strict=True)
            ]
        )
    return found
