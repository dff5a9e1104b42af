"""A variable of a computational graph (section 6.5.1): an array, or only its shape and dtype, and its origin."""

import itertools
import math
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.inference import as_type, infer_type, type_key
from mlp_jax.autodiff.operation import Operation, Traced, TracingError, innermost, is_several, part
from mlp_jax.autodiff.operations.shaping import At

_counter = itertools.count()  # variables in the order of their making, which is a topological order
_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_JAX = str(Path(jax.__file__).parent) + os.sep


class Trace:
    """One run of a function on variables. It holds none of them, so that they are freed when nobody needs them.

    Args:
        symbolic: whether variables have shapes and dtypes only (symbol mode) or values (number mode).
    """

    def __init__(self, symbolic: bool) -> None:
        self.symbolic = symbolic
        self.number = next(_counter)
        self.is_open = False
        self._recordings = 0
        self._lock = threading.Lock()
        self._types: dict[Any, Any] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this is open, operations on the trace's variables record; after it, whatever ended it, they raise."""
        with self._lock:  # two threads may differentiate one graph
            self._recordings += 1
            self.is_open = True
        try:
            yield
        finally:
            with self._lock:
                self._recordings -= 1
                self.is_open = self._recordings > 0

    def type_of(self, operation: Operation, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Shape and dtype of the result, or results, without running the operation; remembered for equal inputs."""
        types = tuple(as_type(x) for x in inputs)
        key = type_key(operation, types, attributes)
        if key not in self._types:
            self._types[key] = infer_type(operation, types, attributes)
        return self._types[key]


_NO_NUMBER = (
    "{where}: {what} of {variable!r} would cut its gradient; keep it in operations, make the function that asks for it "
    "one by ad.jax_operation, or compute the number outside of the function that is differentiated"
)
_FINISHED = (
    "operation {operation!r} was given {variable!r} of another graph, whose function has returned; "
    "pass it to this function as an argument"
)


Method = Callable[..., Any]


def _on_either_side(operation: Method) -> tuple[Method, Method]:
    """The methods of an operator for a variable on its left, and on its right where the left is no variable."""

    def on_the_left(self: Any, other: Any) -> Any:
        return operation(self, other)

    def on_the_right(self: Any, other: Any) -> Any:
        return operation(other, self)

    return on_the_left, on_the_right


def _method(operation: Method) -> Method:
    """The method of an array that is an operation on it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return operation(self, *args, **kwargs)

    return method


def _refused(what: str) -> Method:
    """A method that would make a number of a variable."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TracingError(_NO_NUMBER.format(what=what, variable=self, where=_where()))

    return method


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Variable(Traced):
    """A node of a graph. It takes part in Python's operators, indexing and `ops` as an array does.

    Attributes:
        trace: the run that made it.
        value: an array, a JAX tracer, or in symbol mode a `jax.ShapeDtypeStruct`.
        operation: the operation that computed it; None for an input.
        inputs: the variables and constants that the operation had.
        attributes: the static choices that the operation had.
        name: what it is called in texts and drawings; None for a number.
        line: where the user's code made it, in symbol mode.
        number: its place in the order of making.
    """

    trace: Trace
    value: Any
    operation: Operation | None = None
    inputs: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    line: str | None = None
    number: int = field(default_factory=_counter.__next__)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as of an array."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """The dtype, as of an array."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.value.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.value.shape)

    def record(self, operation: Operation, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """The variable that the operation makes of the inputs, or several, in the newest trace among theirs."""
        trace = self.trace
        for x in inputs:
            if isinstance(x, Variable):
                if not x.trace.is_open:
                    raise TracingError(_FINISHED.format(operation=operation.name, variable=x))
                if x.trace.number > trace.number:
                    trace = x.trace
        for name, value in attributes.items():
            if isinstance(value, Traced):
                raise TracingError(
                    f"attribute {name!r} of operation {operation.name!r} must be static, got a variable; "
                    "inputs are given by position"
                )
        values = tuple([x.value if isinstance(x, Variable) and x.trace is trace else x for x in inputs])
        if trace.symbolic:
            result: Any = trace.type_of(operation, values, attributes)
            made = Variable(trace, result, operation, inputs, attributes, None, _users_line())
        else:
            result = operation(*values, **attributes)
            made = Variable(trace, result, operation, inputs, attributes)
        return made.parts() if is_several(result) else made

    def parts(self) -> Any:
        """The variables of an operation's several results, in their structure."""
        leaves, tree = jax.tree.flatten(self.value)
        parts = [
            Variable(
                self.trace, x if hasattr(x, "dtype") else jnp.asarray(x), part, (self,), {"index": k}, None, self.line
            )
            for k, x in enumerate(leaves)
        ]
        return jax.tree.unflatten(tree, parts)

    # --- an array's operators and methods -----------------------------------------------------------

    __add__, __radd__ = _on_either_side(ops.add)
    __sub__, __rsub__ = _on_either_side(ops.sub)
    __mul__, __rmul__ = _on_either_side(ops.mul)
    __truediv__, __rtruediv__ = _on_either_side(ops.div)
    __pow__, __rpow__ = _on_either_side(ops.pow)
    __matmul__, __rmatmul__ = _on_either_side(ops.matmul)
    __and__, __rand__ = _on_either_side(ops.bitwise_and)
    __or__, __ror__ = _on_either_side(ops.bitwise_or)
    __lt__, __le__ = _method(ops.less), _method(ops.less_equal)
    __gt__, __ge__ = _method(ops.greater), _method(ops.greater_equal)
    __neg__, __abs__, __invert__ = _method(ops.neg), _method(ops.abs), _method(ops.bitwise_not)

    def _itself(self, *memo: Any) -> "Variable":
        return self

    __pos__ = __copy__ = __deepcopy__ = _itself

    # While its function runs a variable is an array, and == compares entries; in a finished graph it is a node.
    def __eq__(self, other: Any) -> Any:
        return ops.equal(self, other) if self.trace.is_open else self is other

    def __ne__(self, other: Any) -> Any:
        return ops.not_equal(self, other) if self.trace.is_open else self is not other

    __hash__ = object.__hash__

    __getitem__ = _method(ops.getitem)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a variable without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    __mod__, __rmod__ = _on_either_side(ops.mod)
    __floordiv__, __rfloordiv__ = _on_either_side(ops.floor_divide)
    __round__ = _method(ops.round)

    sum, mean, prod, dot = _method(ops.sum), _method(ops.mean), _method(ops.prod), _method(ops.dot)
    max, min, squeeze, swapaxes = _method(ops.max), _method(ops.min), _method(ops.squeeze), _method(ops.swapaxes)
    var, std, all, any = _method(ops.var), _method(ops.std), _method(ops.all), _method(ops.any)
    argmax, argmin, argsort, sort = (_method(f) for f in (ops.argmax, ops.argmin, ops.argsort, ops.sort))
    clip, round, cumsum, cumprod = (_method(f) for f in (ops.clip, ops.round, ops.cumsum, ops.cumprod))
    repeat, take, diagonal = _method(ops.repeat), _method(ops.take), _method(ops.diagonal)
    ravel = flatten = _method(ops.ravel)
    copy = conj = conjugate = _method(ops.identity)
    real = property(_method(ops.identity))

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, -1, -2)

    def reshape(self, *shape: Any) -> Any:
        """`ops.reshape`, also with the lengths as separate arguments."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        """`ops.transpose`, also with the axes as separate arguments."""
        return ops.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def astype(self, dtype: Any) -> Any:
        """`ops.astype`."""
        return ops.astype(self, dtype=np.dtype(dtype))

    # --- what an array can do and a variable cannot -------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._number("truth value, as `if` and `and` take", "ops.where"))

    def __index__(self) -> int:
        if not jnp.issubdtype(self.dtype, jnp.integer):
            raise TracingError(_NO_NUMBER.format(what="int", variable=self, where=_where()))
        return int(self._number("whole number", "ops.take_along_axis or an index by arrays"))

    __int__ = __index__
    __float__, __complex__, __array__ = _refused("float"), _refused("complex"), _refused("numpy.asarray")
    item, tolist, __reduce__ = _refused(".item()"), _refused(".tolist()"), _refused("pickle")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TracingError(
            "a variable cannot be changed in place; use x = x.at[index].set(values), ops.where or ops.concatenate"
        )

    @property
    def at(self) -> At:
        """With other entries at an index, as `x.at[index].set(values)` and `.add`."""
        return At(self)

    def __getattr__(self, name: str) -> Any:
        if hasattr(jax.Array, name) and not name.startswith("_"):
            raise AttributeError(f"a variable has no .{name}, which arrays have; what it can do is in {_OPS}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """`array * variable` with a NumPy array on the left comes here; so does `numpy.exp(variable)`."""
        return _of_numpy(ufunc, method == "__call__", inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Other functions of numpy that are given a variable, as `numpy.sum(variable)`."""
        return _of_numpy(function, True, args, kwargs)

    def _number(self, what: str, instead: str) -> Any:
        value = innermost(self)
        if isinstance(value, jax.ShapeDtypeStruct):
            raise TracingError(f"{self!r} is a symbol without a value, so it has no {what}; use {instead}")
        return value

    def __repr__(self) -> str:
        origin = self.name or (self.operation.name if self.operation else "input")
        types = [f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(self.value)]
        return f"Variable({origin}: {', '.join(types)})"


_OPS = "mlp_jax.autodiff.ops"


def _of_numpy(function: Any, is_call: bool, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation that has the name of a function of numpy, or a refusal."""
    if function in (np.ndim, np.shape, np.size) and len(args) == 1:
        return getattr(args[0], function.__name__)
    module = (getattr(function, "__module__", None) or "numpy").removeprefix("numpy").lstrip(".")
    operation = getattr(getattr(ops, module, None) if module else ops, function.__name__, None)
    given = {key: value for key, value in kwargs.items() if value is not None}
    if is_call and callable(operation) and "out" not in given:  # an array cannot take what a variable holds
        return operation(*args, **given)
    name = ".".join(filter(None, ("numpy", module, function.__name__)))
    raise TracingError(f"{name} is not an operation of a graph; those are in {_OPS}")


def named(x: Any, name: str) -> Any:
    """The same symbol under a name for texts and drawings; an array and an argument are returned as they are.

    >>> from mlp_jax.autodiff import ops, trace
    >>> print(trace(lambda x: named(ops.exp(x), "y") * 2, 1.0))
    graph: 1 input, 2 operations, 1 output
      x: float32[]
      y: float32[] = exp(x)
      J: float32[] = mul(y, 2)
    returns J
    """
    if not isinstance(x, Variable) or not x.trace.symbolic or x.operation is None:
        return x
    return replace(x, name=name, number=next(_counter))


def _users_line() -> str | None:
    """The line that asked for an operation: the nearest one outside of this package."""
    return _line_outside((_PACKAGE,), sys._getframe(2))


def _where() -> str:
    """The line that asked for a number, and if that is a library's, the line that called the library."""
    nearest = _line_outside((_PACKAGE, _JAX), sys._getframe(2))
    users = _line_outside((_PACKAGE, sysconfig.get_paths()["purelib"]), sys._getframe(2))
    return f"{nearest}, called from {users}" if users and users != nearest else str(nearest)


def _line_outside(folders: tuple[str, ...], frame: Any) -> str | None:
    """The nearest line of files in none of these folders."""
    while frame is not None and frame.f_code.co_filename.startswith(folders):
        frame = frame.f_back
    return f"line {frame.f_lineno} of {os.path.basename(frame.f_code.co_filename)}" if frame else None
