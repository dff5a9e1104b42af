"""Nodes and edges as all drawings have them, and their colours."""

import re
from dataclasses import dataclass

from mlp_jax.autodiff.dag import DAG, ancestors, format_constant, type_name
from mlp_jax.autodiff.drawing.text import is_own, origin
from mlp_jax.autodiff.variable import Variable

FILL = {"input": "#dbeafe", "constant": "#eeeeee", "forward": "#ffffff", "gradient": "#ffedd5"}
LINE = {"input": "#1d4ed8", "constant": "#9ca3af", "forward": "#1f2937", "gradient": "#c2410c", "reading": "#6b7280"}


@dataclass(frozen=True)
class Node:
    """A variable or a constant."""

    name: str  # a constant has none
    type: str  # dtype and shape
    origin: str  # the operation with its arguments
    kind: str  # input, constant, forward or gradient
    is_added: bool = False  # to the graph, by a gradient
    is_output: bool = False

    @property
    def lines(self) -> tuple[str, str]:
        """What is written in the box."""
        return ": ".join(shortened(part, 24) for part in (self.name, self.type) if part), shortened(self.origin, 36)


@dataclass(frozen=True)
class Diagram:
    """What is drawn; nodes have numbers, in the order in which the variables were computed."""

    nodes: list[Node]
    edges: list[tuple[int, int, str]]  # the third is forward, gradient, or reading: of a forward value in a bprop rule
    partner: dict[int, int]  # for the number of ∂J/∂v that of v


def diagram_of(graph: DAG) -> Diagram:
    """The nodes and edges of a graph."""
    added, outputs = _added_by_gradients(graph), {v for v in graph.outputs if isinstance(v, Variable)}
    nodes: list[Node] = []
    edges: list[tuple[int, int, str]] = []
    number: dict[Variable, int] = {}
    for v in graph.variables:
        arrays = [u for u in v.inputs if not is_own(graph, u) and getattr(u, "shape", None)]
        sources = [*(number[u] for u in graph.inputs_of(v)), *range(len(nodes), len(nodes) + len(arrays))]
        nodes += [Node("", type_name(u), "constant", "constant", v in added) for u in arrays]
        for k in sources:
            kind = "forward" if v not in added else "gradient" if nodes[k].is_added else "reading"
            edges.append((k, len(nodes), kind))
        number[v] = len(nodes)
        kind = "input" if v.operation is None else "gradient" if v in added else "forward"
        nodes.append(Node(graph.names[v], type_name(v), origin(graph, v), kind, v in added, v in outputs))
    constants = [format_constant(x) for x in graph.outputs if not isinstance(x, Variable)]
    nodes += [Node("", x, "constant", "constant", is_output=True) for x in constants]
    partner = {number[g]: number[v] for g, (_, v) in graph.gradients.items() if {g, v} <= number.keys()}
    return Diagram(nodes, edges, partner)


def _added_by_gradients(graph: DAG) -> set[Variable]:
    """All but the inputs and what a differentiated variable depends on, unless that itself depends on a gradient."""
    costs = {z for z, _ in graph.gradients.values()}
    forward = ancestors(z for z in costs if graph.gradients.keys().isdisjoint(ancestors([z])))
    return set(graph.variables) - {*graph.inputs, *forward} if costs else set()


def cleaned(text: str) -> str:
    """One line without the control characters that XML forbids."""
    return re.sub("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", " ".join(text.split()))


def shortened(text: str, length: int) -> str:
    """Of a long text the beginning and the end."""
    text, head = cleaned(text), length * 2 // 3
    return text if len(text) <= length else f"{text[:head]}…{text[head + 1 - length :]}"
