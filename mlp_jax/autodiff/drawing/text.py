"""A graph as text, a line for each variable."""

from mlp_jax.autodiff.dag import DAG, format_constant, type_name
from mlp_jax.autodiff.variable import Variable


def to_text(graph: DAG) -> str:
    """A line for each variable: name, dtype and shape, operation and inputs; then the outputs and the notes."""
    operations = [v for v in graph.variables if v.operation is not None]
    counts = {"input": graph.inputs, "operation": operations, "output": graph.outputs}
    lines = ["graph: " + ", ".join(f"{len(found)} {what}{'s' * (len(found) != 1)}" for what, found in counts.items())]
    for v in graph.variables:
        lines.append(f"  {graph.names[v]}: {type_name(v)}" + (f" = {origin(graph, v)}" if v.operation else ""))
    return "\n".join([*lines, f"returns {', '.join(graph.output_names)}", *graph.notes])


def origin(graph: DAG, v: Variable) -> str:
    """The operation with its arguments, as in sum(x, axis=0)."""
    if v.operation is None:
        return "input"
    arguments = [graph.names[u] if is_own(graph, u) else format_constant(u) for u in v.inputs]
    arguments += [f"{key}={value}" for key, value in v.attributes.items()]
    return f"{v.operation.name}({', '.join(arguments)})"


def is_own(graph: DAG, u: object) -> bool:
    """Whether u is a variable of the graph, and not a constant in it."""
    return isinstance(u, Variable) and u in graph.names
