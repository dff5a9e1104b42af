"""Simplify a graph (section 6.5.9): fold constants, compute equal expressions once, rewrite by the rules of algebra.

The symbolic derivative of a softmax followed by a logarithm is a dozen operations; q − p is two. The rewrites keep the
value in exact arithmetic. In floating-point numbers they can change its rounding, and its value where an expression is
not defined: x / y · y becomes x also where y is 0.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.backprop import is_differentiable
from mlp_jax.autodiff.dag import AnyDAG, ancestors
from mlp_jax.autodiff.inference import hashable
from mlp_jax.autodiff.operation import Operation, is_several
from mlp_jax.autodiff.variable import Trace, Variable

_LARGEST_CONSTANT = 10_000  # entries; to look into larger ones would take time


def simplify(graph: AnyDAG) -> AnyDAG:
    """An equal graph with fewer operations; `notes` say how many.

    >>> from mlp_jax.autodiff import trace
    >>> q = np.array([0.0, 1.0, 0.0], np.float32)
    >>> cost = trace(lambda z: -ops.sum(q * ops.log(ops.softmax(z))), jnp.zeros(3))
    >>> print(simplify(cost.gradient()))
    graph: 1 input, 2 operations, 1 output
      z: float32[3]
      v1: float32[3] = softmax(z)
      ∂J/∂z: float32[3] = add(float32[3], v1)
    returns ∂J/∂z
    simplified 14 operations to 2
    """
    if not graph.inputs:
        return graph
    maker = _Maker(graph.inputs[0].trace)
    new: dict[Variable, Any] = {v: v for v in graph.inputs}
    with maker.trace.recording():
        for v in graph.variables:
            if v.operation is not None:
                inputs = tuple(new[u] if isinstance(u, Variable) and u in new else u for u in v.inputs)
                new[v] = maker.make(v.operation, inputs, v.attributes, v)
    outputs = tuple(new[v] if isinstance(v, Variable) else v for v in graph.outputs)
    kept = {*graph.inputs, *ancestors(outputs)}
    gradients = {
        new[g]: (new[z] if isinstance(new[z], Variable) else z, new[v])
        for g, (z, v) in graph.gradients.items()
        if isinstance(new[g], Variable) and isinstance(new[v], Variable) and new[v] in kept
    }
    before, after = (sum(v.operation is not None for v in variables) for variables in (graph.variables, kept))
    notes = (f"simplified {before} operations to {after}",)
    return replace(graph, outputs=outputs, gradients=gradients, notes=notes)


class _Maker:
    """Makes the variable of an operation, or a simpler one of the same value, shape and dtype."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._made: dict[Any, Variable] = {}

    def make(
        self, operation: Operation, inputs: tuple[Any, ...], attributes: dict[str, Any], old: Variable | None = None
    ) -> Any:
        wanted = self.trace.type_of(operation, inputs, attributes)
        for simpler in () if is_several(wanted) else self._simpler(operation, inputs, attributes):
            if _type(simpler) == (wanted.shape, wanted.dtype, wanted.weak_type):
                return simpler
        key = (operation, tuple(_key(x) for x in inputs), hashable(attributes))
        if key not in self._made:
            if old is not None and all(x is y for x, y in zip(old.inputs, inputs, strict=True)):
                self._made[key] = old
            else:
                name, line = (None, None) if old is None else (old.name, old.line)
                self._made[key] = Variable(self.trace, wanted, operation, inputs, attributes, name, line)
        return self._made[key]

    def _simpler(self, operation: Operation, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Iterator[Any]:
        """Candidates; `make` takes the first whose shape and dtype fit."""
        if all(_is_known(x) for x in inputs) and operation is not ops.broadcast_to:
            yield operation(*inputs, **attributes)
        if operation in _ELEMENTWISE and any(_is(x, ops.broadcast_to) for x in inputs):  # repeat the result instead
            small = self.make(operation, tuple(x.inputs[0] if _is(x, ops.broadcast_to) else x for x in inputs), {})
            yield small
            yield self.make(ops.broadcast_to, (small,), {"shape": self.trace.type_of(operation, inputs, {}).shape})
        rule = _RULES.get(operation)
        if rule is not None:
            yield from rule(lambda op, *xs, **attrs: self.make(op, xs, attrs), *inputs, **attributes)


Make = Callable[..., Any]


def _mul_rule(make: Make, x: Any, y: Any) -> Iterator[Any]:
    for a, b in ((x, y), (y, x)):
        if _is_all(b, 1):
            yield a
        if _is_all(b, -1):
            yield make(ops.neg, a)
        if _is_negative(b):
            yield make(ops.neg, make(ops.mul, a, b.inputs[0]))
        if _divides(a, b):  # a (n/a) = n
            yield b.inputs[0]
        if _is(b, ops.sub):
            left, right = b.inputs
            if _divides(a, left):  # a (n/a − t) = n − a t
                yield make(ops.sub, left.inputs[0], make(ops.mul, a, right))
            if _divides(a, right):
                yield make(ops.sub, make(ops.mul, a, left), right.inputs[0])


def _div_rule(make: Make, x: Any, y: Any) -> Iterator[Any]:
    if _is_all(y, 1):
        yield x
    if _is_negative(x):
        yield make(ops.neg, make(ops.div, x.inputs[0], y))


def _add_rule(make: Make, x: Any, y: Any) -> Iterator[Any]:
    for a, b in ((x, y), (y, x)):
        if _is_all(b, 0):
            yield a
        if _is_negative(b):
            yield make(ops.sub, a, b.inputs[0])


def _sub_rule(make: Make, x: Any, y: Any) -> Iterator[Any]:
    if _is_all(y, 0):
        yield x
    if _is_negative(x) and _is_negative(y):
        yield make(ops.sub, y.inputs[0], x.inputs[0])
    if _is_negative(y):
        yield make(ops.add, x, y.inputs[0])
    if _is_negative(x):
        yield make(ops.neg, make(ops.add, x.inputs[0], y))


def _neg_rule(make: Make, x: Any) -> Iterator[Any]:
    if _is_negative(x):
        yield x.inputs[0]
    if _is(x, ops.sub):
        yield make(ops.sub, x.inputs[1], x.inputs[0])


def _sum_rule(make: Make, x: Any, **attributes: Any) -> Iterator[Any]:
    if _is_negative(x):
        yield make(ops.neg, make(ops.sum, x.inputs[0], **attributes))


def _pow_rule(make: Make, x: Any, y: Any) -> Iterator[Any]:
    if _is_all(y, 1):
        yield x


def _log_rule(make: Make, x: Any) -> Iterator[Any]:
    if _is(x, ops.softmax):
        yield make(ops.log_softmax, *x.inputs, **x.attributes)


def _exp_rule(make: Make, x: Any) -> Iterator[Any]:
    if _is(x, ops.log_softmax):
        yield make(ops.softmax, *x.inputs, **x.attributes)


def _transpose_rule(make: Make, x: Any, axes: Any = None) -> Iterator[Any]:
    if _is(x, ops.transpose):
        order = range(x.ndim)
        inner = x.attributes.get("axes") or tuple(order)[::-1]
        if [inner[k] for k in axes or tuple(order)[::-1]] == list(order):
            yield x.inputs[0]


def _filled_rule(value: float) -> Callable[..., Iterator[Any]]:
    """One entry, repeated, in place of an array that depends on x."""

    def rule(make: Make, x: Any) -> Iterator[Any]:
        entry = value if x.value.weak_type else jnp.full((), value, x.dtype)
        yield entry if x.shape == () else make(ops.broadcast_to, entry, shape=x.shape)

    return rule


def _same_rule(make: Make, x: Any, **attributes: Any) -> Iterator[Any]:
    yield x


_ELEMENTWISE = {ops.add, ops.sub, ops.mul, ops.div, ops.neg}
_RULES: dict[Operation, Callable[..., Iterator[Any]]] = {
    ops.add: _add_rule,
    ops.sub: _sub_rule,
    ops.mul: _mul_rule,
    ops.div: _div_rule,
    ops.neg: _neg_rule,
    ops.pow: _pow_rule,
    ops.sum: _sum_rule,
    ops.log: _log_rule,
    ops.exp: _exp_rule,
    ops.transpose: _transpose_rule,
    ops.ones_like: _filled_rule(1.0),
    ops.zeros_like: _filled_rule(0.0),
    # _Maker takes x only where its shape and dtype are those of the result: there, these change nothing.
    ops.identity: _same_rule,
    ops.reshape: _same_rule,
    ops.broadcast_to: _same_rule,
    ops.astype: _same_rule,
}


def _is(x: Any, operation: Operation) -> bool:
    return isinstance(x, Variable) and x.operation is operation


def _is_negative(x: Any) -> bool:
    """Whether x is −n in real numbers: those without a sign are congruent to it only."""
    return _is(x, ops.neg) and is_differentiable(x.dtype)


def _divides(a: Any, x: Any) -> bool:
    """Whether x is n / a."""
    return _is(x, ops.div) and x.inputs[1] is a


def _is_known(x: Any) -> bool:
    return not isinstance(x, Variable | jax.core.Tracer) and np.size(x) <= _LARGEST_CONSTANT


def _is_all(x: Any, value: float) -> bool:
    return _is_known(x) and bool(np.all(np.asarray(x) == value))


def _type(x: Any) -> tuple[Any, ...]:
    """Shape, dtype, and whether the dtype gives way to that of another input, as that of a Python number does."""
    if isinstance(x, Variable):
        return x.shape, x.dtype, x.value.weak_type
    return np.shape(x), jnp.result_type(x), isinstance(x, int | float) or getattr(x, "weak_type", False)


def _key(x: Any) -> Any:
    """What is equal for equal inputs: a variable's number, a small constant's bytes, a large constant itself."""
    if isinstance(x, Variable):
        return x.number
    if not _is_known(x):
        return id(x)
    return type(x), _type(x), np.asarray(x).tobytes()
