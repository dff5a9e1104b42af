"""Loops: a scan, and back-propagation through time, which is a scan backwards over what the steps have kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.backprop import build_grads
from mlp_jax.autodiff.control.body import Body, Leaves, as_array, closed, leaves_of
from mlp_jax.autodiff.dag import ancestors, compute, type_name
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation, Traced, part
from mlp_jax.autodiff.operations.adapter import is_real, pull_back
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.transforms import vjp
from mlp_jax.autodiff.variable import Variable


@dataclass(frozen=True, eq=False)
class _Step:
    """One step of a scan: (carry, row, constants) -> (carry, result, kept).

    Attributes:
        body: the step.
        carries: how many of its first inputs, and of its first outputs, are carried.
        rows: how many inputs follow, of each of which a step has one row.
        kept: how many of its last outputs are there for the gradient alone: a tape.
        pullback: (gradients of the other outputs, row, constants, kept) -> gradients of the inputs; None in place of
            a number that is not real, and of a gradient that is 0 or not asked for.
    """

    body: Body
    carries: int
    rows: int
    kept: int = 0
    pullback: Callable[..., tuple[Any, ...]] | None = None

    def __repr__(self) -> str:
        return repr(self.body)

    def split(self, inputs: Leaves) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        """The carry, the rows and the constants."""
        n = self.carries + self.rows
        return tuple(inputs[: self.carries]), tuple(inputs[self.carries : n]), tuple(inputs[n:])

    def with_tape(self, wanted: Sequence[int]) -> "_Step":
        """The same that also puts out what its gradient for the wanted inputs needs of the forward pass."""
        graph = self.body.graph
        inputs, outputs = graph.inputs, graph.outputs
        run = inputs[0].trace
        with run.recording():
            g = tuple(Variable(run, as_type(as_array(z))) if is_real(z) else None for z in outputs)
            grad_table: dict[Variable, Any] = {}
            for z, arriving in zip(outputs, g, strict=True):
                if arriving is not None and isinstance(z, Variable):
                    grad_table[z] = grad_table[z] + arriving if z in grad_table else arriving
            targets = {inputs[k] for k in wanted} | {x for x in inputs[: self.carries] if is_real(x)}
            grad_table = build_grads(grad_table, targets, read=lambda v: v)
        gradients = tuple(grad_table.get(v) if v in targets else None for v in inputs)
        _, rows, constants = self.split(inputs)
        kept = _forward_variables(gradients, [v for v in g if v is not None], given={*rows, *constants})
        known = (g, rows, constants, kept)

        def pullback(*values: Any) -> tuple[Any, ...]:
            return tuple(compute(gradients, dict(zip(jax.tree.leaves(known), jax.tree.leaves(values), strict=True))))

        with_kept = (*outputs, *kept)
        body = Body(replace(graph, outputs=with_kept, out_tree=jax.tree.structure(with_kept)))
        return _Step(body, self.carries, self.rows, len(kept), Body(trace(pullback, *jax.tree.map(as_type, known))))


def _forward_variables(gradients: Leaves, g: list[Variable], given: set[Variable]) -> tuple[Variable, ...]:
    """The variables of the forward pass that the gradients read, without what is given to the backward pass anyway."""
    first = min((v.number for v in g), default=0)

    def is_forward(v: Any) -> bool:
        """Also a part of a forward operation's results that a rule has asked for."""
        return isinstance(v, Variable) and (v.inputs[0] if v.operation is part else v).number < first

    later = [v for v in ancestors(gradients) if not is_forward(v)]
    read = dict.fromkeys(u for v in later for u in v.inputs if is_forward(u))
    return tuple(u for u in read if u not in given)


def _scan_forward(*inputs: Any, step: _Step, length: int, reverse: bool, unroll: int) -> tuple[Any, ...]:
    carry, rows, constants = step.split(inputs)

    def of_one_row(carry: Any, row: Any) -> tuple[Any, Any]:
        outputs = step.body(carry, row, constants)
        return outputs[: step.carries], outputs[step.carries :]

    # In an export the rows' length may be a symbol, which a loop takes from them alone.
    steps = None if rows else length
    carry, results = jax.lax.scan(of_one_row, carry, rows, length=steps, reverse=reverse, unroll=unroll)
    return (*carry, *results)


def _scan_rule(g: Any, out: Any, *inputs: Any, step: _Step, length: int, reverse: bool, unroll: int) -> Any:
    """Back-propagation through time: a scan backwards over the tape."""
    _, rows, constants = step.split(inputs)
    in_time = {"length": length, "unroll": unroll}
    n, tape, pullback = len(out) - step.kept, out[len(out) - step.kept :], step.pullback
    if any(each is not None for each in g[n:]):  # the tape is differentiated, too: an order higher, of steps done anew
        n, tape, pullback = len(out), _carries_before(step, inputs, reverse, in_time), _pullback_anew(step)
    assert pullback is not None

    def backwards(state: Any, at: Any) -> tuple[Any, Any]:
        g_carry, totals = state
        g_results, row, kept = at
        of_carry, of_row, of_constants = step.split(pullback((*g_carry, *g_results), row, constants, kept))
        of_carry = tuple(ops.zeros_like(x) if each is None and x is not None else each
                         for x, each in zip(g_carry, of_carry, strict=True))  # fmt: skip
        totals = tuple(x if each is None else x + each for x, each in zip(totals, of_constants, strict=True))
        return (of_carry, totals), of_row

    arriving = _with_zeros(g[:n], out[:n])
    start = arriving[: step.carries], _with_zeros([None] * len(constants), constants)
    (g_carry, totals), g_rows = scan(
        backwards, start, (arriving[step.carries :], rows, tape), reverse=not reverse, **in_time
    )
    return (*g_carry, *_with_zeros(g_rows, rows), *totals)


def _carries_before(step: _Step, inputs: Leaves, reverse: bool, in_time: dict[str, int]) -> tuple[Any, ...]:
    """The carries that the steps got, by a loop of its own."""
    carry, rows, constants = step.split(inputs)

    def forward(carry: Any, row: Any) -> tuple[Any, Any]:
        return step.body(carry, row, constants)[: step.carries], carry

    before: tuple[Any, ...] = scan(forward, carry, rows, reverse=reverse, **in_time)[1]
    return before


def _pullback_anew(step: _Step) -> Callable[..., tuple[Any, ...]]:
    """The pullback of a step that has kept nothing but its carry."""
    return lambda g, row, constants, carry: pull_back(vjp, step.body, (*carry, *row, *constants), g)


def _with_zeros(gradients: Leaves, xs: Leaves) -> tuple[Any, ...]:
    """0 for a real x that has no gradient."""
    return tuple(ops.zeros_like(x) if g is None and is_real(x) else g for g, x in zip(gradients, xs, strict=True))


_scan = Operation("scan", _scan_forward, _scan_rule, is_sparse=True)


def scan(
    f: Callable[..., Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int = 1
) -> Any:
    """A loop that carries a value over the rows of xs, as `jax.lax.scan`: carry, y = f(carry, row) at each step.

    Args:
        f: a function of the operations; it may read variables that are not among its arguments. As an operation's, its
            numbers have no values while it runs: conditions go into `ops.where` and `ops.cond`.
        init: the first carry, a pytree; each step returns one of the same shapes and dtypes.
        xs: a pytree of arrays with one leading length, or None.
        length: of the loop; needed without xs.
        reverse: whether to begin at the last row.
        unroll: how many steps one pass of the compiled loop has.

    Returns:
        (the last carry, what the steps put out, stacked).

    Raises:
        TypeError: a step returns no pair, or a carry unlike the one that it got.

    Its gradient is a loop backwards over what the steps kept for it; of `checkpoint(f)` they keep the carry alone.

    >>> from mlp_jax.autodiff import grad
    >>> run = lambda x: scan(lambda c, row: (c * x + row, c), 0.0, jnp.arange(3.0))
    >>> run(2.0)
    (Array(4., dtype=float32), Array([0., 0., 1.], dtype=float32))
    >>> float(grad(lambda x: run(x)[0])(2.0))  # of x + 2
    1.0
    """
    (carry, carry_tree), (rows, rows_tree) = leaves_of(init), leaves_of(xs)
    lengths = {x.shape[0] for x in rows} | ({length} if length is not None else set())
    if len(lengths) != 1:
        raise TypeError(f"scan needs xs of one leading length, or a length, got {sorted(map(str, lengths)) or 'none'}")
    in_tree = jax.tree.structure((carry_tree.unflatten(carry), rows_tree.unflatten(rows)))
    of_row = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in rows]
    body, outer, out_tree = closed(f, [*map(as_type, carry), *of_row], in_tree)
    kinds = out_tree.children()
    if len(kinds) != 2 or kinds[0] != carry_tree:
        raise TypeError(f"a step of scan returns (carry, y) with a carry like the first, {carry_tree}, got {out_tree}")
    after = [as_type(as_array(z)) for z in body.graph.outputs[: len(carry)]]
    settled = [_settled(x, z) for x, z in zip(carry, after, strict=True)]
    if any(x is not y for x, y in zip(settled, carry, strict=True)):
        return scan(f, carry_tree.unflatten(settled), xs, length, reverse, unroll)
    inputs = [*carry, *rows, *outer]
    step = _Step(body, len(carry), len(rows))
    wanted = [k for k, x in enumerate(inputs) if is_real(x) and isinstance(x, Traced)]
    step = step.with_tape(wanted) if wanted else step
    out = _scan(*inputs, step=step, length=lengths.pop(), reverse=reverse, unroll=unroll)
    results = out[len(carry) : len(out) - step.kept]
    return carry_tree.unflatten(out[: len(carry)]), kinds[1].unflatten(results)


def _settled(x: Any, after: Any) -> Any:
    """A carry in the type that it has after a step: a Python number takes the dtype of what it becomes."""
    if as_type(x).weak_type and not after.weak_type:
        x = x.astype(after.dtype)
    if type_name(x) != type_name(after):
        raise TypeError(f"a step of scan must return a carry like the one it got, {type_name(x)}, got "
                        f"{type_name(after)}")  # fmt: skip
    return x


def fori_loop(lower: int, upper: int, body: Callable[[Any, Any], Any], init: Any, unroll: int = 1) -> Any:
    """The value after v = body(i, v) for i = lower … upper − 1, which are Python numbers; a `scan`.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: fori_loop(0, 3, lambda i, v: v * x, 1.0))(2.0))  # of x³
    12.0
    """
    return scan(lambda v, i: (body(i, v), None), init, jnp.arange(lower, upper), unroll=unroll)[0]
