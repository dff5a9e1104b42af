"""Watching the gradient rules of a program that knows nothing of it: each call's arguments, by shapes and by values.

`__call__` is replaced in the classes `jax.custom_vjp` and `jax.custom_jvp`: Python looks it up there, so that rules
made before are seen, too. A function that was traced before is not traced again: its calls are not seen.
"""

import functools
import inspect
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.auditing.closures import traced_values
from mlp_jax.verify.auditing.rules import KINDS, Rule, described, identity, value_of
from mlp_jax.verify.auditing.tap import Passed, tap

# A tap costs 25 to 90 ms of compilation, and its callback a part of a millisecond each time: more taps of one signature
# would find the same arguments again. Some are in traces that never run, as for shapes.
_TAPS = 8
_VALUES = 3  # of a signature: the first may not be finite
MOST_BYTES = 1 << 26  # of one call's arguments that are kept
_MOST_BYTES_IN_ALL = 1 << 30
_CHECKER = str(Path(__file__).parent.parent)  # its own calls of rules are no use of them
# By its name among JAX's Python frames: programs into which no callback can go.
_WITHOUT_CALLBACKS = {"pallas_call": "in a Pallas kernel", "do_export": "under export"}


@dataclass(frozen=True)
class Key:
    """A key of `jax.random` as numbers; no pytree, so that it stays one leaf."""

    impl: str
    data: Any

    def key(self) -> jax.Array:
        """The key."""
        return jax.random.wrap_key_data(jnp.asarray(self.data), impl=self.impl)


class Values(NamedTuple):
    """The arguments of a call."""

    path: tuple[Passed, ...]  # the transformations that passed them on, the innermost first
    leaves: list[Any]  # of the arguments, then of what the rule closes over; numpy arrays, keys, or anything
    traced: list[int]  # which of the leaves JAX was tracing: they may be batches
    closed_over: list[Any]  # the tracers that the rule closed over


@dataclass
class Signature:
    """One use of a rule: arguments of these shapes and dtypes."""

    rule: Any  # the object itself
    about: Rule  # its name and place
    caller: str  # file:line of the first call
    tree: Any  # of the arguments that are differentiated
    kinds: tuple[str, ...]  # their shapes and dtypes
    static: dict[int, Any]  # the others, by position
    arity: int  # the number of all
    x64: bool  # whether JAX had 64 bits
    times: int = 0  # how often it was called
    taps: int = 0
    values: list[Values] = field(default_factory=list)  # of some of the calls
    note: str = ""  # why there are none

    @property
    def arguments(self) -> str:
        """Shapes and dtypes, in short."""
        shown = ", ".join(self.kinds[:6]) + (f" and {len(self.kinds) - 6} more" if len(self.kinds) > 6 else "")
        static = ", ".join(f"{k}: {_shown(value)}" for k, value in self.static.items())
        return f"{shown or 'no arguments'}{f' ({static})' if static else ''}"


class Watch:
    """What was seen so far."""

    def __init__(self, exact: bool = False, journal: Path | None = None) -> None:
        self.exact = exact  # whether compiled programs are left as they are: values then come from eager calls alone
        self.journal = journal  # the file, without suffix, that tells of each new signature: a process may be killed
        self.process = os.getpid()
        self.signatures: dict[Any, Signature] = {}  # by rule, shapes and static arguments
        self.problems: list[str] = []  # what went wrong in watching, which the program must not notice
        self.said: list[str] = []  # what else should be known
        self.is_on = True  # compiled programs keep their taps after the end
        self.bytes = 0
        self.lock = threading.Lock()

    def note(self, rule: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call of a rule."""
        if kwargs:
            bound = inspect.signature(rule.fun).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        given = [k for k in rule.nondiff_argnums if k < len(args)]
        # `custom_jvp` permits tracers where nothing is differentiated: these are arguments like others then
        traced = [any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args[k])) for k in given]
        static = {k: args[k] for k, is_traced in zip(given, traced, strict=True) if not is_traced}
        leaves, tree = jax.tree.flatten(tuple(x for k, x in enumerate(args) if k not in static))
        x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
        key = (identity(rule), tree, tuple(map(_kind, leaves)), value_of(static), x64)
        signature = self.signatures.get(key)
        if signature is None:
            caller, why_not = _caller()
            if caller is None:
                return
            signature = Signature(
                rule, described(rule), caller, tree, tuple(map(_kind, leaves)), static, len(args), x64, note=why_not,
            )  # fmt: skip
            self.signatures[key] = signature
            if self.journal and self.journal.parent.is_dir():
                seen = {**signature.about._asdict(), "caller": caller, "arguments": signature.arguments}
                fork = "" if os.getpid() == self.process else f"-{os.getpid()}"
                journal = self.journal.with_name(f"{self.journal.stem}{fork}.seen")
                with journal.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(seen)}\n")
        signature.times += 1
        if len(signature.values) < _VALUES and signature.taps < _TAPS and not signature.note:
            self._tap(signature, leaves, traced_values(rule))

    def _tap(self, signature: Signature, own: list[Any], closed_over: list[Any]) -> None:
        leaves = [*own, *closed_over]
        traced = [k for k, x in enumerate(leaves) if isinstance(x, jax.core.Tracer)]
        if traced and self.exact:
            return
        size = sum(getattr(x, "size", 1) * getattr(getattr(x, "dtype", None), "itemsize", 8) for x in leaves)
        if size > MOST_BYTES:
            signature.note = f"arguments of {size / 1e9:.1f} GB: shapes alone"
            return
        signature.taps += 1
        keys = {k: str(jax.random.key_impl(leaves[k])) for k in traced if _is_key(leaves[k])}
        known = [None if k in traced else _kept(x) for k, x in enumerate(leaves)]

        def take(path: tuple[Passed, ...], *values: Any) -> None:
            if not self.is_on or len(signature.values) >= _VALUES:
                return
            try:
                full = list(known)
                for k, value in zip(traced, values, strict=True):
                    full[k] = Key(keys[k], np.array(value)) if k in keys else np.array(value)
                size = sum(getattr(x, "nbytes", 8) for x in full)
                with self.lock:
                    if self.bytes + size <= _MOST_BYTES_IN_ALL:
                        self.bytes += size
                        signature.values.append(Values(path, full, traced, closed_over))
            except Exception as error:  # the program must not notice
                self.problems.append(f"{signature.about.name}: {type(error).__name__}: {error}")

        if traced:
            tap(take, [jax.random.key_data(leaves[k]) if k in keys else leaves[k] for k in traced])
        else:
            take(())

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """With compiled programs as they are for a while, though some were compiled with taps before."""
        before, self.exact = self.exact, True
        jax.clear_caches()
        try:
            yield
        finally:
            self.exact = before
            jax.clear_caches()

    def close(self) -> None:
        """Wait for the values that are still to come."""
        with suppress(Exception):
            jax.effects_barrier()
        self.is_on = False


@contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """Note the calls of all rules, in all threads, until the block ends. Blocks of several threads may overlap."""
    start(watch)
    try:
        yield watch
    finally:
        with _changing:
            _watches.remove(watch)
            for kind, call in [] if _watches else _calls.items():
                kind.__call__ = call  # type: ignore[method-assign]
        watch.close()


_watches: list[Watch] = []
_calls: dict[type, Any] = {kind: vars(kind)["__call__"] for kind in KINDS}
_changing, _busy = threading.Lock(), threading.local()


def start(watch: Watch) -> None:
    """Note the calls of all rules from now on; the first watch replaces `__call__` of their kinds."""
    with _changing:
        for kind, call in [] if _watches else _calls.items():
            kind.__call__ = _watched(call)  # type: ignore[method-assign]
        _watches.append(watch)


def _watched(call: Any) -> Any:
    @functools.wraps(call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(_busy, "is_on", False):
            _busy.is_on = True
            try:
                for watch in [watch for watch in _watches if watch.is_on]:
                    try:
                        watch.note(self, args, kwargs)
                    except Exception as error:  # the program must not notice
                        watch.problems.append(f"{described(self).name}: {type(error).__name__}: {error}")
            finally:
                _busy.is_on = False
        return call(self, *args, **kwargs)

    return __call__


def _caller() -> tuple[str | None, str]:
    """The line outside of JAX that called, None if it is the checker's own; and why no values can be had there."""
    frame: Any = sys._getframe(3)
    jax_folder, caller, why_not = f"{Path(jax.__file__).parent}{os.sep}", "", ""
    while frame:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(_CHECKER) and "auditing" not in Path(file).parts:
            return None, ""
        if file.startswith(jax_folder):
            why_not = why_not or (f"{_WITHOUT_CALLBACKS[name]}: shapes alone" if name in _WITHOUT_CALLBACKS else "")
        elif not caller:
            caller = f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return caller or "?", why_not


def _is_key(x: Any) -> bool:
    return bool(jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key))


def _kind(x: Any) -> str:
    """As float32[3,4]; ~ before what Python's own numbers are."""
    if isinstance(x, bool | int | float | complex | np.ndarray | np.generic | jax.Array):
        return f"{'~' * bool(getattr(jax.typeof(x), 'weak_type', False))}{jax.typeof(x).str_short()}"
    return type(x).__name__


def _shown(value: Any) -> str:
    try:
        return str(getattr(value, "__name__", None) or repr(value))[:24]
    except Exception:  # anybody's object, perhaps without its arrays
        return type(value).__name__


def _kept(x: Any) -> Any:
    """A copy: the program may change or donate its own."""
    if _is_key(x):
        return Key(str(jax.random.key_impl(x)), np.array(jax.random.key_data(x)))
    if isinstance(x, jax.Array | np.ndarray | np.generic):
        return np.array(x)
    # JAX's typed literals are numbers of Python with a sharding.
    kinds: tuple[Any, ...] = (bool, int, float, complex)
    return next((kind(x) for kind in kinds if isinstance(x, kind)), x)
