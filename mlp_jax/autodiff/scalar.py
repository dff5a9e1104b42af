"""Back-propagation on scalars: Algorithms 6.1 and 6.2 (section 6.5.3), and the sum over paths that they avoid.

Algorithm 6.1, forward propagation:           Algorithm 6.2, the table of gradients:

    for i = 1 … n_i:                              run Algorithm 6.1
        u^(i) ← x_i                               grad_table[u^(n)] ← 1
    for i = n_i + 1 … n:                          for j = n − 1 down to 1:
        A^(i) ← {u^(j) | j ∈ Pa(u^(i))}               grad_table[u^(j)] ← Σ_{i: j ∈ Pa(u^(i))}
        u^(i) ← f^(i)(A^(i))                              grad_table[u^(i)] ∂u^(i)/∂u^(j)
    return u^(n)                                  return grad_table

The book counts nodes from 1; here they are counted from 0. Values are Python floats, or anything that can be
added and multiplied: fractions, JAX scalars. On the complete graph of 12 nodes, both ways find the same number:

>>> graph = complete_graph(12)
>>> u = forward(graph, [1])
>>> backward(graph, u).grad_table[0], backward(graph, u).products
(1024, 66)
>>> path_sum(graph, u, 0)
PathSum(derivative=1024, paths=1024, products=2047)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

Function = Callable[..., Any]


class Node(NamedTuple):
    """A node u^(i) that is not an input: u^(i) = f(A^(i)), eq. 6.48.

    Attributes:
        f: of the parents' values, in the order of `parents`.
        derivatives: ∂u^(i)/∂u^(j) for each parent j, of the same values; each parent counts as distinct.
        parents: Pa(u^(i)), the numbers of nodes before this one. One that is named twice is two edges.
    """

    f: Function
    derivatives: tuple[Function, ...]
    parents: tuple[int, ...]


@dataclass(frozen=True)
class ScalarGraph:
    """A computational graph of scalars, its nodes in an order in which they can be computed.

    Args:
        n_inputs: how many inputs there are: nodes 0 … n_inputs − 1.
        nodes: the nodes after them; the last of all is the output u^(n).

    Raises:
        ValueError: no input, a parent that is not before its node, or not one derivative per parent.

    The graph of y = x·x + x:

    >>> square = Node(lambda a, b: a * b, (lambda a, b: b, lambda a, b: a), parents=(0, 0))
    >>> y = Node(lambda a, b: a + b, (lambda a, b: 1, lambda a, b: 1), parents=(1, 0))
    >>> graph = ScalarGraph(1, (square, y))
    >>> graph.n, graph.edges
    (3, 4)
    >>> u = forward(graph, [2.0])
    >>> u
    (2.0, 4.0, 6.0)
    >>> backward(graph, u)  # dy/dx = 2x + 1
    Gradients(grad_table=(5.0, 1, 1), products=4)
    >>> path_sum(graph, u, 0)  # through each of the two edges of x·x, and past it
    PathSum(derivative=5.0, paths=3, products=5)
    """

    n_inputs: int
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if self.n_inputs < 1:
            raise ValueError(f"a graph needs at least 1 input, got {self.n_inputs!r}")
        object.__setattr__(self, "nodes", tuple(self.nodes))
        for i, (_, derivatives, parents) in enumerate(self.nodes, self.n_inputs):
            for j in parents:
                if not isinstance(j, Integral) or not 0 <= j < i:
                    raise ValueError(f"node {i} needs parents among the nodes 0 … {i - 1} before it, got {j!r}")
            if len(derivatives) != len(parents):
                raise ValueError(f"node {i} needs {len(parents)} derivatives, one per parent, got {len(derivatives)}")

    @property
    def n(self) -> int:
        """The number of nodes, inputs included."""
        return self.n_inputs + len(self.nodes)

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(len(node.parents) for node in self.nodes)


class Gradients(NamedTuple):
    """grad_table[j] = ∂u^(n)/∂u^(j), and the number of products that it took."""

    grad_table: tuple[Any, ...]
    products: int


class PathSum(NamedTuple):
    """∂u^(n)/∂u^(j) as a sum over paths, the number of paths, and the number of products that it took."""

    derivative: Any
    paths: int
    products: int


def forward(graph: ScalarGraph, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Algorithm 6.1: the values of all nodes; the last is the output u^(n).

    Raises:
        ValueError: not one value per input.
    """
    if len(inputs) != graph.n_inputs:
        raise ValueError(f"the graph needs {graph.n_inputs} inputs, got {len(inputs)}")
    u = list(inputs)
    for node in graph.nodes:
        A = [u[j] for j in node.parents]
        u.append(node.f(*A))
    return tuple(u)


def backward(graph: ScalarGraph, u: Sequence[Any]) -> Gradients:
    """Algorithm 6.2: ∂u^(n)/∂u^(j) for all nodes j, with one product per edge.

    u is what `forward(graph, inputs)` returned. The entry of a node that the output does not depend on is 0.

    Raises:
        ValueError: not one value per node.
    """
    consumers = _consumers(graph, u)
    products = 0
    grad_table: list[Any] = [0] * (graph.n - 1) + [1]
    for j in reversed(range(graph.n - 1)):
        grad_table[j] = sum(grad_table[i] * derivative for i, derivative in consumers[j])
        products += len(consumers[j])
    return Gradients(tuple(grad_table), products)


def path_sum(graph: ScalarGraph, u: Sequence[Any], j: int) -> PathSum:
    """∂u^(n)/∂u^(j) without a table: the sum over all paths of the product along each path, eq. 6.55.

        ∂u^(n)/∂u^(j) = Σ_{paths π_1 … π_t from π_1 = j to π_t = n} Π_{k=2…t} ∂u^(π_k)/∂u^(π_{k−1})

    Paths are walked one by one, and their number can be exponential in that of the nodes. Each step of a walk
    is a product; paths share those of the part that they begin with, and walks that miss u^(n) have them too.

    Raises:
        ValueError: not one value per node, or no node j.
    """
    if not 0 <= j < graph.n:
        raise ValueError(f"j must be one of the nodes 0 … {graph.n - 1}, got {j!r}")
    consumers = _consumers(graph, u)
    derivative: Any = 0
    paths = products = 0
    walks = [(j, 1)]  # the last node of each walk that has begun at j, and the product along it
    while walks:
        i, product = walks.pop()
        if i == graph.n - 1:
            derivative = derivative + product
            paths += 1
        walks.extend([(k, product * factor) for k, factor in consumers[i]])
        products += len(consumers[i])
    return PathSum(derivative, paths, products)


def complete_graph(n: int, weight: Any = 1) -> ScalarGraph:
    """The graph of n nodes with all n(n−1)/2 edges: node 0 is the input, u^(i) = weight · Σ_{j<i} u^(j).

    It has 2^(n−2) paths from the first node to the last. With weight 1, that is also the derivative between them.

    Raises:
        ValueError: fewer than 2 nodes.

    >>> forward(complete_graph(5), [1.0])
    (1.0, 1.0, 2.0, 4.0, 8.0)
    """
    if n < 2:
        raise ValueError(f"a complete graph needs at least 2 nodes, got {n!r}")
    nodes = (Node(lambda *A: weight * sum(A), (lambda *A: weight,) * i, tuple(range(i))) for i in range(1, n))
    return ScalarGraph(1, tuple(nodes))


def _consumers(graph: ScalarGraph, u: Sequence[Any]) -> list[list[tuple[int, Any]]]:
    """For each node j, its edges (i, ∂u^(i)/∂u^(j)) to the nodes i with j ∈ Pa(u^(i)); each derivative once."""
    if len(u) != graph.n:
        raise ValueError(f"u must hold the values of all {graph.n} nodes, got {len(u)}")
    consumers: list[list[tuple[int, Any]]] = [[] for _ in range(graph.n)]
    for i, node in enumerate(graph.nodes, graph.n_inputs):
        A = [u[j] for j in node.parents]
        for j, derivative in zip(node.parents, node.derivatives, strict=True):
            consumers[j].append((i, derivative(*A)))
    return consumers
