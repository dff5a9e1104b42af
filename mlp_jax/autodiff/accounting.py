"""What a graph and its gradient cost, beside the bounds of sections 6.5.3 and 6.5.6."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.backprop import cost_and_targets, gradient, prune
from mlp_jax.autodiff.dag import DAG
from mlp_jax.autodiff.operations.products import explicit_indices
from mlp_jax.autodiff.variable import Variable


class Part(NamedTuple):
    """A part of a graph.

    Attributes:
        operations: how many there are.
        edges: from a variable to an operation that reads it.
        multiply_adds: of matmul, affine and einsum, which dominate; other operations are not counted.
    """

    operations: int
    edges: int
    multiply_adds: int


class Account(NamedTuple):
    """The cost of a function and of its gradient.

    Attributes:
        nodes: n, the variables of the forward graph.
        forward: the graph of the function.
        backward: what the gradient adds to it.
        bprops: calls of op.bprop, one for each edge of G'. A graph in which no operation reads a variable twice has at
            most n(n − 1)/2 edges, so a gradient costs O(n²) operations, and O(n) where each has few inputs.
        bytes_kept: the size of the forward values that the gradient reads, inputs not counted.
    """

    nodes: int
    forward: Part
    backward: Part
    bprops: int
    bytes_kept: int

    def __str__(self) -> str:
        rows = [("", "forward", "backward")]
        rows += [(name.replace("_", "-"), f"{getattr(self.forward, name):,}", f"{getattr(self.backward, name):,}")
                 for name in Part._fields]  # fmt: skip
        table = "\n".join(f"{name:14}{forward:>14}{backward:>14}" for name, forward, backward in rows)
        n, edges = self.nodes, self.forward.edges
        return (
            f"{table}\n{'bprops':14}{self.bprops:>28,}   ≤ {edges:,} edges; O(n²): n = {n:,}\n"
            f"{'bytes kept':14}{self.bytes_kept:>28,}"
        )


def account(graph: DAG, of: Variable | None = None, wrt: Any = None) -> Account:
    """Count the operations of a graph and those that Algorithm 6.5 adds; arguments as for `Graph.gradient`.

    >>> import jax
    >>> from mlp_jax.autodiff import trace
    >>> W, x = jax.ShapeDtypeStruct((512, 256), "float32"), jax.ShapeDtypeStruct((128, 512), "float32")
    >>> print(trace(lambda W, x: ops.sum(ops.tanh(x @ W)), W, x).account())
                         forward      backward
    operations                 3            10
    edges                      4            15
    multiply-adds     16,777,216    33,554,432
    bprops                                   4   ≤ 4 edges; O(n²): n = 5
    bytes kept                         131,072
    """
    z, targets, _ = cost_and_targets(graph, of, wrt)
    gradients = gradient(graph, of, wrt)
    forward = set(graph.variables)
    backward = [v for v in gradients.variables if v not in forward]
    read = {
        u
        for v in backward
        if v.operation not in (ops.ones_like, ops.zeros_like)  # these read a shape, no values
        for u in gradients.inputs_of(v)
        if u in forward and u.operation is not None
    }
    return Account(
        nodes=len(forward),
        forward=_part(graph, graph.variables),
        backward=_part(gradients, backward),
        bprops=sum(len(edges) for _, edges in prune([z], targets)),
        bytes_kept=sum(x.size * x.dtype.itemsize for u in read for x in jax.tree.leaves(u.value)),
    )


def _part(graph: DAG, variables: Iterable[Variable]) -> Part:
    computed = [v for v in variables if v.operation is not None]
    edges = sum(len(graph.inputs_of(v)) for v in computed)
    return Part(len(computed), edges, sum(_multiply_adds(v) for v in computed))


def _multiply_adds(v: Variable) -> int:
    if v.operation in (ops.matmul, ops.affine):
        return v.size * v.inputs[0].shape[-1]
    if v.operation is not None and v.operation.name == "einsum":
        terms, _ = explicit_indices(v.attributes["subscripts"], v.inputs)
        lengths = {
            index: n for term, x in zip(terms, v.inputs, strict=True) for index, n in zip(term, x.shape, strict=True)
        }
        return math.prod(lengths.values())
    return 0
