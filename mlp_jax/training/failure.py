"""Where the first number that is not finite arises in a training step, and from what."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.variable import Variable
from mlp_jax.mlp import network
from mlp_jax.mlp.params import unstack
from mlp_jax.tables.preparation import Examples
from mlp_jax.training.step import Program, State
from mlp_jax.training.step.program import merged
from mlp_jax.training.store.tensors import by_path

# What the names are that `network.loss` gives its variables, but for the number of the layer.
_MEANING = {
    "x": "the inputs", "a": "the pre-activations", "h": "the activations", "L": "the cost of each example",
    "J": "the cost",
}  # fmt: skip


def diagnose(program: Program, state: State, examples: Examples) -> str | None:
    """Take a training step operation by operation, and say what is not finite first.

    The step's graph is that of Algorithm 6.5: its variables, in order, are a and h of each layer, the cost, and the
    gradients for all of them; after it comes the optimizer's update.

    Returns:
        Layer, quantity, how many entries, and the operation with the range of its inputs; None if all is finite.
    """
    x, y = map(jnp.asarray, examples)
    params = unstack(program.net, state.params)

    def J(params: Any, x: Any) -> Any:
        return network.loss(program.net, params, x, y)

    graph = trace(J, params, x)
    inputs = graph.inputs[: len(jax.tree.leaves(params))]
    return _in_graph(graph.gradient(wrt=inputs), params, x) or _in_update(program, state, x, y)


def _in_graph(graph: Graph, params: Any, x: Any) -> str | None:
    everything = replace(graph, outputs=graph.variables, out_tree=jax.tree.structure([0] * len(graph.variables)))
    values = dict(zip(graph.variables, everything.evaluate(params, x), strict=True))
    for v, value in values.items():
        if (bad := _not_finite(value)) is not None:
            cause = f"; {_cause(graph, v, values)}" if v.operation else ""
            return f"{_what(graph, v)}: {bad}{cause}"
    return None


def _in_update(program: Program, state: Any, x: Any, y: Any) -> str | None:
    net, params = program.net, unstack(program.net, state.params)
    trained = program.trained(state.params)
    J, grads = network.loss_and_grad(net, state.params, x, y)
    grads = program.trained(grads)

    def value(trained: Any) -> Any:
        return network.loss(net, merged(trained, state.params), x, y)

    optimizer = optax.with_extra_args_support(program.optimizer)
    updates, memory = optimizer.update(grads, state.optimizer, trained, value=J, grad=grads, value_fn=value)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    after = unstack(net, jax.tree.map(lambda p, u: p + u, state.params, merged(updates, zeros)))
    steps, slopes = (unstack(net, merged(tree, zeros)) for tree in (updates, grads))
    for k, layers in enumerate(zip(steps, after, slopes, params, strict=True)):
        for name in params[k]._fields:
            update, new, slope, old = (getattr(layer, name) for layer in layers)
            for what, values in (("update", update), ("new value", new)):
                if values is not None and (bad := _not_finite(values)) is not None:
                    return (
                        f"layer {k + 1}, the {what} of {name}: {bad}; the gradient is {_range(slope)}, {name} before "
                        f"is {_range(old)}: the optimizer's step left the range of {values.dtype}"
                    )
    for path, values in by_path(memory).items():
        if (bad := _not_finite(values)) is not None:
            return (
                f"the optimizer's state {path}: {bad}; squares of the gradient leave the range of {values.dtype} early"
            )
    return None


def _what(graph: Graph, v: Variable) -> str:
    """The layer and the quantity, as in: layer 2, the activations h2."""
    name = graph.names[v]
    if v in graph.gradients:
        return f"{_layer(graph.names[graph.gradients[v][1]])}the gradient {name}"
    if name.startswith("params"):
        return f"{_layer(name)}the parameter {name.rpartition('.')[2]}"
    return f"{_layer(name)}{_MEANING.get(name.rstrip('0123456789'), 'the quantity')} {name}"


def _layer(name: str) -> str:
    if found := re.match(r"params\[(\d+)\]", name):
        return f"layer {int(found[1]) + 1}, "
    return f"layer {name[1:]}, " if re.fullmatch(r"[ah]\d+", name) else ""


def _cause(graph: Graph, v: Variable, values: dict[Variable, Any]) -> str:
    assert v.operation
    of = [f"{graph.names[u]} {_range(values[u])}" for u in dict.fromkeys(graph.inputs_of(v))]
    kind = "overflowed" if np.isinf(np.asarray(values[v], np.float64)).any() else "has no value"
    return f"{v.operation.name} {kind}, of {', '.join(of)}" if of else f"{v.operation.name} {kind}"


def _not_finite(values: Any) -> str | None:
    array = np.asarray(values, np.float64) if jnp.issubdtype(jnp.asarray(values).dtype, jnp.inexact) else np.zeros(1)
    counts = {"infinite": np.isinf(array).sum(), "NaN": np.isnan(array).sum()}
    kinds = [f"{count:,} {kind}" for kind, count in counts.items() if count]
    return f"{' and '.join(kinds)} of {array.size:,} entr{'y' if array.size == 1 else 'ies'}" if kinds else None


def _range(values: Any) -> str:
    array = np.asarray(values, np.float64)
    return f"from {array.min():.3g} to {array.max():.3g}" if array.size > 1 else f"{array.item():.3g}"
