"""Run a Python function on variables, in symbol mode to get its graph, and say clearly what cannot be recorded."""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation, TracingError
from mlp_jax.autodiff.variable import Trace, Variable


def trace(f: Callable[..., Any], *args: Any) -> Graph:
    """The graph of f, by running it once on symbols: nothing is computed (section 6.5.5).

    Args:
        f: a function of the operations; it may return any pytree.
        args: what it takes: pytrees of arrays or of `jax.ShapeDtypeStruct`, of which only shapes and dtypes are
            used.

    Raises:
        TracingError: f asks a symbol for its value, or hands one to jax.numpy.

    >>> from mlp_jax.autodiff import ops
    >>> print(trace(lambda x: ops.sum(x * x), jax.ShapeDtypeStruct((3,), "float32")))
    graph: 1 input, 2 operations, 1 output
      x: float32[3]
      v1: float32[3] = mul(x, x)
      J: float32[] = sum(v1)
    returns J
    """
    run = Trace(symbolic=True)
    leaves, in_tree = jax.tree.flatten(args)
    names = input_names(f, args)
    inputs = tuple(Variable(run, _symbol(x, name), name=name) for x, name in zip(leaves, names, strict=True))
    out = call(run, f, *jax.tree.unflatten(in_tree, inputs))
    outputs, out_tree = jax.tree.flatten(out)
    return Graph(inputs, tuple(outputs), in_tree, out_tree)


def call(run: Trace, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """f(*args, **kwargs) while the trace records; an error by handing a variable to JAX says what to use instead."""
    with run.recording():
        try:
            return f(*args, **kwargs)
        except (TypeError, IndexError) as error:
            # JAX says only in the text of an error what it was given, and takes its own frames out of the traceback
            if isinstance(error, TracingError) or Variable.__name__ not in str(error):
                raise
            explanation = _explain(error)
            if explanation is None:
                raise
        raise TracingError(explanation)


def restricted(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], places: list[int]
) -> Callable[..., Any]:
    """f as a function of its arguments at these places alone; the others are given."""

    def of_chosen(*chosen: Any) -> Any:
        full = list(args)
        for k, x in zip(places, chosen, strict=True):
            full[k] = x
        return f(*full, **kwargs)

    return of_chosen


def _symbol(x: Any, name: str) -> jax.ShapeDtypeStruct:
    try:
        return as_type(x if isinstance(x, jax.ShapeDtypeStruct | Variable) else jnp.asarray(x))
    except TypeError:
        raise TypeError(f"argument {name} must be an array or a jax.ShapeDtypeStruct, got {type(x).__name__}") from None


def input_names(f: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """The names of f's parameters, with the path of each leaf, as in params[0].W."""
    try:
        parameters = inspect.signature(f.f if isinstance(f, Operation) else f).parameters.values()
    except (TypeError, ValueError):  # a function built into Python shows none
        parameters = ()  # type: ignore[assignment]
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in by_position]
    names += [f"args[{k}]" for k in range(len(names), len(args))]
    paths, _ = jax.tree_util.tree_flatten_with_path(args)
    return [names[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in paths]


def _explain(error: Exception) -> str | None:
    """What to use instead of the JAX function to which the user's line handed a variable; None for other errors."""
    package = str(Path(jax.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(package)]
    frame = frames[-1]
    where = f"line {frame.lineno} of {Path(frame.filename).name}"
    if frame.filename == __file__:  # no line of the user's between the call of f, here, and JAX: f is JAX's
        return (
            "the function is one that JAX has transformed, which takes no variables of a graph; differentiate the "
            f"plain function and transform the result, as in jax.jit(grad(f)), or {_ADAPTER.format('f')}"
        )
    if Path(frame.filename).is_relative_to(Path(__file__).parent):
        return None
    source = linecache.getline(frame.filename, frame.lineno or 0).encode()[frame.colno : frame.end_colno].decode()
    if source.startswith("raise"):  # an error of the user's own
        return None
    if source.endswith("]"):
        return f"{where}: an array has no entry at a variable; use ops.getitem(array, index) of mlp_jax.autodiff"
    called = re.match(r"[\w.]+(?=\()", source)
    if called is None or not source.endswith(")"):
        return f"{where}: {error}; variables go into the operations of mlp_jax.autodiff.ops"
    function = called.group()
    if mapped := re.match(r"[\w.]*tree[\w.]*map\(\s*(\w+\.[\w.]+)\s*,", source):  # which calls what it is given
        function = mapped.group(1)
    name = function.rpartition(".")[2]
    function += "(…)" * bool(re.match(r"[\w.]+\(.*\)\(", source, re.DOTALL))  # what it makes is called
    if name in _TRANSFORMATIONS:
        instead = f"use {_TRANSFORMATIONS[name]}.{name} of mlp_jax.autodiff, or {_ADAPTER.format(function)}"
    elif hasattr(ops, name) or hasattr(ops.linalg, name):
        instead = f"use ops.{name if hasattr(ops, name) else 'linalg.' + name} of mlp_jax.autodiff"
    else:
        instead = (
            f"ops has no operation of that name: use others, {_ADAPTER.format(function)}, add one with "
            "Operation(name, f, bprop), or apply it outside, as in jax.jit(grad(f))"
        )
    return f"{where}: {function} was given a variable of a graph, whose gradient it would lose; {instead}"


_ADAPTER = "make it an operation by ad.jax_operation({})"
# What of JAX takes functions and has its like here, and where that is.
_TRANSFORMATIONS = {
    **dict.fromkeys(("scan", "fori_loop", "cond", "switch", "checkpoint"), "ops"),
    **dict.fromkeys(("grad", "value_and_grad", "vjp", "jvp", "vmap", "hessian"), "ad"),
}
