"""Derivatives of Python functions, with the signatures of JAX: vjp, grad, value_and_grad, jvp, jacobian, hessian, hvp.

A function runs on variables that hold values (symbol-to-number, section 6.5.5), and is differentiated by the same loop
as a graph. Within another differentiation, or under jit, vmap, grad, shard_map and scan, the values are the variables
or tracers of that, so all of them nest to any order. Each run has a `Trace` of its own, and a variable of an outer run
is a value in an inner one: their perturbations cannot be confused.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef, keystr, tree_flatten_with_path, treedef_is_leaf

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.backprop import build_grads, is_differentiable
from mlp_jax.autodiff.dag import type_name
from mlp_jax.autodiff.operation import Operation, TracingError
from mlp_jax.autodiff.tracing import call, restricted
from mlp_jax.autodiff.variable import Trace, Variable


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of f, and the function that pulls a gradient back through it: ∇_x J = Σ_j (∇_x y_j) g_j (6.47).

    Args:
        f: a function of the operations.
        primals: its arguments, pytrees of arrays.
        has_aux: whether f returns a pair of what is differentiated and what is only returned.

    Returns:
        (out, pullback), or (out, pullback, aux). `pullback(g)`, for g like out, is a tuple like the primals. The
        gradient for an argument that is not of floating-point numbers has dtype float0, as in JAX.

    Raises:
        TypeError: an argument that is not an array, or is complex; f hands a variable to jax.numpy.

    >>> from mlp_jax.autodiff import ops
    >>> out, pullback = vjp(ops.sin, 0.0)
    >>> pullback(jnp.asarray(2.0))[0].tolist()
    2.0
    """
    run, inputs, in_tree, outputs, out_tree, aux = _run(f, primals, has_aux)
    values = [_as_array(_value(run, z)) for z in outputs]

    def pullback(g: Any) -> Any:
        grad_table: dict[Variable, Any] = {}
        for z, arriving in zip(outputs, _gradients_like(values, out_tree, g), strict=True):
            if _carries_gradient(run, z):
                grad_table[z] = grad_table[z] + arriving if z in grad_table else arriving
        return jax.tree.unflatten(in_tree, _pull_back(run, grad_table, inputs))

    out = jax.tree.unflatten(out_tree, values)
    return (out, pullback, aux) if has_aux else (out, pullback)


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns f's value and its gradient: Algorithm 6.5, symbol-to-number.

    Args:
        f: a function of the operations that returns a scalar, or with `has_aux` a pair of it and anything.
        argnums: the positions of the arguments to differentiate for; the others, and those by keyword, are passed on.
        has_aux: whether f returns such a pair.

    Returns:
        A function with f's arguments that returns (value, gradient); ((value, aux), gradient) with `has_aux`. The
        gradient is like the argument; with several argnums, a tuple. For an unused argument it is 0.

    Raises:
        TypeError: an argument that is not of floating-point numbers, or a value that is not a scalar one.

    >>> value_and_grad(lambda w, x: w * x)(3.0, 5.0)
    (Array(15., dtype=float32, weak_type=True), Array(5., dtype=float32, weak_type=True))
    """

    @functools.wraps(f)
    def value_and_grad_f(*args: Any, **kwargs: Any) -> Any:
        places = _places(args, argnums, "grad")
        chosen = [args[k] for k in places]
        run, inputs, in_tree, outputs, out_tree, aux = _run(restricted(f, args, kwargs, places), chosen, has_aux)
        z = _scalar_output(outputs, out_tree)
        value = _as_array(_value(run, z))
        grad_table = {z: ops.ones_like(value)} if _carries_gradient(run, z) else {}
        del outputs, z  # so that the loop can free what it has used
        grads = jax.tree.unflatten(in_tree, _pull_back(run, grad_table, inputs))
        grads = grads[0] if not isinstance(argnums, Sequence) else tuple(grads)
        return ((value, aux), grads) if has_aux else (value, grads)

    return value_and_grad_f


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of f, a scalar; arguments and errors as for `value_and_grad`.

    With `has_aux` it returns (gradient, aux).

    >>> from mlp_jax.autodiff import ops
    >>> grad(lambda x: ops.sum(x**3))(jnp.array([1.0, 2.0])).tolist()
    [3.0, 12.0]
    >>> grad(grad(lambda x: x**3))(2.0).tolist()
    12.0
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def grad_f(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return grad_f


def jvp(f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """Forward mode (section 6.5.9): the value of f and its derivative along `tangents`, Σ_i (∇_x y)ᵢ tᵢ.

    The pullback is linear in the gradient that arrives, so pulling back through it is pushing forward: the rules that
    reverse mode has serve forward mode, too. Under jit, XLA drops what reverse mode alone needed.

    Args:
        f: a function of the operations.
        primals: a tuple of its arguments.
        tangents: a tuple of the directions, like the primals.
        has_aux: whether f returns a pair of what is differentiated and what is only returned.

    Returns:
        (out, tangent of out), or (out, tangent of out, aux).

    Raises:
        TypeError: primals and tangents that are not tuples of one structure.

    >>> out, tangent = jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0))
    >>> out.tolist(), tangent.tolist()
    (6.0, 23.0)
    """
    _require_alike("jvp", primals, tangents)
    out, pullback, *aux = vjp(f, *primals, has_aux=has_aux)
    _, push = vjp(pullback, jax.tree.map(ops.zeros_like, out))
    return (out, push(tuple(tangents))[0], *aux)


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the Jacobian ∂y_i/∂x_j of f, row by row in reverse mode, as `jax.jacrev`.

    Args:
        f: a function of the operations, from pytrees to pytrees of arrays.
        argnums: as for `grad`.

    Returns:
        A function with f's arguments. Its result has the structure of f's value; each leaf is like the argument (a
        tuple with several argnums), with arrays of shape (*y.shape, *x.shape).

    >>> jacobian(lambda x: x * x)(jnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(f)
    def jacobian_f(*args: Any, **kwargs: Any) -> Any:
        places = _places(args, argnums, "jacobian")
        out, pullback = vjp(restricted(f, args, kwargs, places), *(args[k] for k in places))
        outputs, out_tree = jax.tree.flatten(out)
        for z in outputs:
            if not is_differentiable(z.dtype):
                raise TypeError(f"jacobian needs a function that returns floating-point numbers, got {type_name(z)}")
        blocks = [_rows(pullback, outputs, out_tree, k) for k in range(len(outputs))]
        return jax.tree.unflatten(out_tree, [block if isinstance(argnums, Sequence) else block[0] for block in blocks])

    return jacobian_f


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the Hessian ∂²y/∂x_i∂x_j of f, the Jacobian of its Jacobian, as `jax.hessian`.

    >>> hessian(lambda x: x[0] * x[1])(jnp.array([3.0, 5.0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return jacobian(jacobian(f, argnums), argnums)


def hvp(f: Callable[..., Any], primals: Any, vectors: Any) -> Any:
    """The Hessian of f times a vector, without the Hessian: H v = ∇_x[(∇_x f)ᵀ v] (6.59; section 6.5.10).

    Args:
        f: a function of the operations that returns a scalar.
        primals: a tuple of its arguments.
        vectors: a tuple like the primals.

    Returns:
        A tuple like the primals.

    Raises:
        TypeError: primals and vectors that are not tuples of one structure; and as for `grad`.

    >>> hvp(lambda x, y: x * x * y, (2.0, 3.0), (1.0, 0.0))  # H = [[2y, 2x], [2x, 0]]
    (Array(6., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True))
    """
    _require_alike("hvp", primals, vectors)
    _, pullback = vjp(grad(f, argnums=tuple(range(len(primals)))), *primals)
    return pullback(tuple(vectors))


def stop_gradient(x: Any) -> Any:
    """x, as a constant to differentiation; for pytrees, too.

    >>> grad(lambda x: x * stop_gradient(x))(3.0).tolist()
    3.0
    """
    return jax.tree.map(ops.stop_gradient, x)


def composed(name: str, f: Callable[..., Any]) -> Operation:
    """The operation that f is, a function of operations: in a graph it is one, and needs no rule of its own.

    Args:
        name: what messages and drawings call it.
        f: of arrays or variables, by position; it returns one array.

    >>> from mlp_jax.autodiff import ops
    >>> norm = composed("norm", lambda x: ops.sqrt(ops.sum(x * x)))
    >>> x = ops.asarray([3.0, 4.0])
    >>> float(norm(x)), norm.gradient(0, 1.0, norm(x), x).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """

    def bprop(g: Any, out: Any, *inputs: Any) -> tuple[Any, ...]:
        return vjp(f, *inputs)[1](g)

    return Operation(name, f, bprop)


# --- running a function on variables ------------------------------------------------------------------


def _run(
    f: Callable[..., Any], primals: Any, has_aux: bool
) -> tuple[Trace, list[Any], PyTreeDef, list[Any], PyTreeDef, Any]:
    """Run f on variables: the trace, the leaves of the arguments and their structure, those of the value, and aux."""
    run = Trace(symbolic=False)
    leaves, in_tree = jax.tree.flatten(primals)
    inputs = [_as_variable(run, x) for x in leaves]
    out, aux = call(run, f, *jax.tree.unflatten(in_tree, inputs)), None
    if has_aux:
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise TypeError(f"with has_aux the function must return a pair (value, aux), got {type(out).__name__}")
        out, aux = out[0], jax.tree.map(lambda x: _value(run, x), out[1])
    outputs, out_tree = jax.tree.flatten(out)
    for z in outputs:
        if isinstance(z, Variable) and not (z.trace is run or z.trace.is_open):
            raise TracingError(f"the function returned {z!r} of another graph, whose function has returned")
    return run, inputs, in_tree, outputs, out_tree, aux


def _pull_back(run: Trace, grad_table: dict[Variable, Any], inputs: list[Any]) -> list[Any]:
    """The gradient for each input, in number mode."""
    variables = [v for v in inputs if _carries_gradient(run, v)]
    grad_table = build_grads(grad_table, variables, read=lambda u: _value(run, u))

    def gradient(v: Any) -> Any:
        if not _carries_gradient(run, v):
            return np.zeros(v.shape, jax.dtypes.float0)
        return grad_table[v] if v in grad_table else ops.zeros_like(v.value)

    return [gradient(v) for v in inputs]


def _value(run: Trace, x: Any) -> Any:
    """What a variable of this run holds; anything else, also a variable of an outer run, is a value itself."""
    return x.value if isinstance(x, Variable) and x.trace is run else x


def _carries_gradient(run: Trace, z: Any) -> bool:
    return isinstance(z, Variable) and z.trace is run and is_differentiable(z.dtype)


def _as_variable(run: Trace, x: Any) -> Any:
    """A variable of the run with the value x; a value that is not of floating-point numbers as it is."""
    value = _as_array(x)
    return Variable(run, value) if is_differentiable(value.dtype) else value


def _is_float0(x: Any) -> bool:
    return getattr(x, "dtype", None) == jax.dtypes.float0


def _places(args: tuple[Any, ...], argnums: int | Sequence[int], name: str) -> list[int]:
    """The places that argnums name, which must be those of arguments that can be differentiated for."""
    places = list(argnums) if isinstance(argnums, Sequence) else [operator.index(argnums)]
    for k in places:
        if not -len(args) <= k < len(args):
            raise TypeError(f"{name} with argnums={argnums} needs that argument by position; got {len(args)} arguments")
        for path, x in tree_flatten_with_path(args[k])[0]:
            dtype = x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
            if not is_differentiable(dtype):
                raise TypeError(
                    f"{name} needs floating-point numbers, got dtype {dtype} in argument {k}"
                    f"{keystr(path)}; convert it, or leave it out of argnums"
                )
    if len({k % len(args) for k in places}) < len(places):
        raise TypeError(f"{name} with argnums={argnums} names an argument twice")
    return places


def _scalar_output(outputs: list[Any], out_tree: PyTreeDef) -> Any:
    z = outputs[0] if _is_one(outputs, out_tree) else None
    if not isinstance(z, Variable | jax.Array | np.ndarray | np.generic | float):
        raise TypeError(f"grad needs a function that returns one scalar array, got {_kinds(outputs, out_tree)}")
    if jnp.shape(z) != () or not is_differentiable(_as_array(z).dtype):
        raise TypeError(
            f"grad needs a function that returns a floating-point scalar, got {_kinds(outputs, out_tree)}; "
            "reduce it, for example with ops.sum, or use vjp or jacobian"
        )
    return z


def _rows(pullback: Callable[..., Any], outputs: list[Any], out_tree: PyTreeDef, k: int) -> Any:
    """The Jacobian of output k: the pullback of each unit gradient."""
    z = outputs[k]

    def row(direction: Any) -> Any:
        gs = [ops.zeros_like(other) for other in outputs]
        gs[k] = direction
        return pullback(jax.tree.unflatten(out_tree, gs))

    if z.size == 0:
        rows = jax.tree.map(lambda x: ops.reshape(x, (1, *x.shape))[:0], row(ops.zeros_like(z)))
    else:
        rows = _each(row, jnp.eye(z.size, dtype=z.dtype).reshape(z.size, *z.shape))
    return jax.tree.map(lambda block: ops.reshape(block, (*z.shape, *block.shape[1:])), rows)


class _Nested(Exception):
    """A function under jax.vmap returned variables of an outer run, which jax.vmap does not know."""


def _each(row: Callable[..., Any], basis: jax.Array) -> Any:
    """The rows for all directions, at once if they are arrays, else in turn."""

    def of_arrays(direction: Any) -> Any:
        gradients = row(direction)
        if any(isinstance(leaf, Variable) for leaf in jax.tree.leaves(gradients)):
            raise _Nested
        return gradients

    try:
        return jax.vmap(of_arrays)(basis)
    except _Nested:
        return jax.tree.map(lambda *entries: ops.stack(entries), *(row(direction) for direction in basis))


def _as_array(x: Any) -> Any:
    return x if isinstance(x, jax.Array | Variable) or _is_float0(x) else jnp.asarray(x)


def _gradients_like(values: list[Any], out_tree: PyTreeDef, g: Any) -> list[Any]:
    """The leaves of g, which must be like the function's value."""
    leaves, tree = jax.tree.flatten(g)
    if out_tree != tree:
        raise TypeError(f"the gradient must have the structure of the function's value, {out_tree}, got {tree}")
    gradients = [_as_array(leaf) for leaf in leaves]
    for value, gradient in zip(values, gradients, strict=True):
        if is_differentiable(value.dtype) and (value.shape, value.dtype) != (gradient.shape, gradient.dtype):
            raise ValueError(f"the gradient must be like the value, {type_name(value)}, got {type_name(gradient)}")
    return gradients


def _require_alike(name: str, primals: Any, others: Any) -> None:
    for what, value in (("arguments", primals), ("directions", others)):
        if not isinstance(value, tuple | list):
            raise TypeError(f"{name} takes a tuple of {what}, got {type(value).__name__}; for one, write (x,)")
    wanted, got = (str(jax.tree.structure(tuple(value))) for value in (primals, others))
    if wanted != got:
        raise TypeError(f"{name} takes directions of the structure of the arguments, {wanted}, got {got}")
    for (path, x), t in zip(tree_flatten_with_path(tuple(primals))[0], jax.tree.leaves(others), strict=True):
        primal, tangent = _as_array(x), _as_array(t)
        if is_differentiable(primal.dtype) and (primal.shape, primal.dtype) != (tangent.shape, tangent.dtype):
            place = f"{path[0].idx}{keystr(path[1:])}"
            raise ValueError(
                f"{name}: the tangent of argument {place} must be like its primal, {type_name(primal)}, got "
                f"{type_name(tangent)}"
            )


def _kinds(outputs: list[Any], out_tree: PyTreeDef) -> str:
    kinds = ", ".join(type_name(z) if hasattr(z, "dtype") else type(z).__name__ for z in outputs)
    return kinds if _is_one(outputs, out_tree) else f"{out_tree} of {kinds or 'none'}"


def _is_one(outputs: list[Any], out_tree: PyTreeDef) -> bool:
    return len(outputs) == 1 and treedef_is_leaf(out_tree)
