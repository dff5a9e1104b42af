"""Gradient rules as objects: what one is called, where it is written, at which address it is found again."""

import ast
import functools
import gc
import importlib
import os
import pkgutil
import sys
import types
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS: tuple[type, ...] = (jax.custom_vjp, jax.custom_jvp)
_PARTS = ("fun", "fwd", "bwd", "jvp")  # the functions of a rule, none of which JAX documents
_WRAPPED = 20  # decorators around a function that are looked through
_DEPTH, _SMALL = 6, 1 << 12  # of values within values, and bytes of arrays that are compared by their numbers
_MAKERS = ("custom_vjp", "custom_jvp", "custom_gradient")


class Rule(NamedTuple):
    """What a rule is called: `ott.math.utils.norm`, and where it is written, as file:line."""

    name: str
    place: str


def functions_of(rule: Any) -> list[Any]:
    """The functions of a rule: what it computes, and its derivative."""
    return [part for name in _PARTS if (part := getattr(rule, name, None)) is not None]


def beneath(f: Any) -> Any:
    """The Python function under decorators, partials and rules."""
    for _ in range(_WRAPPED):
        if isinstance(f, functools.partial):
            f = f.func
        elif isinstance(f, types.MethodType):
            f = f.__func__
        elif isinstance(f, KINDS):
            f = f.fun  # type: ignore[attr-defined]
        elif not isinstance(f, types.FunctionType) and hasattr(f, "__wrapped__"):
            f = f.__wrapped__
        else:
            break
    if _text(f, "__qualname__").startswith("custom_gradient.<locals>"):  # JAX's own decorator
        inner = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=False)).get("fun")
        return beneath(inner.cell_contents) if inner else f
    return f


def described(rule: Any) -> Rule:
    """The name and place of a rule.

    The function beneath may be somebody else's, as in `custom_vjp(jnp.sin)`: the rule is where its derivative is.
    """
    f, derivative = beneath(rule), beneath(getattr(rule, "bwd", None) or getattr(rule, "jvp", None))
    owner, module = _text(derivative, "__module__"), _text(f, "__module__")
    if owner and owner != module and not owner.startswith("jax."):
        return Rule(f"{_qualified(derivative)} of {getattr(f, '__name__', '?')}", _place(derivative))
    return Rule(_qualified(f), _place(f))


def identity(rule: Any) -> tuple[Any, ...]:
    """Equal for rules that compute the same: of one source, over equal values. A loop that makes 1,000 made one."""
    return (type(rule), *(value_of(part) for part in functions_of(rule)))


def value_of(x: Any, depth: int = 0) -> Any:
    """What is equal for equal values, and hashable: of a function its code and what it holds on to."""
    if depth > _DEPTH or isinstance(x, jax.core.Tracer):
        return type(x)
    inner = functools.partial(value_of, depth=depth + 1)
    if isinstance(x, KINDS):  # which its own derivative often closes over
        return type(x), getattr(beneath(x), "__code__", id(x))
    if isinstance(x, functools.partial):
        return (functools.partial, inner(x.func), *map(inner, x.args), *((k, inner(v)) for k, v in x.keywords.items()))
    if isinstance(x, types.MethodType):
        return inner(x.__func__), id(x.__self__)
    if isinstance(x, types.FunctionType):
        return (x.__code__, *map(inner, x.__defaults__ or ()), *map(inner, cells_of(x)))
    if isinstance(x, np.ndarray | jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return str(x.dtype), x.shape, np.asarray(x).tobytes() if x.nbytes <= _SMALL else id(x)
    if type(x) in (tuple, list):
        return (type(x), *map(inner, x))
    if type(x) is dict:
        return (dict, *((k, inner(v)) for k, v in x.items()))
    if type(x) in (bool, int, float, complex, str, bytes, type(None), type):
        return type(x), x
    return id(x)


def cells_of(f: types.FunctionType) -> list[Any]:
    """What a function closes over."""
    found = []
    for cell in f.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            found.append(cell.cell_contents)
    return found


def _qualified(f: Any) -> str:
    return f"{_text(f, '__module__') or '?'}.{_text(f, '__qualname__') or type(f).__name__}"


def _text(f: Any, attribute: str) -> str:
    """What an attribute says; nothing if that is no text."""
    value = getattr(f, attribute, "")
    return value if isinstance(value, str) else ""


def _place(f: Any) -> str:
    code = getattr(f, "__code__", None) or getattr(vars(type(f)).get("__call__"), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "?"


# --- addresses --------------------------------------------------------------------------------------------------------


def addresses(wanted: Container[int] | None = None) -> dict[int, str]:
    """`module:attribute` of the callables in loaded modules and their classes, by id, the most public one of each.

    If ids are wanted, of these alone: there are a hundred thousand.
    """
    found: dict[int, str] = {}
    ranks: dict[int, Any] = {}
    for name, module in sorted(sys.modules.items()):
        if not isinstance(module, types.ModuleType):
            continue
        for path, value in _attributes(module):
            with suppress(Exception):  # anybody's objects, whose attributes may raise anything
                for inner in _layers(value):
                    if wanted is not None and id(inner) not in wanted:
                        continue
                    home = _text(beneath(inner), "__module__")
                    is_private = any(part.startswith("_") for part in name.split("."))
                    rank = name.split(".")[0] != home.split(".")[0], is_private, name != home, name.count(".")
                    if id(inner) not in ranks or rank < ranks[id(inner)]:
                        found[id(inner)], ranks[id(inner)] = f"{name}:{path}", rank
    return found


def _attributes(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """The callables in a module, and those in its classes and in objects that hold a rule as an attribute."""
    for name, value in list(vars(module).items()):
        if not callable(value):
            continue
        yield name, value
        if type(value) not in (types.FunctionType, types.ModuleType, *KINDS):
            try:
                inside = list(vars(value).items())
            except Exception:  # as TypeError, where there is none, or whatever an object of others raises
                continue
            functions = ((k, v) for k, v in inside if callable(v) or type(v) in (staticmethod, classmethod))
            yield from ((f"{name}.{inner}", part) for inner, part in functions)


def _layers(x: Any) -> Iterator[Any]:
    """An object and what it wraps, until a rule."""
    for _ in range(_WRAPPED):
        yield x
        if isinstance(x, KINDS):
            return
        is_partial = isinstance(x, functools.partial)
        x = x.func if is_partial else getattr(x, "__wrapped__", None) or getattr(x, "__func__", None)
        if x is None:
            return


def at(address: str, as_rule: bool) -> Any:
    """What is at an address; the rule in it.

    Raises:
        LookupError: there is nothing, or no rule.
    """
    module, _, path = address.partition(":")
    try:
        found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except Exception as error:  # a module may raise anything
        raise LookupError(f"{address} cannot be imported: {error}") from None
    if not as_rule:
        return found
    rule = next((inner for inner in _layers(found) if isinstance(inner, KINDS)), None)
    if rule is None:
        raise LookupError(f"{address} holds no gradient rule")
    return rule


# --- discovery --------------------------------------------------------------------------------------------------------


class Discovered(NamedTuple):
    """The rules of a package."""

    rules: list[Rule]  # those that exist once its modules are imported
    made_later: list[str]  # places in its source where functions make rules when they are called, as file:line
    failed: dict[str, str]  # modules that cannot be imported, and why


def discover(package: str) -> Discovered:
    """Import the modules of a package, but for its tests, and find its rules.

    Raises:
        ImportError: the package itself cannot be imported.
    """
    failed: dict[str, str] = {}
    top = _imported(package, failed)
    if top is None:
        raise ImportError(failed[package])
    todo = [top]
    while todo:
        parent = todo.pop()
        for found in pkgutil.iter_modules(getattr(parent, "__path__", ()), f"{parent.__name__}."):
            last = found.name.rpartition(".")[2]
            is_test = last in ("tests", "conftest", "__main__") or last.startswith("test_") or last.endswith("_test")
            module = None if is_test else _imported(found.name, failed)
            todo += [module] if module is not None and found.ispkg else []
    file = Path(top.__file__ or next(iter(top.__path__)))
    folder = str(file.parent if file.name == "__init__.py" else file)
    rules = {described(rule) for rule in alive()}
    inside = sorted(rule for rule in rules if rule.place.startswith((f"{folder}{os.sep}", f"{folder}:")))
    return Discovered(inside, _made_later(folder), failed)


def _imported(name: str, failed: dict[str, str]) -> Any:
    """A module, or None and why it cannot be imported: it may raise anything, or exit."""
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failed[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return None


def alive() -> list[Any]:
    """All rules that exist."""
    return [x for x in gc.get_objects() if type(x) in KINDS]


def _made_later(folder: str) -> list[str]:
    """Where rules are made within functions."""
    found = []
    paths = sorted(Path(folder).rglob("*.py")) if Path(folder).is_dir() else [Path(folder)]
    for path in paths:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue
        outer = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inner = {node for f in outer for statement in f.body for node in ast.walk(statement)}
        words = (node for node in inner if isinstance(node, ast.Name | ast.Attribute))
        lines = {x.lineno for x in words if (x.id if isinstance(x, ast.Name) else x.attr) in _MAKERS}
        found += [f"{path}:{line}" for line in sorted(lines)]
    return found
