"""The first layer of a network some of whose inputs are numbers of categories, for each of which W has a row.

a = h W + b, where a category's part of h is one-hot: its product with W is a row, and is looked up, not computed.
"""

from functools import cache
from itertools import accumulate
from typing import Any

import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation, zero


@cache
def lookup(categories: tuple[int, ...]) -> Operation:
    """The operation h, W, b ↦ a, or h, W ↦ a; the last columns of h are whole numbers, −1 for none of the categories.

    >>> h = jnp.array([[2.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
    >>> lookup((2,))(h, jnp.array([[10.0], [1.0], [2.0]])).ravel().tolist()
    [21.0, 22.0, 20.0]
    """
    c = len(categories)

    def rows(h: Any, W: Any) -> tuple[Any, Any]:
        """The row of W of each of the last columns, (n, c, 1), and whether there is one."""
        codes = h[:, h.shape[1] - c :].astype(jnp.int32)
        starts = jnp.array([*accumulate((W.shape[0] - sum(categories), *categories[:-1]))], jnp.int32)
        known = (codes >= 0) & (codes < jnp.array(categories, jnp.int32)[None])
        return jnp.where(known, codes + starts[None], 0), known[:, :, None]

    def pre_activations(h: Any, W: Any, b: Any = None) -> Any:
        places, known = rows(h, W)
        m = h.shape[1] - c
        a = h[:, :m] @ W[:m] + jnp.sum(jnp.where(known, W[places], 0), axis=1)
        return a if b is None else a + b[None]

    def add_up(g: Any, h: Any, W: Any) -> Any:
        """hᵀ g: for a category, the sum of g over its examples."""
        places, known = rows(h, W)
        m = h.shape[1] - c
        return jnp.zeros(W.shape, g.dtype).at[places].add(jnp.where(known, g[:, None], 0)).at[:m].add(h[:, :m].T @ g)

    def for_h(g: Any, out: Any, h: Any, W: Any, b: Any = None) -> Any:
        m = h.shape[1] - c
        return ops.concatenate([g @ W[:m].mT, ops.zeros_like(h[:, m:])], axis=1)

    # Each of the two is linear, and is the gradient of the other.
    gradient_for_W = Operation("add_up", add_up, (lambda g, out, given, h, W: forwards(h, g), zero, zero))
    forwards = Operation(
        "lookup", pre_activations, (for_h, lambda g, out, h, W, b=None: gradient_for_W(g, h, W), lambda g, *_: g)
    )
    return forwards
