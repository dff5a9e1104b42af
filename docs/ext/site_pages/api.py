"""The pages of every public name, made from the modules when the site is built."""

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from site_pages.docstrings import as_markdown

# Each page: its title, and the modules whose public names it has, under the names by which they are imported.
PAGES = {
    "networks": ("Networks", ("mlp_jax",)),
    "units": ("Hidden and output units", ("mlp_jax.hidden_units", "mlp_jax.output_units")),
    "training": ("Training", ("mlp_jax.training", "mlp_jax.training.config", "mlp_jax.errors")),
    "verify": ("Checking gradients", ("mlp_jax.verify",)),
    "autodiff": ("Differentiation", ("mlp_jax.autodiff", "mlp_jax.autodiff.scalar")),
    "operations": ("Operations", ("mlp_jax.autodiff.ops", "mlp_jax.autodiff.ops.linalg")),
    "estimators": ("Estimators", ("mlp_jax.estimators",)),
    "exchange": ("Models out, weights in", ("mlp_jax.exchange",)),
}
# In place of the module's own, which is about the whole package.
_INTRODUCTIONS = {
    "mlp_jax": "A network is a frozen record, its parameters are a pytree; all functions are pure. [How to begin]"
    "(../../start/research.md); [what the last ones know of each example](../../tape.md)."
}
_PEERS = ("jax.numpy", "jax.nn", "jax.lax", "jax.scipy.special", "jax.numpy.linalg")


def page(title: str, modules: tuple[str, ...]) -> str:
    """A page in MyST."""
    parts = [f"# {title}", ""]
    for name in modules:
        module = _imported(name)
        parts += [
            f"## `{name}`" if len(modules) > 1 else "",
            "",
            _INTRODUCTIONS.get(name) or as_markdown(module.__doc__ or ""),
            "",
        ]
        for public in names(module):
            parts += [*_entry(name, public, getattr(module, public)), ""]
    return "\n".join(parts)


def names(module: ModuleType) -> list[str]:
    """What a module offers: what it lists, or else what it defines; of one that only gathers, all that it gathers.

    Modules among them have a page of their own.
    """
    values = vars(module)
    own = [name for name, value in values.items() if getattr(value, "__module__", None) == module.__name__]
    listed = getattr(module, "__all__", None) or [*own, *(name for name in values if name.isupper())]
    found = listed if own or hasattr(module, "__all__") else values
    shown = [name for name in found if not name.startswith("_") and not inspect.ismodule(getattr(module, name))]
    return sorted(dict.fromkeys(shown), key=str.lower)


def _imported(name: str) -> ModuleType:
    """By the name that users have: `mlp_jax.hidden_units` lies in another folder."""
    parent, _, last = name.rpartition(".")
    found = getattr(_imported(parent), last, None) if parent else None
    return found or importlib.import_module(name)


def _entry(module: str, name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        fence = "`" * 6
        yield f"{fence}{{py:{kind}}} {module}.{name}{_signature(value)}"
        yield from ("", as_markdown(_own_doc(value)), "")
        yield from _members(value)
    else:
        fence = "`" * 5
        yield f"{fence}{{py:{'function' if callable(value) else 'data'}}} {module}.{name}{_signature(value)}"
        yield from ("", _words_of(name, value))
    yield fence


def _members(owner: type) -> Iterator[str]:
    """Methods and properties of this package's classes, with what they say of themselves."""
    bases = [base for base in reversed(owner.__mro__) if base.__module__.startswith("mlp_jax")]
    values = {name: value for base in bases for name, value in vars(base).items()}
    for name, value in sorted(values.items()):
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if name.startswith("_") or not (inspect.isfunction(inner) or isinstance(inner, property) or _is_cached(inner)):
            continue
        if doc := inspect.getdoc(getattr(owner, name)) if inspect.isfunction(inner) else inspect.getdoc(inner):
            kind = "method" if inspect.isfunction(inner) else "property"
            yield from (f"`````{{py:{kind}}} {name}{_signature(inner)}", "", as_markdown(doc), "`````", "")


def _is_cached(value: Any) -> bool:
    return type(value).__name__ == "cached_property"


def _own_doc(value: type) -> str:
    """Not the one that a record or an enumeration gets for its signature."""
    doc = value.__doc__ or ""
    return "" if doc.startswith(f"{value.__name__}(") else doc


def _words_of(name: str, value: Any) -> str:
    """Of an operation its function's, or whose meaning it has; of a table its keys; else its own."""
    if isinstance(value, dict):
        return ", ".join(f"`{key}`" for key in value)
    if type(value).__name__ == "Operation":
        peer = next((peer for peer in _PEERS if hasattr(importlib.import_module(peer), name)), None)
        own = inspect.getdoc(value.f) if getattr(value.f, "__module__", "").startswith("mlp_jax") else None
        return as_markdown(own) if own else f"As `{peer}.{name}`." if peer else f"The operation `{value.name}`."
    return as_markdown(inspect.getdoc(value) or "")


def _signature(value: Any) -> str:
    if isinstance(value, property) or _is_cached(value):
        return ""
    try:
        signature = inspect.signature(value.f if type(value).__name__ == "Operation" else value)
    except (TypeError, ValueError):
        return "()" if callable(value) else ""
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(signature))  # the modules of types
    return re.sub(r"<[^<>]*>|'(?=[A-Z])|(?<=[A-Za-z])'(?=[,)\]])", "", text).replace("\n", " ")
