"""Rules that close over values which JAX was tracing: found in the cells of their functions, made anew with others."""

import functools
import types
from collections.abc import Callable
from typing import Any

import jax

from mlp_jax.verify.auditing.rules import KINDS, cells_of, functions_of

_MOST = 500  # functions that are looked into


def traced_values(rule: Any) -> list[Any]:
    """The tracers in the closures of a rule's functions, each once."""
    found: dict[int, Any] = {}
    todo, seen = list(functions_of(rule)), set[int]()
    while todo and len(seen) < _MOST:
        f = todo.pop()
        if id(f) in seen:
            continue
        seen.add(id(f))
        for value in _held_by(f):
            for leaf in _leaves(value):
                if isinstance(leaf, jax.core.Tracer):
                    found[id(leaf)] = leaf
                elif callable(leaf):
                    todo.append(leaf)
    return list(found.values())


def _held_by(f: Any) -> list[Any]:
    """What a function holds on to: the contents of its cells, or the parts of a partial, a method, a rule."""
    if isinstance(f, functools.partial):
        return [f.func, *f.args, *f.keywords.values()]
    if isinstance(f, types.MethodType):
        return [f.__func__]
    if isinstance(f, KINDS):
        return functions_of(f)
    found = cells_of(f) if isinstance(f, types.FunctionType) else []
    return [*found, *([f.__wrapped__] if hasattr(f, "__wrapped__") else [])]


def _leaves(value: Any) -> list[Any]:
    try:
        return jax.tree.leaves(value)
    except Exception:  # as of a dict whose keys have no order
        return [value]


def with_values(rule: Any, traced: list[Any], values: list[Any]) -> Any:
    """The rule over values in place of the tracers: new functions with new cells, and a new rule of them."""
    known = {id(tracer): value for tracer, value in zip(traced, values, strict=True)}
    made: dict[int, Any] = {}

    def put(x: Any) -> Any:
        if isinstance(x, (types.FunctionType, types.MethodType, functools.partial, *KINDS)):
            return anew(x)
        return jax.tree.map(lambda leaf: known.get(id(leaf), leaf), x)

    def anew(f: Any) -> Any:
        if id(f) not in made:
            made[id(f)] = _of_parts(f, put) if not isinstance(f, types.FunctionType) else _with_cells(f, put, made)
        return made[id(f)]

    return anew(rule)


def _of_parts(f: Any, put: Callable[[Any], Any]) -> Any:
    if isinstance(f, functools.partial):
        return functools.partial(put(f.func), *map(put, f.args), **{k: put(v) for k, v in f.keywords.items()})
    if isinstance(f, types.MethodType):
        return types.MethodType(put(f.__func__), f.__self__)
    new = object.__new__(type(f))
    vars(new).update({name: put(value) if callable(value) else value for name, value in vars(f).items()})
    return new


def _with_cells(f: types.FunctionType, put: Callable[[Any], Any], made: dict[int, Any]) -> types.FunctionType:
    cells = tuple(types.CellType() for _ in f.__closure__ or ())
    new = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, cells)
    new.__kwdefaults__, new.__qualname__, new.__module__ = f.__kwdefaults__, f.__qualname__, f.__module__
    made[id(f)] = new  # before its cells are filled: it may hold itself
    for cell, old in zip(cells, f.__closure__ or (), strict=True):
        try:
            cell.cell_contents = put(old.cell_contents)
        except ValueError:  # an empty cell
            continue
    return new
