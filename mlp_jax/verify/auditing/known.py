"""What an earlier audit found to be right, known again by a digest of everything that it depends on."""

import functools
import hashlib
import json
import secrets
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.auditing.closures import held_by
from mlp_jax.verify.auditing.findings import ACCEPTED, Finding
from mlp_jax.verify.auditing.rules import KINDS
from mlp_jax.verify.auditing.watch import Key, Signature

_MOST = 10_000  # uses that are remembered
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), np.dtype)


def digest(signature: Signature) -> str:
    """Of a use of a rule: its code and that of what it calls, what both hold on to, arguments, settings, versions.

    It is empty where something may be another without being told apart, as an object of a class of the user's.
    """
    values = [(v.path, v.traced, v.leaves) for v in signature.values]
    parts = (signature.rule, values, signature.static, signature.arity, signature.x64)
    try:
        said = (_surroundings(), str(signature.tree), _content(parts, {}))
    except Exception:  # `_UnknownError`, or whatever anybody's object raises when it is looked at
        return ""
    return hashlib.sha256(repr(said).encode()).hexdigest() if signature.values else ""


def read(file: Path | None) -> dict[str, tuple[str, bool]]:
    """By digest the verdict, and whether the rule was looked at further; nothing where the file is damaged, or none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads(file.read_text(encoding="utf-8")) if file else {}
        return {str(key): (str(verdict), bool(further)) for key, (verdict, further) in found.items()}
    return {}


def remember(file: Path, findings: Iterable[Finding]) -> None:
    """Add what passed."""
    new = {f.key: (f.verdict, f.further) for f in findings if f.key and f.verdict in ACCEPTED}
    all_of_them = {key: value for key, value in read(file).items() if key not in new} | new
    part = file.with_name(f"{secrets.token_hex(8)}.part")
    with suppress(OSError):
        part.write_text(json.dumps(dict(list(all_of_them.items())[-_MOST:])), encoding="utf-8")
        part.replace(file)


class _UnknownError(Exception):
    """A value that cannot be told from another."""


@functools.cache
def _surroundings() -> tuple[Any, ...]:
    """Of this Python, what is installed, JAX's settings and devices, and the checker itself."""
    installed = sorted(path.name for folder in _LIBRARIES[:2] for path in folder.glob("*.dist-info"))
    own = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))))
    devices = [device.device_kind for device in jax.devices()]
    settings = sorted(map(repr, jax.config.values.items()))
    return sys.version, installed, own.hexdigest(), devices, settings


_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]


@functools.cache
def _is_installed(module: str) -> bool:
    """Whether it is of an installed package, or of Python: then its version tells what it is."""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(module) or sys.modules.get(top), "__file__", None)
    return top in sys.stdlib_module_names or any(Path(file or "/").is_relative_to(folder) for folder in _LIBRARIES)


def _content(x: Any, seen: dict[int, Any]) -> Any:
    """What is equal for what is equal, also in another process; what was `seen` is kept alive, for its id tells it."""
    if isinstance(x, _PLAIN):
        return type(x).__name__, repr(x)
    if id(x) in seen:
        return "as before", seen[id(x)][0]
    seen[id(x)] = len(seen), x
    name, parts = _parts(x)
    return name, *(_content(part, seen) for part in parts)


def _parts(x: Any) -> tuple[Any, Iterable[Any]]:
    """What names a value, and what it consists of."""
    kind, of = type(x).__qualname__, str(getattr(x, "__module__", None) or type(x).__module__)
    if isinstance(x, jax.core.Tracer):
        return "a tracer, whose value is among the arguments", ()
    if isinstance(x, np.ndarray | np.generic | jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return (str(jax.typeof(x)), hashlib.sha256(np.asarray(x).tobytes()).hexdigest()), ()
    if isinstance(x, Key):
        return x.impl, [x.data]
    if isinstance(x, tuple | list):
        return kind, x
    if isinstance(x, frozenset):
        return sorted(map(repr, x)), ()
    if type(x) is dict:
        return kind, (*x, *x.values())
    if isinstance(x, types.CodeType):
        return (x.co_code, x.co_names, x.co_varnames, x.co_freevars), x.co_consts
    if isinstance(x, types.FunctionType):
        of_users = () if _is_installed(of) else (x.__defaults__, x.__kwdefaults__, *_named_in(x))
        return x.__qualname__, (x.__code__, *held_by(x), *of_users)
    if isinstance(x, functools.partial):
        return tuple(x.keywords), held_by(x)
    if isinstance(x, types.MethodType):
        return kind, (x.__func__, x.__self__)
    if isinstance(x, KINDS):
        return kind, (*held_by(x), *(value for value in vars(x).values() if isinstance(value, (*_PLAIN, tuple))))
    if hasattr(x, "__wrapped__") and _is_installed(type(x).__module__):
        return kind, [x.__wrapped__]
    name = x.__name__ if isinstance(x, types.ModuleType) else of
    if _is_installed(name) and isinstance(called := getattr(x, "__qualname__", getattr(x, "__name__", None)), str):
        return (name, called), ()
    raise _UnknownError


def _named_in(f: types.FunctionType) -> Iterator[Any]:
    """What a function names: globals, and of modules of the user's own what is in them."""
    names = sorted(set(_names(f.__code__)))
    spaces, entered = [f.__globals__], {id(f.__globals__)}
    while spaces:
        space = spaces.pop()
        for value in (space[name] for name in names if name in space):
            if not isinstance(value, types.ModuleType) or _is_installed(value.__name__):
                yield value
            elif id(vars(value)) not in entered:
                entered.add(id(vars(value)))
                spaces.append(vars(value))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
