"""A variable of a computational graph (section 6.5.1): an array, or only its shape and dtype, and its origin."""

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.inference import as_type, infer_type, type_key
from mlp_jax.autodiff.operation import Operation, Traced, TracingError

_counter = itertools.count()  # variables in the order of their making, which is a topological order
_HERE = str(Path(__file__).parent)


class Trace:
    """One run of a function on variables. It holds none of them, so that they are freed when nobody needs them.

    Args:
        symbolic: whether variables have shapes and dtypes only (symbol mode) or values (number mode).
    """

    def __init__(self, symbolic: bool) -> None:
        """A trace that does not yet record."""
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
        """Shape and dtype of the result, without running the operation; remembered for equal inputs."""
        types = tuple(as_type(x) for x in inputs)
        key = type_key(operation, types, attributes)
        if key not in self._types:
            self._types[key] = infer_type(operation, types, attributes)
        return self._types[key]


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
        return int(np.prod(self.value.shape))

    def record(self, operation: Operation, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> "Variable":
        """The variable that the operation makes of the inputs, in the newest trace among theirs."""
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
            result = trace.type_of(operation, values, attributes)
            return Variable(trace, result, operation, inputs, attributes, None, _users_line())
        return Variable(trace, operation(*values, **attributes), operation, inputs, attributes)

    # --- an array's operators and methods -----------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return ops.div(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return ops.div(other, self)

    def __pow__(self, other: Any) -> Any:
        return ops.pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return ops.pow(other, self)

    def __matmul__(self, other: Any) -> Any:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return ops.abs(self)

    def __lt__(self, other: Any) -> Any:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Any:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return ops.greater_equal(self, other)

    # While its function runs a variable is an array, and == compares entries; in a finished graph it is a node.
    def __eq__(self, other: Any) -> Any:
        return ops.equal(self, other) if self.trace.is_open else self is other

    def __ne__(self, other: Any) -> Any:
        return ops.not_equal(self, other) if self.trace.is_open else self is not other

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Any:
        return ops.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Any:
        return ops.bitwise_and(other, self)

    def __or__(self, other: Any) -> Any:
        return ops.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Any:
        return ops.bitwise_or(other, self)

    def __invert__(self) -> Any:
        return ops.bitwise_not(self)

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, index)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a variable without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, -1, -2)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.sum`."""
        return ops.sum(self, *args, **kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.mean`."""
        return ops.mean(self, *args, **kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.max`."""
        return ops.max(self, *args, **kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.min`."""
        return ops.min(self, *args, **kwargs)

    def prod(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.prod`."""
        return ops.prod(self, *args, **kwargs)

    def dot(self, other: Any) -> Any:
        """`ops.dot`."""
        return ops.dot(self, other)

    def reshape(self, *shape: Any) -> Any:
        """`ops.reshape`, also with the lengths as separate arguments."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def ravel(self) -> Any:
        """All entries as one row."""
        return ops.reshape(self, -1)

    def transpose(self, *axes: Any) -> Any:
        """`ops.transpose`, also with the axes as separate arguments."""
        return ops.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def squeeze(self, *args: Any, **kwargs: Any) -> Any:
        """`ops.squeeze`."""
        return ops.squeeze(self, *args, **kwargs)

    def astype(self, dtype: Any) -> Any:
        """`ops.astype`."""
        return ops.astype(self, dtype=np.dtype(dtype))

    # --- what an array can do and a variable cannot -------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._number("truth value, as `if` and `and` take", "ops.where"))

    def __index__(self) -> int:
        if not jnp.issubdtype(self.dtype, jnp.integer):
            raise TracingError(_NO_NUMBER.format(what="int", variable=self))
        return int(self._number("whole number", "ops.take_along_axis or an index by arrays"))

    __int__ = __index__

    def __float__(self) -> float:
        raise TracingError(_NO_NUMBER.format(what="float", variable=self))

    def __complex__(self) -> complex:
        raise TracingError(_NO_NUMBER.format(what="complex", variable=self))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TracingError(_NO_NUMBER.format(what="numpy.asarray", variable=self))

    def item(self) -> Any:
        """Refused, as `float` is."""
        raise TracingError(_NO_NUMBER.format(what=".item()", variable=self))

    def tolist(self) -> Any:
        """Refused, as `float` is."""
        raise TracingError(_NO_NUMBER.format(what=".tolist()", variable=self))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TracingError("a variable cannot be changed in place; use ops.where(mask, new, old) or ops.concatenate")

    @property
    def at(self) -> Any:
        """Refused: there is no operation for it."""
        raise TracingError("`.at[…]` is not an operation; use ops.where(mask, new, old) or ops.concatenate")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """`array * variable` with a NumPy array on the left comes here; so does `numpy.exp(variable)`."""
        operation = getattr(ops, ufunc.__name__, None)
        if method == "__call__" and not kwargs and callable(operation):
            return operation(*inputs)
        raise TracingError(f"numpy.{ufunc.__name__} is not an operation of a graph; those are in mlp_jax.autodiff.ops")

    def __copy__(self) -> "Variable":
        return self

    def __deepcopy__(self, memo: Any) -> "Variable":
        return self

    def __reduce__(self) -> Any:
        raise TracingError(_NO_NUMBER.format(what="pickle", variable=self))

    def _number(self, what: str, instead: str) -> Any:
        value = self.value
        while isinstance(value, Variable):
            value = value.value
        if isinstance(value, jax.ShapeDtypeStruct):
            raise TracingError(f"{self!r} is a symbol without a value, so it has no {what}; use {instead}")
        return value

    def __repr__(self) -> str:
        origin = self.name or (self.operation.name if self.operation else "input")
        return f"Variable({origin}: {self.dtype}{list(self.shape)})"


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


_NO_NUMBER = (
    "{what} of {variable!r} would cut its gradient; keep it in operations, or compute the number "
    "outside of the function that is differentiated"
)
_FINISHED = (
    "operation {operation!r} was given {variable!r} of another graph, whose function has returned; "
    "pass it to this function as an argument"
)


def _users_line() -> str | None:
    """The line that asked for an operation: the nearest one outside of this package."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back  # type: ignore[assignment]
    return f"line {frame.f_lineno} of {os.path.basename(frame.f_code.co_filename)}" if frame else None
