"""A program as an ONNX graph: its function `model` is run on symbols, which record a node for each call of NumPy.

NumPy hands a call to an argument that is not its own (`__array_ufunc__`, `__array_function__`), so the program
stays as it is. A symbol carries a sample of a few rows along, which NumPy computes: its shape and dtype count.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

import mlp_jax
from mlp_jax.errors import InputError
from mlp_jax.exchange.program import Input, Program

OPSET, ML_OPSET, IR = 18, 3, 8  # of ONNX 1.13, of the year 2023
_ROWS = 3  # of samples; a graph takes any number
_UFUNCS = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.true_divide: "Div", np.negative: "Neg",
    np.matmul: "MatMul", np.maximum: "Max", np.minimum: "Min", np.exp: "Exp", np.log: "Log", np.sqrt: "Sqrt",
    np.absolute: "Abs", np.tanh: "Tanh", np.sin: "Sin", np.cos: "Cos", np.isnan: "IsNaN",
    np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.equal: "Equal",
}  # fmt: skip
_NATIVE = {"relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus", "erf": "Erf"}  # formulas that ONNX has itself


def as_onnx(program: Program, name: str) -> bytes:
    """The program as a serialised ONNX model: cells by name in, predictions by name out, (n,) each.

    Numbers, truth values and days since 1970 are doubles, NaN where one is missing; categories are strings, a missing
    one is "". What was trained on arrays takes `x` (n, d).

    Raises:
        InputError: the package onnx is missing, or an input has the name of an output.
    """
    try:
        import onnx
    except ImportError:
        raise InputError('an .onnx file needs the package onnx: pip install "mlp_jax[export]"') from None
    if both := [output for output in program.outputs if output in program.inputs]:
        raise InputError(f"{both[0]!r} is the name of an input and of an output, which ONNX refuses: rename the column")
    if odd := [key for key in program.inputs if key.startswith("/")]:
        raise InputError(f"{odd[0]!r} begins as the names within an ONNX graph do: rename the column")
    space: dict[str, Any] = {"__name__": name}
    exec(compile(program.source, f"{name}.py", "exec"), space)
    recorder = Recorder(onnx)
    space |= {key: recorder.array(key, value) for key, value in space.items() if isinstance(value, np.ndarray)}
    space |= {key: recorder.native(operator) for key, operator in _NATIVE.items()}
    with np.errstate(all="ignore"):  # numbers in samples mean nothing
        found = space["model"]({key: recorder.input(key, of, program.missing) for key, of in program.inputs.items()})
    for key, value in found.items():
        recorder.output(key, value, program.classes.get(key))
    graph = onnx.helper.make_graph(
        recorder.nodes, name, recorder.inputs, recorder.outputs, recorder.constants, doc_string=_how(program)
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=IR, producer_name="mlp_jax", producer_version=mlp_jax.__version__
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _how(program: Program) -> str:
    dates = [name for name, of in program.inputs.items() if of.kind == "date"]
    return f"days since 1970, as a double: {', '.join(dates)}" if dates else ""


class Recorder:
    """The nodes, constants, inputs and outputs of a graph that is being made."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def node(self, operator: str, *arguments: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, and give the name of its result."""
        result = f"/{len(self.nodes)}"  # no name of a column
        self.nodes.append(self.onnx.helper.make_node(operator, list(arguments), [result], domain=domain, **attributes))
        return result

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a constant."""
        return self.array(f"constant{len(self.constants)}", np.asarray(value, dtype)).name

    def array(self, name: str, value: Any) -> "Symbol":
        """The symbol of an array of the program."""
        self.constants.append(self.onnx.numpy_helper.from_array(value, f"/{name}"))
        return Symbol(self, f"/{name}", value)

    def cast(self, x: Any, dtype: Any) -> str:
        """The name of a symbol or constant as of another dtype."""
        if not isinstance(x, Symbol):
            return self.constant(x, dtype)
        return x.name if x.dtype == dtype else self.node("Cast", x.name, to=self._type(dtype))

    def of(self, operator: str, sample: Any, *arguments: Any, **attributes: Any) -> "Symbol":
        """The symbol of a node whose arguments are symbols and constants that fit."""
        names = [x.name if isinstance(x, Symbol) else self.constant(x) for x in arguments]
        return Symbol(self, self.node(operator, *names, **attributes), np.asarray(sample))

    def native(self, operator: str) -> Callable[["Symbol"], "Symbol"]:
        """A formula as a node of its own."""
        return lambda a: self.of(operator, a.sample, a)

    def input(self, name: str, of: Input, missing: tuple[str, ...]) -> "Symbol":
        """The symbol of an input; the words of a category become codes."""
        shape = ["n", of.width] if of.kind == "array" else ["n"]
        kind = self.onnx.TensorProto.STRING if of.kind == "category" else self.onnx.TensorProto.DOUBLE
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        if of.codes is None:
            return Symbol(self, name, np.zeros((_ROWS, of.width) if of.kind == "array" else _ROWS))
        codes = dict.fromkeys(missing, of.codes[""]) | of.codes
        codes = {f"{word}.0": code for word, code in codes.items() if word.isdigit()} | codes  # 1.0 is 1
        result = self.node(
            "LabelEncoder", name, domain="ai.onnx.ml", keys_strings=list(codes), values_int64s=list(codes.values()),
            default_int64=of.other,
        )  # fmt: skip
        return Symbol(self, result, np.zeros(_ROWS, np.int64))

    def output(self, name: str, x: "Symbol", classes: list[Any] | None) -> None:
        """Name a result; of the number of a class, the class."""
        dtype, value = x.dtype, x.name
        if classes is not None:
            names = np.array(classes)
            dtype = names.dtype if names.dtype.kind != "U" else np.dtype(object)
            value = self.node("Gather", self.constant(names.astype(dtype)), value)
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, self._type(dtype), ["n"]))

    def _type(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


class Symbol(NDArrayOperatorsMixin):
    """An array that is computed later: a name in the graph, and a sample of it."""

    def __init__(self, recorder: Recorder, name: str, sample: Any) -> None:
        self.recorder, self.name, self.sample = recorder, name, sample
        self.shape, self.dtype, self.ndim = sample.shape, sample.dtype, sample.ndim

    def __len__(self) -> int:
        return len(self.sample)

    def astype(self, dtype: Any) -> "Symbol":
        """As numbers of another dtype."""
        return Symbol(self.recorder, self.recorder.cast(self, np.dtype(dtype)), self.sample.astype(dtype))

    def __array_ufunc__(self, ufunc: Any, method: str, *arguments: Any, **options: Any) -> Any:
        """A node for an elementwise function or a matrix product."""
        sample = ufunc(*map(_sample, arguments))
        common = np.result_type(*map(_sample, arguments))
        if ufunc in (np.logaddexp, np.expm1):
            return _COMPOSED[ufunc](*arguments)
        names = [self.recorder.cast(x, common) for x in arguments]
        return Symbol(self.recorder, self.recorder.node(_UFUNCS[ufunc], *names), sample)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """Nodes for another function of NumPy."""
        return _FUNCTIONS[function.__name__](self.recorder, *arguments, **options)

    def __getitem__(self, index: Any) -> "Symbol":
        """Part of it, by slices and whole numbers."""
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            k = index.index(Ellipsis)
            index = (*index[:k], *[slice(None)] * (self.ndim - len(index) + 1), *index[k + 1 :])
        cut, whole = [], []
        for axis, place in enumerate(index):
            if place == slice(None):
                continue
            of = place if isinstance(place, slice) else slice(place, place + 1)
            cut.append((axis, *of.indices(self.shape[axis])[:2]))
            whole += [] if isinstance(place, slice) else [axis]
        name = self.name
        if cut:
            axes, starts, stops = (self.recorder.constant(values, np.int64) for values in zip(*cut, strict=True))
            name = self.recorder.node("Slice", name, starts, stops, axes)
        if whole:
            name = self.recorder.node("Squeeze", name, self.recorder.constant(whole, np.int64))
        return Symbol(self.recorder, name, self.sample[index])


def _sample(x: Any) -> Any:
    return x.sample if isinstance(x, Symbol) else x


# --- functions of NumPy ---------------------------------------------------------------------------

_COMPOSED: dict[Any, Callable[..., Any]] = {
    np.expm1: lambda x: np.exp(x) - 1,
    np.logaddexp: lambda x, y: np.maximum(x, y) + np.log(1 + np.exp(-np.abs(x - y))),
}


def _where(to: Recorder, condition: Any, x: Any, y: Any) -> Symbol:
    sample = np.where(*map(_sample, (condition, x, y)))
    return Symbol(to, to.node("Where", condition.name, to.cast(x, sample.dtype), to.cast(y, sample.dtype)), sample)


def _joined(to: Recorder, parts: Any, axis: int = 0) -> Symbol:
    sample = np.concatenate([_sample(x) for x in parts], axis)
    return Symbol(to, to.node("Concat", *(to.cast(x, sample.dtype) for x in parts), axis=axis), sample)


def _stacked(to: Recorder, parts: Any, axis: int = 0) -> Symbol:
    return _joined(to, [np.expand_dims(x, axis) for x in parts], axis)


def _taken(to: Recorder, x: Any, places: Any, axis: int) -> Symbol:
    return to.of("Gather", np.take(_sample(x), _sample(places), axis), x, places, axis=axis)


def _reshaped(to: Recorder, x: Symbol, shape: tuple[int, ...]) -> Symbol:
    # the first axis is that of the rows, and 0 leaves it as it is
    return to.of("Reshape", np.reshape(x.sample, shape), x, np.asarray((0, *shape[1:]), np.int64))


def _reduction(operator: str, function: Callable[..., Any]) -> Callable[..., Symbol]:
    def reduced(to: Recorder, x: Symbol, axis: int, keepdims: bool = False) -> Symbol:
        sample = function(x.sample, axis=axis, keepdims=keepdims)
        return to.of(operator, sample, x, np.asarray([axis], np.int64), keepdims=int(keepdims))

    return reduced


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "where": _where,
    "concatenate": _joined,
    "stack": _stacked,
    "take": _taken,
    "reshape": _reshaped,
    "sum": _reduction("ReduceSum", np.sum),
    "max": _reduction("ReduceMax", np.max),
    "mean": _reduction("ReduceMean", np.mean),
    "expand_dims": lambda to, x, axis: to.of(
        "Unsqueeze", np.expand_dims(x.sample, axis), x, np.asarray([axis], np.int64)
    ),
    "cumsum": lambda to, x, axis: to.of("CumSum", np.cumsum(x.sample, axis), x, np.asarray(axis, np.int64)),
    "argmax": lambda to, x, axis: to.of("ArgMax", np.argmax(x.sample, axis), x, axis=axis, keepdims=0),
    "zeros_like": lambda to, x: to.of(
        "ConstantOfShape",
        np.zeros_like(x.sample),
        to.of("Shape", x.shape, x),
        value=to.onnx.numpy_helper.from_array(np.zeros(1, x.dtype)),
    ),
}
