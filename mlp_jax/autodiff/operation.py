"""What an operation is: a function f of arrays and how a gradient passes back through it (section 6.5.6)."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp

Rule = Callable[..., Any]
Array = Any  # of JAX or NumPy, a number, or a variable of a graph: what an operation takes and gives


class TracingError(TypeError):
    """A variable was used as an array in a way that would lose its gradient, or that needs a value it has not."""


class Traced:
    """A value that records what is done to it. An operation that meets one asks it to record instead of running f."""

    __slots__ = ()
    value: Any

    def record(self, operation: "Operation", inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        raise NotImplementedError


def innermost(x: Any) -> Any:
    """What a traced value holds, through all the runs that it takes part in; anything else is itself."""
    while isinstance(x, Traced):
        x = x.value
    return x


def is_several(value: Any) -> bool:
    """Whether an operation's result is not one array but several, in tuples, dicts or the like."""
    return not jax.tree_util.all_leaves([value])


def zero(g: Any, out: Any, *inputs: Any, **attributes: Any) -> float:
    """The rule of an input on which the output does not depend differentiably: the path to it is cut."""
    return 0.0


@dataclass(frozen=True)
class Operation:
    """A differentiable function: y = f(*inputs, **attributes), and how a gradient passes back through it.

    Args:
        name: what messages and drawings call it.
        f: the function, of arrays; it returns one array, or several in a pytree such as a tuple: on variables,
            variables in the same structure. Then `g` and `out` have that structure, too; g is 0 where no gradient
            arrives, and None for whole numbers. Static choices such as `axis` are attributes; they
            follow the inputs and have a default or are given by name.
        bprop: the rules, one per input, each `(g, out, *inputs, **attributes) -> gradient`: `zero` where the
            derivative is 0 everywhere, None where there is no rule. Or one function of the same form that
            returns the gradients of all inputs as a tuple (for a single input, the gradient itself will do);
            attributes then go by name.

    A rule is written in operations and in what arrays themselves have (operators, indexing, `.shape`), so that
    a gradient can be differentiated again, and not in jax.numpy, which knows nothing of a graph's variables.

    Calling the operation on arrays calls f; on variables it adds to their graph:

    >>> from mlp_jax.autodiff import grad
    >>> cube = Operation("cube", lambda x: x**3, (lambda g, out, x: 3 * x**2 * g,))
    >>> cube(2.0)
    8.0
    >>> cube.gradient(0, 1.0, cube(2.0), 2.0)
    12.0
    >>> float(grad(grad(cube))(2.0))  # 6x
    12.0
    """

    name: str
    f: Callable[..., Any] = field(repr=False)
    bprop: Rule | tuple[Rule | None, ...] = field(repr=False)
    is_sparse: bool = field(default=False, repr=False)  # whether g is None where no gradient arrives, and not 0

    def __post_init__(self) -> None:
        if isinstance(self.bprop, list):
            object.__setattr__(self, "bprop", tuple(self.bprop))

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        for x in inputs:
            if isinstance(x, Traced):
                return x.record(self, *self._split(inputs, attributes))
        return self.f(*inputs, **attributes)

    def __reduce__(self) -> Any:
        """Pickled by name where a module has it under one, as functions are; else by its functions."""
        functions = [self.f, *(self.bprop if isinstance(self.bprop, tuple) else [self.bprop])]
        homes = [getattr(function, "__module__", None) for function in functions]
        homes += [name for name in sys.modules if name.startswith(f"{__package__}.")]
        for home in homes:
            for name, value in vars(sys.modules.get(home or "", object)).items():
                if value is self:
                    return _under_name, (home, name)
        return type(self), tuple(getattr(self, each.name) for each in fields(self))

    def is_cut(self, i: int) -> bool:
        """Whether no gradient reaches input i, by the rule `zero`."""
        return not callable(self.bprop) and i < len(self.bprop) and self.bprop[i] is zero

    def gradient(self, i: int, g: Any, out: Any, *inputs: Any, **attributes: Any) -> Any:
        """∇ of J for input i: the book's op.bprop(inputs, X, G), equation (6.47).

        Args:
            i: which input, from 0.
            g: the gradient of J for the output, in the output's shape.
            out: the output, f(*inputs, **attributes).
            inputs: the inputs that gave `out`.
            attributes: the attributes that gave `out`.

        Returns:
            An array of the shape and dtype of `inputs[i]`.

        Raises:
            NotImplementedError: the operation has no rule for this input.
            ValueError: a rule returned too few or too many gradients, or one whose shape does not fit.
        """
        return self.gradients((i,), g, out, inputs, attributes)[0]

    def gradients(
        self, wanted: tuple[int, ...], g: Any, out: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]
    ) -> list[Any]:
        """The gradients for several inputs; arguments and errors as for `gradient`."""
        if callable(self.bprop):
            every = self._all_gradients(g, out, inputs, attributes)
            return [self._fit(i, every[i], out, inputs) for i in wanted]
        return [self._fit(i, self._apply_rule(i, g, out, inputs, attributes), out, inputs) for i in wanted]

    def _apply_rule(self, i: int, g: Any, out: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        assert not callable(self.bprop)
        rule = self.bprop[i] if i < len(self.bprop) else None
        if rule is zero:
            return jnp.zeros(_shape(inputs[i]), jnp.result_type(inputs[i]))
        return None if rule is None else rule(g, out, *inputs, **attributes)

    def _all_gradients(self, g: Any, out: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
        assert callable(self.bprop)
        gradients = self.bprop(g, out, *inputs, **attributes)
        if not isinstance(gradients, tuple | list):
            gradients = (gradients,)
        if len(gradients) != len(inputs):
            raise ValueError(
                f"the bprop rule of operation {self.name!r} must return one gradient per input: "
                f"{len(inputs)}; it returned {len(gradients)}"
            )
        return tuple(gradients)

    def _fit(self, i: int, gradient: Any, out: Any, inputs: tuple[Any, ...]) -> Any:
        """The gradient in the shape and dtype of input i."""
        x = inputs[i]
        if gradient is None:
            raise NotImplementedError(
                f"operation {self.name!r} has no bprop rule for input {i} of {len(inputs)} (counted from 0)"
            )
        shape = _shape(x)
        if _shape(gradient) != shape:
            got = _shape(gradient)
            # Broadcasting makes no lengths but those of the arrays here; another one is an error in the rule.
            if set(got) <= {n for array in (out, *inputs) for n in _shape(array)}:
                gradient = _unbroadcast(gradient, shape)
            if _shape(gradient) != shape:
                raise ValueError(
                    f"the bprop rule of operation {self.name!r} for input {i} must return a gradient of the input's "
                    f"shape {shape}, got {got}"
                )
        gradient = _unreplicate(gradient, x)
        if not hasattr(x, "dtype"):
            return gradient
        if not hasattr(gradient, "dtype"):
            return jnp.asarray(gradient, x.dtype)
        return gradient if gradient.dtype == x.dtype else gradient.astype(x.dtype)

    def _split(self, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs apart from attributes that were given by position, as in `sum(x, 0)`."""
        if callable(self.bprop) or len(inputs) <= len(self.bprop):
            return inputs, attributes
        n = len(self.bprop)
        names = self._attribute_names
        if len(inputs) - n > len(names):
            raise TypeError(
                f"operation {self.name!r} takes {n} input{'s' * (n != 1)} and the attributes "
                f"{', '.join(names) or '(none)'}; got {len(inputs)} arguments"
            )
        return inputs[:n], {**dict(zip(names, inputs[n:], strict=False)), **attributes}

    @cached_property
    def _attribute_names(self) -> tuple[str, ...]:
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.f).parameters.values()
        return tuple(p.name for p in parameters if p.kind in by_position)[len(self.bprop) :]  # type: ignore[arg-type]


def _under_name(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else ()


def _unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum `gradient` over the axes that broadcasting to it added to `shape`; the only place where this is undone."""
    added = len(_shape(gradient)) - len(shape)
    if added > 0:
        gradient = gradient.sum(axis=tuple(range(added)))
    if added >= 0:
        stretched = tuple(k for k, n in enumerate(shape) if n == 1 and gradient.shape[k] != 1)
        gradient = gradient.sum(axis=stretched, keepdims=True) if stretched else gradient
    return gradient


def _unreplicate(gradient: Any, x: Any) -> Any:
    """Inside shard_map, sum over the devices that share one x: for them, too, x was broadcast.

    The other way round, a gradient that is the same on all devices is declared as varying where x is.
    """
    wanted = _varying(x)
    if wanted is None:
        return gradient
    got = _varying(gradient) or frozenset()
    if got - wanted:
        gradient = _sum_over_devices(gradient, axes=tuple(sorted(got - wanted)))
    if wanted - got:
        gradient = _vary_over_devices(gradient, axes=tuple(sorted(wanted - got)))
    return gradient


def _varying(x: Any) -> frozenset[str] | None:
    """The axes of a mesh over which x varies, for a value inside a transformation of JAX; None for any other."""
    x = innermost(x)
    return jax.typeof(x).manual_axis_type.varying if isinstance(x, jax.core.Tracer) else None


_sum_over_devices: Operation = Operation(
    "psum", lambda x, axes: jax.lax.psum(x, axes), (lambda g, out, x, axes: _vary_over_devices(g, axes=axes),)
)
_vary_over_devices: Operation = Operation(
    "pcast",
    lambda x, axes: jax.lax.pcast(x, axes, to="varying"),
    (lambda g, out, x, axes: _sum_over_devices(g, axes=axes),),
)


# One of several results of an operation. It needs no rule: back-propagation gathers what arrives at all of them.
part = Operation("part", lambda several, index: jax.tree.leaves(several)[index], (None,))
