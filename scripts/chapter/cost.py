"""Section 6.5.3: back-propagation takes one product per edge; the sum over paths that it avoids grows like 2^n."""

import random
from typing import Any

import jax
from matplotlib.figure import Figure

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREEN, GREY, ORANGE, decades, panels
from mlp_jax.autodiff import scalar

NODES = range(2, 21)
SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000)
LAYERS = range(1, 11)
WIDTH, EXAMPLES = 256, 128
DENSITIES = {"2 parents a node": 2, "10 parents a node": 10}


def measure() -> Numbers:
    """Products on complete and random graphs, and flops of a network's cost with and without its gradient."""
    complete = [on_complete_graph(n) for n in NODES]
    sparse = {name: [on_random_graph(n, parents) for n in SIZES] for name, parents in DENSITIES.items()}
    return {
        "nodes": list(NODES),
        "path sum": [sum_of_paths for _, sum_of_paths, _ in complete],
        "backward": [products for products, _, _ in complete],
        "same derivative": all(same for _, _, same in complete),
        "random graphs": sparse,
        "layers": list(LAYERS),
        "forward flops": [flops(mlp_jax.loss, layers) for layers in LAYERS],
        "gradient flops": [flops(mlp_jax.loss_and_grad, layers) for layers in LAYERS],
    }


def on_complete_graph(n: int) -> tuple[int, int, bool]:
    """Products of Algorithm 6.2, products of the sum over paths, and whether both find the same derivative."""
    graph = scalar.complete_graph(n)
    u = scalar.forward(graph, [1])
    table, paths = scalar.backward(graph, u), scalar.path_sum(graph, u, 0)
    return table.products, paths.products, table.grad_table[0] == paths.derivative


def on_random_graph(n: int, parents: int) -> tuple[int, int]:
    """Edges of a graph whose nodes draw their parents among all before them, and the products of Algorithm 6.2."""
    draw = random.Random(n)
    nodes = [node([draw.randrange(i) for _ in range(min(parents, i))]) for i in range(1, n)]
    graph = scalar.ScalarGraph(1, tuple(nodes))
    return graph.edges, scalar.backward(graph, scalar.forward(graph, [1.0])).products


def node(parents: list[int]) -> scalar.Node:
    """The mean of its parents."""
    share = 1 / len(parents)
    return scalar.Node(lambda *A: share * sum(A), (lambda *A: share,) * len(parents), tuple(parents))


def flops(function: Any, layers: int) -> float:
    """What XLA counts for a network of so many weight layers."""
    net = mlp_jax.MLP((WIDTH,) * (layers + 1))
    params = jax.eval_shape(lambda: mlp_jax.init(net, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((EXAMPLES, WIDTH), "float32")
    analysis: Any = jax.jit(function, static_argnums=0).lower(net, params, x, x).cost_analysis()
    return float(analysis["flops"])


def ratios(numbers: Numbers) -> list[float]:
    """Flops of cost and gradient, as multiples of those of the cost alone."""
    pairs = zip(numbers["gradient flops"], numbers["forward flops"], strict=True)
    return [gradient / forward for gradient, forward in pairs]


def draw(numbers: Numbers) -> Figure:
    """Products against nodes, products against edges, and flops against layers."""
    figure, ((left, middle, right),) = panels(1, 3)
    nodes = numbers["nodes"]
    left.semilogy(nodes, [2**n for n in nodes], ":", color=GREY, label="$2^n$")
    left.semilogy(nodes, numbers["path sum"], "o", color=ORANGE, label="sum over all paths")
    left.semilogy(nodes, numbers["backward"], "s", color=BLUE, label="Algorithm 6.2")
    left.set(xlabel="nodes n of a complete graph", ylabel="products for the derivative", xticks=range(5, 21, 5))
    left.set_title("Paths are exponentially many,\nedges are not")
    edges = [edges for pairs in numbers["random graphs"].values() for edges, _ in pairs]
    middle.loglog([10, max(edges)], [10, max(edges)], color=GREY, linewidth=1, label="one product an edge")
    for (name, pairs), marker, colour in zip(numbers["random graphs"].items(), "sD", (BLUE, GREEN), strict=True):
        middle.loglog(*zip(*pairs, strict=True), marker, color=colour, label=name)
    middle.set(xlabel="edges of a random graph", ylabel="products of Algorithm 6.2")
    middle.set_ylim(2, None)
    middle.set_title("Algorithm 6.2 takes\none product for each edge")
    right.plot(numbers["layers"], ratios(numbers), "o-", color=BLUE)
    right.set(xlabel=f"weight layers of {WIDTH} × {WIDTH}", ylabel="flops with gradient / without", ylim=(0, 4))
    right.set_title(f"A network's gradient costs at\nmost {max(ratios(numbers)) - 1:.1f} forward propagations")
    decades(left.yaxis, middle.xaxis, middle.yaxis)
    left.legend()
    middle.legend(loc="lower right")
    return figure


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    factors = ratios(numbers)
    return (
        f"On the complete graph of {numbers['nodes'][-1]} nodes, the sum over paths takes {numbers['path sum'][-1]:,} "
        f"products, Algorithm 6.2 takes {numbers['backward'][-1]}. For networks of {LAYERS[0]} to {LAYERS[-1]} layers, "
        f"XLA counts {min(factors):.2f} to {max(factors):.2f} times the flops for cost and gradient as for the cost "
        "alone: two more products of matrices for each one, but only one for the first layer, whose inputs need no "
        "gradient."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    pairs = [pair for pairs in numbers["random graphs"].values() for pair in pairs]
    per_node, most = numbers["path sum"][-1] / numbers["path sum"][-2], max(ratios(numbers))
    return {
        "both ways find the same derivative": numbers["same derivative"],
        "the products of the sum over paths double with each node": 1.99 < per_node < 2.01,
        "Algorithm 6.2 takes one product for each edge": all(edges == products for edges, products in pairs),
        "cost and gradient of a network take at most 3 times the flops of the cost, at any depth": most < 3.01,
    }


CLAIM = Claim(
    name="cost",
    title="Back-propagation costs one product per edge, not one per path",
    section="6.5.3",
    says="Algorithm 6.2 visits each edge of the graph once, and does one product there; without its table, common "
    "parts of paths are computed again and again, and their number can grow exponentially with the nodes. The gradient "
    "of a network costs about as much as its forward propagation.",
    setting="Products are counted by `mlp_jax.autodiff.scalar`, flops by XLA for a cost of "
    f"{EXAMPLES} examples (`mlp_jax.loss` and `mlp_jax.loss_and_grad`). Nothing is trained.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
)
