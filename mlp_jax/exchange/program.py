"""A trained model as a program of NumPy alone, from raw cells to predictions by name: one file that a person can read.

What it computes stands in its function `model`, of which ONNX and StableHLO are made, too, so each is written once: the
network is the graph of its own operations, a line for each, and the inputs are a line for each column of the schema.
"""

import base64
import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from types import FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export as jax_export

from mlp_jax.autodiff import Graph, trace
from mlp_jax.autodiff.variable import Variable
from mlp_jax.errors import InputError
from mlp_jax.exchange import cells, formulas
from mlp_jax.mlp.network import forward
from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.params import Params, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.categories import Category
from mlp_jax.tables.dates import CYCLES, ISO, Date
from mlp_jax.tables.numbers import Number
from mlp_jax.tables.targets import Target
from mlp_jax.training.prediction import target_names
from mlp_jax.training.store.weights import Model

_FORMULAS = {name: f for name, f in vars(formulas).items() if isinstance(f, FunctionType)}
_OPERATORS = {
    "affine": "{} @ {} + {}", "matmul": "{} @ {}", "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}",
    "div": "{} / {}", "neg": "-{}",
}  # fmt: skip
_LINE = 112


class Input(NamedTuple):
    """What a program takes under one name.

    Attributes:
        kind: "number", "date" or "category", (n,) each; or "array", (n, width).
        width: of an array.
        format: of dates that are words.
        codes: of a category's words; "" is a missing cell.
        other: the code of all other words.
    """

    kind: str
    width: int = 1
    format: str = ""
    codes: dict[str, int] | None = None
    other: int = -1


class Program(NamedTuple):
    """A program as source, with what goes in and out.

    Attributes:
        source: of a module with the functions `predict`, of cells, and `model`, of numbers and codes.
        inputs: by name.
        missing: the words that mean a missing cell.
        outputs: the names of what it predicts.
        classes: of those outputs that are numbers of classes: what these are called.
    """

    source: str
    inputs: dict[str, Input]
    missing: tuple[str, ...]
    outputs: tuple[str, ...]
    classes: dict[str, list[Any]]


def program_of(net: MLP, model: Model, missing: tuple[str, ...], name: str) -> Program:
    """The program of a trained network.

    Args:
        net: the network.
        model: its parameters, schema and scalings.
        missing: the words that mean a missing cell.
        name: what the model is called.

    Raises:
        InputError: the network has an operation or a dtype that NumPy has not.
    """
    params = unstack(net, model.params)
    dtype = str(params[0].W.dtype)
    if dtype not in ("float32", "float64"):
        raise InputError(f"network.dtype: {dtype} is none of NumPy's; train in float32 to export")
    columns = model.schema.used if model.schema else []
    inputs = {column.name: _input(column) for column in columns} or {"x": Input("array", net.inputs)}
    graph, arrays = _graph(net, params), dict[str, Any]()
    network = _network(graph, net, params, arrays)
    results = list(jax.tree.unflatten(graph.out_tree, graph.outputs))
    outputs, classes = _outputs(net, model)
    quantities = net.output_unit.kind in ("quantities", "quantiles")
    x = _encoding(columns, dtype) if columns else _scaling(model, dtype)
    lines = [
        *x,
        f"{', '.join(results)} = network(x)",
        *(f'{result} = {result}.astype("float64")' for result in results if quantities),
        *_literal("return ", {output: _Code(code) for output, code in outputs.items()}),
    ]
    body = [
        "def model(columns):",
        f'    """Predictions by name, (n,) each, of {"columns of numbers and codes" if columns else "inputs x (n, d)"}.'
        + '"""',
        *(f"    {line}" for line in lines),
        "",
        "",
        "def network(x):",
        f'    """{_sentence(net)}"""',
        *(f"    {line}" for line in network),
    ]
    used = _with_those_inside(code for line in body for code in line.replace("(", " ").replace("*", " ").split())
    parts = [
        _HEAD.format(name=name, version=version("mlp_jax"), how=_ROWS if columns else _ARRAY),
        _PREDICT if columns else _PREDICT_ARRAY.format(width=net.inputs),
        "\n".join(body),
        *(inspect.getsource(_FORMULAS[name]).strip() for name in _FORMULAS if name in used),
        *(inspect.getsource(f).strip() for f in _readers(inputs)),
        _constants(inputs if columns else {}, classes, missing, arrays),
        _MAIN if columns else _MAIN_ARRAY,
    ]
    return Program("\n\n\n".join(parts) + "\n", inputs, missing, tuple(outputs), classes)


# --- inputs ---------------------------------------------------------------------------------------


def _input(column: Number | Category | Date) -> Input:
    if isinstance(column, Date):
        return Input("date", format=column.format or ISO)
    if isinstance(column, Number):
        return Input("number")
    k = len(column.categories)
    of_missing = k if column.missing else -1
    other = k + (column.missing > 0) if column.rare else -1
    words = {word: code for code, word in enumerate(column.categories)}
    return Input("category", codes=words | dict.fromkeys(column.rare, other) | {"": of_missing}, other=other)


def _encoding(columns: list[Any], dtype: str) -> list[str]:
    """The lines of model that make x of columns."""

    def line(column: Any) -> str:
        cell = f"columns[{column.name!r}]"
        if isinstance(column, Category):
            return f"{cell}," if column.looked_up else f"*category({cell}, {len(column.inputs)}),"
        of = column.days if isinstance(column, Date) else column
        how = f"median={of.median!r}, center={of.center!r}, scale={of.scale!r}"
        how += ", marked=True" * bool(of.missing) + ", robust=True" * of.robust
        if isinstance(column, Date):
            return f"*date({cell}, {tuple(CYCLES[cycle] for cycle in column.cycles)}, {how}),"
        return f"*number({cell}, {how}),"

    return ["x = [", *(f"    {line(column)}" for column in columns), "]", f'x = np.stack(x, axis=1).astype("{dtype}")']


def _scaling(model: Model, dtype: str) -> list[str]:
    mean, scale = model.inputs
    if not mean.any() and (scale == 1).all():
        return [f'x = columns["x"].astype("{dtype}")']
    return [
        *_literal("mean = np.array(", mean.tolist(), ")"),
        *_literal("scale = np.array(", scale.tolist(), ")"),
        f'x = ((columns["x"] - mean) / scale).astype("{dtype}")',
    ]


# --- the network ----------------------------------------------------------------------------------


def _graph(net: MLP, params: Params) -> Graph:
    """The graph of ŷ, and of what is predicted besides, by name, for any number n of rows."""

    def outputs(params: Params, x: Any) -> dict[str, Any]:
        tape = forward(net, params, x)
        found: dict[str, Any] = {}
        if net.output_unit.kind == "quantities":
            found = net.output_unit.parameters(tape.a[-1], *params[-1][2:])
        beside = ("weights", "mean", "sd") if "weights" in found else ("sd",) if "sd" in found else ()
        return {"y": tape.h[-1]} | {name: found[name] for name in beside}

    (n,) = jax_export.symbolic_shape("n")
    return trace(outputs, params, jax.ShapeDtypeStruct((n, net.inputs), params[0].W.dtype))


def _network(graph: Graph, net: MLP, params: Params, arrays: dict[str, Any]) -> list[str]:
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
    if name == "identity":
        return arguments[0]
    if name == "getitem":
        index = attributes["index"]
        if len(arguments) > 1:  # an array of places on the last axis
            return f"np.take({', '.join(arguments)}, axis=-1)"
        return f"{arguments[0]}[{', '.join(map(_place, index if isinstance(index, tuple) else (index,)))}]"
    if name == "concatenate":
        return f"np.concatenate([{', '.join(arguments)}], axis={attributes['axis']})"
    if name == "reshape":
        return f"np.reshape({arguments[0]}, {attributes['shape']})"
    if name not in _FORMULAS and not hasattr(np, name):
        raise InputError(f"operation {name!r} of the network has no formula in NumPy (mlp_jax/exchange/formulas.py)")
    called = name if name in _FORMULAS else f"np.{name}"
    return f"{called}({', '.join([*arguments, *(f'{key}={value!r}' for key, value in attributes.items())])})"


def _place(index: Any) -> str:
    if isinstance(index, slice):
        return f"{'' if index.start is None else index.start}:{'' if index.stop is None else index.stop}"
    return "..." if index is Ellipsis else str(index)


def _sentence(net: MLP) -> str:
    units = ", ".join(unit.name for unit in net.hidden_units)
    widths = "-".join(map(str, net.widths)) if len(net.widths) <= 8 else f"{len(net.widths) - 1} layers"
    return f"{widths}; hidden units {units if len(units) < 50 else units[:50] + '…'}; output {net.output_unit.name}."


# --- outputs --------------------------------------------------------------------------------------


def _outputs(net: MLP, model: Model) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """The code of each output by its name, as `training.prediction` has them; and the classes of those that are."""
    names, unit = target_names(net, model.target_names), net.output_unit
    targets = model.schema.targets if model.schema else ()
    if unit.kind == "quantities":
        return _quantities(net, names, model), {}
    if isinstance(unit, Quantiles):
        levels = [(j, level) for j in range(len(names)) for level in unit.levels]
        return {f"{names[j]}@{level:g}": _in_units(f"y[:, {k}]", model, j) for k, (j, level) in enumerate(levels)}, {}
    each = {name: f"y[:, {j}]" for j, name in enumerate(names)}
    if unit.kind == "classes":
        chosen, classes = _chosen(targets, "np.argmax(y, axis=1)")
        return chosen | {f"p({name})": code for name, code in each.items()}, classes
    what = "margin" if unit.kind == "margins" else "p"
    of_classes = {f"{what}({name})": code for name, code in each.items()}
    if len(targets) == 1 and targets[0].classes:
        chosen, classes = _chosen(targets, f"np.where(y[:, 0] {'> 0' if what == 'margin' else '>= 0.5'}, 1, 0)")
        first = {f"p({targets[0].classes[0]})": "1 - y[:, 0]"} if what == "p" else {}
        return chosen | first | of_classes, classes
    return of_classes, {}


def _chosen(targets: tuple[Target, ...], code: str) -> tuple[dict[str, str], dict[str, list[Any]]]:
    if len(targets) == 1 and targets[0].classes:
        return {targets[0].name: code}, {targets[0].name: targets[0].values}
    return {"class": code}, {}


def _quantities(net: MLP, names: list[str], model: Model) -> dict[str, str]:
    found = {name: _in_units(f"y[:, {j}]", model, j) for j, name in enumerate(names)}
    components = getattr(net.output_unit, "components", None)
    if components is None:
        if net.output_unit.name in ("gaussian", "heteroscedastic", "full_gaussian"):
            found |= {f"sd({name})": _in_units(f"sd[:, {j}]", model, j, 0) for j, name in enumerate(names)}
        return found
    for k in range(components):
        found[f"weight {k}"] = f"weights[:, {k}]"
        found |= {f"mean {k}({name})": _in_units(f"mean[:, {k}, {j}]", model, j) for j, name in enumerate(names)}
        found |= {f"sd {k}({name})": _in_units(f"sd[:, {k}, {j}]", model, j, 0) for j, name in enumerate(names)}
    return found


def _in_units(code: str, model: Model, j: int, moved: int = 1) -> str:
    """A quantity in the units of target j; one that is only scaled, and not moved, is a deviation."""
    scale, mean = (values[j].item() for values in (model.targets.scale, model.targets.mean))
    return code + f" * {scale!r}" * (scale != 1) + f" + {mean!r}" * (mean != 0) * moved


# --- the file -------------------------------------------------------------------------------------

_HEAD = '''\
"""{name}: a network trained by mlp_jax {version}. It needs NumPy alone.

{how}
"""

import base64
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import numpy as np

Array = np.ndarray'''
_ROWS = """    python FILE.py table.csv      # writes a row of predictions for each, as CSV
    predict(columns)              # by name; or a data frame, or a list of rows that are dicts"""
_ARRAY = """    python FILE.py inputs.npy     # writes a row of predictions for each, as CSV
    predict(x)                    # inputs (n, d) as they are, before any scaling"""
_PREDICT = '''\
def predict(table):
    """Predictions by name, (n,) each, for columns of cells by name, or for rows that are dicts."""
    columns = as_columns(table, list(COLUMNS))
    found = model({name: read(columns[name], MISSING, *how) for name, (read, *how) in COLUMNS.items()})
    return found | {name: np.array(classes)[found[name]] for name, classes in CLASSES.items()}'''
_PREDICT_ARRAY = '''\
def predict(x):
    """Predictions by name, (n,) each, for inputs x (n, {width})."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != {width}:
        raise ValueError(f"inputs x must have shape (n, {width}), got {{x.shape}}")
    found = model({{"x": x}})
    return found | {{name: np.array(classes)[found[name]] for name, classes in CLASSES.items()}}'''
_MAIN = """\
if __name__ == "__main__":
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        predictions = predict(list(csv.DictReader(file)))
    out = csv.writer(sys.stdout, lineterminator="\\n")
    out.writerow(predictions)
    out.writerows(zip(*predictions.values()))"""
_MAIN_ARRAY = """\
if __name__ == "__main__":
    predictions = predict(np.load(sys.argv[1]))
    out = csv.writer(sys.stdout, lineterminator="\\n")
    out.writerow(predictions)
    out.writerows(zip(*predictions.values()))"""
_DECODED = '''\
def decoded(dtype, shape, text):
    """An array of its bytes, in base 64."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)'''


class _Code(str):
    """Stands in a literal as it is."""

    def __repr__(self) -> str:
        return str(self)


def _literal(before: str, value: Any, after: str = "") -> list[str]:
    """A dict or list as lines of code, an entry each, or in one where it is short."""
    if len(line := f"{before}{value!r}{after}") <= _LINE or not value:
        return [line]
    if isinstance(value, dict):
        return [f"{before}{{", *(f"    {key!r}: {entry!r}," for key, entry in value.items()), f"}}{after}"]
    return [
        f"{before}[",
        *(f"    {', '.join(map(repr, value[k : k + 8]))}," for k in range(0, len(value), 8)),
        f"]{after}",
    ]


def _with_those_inside(words: Iterable[str]) -> set[str]:
    """The formulas among the words, and those that they use."""
    found: set[str] = set()
    waiting = [word for word in words if word in _FORMULAS]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [word for word in _FORMULAS[name].__code__.co_names if word in _FORMULAS]
    return found


_READER = {"number": cells.as_numbers, "date": cells.as_days, "category": cells.as_codes}


def _readers(inputs: dict[str, Input]) -> list[Any]:
    """The functions that read cells of these kinds."""
    kinds = {of.kind for of in inputs.values()}
    used = [reader for kind, reader in _READER.items() if kind in kinds]
    return [cells.as_columns, cells.is_missing, *used] if used else []


def _constants(
    inputs: dict[str, Input], classes: dict[str, list[Any]], missing: tuple[str, ...], arrays: dict[str, Any]
) -> str:
    def reading(of: Input) -> _Code:
        more = {"number": "", "date": f" {of.format!r}", "category": f" {of.codes!r}, {of.other}"}[of.kind]
        return _Code(f"({_READER[of.kind].__name__},{more})")

    def lines() -> Iterator[str]:
        if inputs:
            yield f"MISSING = {missing!r}"
            yield from _literal("COLUMNS = ", {name: reading(of) for name, of in inputs.items()})
        yield from _literal("CLASSES = ", classes)
        for name, array in arrays.items():
            text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
            yield f'{name} = decoded("{array.dtype}", {array.shape}, "{text}")'

    return f"{_DECODED}\n\n\n" + "\n".join(lines())
