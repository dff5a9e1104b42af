"""A trained model as a program of NumPy alone, from raw cells to predictions by name: one file that a person can read.

What it computes stands in its function `model`, of which ONNX and StableHLO are made, too, so each is written once: the
network is the graph of its own operations, a line for each, and the inputs are a line for each column of the schema.
"""

import base64
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

import mlp_jax
from mlp_jax.errors import InputError
from mlp_jax.exchange import cells
from mlp_jax.exchange.network import FORMULAS, graph_of, lines_of, sentence
from mlp_jax.exchange.outputs import outputs_of
from mlp_jax.mlp.params import unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.categories import Category
from mlp_jax.tables.dates import CYCLES, ISO, Date
from mlp_jax.tables.numbers import Number
from mlp_jax.tables.written import no_formula
from mlp_jax.training.store.weights import Model

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
    if empty := [c.name for c in columns if isinstance(c, Category) and "" in c.categories]:
        raise InputError(
            f'{empty[0]!r} has the category "", which means a missing cell in an exported model: rename it'
        )
    inputs = {column.name: _input(column) for column in columns} or {"x": Input("array", net.inputs)}
    graph, arrays = graph_of(net, params), dict[str, Any]()
    network = lines_of(graph, net, params, arrays)
    results = list(jax.tree.unflatten(graph.out_tree, graph.outputs))
    outputs, classes = outputs_of(net, model, results)
    lines = [
        *(_encoding(columns, dtype) if columns else _scaling(model, dtype)),
        f"{', '.join(results)} = network(x)",
        *(f'{y} = {y}.astype("float64")' for y in results if net.output_unit.kind in ("quantities", "quantiles")),
        *_literal("return ", {output: _Code(code) for output, code in outputs.items()}),
    ]
    words = {"name": name, "version": mlp_jax.__version__} | (_OF_COLUMNS if columns else _OF_ARRAY)
    words |= {"sentence": sentence(net), "model": "\n    ".join(lines), "network": "\n    ".join(network)}
    used = _with_those_inside(re.findall(r"\w+", " ".join([*lines, *network])))
    parts = [
        _HEAD.format(**words),
        _MODEL.format(**words),
        *(
            inspect.getsource(f).strip()
            for f in (*(FORMULAS[name] for name in FORMULAS if name in used), *_readers(inputs))
        ),
        _DECODED,
        "\n".join(_constants(inputs, classes, missing, arrays)),
        _MAIN.format(**words),
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


# --- the file -------------------------------------------------------------------------------------

_HEAD = '''\
"""{name}: a network trained by mlp_jax {version}. It needs NumPy alone.

    python FILE.py {file}  # writes a row of predictions for each, as CSV
    predict({given})
"""

import base64
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import numpy as np

Array = np.ndarray


def predict(table):
    """Predictions by name, (n,) each, for {given}."""
    columns = {columns}
    found = model({{name: read(columns[name], MISSING, *how) for name, (read, *how) in COLUMNS.items()}})
    return found | {{name: np.array(classes)[found[name]] for name, classes in CLASSES.items()}}'''
_OF_COLUMNS = {
    "file": "table.csv",
    "given": "columns of cells by name, a data frame, or a list of rows that are dicts",
    "columns": "as_columns(table, list(COLUMNS))",
    "what": "columns of numbers and codes",
    "read": 'list(csv.DictReader(open(sys.argv[1], newline="", encoding="utf-8")))',
}
_OF_ARRAY = {
    "file": "inputs.npy",
    "given": "inputs x (n, d), as they were before any scaling",
    "columns": '{"x": table}',
    "what": "inputs x (n, d)",
    "read": "np.load(sys.argv[1])",
}
_MODEL = '''\
def model(columns):
    """Predictions by name, (n,) each, of {what}."""
    {model}


def network(x):
    """{sentence}"""
    {network}'''
_DECODED = '''\
def decoded(dtype, shape, text):
    """An array of its bytes, in base 64."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)'''
_MAIN = """\
if __name__ == "__main__":
    predictions = predict({read})
    out = csv.writer(sys.stdout, lineterminator="\\n")
    out.writerows([no_formula(cell) for cell in row] for row in [predictions, *zip(*predictions.values())])"""


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
    waiting = [word for word in words if word in FORMULAS]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [word for word in FORMULAS[name].__code__.co_names if word in FORMULAS]
    return found


_READERS = {"number": cells.as_numbers, "date": cells.as_days, "category": cells.as_codes, "array": cells.as_inputs}


def _readers(inputs: dict[str, Input]) -> list[Any]:
    """The functions that read cells of these kinds, and the one that writes them."""
    kinds = {of.kind for of in inputs.values()}
    before = [] if "array" in kinds else [cells.as_columns, cells.is_missing]
    return [*before, *(reader for kind, reader in _READERS.items() if kind in kinds), no_formula]


def _constants(
    inputs: dict[str, Input], classes: dict[str, list[Any]], missing: tuple[str, ...], arrays: dict[str, Any]
) -> Iterator[str]:
    """The lines that say how inputs are read and classes are called, and the weights."""

    def reading(of: Input) -> _Code:
        more = {"date": f" {of.format!r}", "category": f" {of.codes!r}, {of.other}", "array": f" {of.width}"}
        return _Code(f"({_READERS[of.kind].__name__},{more.get(of.kind, '')})")

    yield f"MISSING = {missing!r}"
    yield from _literal("COLUMNS = ", {name: reading(of) for name, of in inputs.items()})
    yield from _literal("CLASSES = ", classes)
    for name, array in arrays.items():
        text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        yield f'{name} = decoded("{array.dtype}", {array.shape}, "{text}")'
