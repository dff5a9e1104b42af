"""A graph as text."""

from typing import Any

from mlp_jax.autodiff.graph import Graph, format_constant, type_name
from mlp_jax.autodiff.variable import Variable


def to_text(graph: Graph) -> str:
    """A line for each variable: name, dtype and shape, operation and inputs; then the outputs and the notes."""
    names = graph.names

    def name(u: Any) -> str:
        return names[u] if isinstance(u, Variable) and u in names else format_constant(u)

    def count(n: int, what: str) -> str:
        return f"{n} {what}{'s' * (n != 1)}"

    operations = sum(v.operation is not None for v in graph.variables)
    lines = [
        f"graph: {count(len(graph.inputs), 'input')}, {count(operations, 'operation')}, "
        f"{count(len(graph.outputs), 'output')}"
    ]
    for v in graph.variables:
        line = f"  {names[v]}: {type_name(v)}"
        if v.operation is not None:
            arguments = [name(u) for u in v.inputs] + [f"{key}={value}" for key, value in v.attributes.items()]
            line += f" = {v.operation.name}({', '.join(arguments)})"
        lines.append(line)
    lines.append(f"returns {', '.join(name(v) for v in graph.outputs)}")
    return "\n".join([*lines, *graph.notes])
