"""The function that runs inside of a loop, a branch or a batch, as a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from mlp_jax.autodiff.dag import ancestors, compute
from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.tracing import call, trace
from mlp_jax.autodiff.variable import Trace, Variable

Leaves = Sequence[Any]


@dataclass(frozen=True, eq=False)
class Body:
    """A function of pytrees of arrays to a tuple of arrays; in place of any of them None may stand."""

    graph: Graph

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        outputs = compute(self.graph.outputs, dict(zip(self.graph.inputs, jax.tree.leaves(args), strict=True)))
        return tuple(self.graph.out_tree.unflatten(map(as_array, outputs)))

    def __repr__(self) -> str:
        return f"{sum(v.operation is not None for v in self.graph.variables)} operations"


def closed(f: Callable[..., Any], types: Leaves, in_tree: PyTreeDef) -> tuple[Body, list[Variable], PyTreeDef]:
    """f as a function of its arguments' leaves and the outer variables that it reads; these; its value's structure."""
    run = Trace(symbolic=True)
    inputs = [Variable(run, x) for x in types]
    outputs, out_tree = jax.tree.flatten(call(run, f, *jax.tree.unflatten(in_tree, inputs)))
    own = ancestors(v for v in outputs if isinstance(v, Variable) and v.trace is run)
    read = [*(u for v in own for u in v.inputs), *outputs]
    outer = list({u: None for u in read if isinstance(u, Variable) and u.trace is not run})

    def replayed(*leaves: Any) -> tuple[Any, ...]:
        return tuple(compute(outputs, dict(zip((*inputs, *outer), leaves, strict=True))))

    return Body(trace(replayed, *types, *map(as_type, outer))), outer, out_tree


def as_array(x: Any) -> Any:
    """x, and of a Python number an array."""
    return x if hasattr(x, "dtype") else jnp.asarray(x)


def leaves_of(tree: Any) -> tuple[list[Any], PyTreeDef]:
    """The leaves of a pytree as arrays, and its structure."""
    leaves, structure = jax.tree.flatten(tree)
    return [as_array(x) for x in leaves], structure
