"""Algorithms 6.1 and 6.2 on scalars against jax.grad, and their cost against that of the sum over paths."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlp_jax.autodiff.scalar import Node, ScalarGraph, backward, complete_graph, forward, path_sum

SEEDS = range(10)

# f, its derivatives, and f in jax.numpy; none leaves [−1, 1], so that no value of a deep graph is huge.
RULES = [
    (lambda a, b: (a + b) / 2, (lambda a, b: 0.5, lambda a, b: 0.5), lambda a, b: (a + b) / 2),
    (lambda a, b: a * b, (lambda a, b: b, lambda a, b: a), lambda a, b: a * b),
    (math.sin, (math.cos,), jnp.sin),
    (lambda a: math.exp(a - 1), (lambda a: math.exp(a - 1),), lambda a: jnp.exp(a - 1)),
]

MULTIPLY = Node(lambda a, b: a * b, (lambda a, b: b, lambda a, b: a), (0, 0))
ADD = Node(lambda a, b: a + b, (lambda a, b: 1, lambda a, b: 1), (1, 0))
SQUARE_PLUS_X = ScalarGraph(1, (MULTIPLY, ADD))


def random_graph(seed, n, n_inputs=3):
    """A graph, values of its inputs, and the rules of its nodes; parents are recent nodes, often the same twice."""
    rng = np.random.default_rng(seed)
    rules = [RULES[k] for k in rng.integers(len(RULES), size=n - n_inputs)]
    nodes = [
        Node(f, derivatives, tuple(int(j) for j in rng.integers(max(0, i - 4), i, size=len(derivatives))))
        for i, (f, derivatives, _) in enumerate(rules, n_inputs)
    ]
    return ScalarGraph(n_inputs, nodes), rng.uniform(0.3, 1, n_inputs).tolist(), rules


class Counted:
    """A number that counts products of two of its kind, and of one with a plain number."""

    count = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Counted(self.value + getattr(other, "value", other))

    def __mul__(self, other):
        Counted.count += 1
        return Counted(self.value * getattr(other, "value", other))

    __radd__, __rmul__ = __add__, __mul__


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_table_is_the_gradient_for_every_node(seed):
    graph, inputs, rules = random_graph(seed, n=30)

    def output(shifts):  # ∂u^(n)/∂u^(j) is the derivative for a shift of u^(j), whether it is an input or not
        u = [x + shift for x, shift in zip(inputs, shifts, strict=False)]
        for i, (node, (_, _, f)) in enumerate(zip(graph.nodes, rules, strict=True), graph.n_inputs):
            u.append(f(*(u[j] for j in node.parents)) + shifts[i])
        return u[-1]

    u = forward(graph, inputs)
    value, expected = jax.value_and_grad(output)(jnp.zeros(graph.n))
    assert_allclose(u[-1], value, rtol=1e-13)
    assert_allclose(backward(graph, u).grad_table, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sum_over_paths_is_the_same_gradient(seed):
    graph, inputs, _ = random_graph(seed, n=15)
    u = forward(graph, inputs)
    assert_allclose([path_sum(graph, u, j).derivative for j in range(graph.n)], backward(graph, u).grad_table)


def test_the_random_graphs_have_what_they_are_to_test():
    graphs = [random_graph(seed, n=30) for seed in SEEDS]
    tables = [backward(graph, forward(graph, inputs)).grad_table for graph, inputs, _ in graphs]
    assert all(any(table[:3]) for table in tables)  # a gradient reaches an input
    assert any(0 in table for table in tables)  # a node that the output does not depend on
    assert any(len(set(node.parents)) < len(node.parents) for graph, _, _ in graphs for node in graph.nodes)


@pytest.mark.parametrize("n", range(2, 17))
def test_the_complete_graph_has_a_product_per_edge_and_exponentially_many_paths(n):
    graph = complete_graph(n)
    u = forward(graph, [3])
    gradients, paths = backward(graph, u), path_sum(graph, u, 0)
    assert gradients.products == graph.edges == n * (n - 1) // 2
    assert paths.paths == paths.derivative == gradients.grad_table[0] == 2 ** (n - 2)
    assert paths.products == 2 ** (n - 1) - 1


def test_the_products_reported_are_those_made():
    graph = complete_graph(8, weight=Counted(1))
    u = tuple(Counted(value) for value in forward(complete_graph(8), [1]))
    for run in (lambda: backward(graph, u), lambda: path_sum(graph, u, 0)):
        Counted.count = 0
        assert run().products == Counted.count


def test_a_chain_of_100_000_nodes():
    n = 100_000
    graph = ScalarGraph(1, [Node(lambda a: -a, (lambda a: -1,), (i,)) for i in range(n - 1)])
    u = forward(graph, [2.0])
    assert u[-1] == -2.0
    assert backward(graph, u) == (tuple((-1) ** (n - 1 - j) for j in range(n)), n - 1)
    assert path_sum(graph, u, 0) == (-1, 1, n - 1)


def test_a_parent_named_twice_is_two_edges():
    graph = ScalarGraph(1, (MULTIPLY,))
    u = forward(graph, [3.0])
    assert graph.edges == 2
    assert backward(graph, u) == ((6.0, 1), 2)
    assert path_sum(graph, u, 0) == (6.0, 2, 2)


def test_nodes_that_the_output_does_not_depend_on():
    unused = Node(lambda a: 7 * a, (lambda a: 7,), (1,))
    graph = ScalarGraph(2, (unused, Node(lambda a: 3 * a, (lambda a: 3,), (0,))))
    u = forward(graph, [1.0, 2.0])
    assert backward(graph, u) == ((3, 0, 0, 1), 2)
    assert path_sum(graph, u, 1) == (0, 0, 1)


def test_the_smallest_graphs():
    assert backward(ScalarGraph(1, ()), forward(ScalarGraph(1, ()), [5.0])) == ((1,), 0)
    assert path_sum(ScalarGraph(1, ()), [5.0], 0) == (1, 1, 0)
    constant = ScalarGraph(1, (Node(lambda: 4.0, (), ()),))
    assert backward(constant, forward(constant, [5.0])) == ((0, 1), 0)


def test_fractions_stay_exact():
    n, w = 10, Fraction(1, 3)
    graph = complete_graph(n, w)
    u = forward(graph, [Fraction(1)])
    assert u[-1] == w * (1 + w) ** (n - 2)  # linear in its input, which is 1: this is also the derivative
    assert backward(graph, u).grad_table[0] == path_sum(graph, u, 0).derivative == u[-1]


def test_jax_scalars_and_what_jax_differentiates():
    def derivative(x):
        return backward(SQUARE_PLUS_X, forward(SQUARE_PLUS_X, [x])).grad_table[0]

    assert jax.jit(derivative)(2.0) == 5.0
    assert jax.grad(derivative)(2.0) == 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ScalarGraph(0, ()), "a graph needs at least 1 input, got 0"),
        (lambda: ScalarGraph(1, (ADD,)), "node 1 needs parents among the nodes 0 … 0 before it, got 1"),
        (
            lambda: ScalarGraph(2, (MULTIPLY, MULTIPLY._replace(parents=(0, -1)))),
            "node 3 needs parents among the nodes 0 … 2 before it, got -1",
        ),
        (
            lambda: ScalarGraph(1, (MULTIPLY._replace(parents=(0, "x")),)),
            "node 1 needs parents among the nodes 0 … 0 before it, got 'x'",
        ),
        (
            lambda: ScalarGraph(1, (MULTIPLY._replace(parents=(0,)),)),
            "node 1 needs 1 derivatives, one per parent, got 2",
        ),
        (lambda: forward(SQUARE_PLUS_X, [1.0, 2.0]), "the graph needs 1 inputs, got 2"),
        (lambda: backward(SQUARE_PLUS_X, [1.0]), "u must hold the values of all 3 nodes, got 1"),
        (lambda: path_sum(SQUARE_PLUS_X, [1.0], 0), "u must hold the values of all 3 nodes, got 1"),
        (lambda: path_sum(SQUARE_PLUS_X, [1.0, 1.0, 2.0], 3), "j must be one of the nodes 0 … 2, got 3"),
        (lambda: path_sum(SQUARE_PLUS_X, [1.0, 1.0, 2.0], -1), "j must be one of the nodes 0 … 2, got -1"),
        (lambda: complete_graph(1), "a complete graph needs at least 2 nodes, got 1"),
    ],
)
def test_errors_say_what_was_needed_and_what_was_got(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared)
        call()
    assert str(error.value) == message
