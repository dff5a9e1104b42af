"""Checkpoints: less memory for more time (section 6.5.3: some subexpressions are recomputed rather than stored)."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from mlp_jax.autodiff.control.body import Body, closed, leaves_of
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.operations.adapter import pull_back
from mlp_jax.autodiff.transforms import vjp

# What follows is computed from its inputs anew: the compiler may not take it from what was computed before.
_barrier = Operation("barrier", lambda *xs: tuple(jax.lax.optimization_barrier(xs)), lambda g, out, *xs: g)


def _checkpoint_rule(g: Any, out: Any, *inputs: Any, body: Body) -> tuple[Any, ...]:
    return pull_back(vjp, body, _barrier(*inputs), g)


_checkpoint = Operation("checkpoint", lambda *inputs, body: body(*inputs), _checkpoint_rule)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f as one operation that keeps only its arguments and is computed again for its gradient: less memory, more time.

    >>> from mlp_jax.autodiff import grad, ops
    >>> float(grad(checkpoint(lambda x: ops.exp(ops.sin(x))))(0.0))
    1.0
    """

    @functools.wraps(f)
    def checkpointed(*args: Any) -> Any:
        leaves, tree = leaves_of(args)
        body, outer, out_tree = closed(f, [*map(as_type, leaves)], tree)
        return out_tree.unflatten(_checkpoint(*leaves, *outer, body=body))

    return checkpointed
