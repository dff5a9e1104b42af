"""The network of a program: the graph of its operations, a line of code for each."""

from types import FunctionType
from typing import Any

import jax
import numpy as np
from jax import export

from mlp_jax.autodiff import Graph, trace
from mlp_jax.autodiff.variable import Variable
from mlp_jax.errors import InputError
from mlp_jax.exchange import formulas
from mlp_jax.mlp.network import forward
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP

FORMULAS = {name: f for name, f in vars(formulas).items() if isinstance(f, FunctionType)}
_OPERATORS = {
    "affine": "{} @ {} + {}", "matmul": "{} @ {}", "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}",
    "div": "{} / {}", "neg": "-{}", "identity": "{}",
}  # fmt: skip


def graph_of(net: MLP, params: Params) -> Graph:
    """The graph of ŷ, and of what is predicted besides, by name, for any number n of rows."""

    def outputs(params: Params, x: Any) -> dict[str, Any]:
        tape = forward(net, params, x)
        found: dict[str, Any] = {}
        if net.output_unit.kind == "quantities":
            found = net.output_unit.parameters(tape.a[-1], *params[-1][2:])
        beside = ("weights", "mean", "sd") if "weights" in found else ("sd",) if "sd" in found else ()
        return {"y": tape.h[-1]} | {name: found[name] for name in beside}

    (n,) = export.symbolic_shape("n")
    return trace(outputs, params, jax.ShapeDtypeStruct((n, net.inputs), params[0].W.dtype))


def lines_of(graph: Graph, net: MLP, params: Params, arrays: dict[str, Any]) -> list[str]:
    """A line for each variable of the graph; the arrays in it are added under the names that they get there."""
    spelled = {graph.inputs[-1]: "x"}
    for v, leaf in zip(graph.inputs, jax.tree.leaves(params), strict=False):
        layer, kind = graph.names[v].removeprefix("params[").split("].")
        spelled[v] = f"{kind}{int(layer) + 1}"
        arrays[spelled[v]] = np.asarray(leaf)
    lines: list[str] = []
    known: dict[str, str] = {}

    def argument(u: Any) -> str:
        if isinstance(u, Variable):
            return spelled[u]
        if np.ndim(u) == 0:
            return repr(np.asarray(u).item())
        name = f"C{sum(name.startswith('C') for name in arrays) + 1}"
        arrays[name] = np.asarray(u)
        return name

    for v in graph.variables:
        if v.operation is None:
            continue
        attributes = dict(v.attributes)
        if v.operation.name == "lookup":
            attributes["categories"] = net.categories
        code = _expression(v.operation.name, [argument(u) for u in v.inputs], attributes)
        if code.isidentifier() or code in known:  # the same again
            spelled[v] = known.get(code, code)
            continue
        spelled[v] = known[code] = graph.names[v]
        lines.append(f"{spelled[v]} = {code}")
    if any("(n, " in line for line in lines):
        lines.insert(0, "n = x.shape[0]")
    return [*lines, f"return {', '.join(map(argument, graph.outputs))}"]


def _expression(name: str, arguments: list[str], attributes: dict[str, Any]) -> str:
    if name in _OPERATORS:
        return _OPERATORS[name].format(*arguments)
    if name == "getitem":
        index = attributes["index"]
        if len(arguments) > 1:  # an array of places on the last axis
            return f"np.take({', '.join(arguments)}, axis=-1)"
        return f"{arguments[0]}[{', '.join(map(_place, index if isinstance(index, tuple) else (index,)))}]"
    if name == "concatenate":
        return f"np.concatenate([{', '.join(arguments)}], axis={attributes['axis']})"
    if name == "reshape":
        return f"np.reshape({arguments[0]}, {attributes['shape']})"
    if name not in FORMULAS and not hasattr(np, name):
        raise InputError(f"operation {name!r} of the network has no formula in NumPy (mlp_jax/exchange/formulas.py)")
    called = name if name in FORMULAS else f"np.{name}"
    return f"{called}({', '.join([*arguments, *(f'{key}={value!r}' for key, value in attributes.items())])})"


def _place(index: Any) -> str:
    if isinstance(index, slice):
        return f"{'' if index.start is None else index.start}:{'' if index.stop is None else index.stop}"
    return "..." if index is Ellipsis else str(index)


def sentence(net: MLP) -> str:
    units = ", ".join(unit.name for unit in net.hidden_units)
    widths = "-".join(map(str, net.widths)) if len(net.widths) <= 8 else f"{len(net.widths) - 1} layers"
    return f"{widths}; hidden units {units if len(units) < 50 else units[:50] + '…'}; output {net.output_unit.name}."
