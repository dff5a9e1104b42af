"""Loops, branches and batches as operations: scan, fori_loop, switch, cond, vmap, checkpoint.

What runs inside is a graph. The variables of outer runs that a function reads without being given them become arguments
of its graph, so that no gradient is lost. Each rule is written with these operations again: any order, either mode.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.backprop import build_grads, is_differentiable
from mlp_jax.autodiff.dag import ancestors, compute, type_name
from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation, Traced, part
from mlp_jax.autodiff.tracing import call, trace
from mlp_jax.autodiff.transforms import vjp
from mlp_jax.autodiff.variable import Trace, Variable

__all__ = ["checkpoint", "cond", "fori_loop", "scan", "switch", "vmap"]

Leaves = Sequence[Any]


@dataclass(frozen=True, eq=False)
class Body:
    """A function of leaves to leaves: what an operation of this file runs."""

    graph: Graph

    def __call__(self, *leaves: Any) -> list[Any]:
        outputs = compute(self.graph.outputs, dict(zip(self.graph.inputs, leaves, strict=True)))
        return [_as_array(y) for y in outputs]

    def __repr__(self) -> str:
        return f"{sum(v.operation is not None for v in self.graph.variables)} operations"


def _closed(f: Callable[..., Any], types: Leaves, in_tree: PyTreeDef) -> tuple[Body, list[Variable], PyTreeDef]:
    """f as a function of its arguments' leaves and the outer variables that it reads; these; its value's structure."""
    run = Trace(symbolic=True)
    inputs = [Variable(run, x) for x in types]
    outputs, out_tree = jax.tree.flatten(call(run, f, *jax.tree.unflatten(in_tree, inputs)))
    own = ancestors(v for v in outputs if isinstance(v, Variable) and v.trace is run)
    read = [*(u for v in own for u in v.inputs), *outputs]
    outer = list({u: None for u in read if isinstance(u, Variable) and u.trace is not run})

    def replayed(*leaves: Any) -> list[Any]:
        return compute(outputs, dict(zip((*inputs, *outer), leaves, strict=True)))

    return Body(trace(replayed, *types, *map(as_type, outer))), outer, out_tree


def _as_array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else jnp.asarray(x)


def _leaves(tree: Any) -> tuple[list[Any], PyTreeDef]:
    leaves, structure = jax.tree.flatten(tree)
    return [_as_array(x) for x in leaves], structure


def _real(xs: Leaves) -> list[int]:
    """The places of those for which there are gradients."""
    return [k for k, x in enumerate(xs) if is_differentiable(x.dtype)]


def _pulled_back(f: Callable[..., Leaves], inputs: Leaves, g: Leaves) -> tuple[Any, ...]:
    """The gradients for the real inputs of f, from those for its real outputs."""
    places = _real(inputs)

    def of_real(*values: Any) -> list[Any]:
        full = list(inputs)
        for k, x in zip(places, values, strict=True):
            full[k] = x
        outputs = f(*full)
        return [outputs[k] for k in _real(outputs)]

    gradients: tuple[Any, ...] = vjp(of_real, *(inputs[k] for k in places))[1](list(g))
    return gradients


def _for_all(inputs: Leaves, gradients: Leaves) -> tuple[Any, ...]:
    """Gradients for the real inputs, with None for the others."""
    found = dict(zip(_real(inputs), gradients, strict=True))
    return tuple(found.get(k) for k in range(len(inputs)))


def _given(g: Leaves) -> list[Any]:
    return [each for each in g if each is not None]


# --- loops ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Loop:
    """One step of a scan, (carry, row, constants) -> (carry, result, kept), and how a gradient passes back through it.

    Attributes:
        body: the step.
        carries: how many of its first inputs, and of its first outputs, are carried.
        rows: how many inputs follow, of each of which a step has one row.
        kept: how many of its last outputs are there for the gradient alone.
        g: the symbols of the gradients that arrive at its outputs, but for those kept; None for whole numbers.
        gradients: of its inputs, as variables that depend on g, on the inputs, and on what is kept.
        wanted: the places of the inputs that are real variables: of the others no gradient is asked.
    """

    body: Body
    carries: int
    rows: int
    kept: tuple[Variable, ...] = ()
    g: tuple[Variable | None, ...] = ()
    gradients: tuple[Any, ...] = ()
    wanted: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return repr(self.body)

    def split(self, inputs: Leaves) -> tuple[list[Any], list[Any], list[Any]]:
        """The carry, the rows and the constants."""
        n = self.carries + self.rows
        return list(inputs[: self.carries]), list(inputs[self.carries : n]), list(inputs[n:])

    def tangible(self, wanted: Leaves) -> "_Loop":
        """The same that also puts out what its gradient for the wanted inputs needs of the forward pass: a tape."""
        inputs, outputs = self.body.graph.inputs, self.body.graph.outputs
        run = inputs[0].trace
        real = [isinstance(z, Variable) and is_differentiable(z.dtype) for z in outputs]
        with run.recording():
            g = tuple(Variable(run, z.value) if is_real else None for z, is_real in zip(outputs, real, strict=True))
            grad_table: dict[Variable, Any] = {}
            for z, arriving in zip(outputs, g, strict=True):
                if arriving is not None:
                    grad_table[z] = grad_table[z] + arriving if z in grad_table else arriving
            targets = {inputs[k] for k in _real(inputs) if k < self.carries or k in wanted}
            grad_table = build_grads(grad_table, targets, read=lambda v: v)
        gradients = tuple(grad_table.get(v) if v in targets else None for v in inputs)
        kept = self._kept(gradients, min((v.number for v in g if v is not None), default=0))
        graph = self.body.graph
        graph = replace(graph, outputs=(*outputs, *kept), out_tree=jax.tree.structure([*outputs, *kept]))
        return _Loop(Body(graph), self.carries, self.rows, kept, g, gradients, tuple(wanted))

    def _kept(self, gradients: Leaves, first: int) -> tuple[Variable, ...]:
        """The forward variables that the gradients read, those before the first of g; not the rows and constants."""

        def is_forward(v: Any) -> bool:
            """Also a part of a forward operation's results that a rule has asked for."""
            return isinstance(v, Variable) and (v.inputs[0] if v.operation is part else v).number < first

        given = set(self.body.graph.inputs[self.carries :])
        later = [v for v in ancestors(gradients) if not is_forward(v)]
        read = dict.fromkeys(u for v in later for u in v.inputs if is_forward(u))
        return tuple(u for u in read if u not in given)


def _scan_forward(*inputs: Any, loop: _Loop, length: int, reverse: bool, unroll: int) -> tuple[Any, ...]:
    carry, rows, constants = loop.split(inputs)

    def step(carry: Any, row: Any) -> tuple[list[Any], list[Any]]:
        outputs = loop.body(*carry, *row, *constants)
        return outputs[: loop.carries], outputs[loop.carries :]

    # In an export the rows' length may be a symbol, which a loop takes from them alone.
    steps = None if rows else length
    carry, results = jax.lax.scan(step, carry, rows, length=steps, reverse=reverse, unroll=unroll)
    return (*carry, *results)


def _scan_rule(g: Any, out: Any, *inputs: Any, loop: _Loop, length: int, reverse: bool, unroll: int) -> Any:
    """Back-propagation through time: a scan backwards over the tape."""
    carry, rows, constants = loop.split(inputs)
    n = len(out) - len(loop.kept)
    real = _real(out[: loop.carries])
    in_time = {"length": length, "unroll": unroll}
    if all(each is None for each in g[n:]):
        symbols = loop.body.graph.inputs
        last, tape = n, out[n:]

        def pull(g: Leaves, row: Leaves, kept: Leaves) -> Leaves:
            known = dict(zip([v for v in loop.g if v is not None], g, strict=True))
            known |= dict(zip(symbols[loop.carries :], (*row, *constants), strict=True))
            return compute(loop.gradients, {**known, **dict(zip(loop.kept, kept, strict=True))})
    else:  # the tape itself is differentiated: an order higher, where the steps are computed anew
        last = len(out)

        def forward(carry: Any, row: Any) -> tuple[Any, Any]:
            return loop.body(*carry, *row, *constants)[: loop.carries], carry

        tape = scan(forward, carry, rows, reverse=reverse, **in_time)[1]

        def pull(g: Leaves, row: Leaves, kept: Leaves) -> Leaves:
            at = (*kept, *row, *constants)
            return _for_all(at, _pulled_back(loop.body, at, g))

    arriving = [ops.zeros_like(y) if each is None else each for y, each in zip(out[:last], g[:last], strict=True)]
    real_results = [k for k in _real(out[:last]) if k >= loop.carries]

    def backwards(state: Any, at: Any) -> tuple[Any, Any]:
        g_carry, totals = state
        g_results, row, kept = at
        found = list(pull([*g_carry, *g_results], row, kept))
        of_carry, of_row, of_constants = loop.split(found)
        g_carry = [ops.zeros_like(g_carry[j]) if of_carry[k] is None else of_carry[k] for j, k in enumerate(real)]
        totals = [t if new is None else t + new for t, new in zip(totals, of_constants, strict=True)]
        return (g_carry, totals), of_row

    start = [arriving[k] for k in real], [ops.zeros_like(x) for x in constants]
    steps = [arriving[k] for k in real_results], rows, list(tape)
    (g_carry, totals), g_rows = scan(backwards, start, steps, reverse=not reverse, **in_time)
    of_carry = dict(zip(real, g_carry, strict=True))
    of_rows = [ops.zeros_like(x) if g is None and k in loop.wanted else g
               for k, (x, g) in enumerate(zip(rows, g_rows, strict=True), start=loop.carries)]  # fmt: skip
    return (*(of_carry.get(k) for k in range(loop.carries)), *of_rows, *totals)


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
    (carry, carry_tree), (rows, rows_tree) = _leaves(init), _leaves(xs)
    lengths = {x.shape[0] for x in rows} | ({length} if length is not None else set())
    if len(lengths) != 1:
        raise TypeError(f"scan needs xs of one leading length, or a length, got {sorted(map(str, lengths)) or 'none'}")
    in_tree = jax.tree.structure((carry_tree.unflatten(carry), rows_tree.unflatten(rows)))
    of_row = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in rows]
    body, outer, out_tree = _closed(f, [*map(as_type, carry), *of_row], in_tree)
    kinds = out_tree.children()
    if len(kinds) != 2 or kinds[0] != carry_tree:
        raise TypeError(f"a step of scan returns (carry, y) with a carry like the first, {carry_tree}, got {out_tree}")
    after = [as_type(_as_array(z)) for z in body.graph.outputs[: len(carry)]]
    if any(as_type(x).weak_type and not z.weak_type for x, z in zip(carry, after, strict=True)):
        # a Python number takes the dtype of what it becomes
        carry = [x.astype(z.dtype) if as_type(x).weak_type else x for x, z in zip(carry, after, strict=True)]
        return scan(f, carry_tree.unflatten(carry), xs, length, reverse, unroll)
    for x, z in zip(carry, after, strict=True):
        if type_name(x) != type_name(z):
            raise TypeError(f"a step of scan must return a carry like the one it got, {type_name(x)}, got "
                            f"{type_name(z)}")  # fmt: skip
    inputs = [*carry, *rows, *outer]
    loop = _Loop(body, len(carry), len(rows))
    wanted = [k for k in _real(inputs) if isinstance(inputs[k], Traced)]
    loop = loop.tangible(wanted) if wanted else loop
    out = _scan(*inputs, loop=loop, length=lengths.pop(), reverse=reverse, unroll=unroll)
    results = list(out[len(carry) : len(out) - len(loop.kept)])
    return carry_tree.unflatten(out[: len(carry)]), kinds[1].unflatten(results)


def fori_loop(lower: int, upper: int, body: Callable[[Any, Any], Any], init: Any, unroll: int = 1) -> Any:
    """The value after v = body(i, v) for i = lower … upper − 1, which are Python numbers; a `scan`.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: fori_loop(0, 3, lambda i, v: v * x, 1.0))(2.0))  # of x³
    12.0
    """
    return scan(lambda v, i: (body(i, v), None), init, jnp.arange(lower, upper), unroll=unroll)[0]


# --- branches ---------------------------------------------------------------------------------------------


def _chosen(index: Any, *inputs: Any, branches: tuple[Body, ...]) -> tuple[Any, ...]:
    return tuple(jax.lax.switch(index, branches, *inputs))


def _switch_rule(g: Any, out: Any, index: Any, *inputs: Any, branches: tuple[Body, ...]) -> tuple[Any, ...]:
    def pullback(branch: Body) -> Callable[..., Any]:
        return lambda g, inputs: list(_pulled_back(branch, inputs, g))

    return (None, *_for_all(inputs, switch(index, list(map(pullback, branches)), _given(g), list(inputs))))


_switch = Operation("switch", _chosen, _switch_rule)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """branches[index](*operands), as `jax.lax.switch`; the branches, of operations, return values of one type.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: switch(1, [lambda x: x, lambda x: x * x], x))(3.0))
    6.0
    """
    leaves, tree = _leaves(operands)
    closed = [_closed(f, [*map(as_type, leaves)], tree) for f in branches]
    outer = {u: None for _, read, _ in closed for u in read}
    symbols = [*map(as_type, leaves), *map(as_type, outer)]
    place = {u: k for k, u in enumerate(outer, start=len(leaves))}

    def of_all(body: Body, own: list[Variable]) -> Body:
        """A branch as a function of what any of them reads."""
        places = [*range(len(leaves)), *(place[u] for u in own)]
        return Body(trace(lambda *xs: body(*(xs[k] for k in places)), *symbols))

    bodies = tuple(of_all(body, own) for body, own, _ in closed)
    if len({str(structure) for *_, structure in closed}) != 1:
        raise TypeError(f"branches must return one structure, got {[str(structure) for *_, structure in closed]}")
    return closed[0][2].unflatten(_switch(_as_array(index), *leaves, *outer, branches=bodies))


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """true_fun(*operands) where pred holds, else false_fun(*operands), as `jax.lax.cond`; see `switch`.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: cond(x > 0, lambda x: x * x, lambda x: -x, x))(3.0))
    6.0
    """
    return switch(ops.asarray(pred).astype("int32"), (false_fun, true_fun), *operands)


# --- batches ----------------------------------------------------------------------------------------------

Axes = tuple[int | None, ...]


def _batched(*inputs: Any, body: Body, axes: Axes) -> tuple[Any, ...]:
    return tuple(jax.vmap(body, axes)(*inputs))


def _vmap_rule(g: Any, out: Any, *inputs: Any, body: Body, axes: Axes) -> tuple[Any, ...]:
    """The pullbacks of all examples; what they share gets the sum."""
    arriving = _given(g)

    def pullback(*each: Any) -> list[Any]:
        return list(_pulled_back(body, each[len(arriving) :], each[: len(arriving)]))

    gradients = vmap(pullback, in_axes=((0,) * len(arriving) + axes))(*arriving, *inputs)
    places = [axes[k] for k in _real(inputs)]
    return _for_all(inputs, [
        ops.sum(gradient, 0) if axis is None else ops.moveaxis(gradient, 0, axis)
        for gradient, axis in zip(gradients, places, strict=True)
    ])  # fmt: skip


_vmap = Operation("vmap", _batched, _vmap_rule)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0) -> Callable[..., Any]:
    """f of each example of a batch, as `jax.vmap`, for a function of the operations, inside and outside of `grad`.

    Args:
        f: a function of the operations, of one example; it may read variables that are not among its arguments.
        in_axes: over which axis of each argument the examples lie: one number, or a tuple with one, None or a pytree
            of them for each; None is for what all examples share.
        out_axes: where that axis is in what is returned.

    >>> from mlp_jax.autodiff import grad
    >>> total = lambda W, x: ops.sum(vmap(lambda row: ops.tanh(W @ row))(x))
    >>> grad(total)(jnp.zeros((1, 2)), jnp.ones((3, 2))).tolist()
    [[3.0, 3.0]]
    """

    @functools.wraps(f)
    def of_batch(*args: Any) -> Any:
        leaves, tree = _leaves(args)
        given = tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        axes: list[int | None] = []
        jax.tree.map(
            lambda axis, below: axes.extend([axis] * len(jax.tree.leaves(below))),
            given,
            args,
            is_leaf=lambda axis: axis is None,
        )
        types = [as_type(x) if axis is None else _without(axis, x) for axis, x in zip(axes, leaves, strict=True)]
        body, outer, out_tree = _closed(f, types, tree)
        out = _vmap(*leaves, *outer, body=body, axes=(*axes, *[None] * len(outer)))
        return out_tree.unflatten([ops.moveaxis(y, 0, out_axes) if out_axes else y for y in out])

    return of_batch


def _without(axis: int, x: Any) -> jax.ShapeDtypeStruct:
    axis %= x.ndim
    return jax.ShapeDtypeStruct(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)


# --- memory -----------------------------------------------------------------------------------------------


def _checkpoint_rule(g: Any, out: Any, *inputs: Any, body: Body) -> tuple[Any, ...]:
    kept = _barrier(*inputs)
    return _for_all(inputs, _pulled_back(body, kept, _given(g)))


# What follows is computed from its inputs anew: the compiler may not take it from what was computed before.
_barrier = Operation("barrier", lambda *xs: tuple(jax.lax.optimization_barrier(xs)), lambda g, out, *xs: g)
_checkpoint = Operation("checkpoint", lambda *inputs, body: tuple(body(*inputs)), _checkpoint_rule)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f as one operation that keeps only its arguments and is computed again for its gradient: less memory, more time.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(checkpoint(lambda x: ops.exp(ops.sin(x))))(0.0))
    1.0
    """

    @functools.wraps(f)
    def checkpointed(*args: Any) -> Any:
        leaves, tree = _leaves(args)
        body, outer, out_tree = _closed(f, [*map(as_type, leaves)], tree)
        return out_tree.unflatten(_checkpoint(*leaves, *outer, body=body))

    return checkpointed
