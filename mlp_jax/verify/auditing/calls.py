"""A call of a rule as it can be made again: from the values that were seen, and as a file."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.auditing.closures import with_values
from mlp_jax.verify.auditing.findings import local
from mlp_jax.verify.auditing.rules import at
from mlp_jax.verify.auditing.watch import Key, Signature, Values


@dataclass(frozen=True)
class Call:
    """A rule and arguments for it."""

    rule: Any  # or a function that calls it
    args: tuple[Any, ...]
    argnums: tuple[int, ...]  # of those that are differentiated
    x64: bool  # whether JAX had 64 bits
    rows: tuple[str, ...] = ()  # the transformations that are looked at, by how their names begin
    special: bool = False  # whether special points are

    def is_finite(self) -> bool:
        """Whether all of its numbers are."""
        leaves = (x for x in jax.tree.leaves(self.args) if not callable(x))
        numbers = (x for x in leaves if jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.inexact))
        return all(np.isfinite(x).all() for x in numbers)


def calls_of(signature: Signature) -> list[Call]:
    """The calls of a signature that were seen, those whose values are finite first; of a batch the first and last."""
    batched = [any(passed.by == "vmap" for passed in values.path) for values in signature.values]
    pairs = zip(signature.values, batched, strict=True)
    calls = [_rebuilt(signature, values, which) for values, two in pairs for which in (0, -1)[: 1 + two]]
    return sorted(calls, key=lambda call: not call.is_finite())


def _rebuilt(signature: Signature, values: Values, which: int) -> Call:
    leaves = _one_example(values, which)
    own = signature.tree.num_leaves
    given = iter(jax.tree.unflatten(signature.tree, leaves[:own]))
    args = tuple(signature.static[k] if k in signature.static else next(given) for k in range(signature.arity))
    argnums = tuple(k for k in range(signature.arity) if k not in signature.static)
    rule = signature.rule
    if values.closed_over:
        rule = with_values(rule, values.closed_over, leaves[own:])
    return Call(rule, args, argnums, signature.x64)


def _one_example(values: Values, which: int) -> list[Any]:
    """The leaves as the rule itself got them: under vmap, one of the batch."""
    leaves = list(values.leaves)
    for passed in reversed(values.path):
        if passed.by == "vmap":
            for k, axis in zip(values.traced, passed.about, strict=True):
                if axis is not None:
                    x = leaves[k]
                    is_key = isinstance(x, Key)
                    leaves[k] = Key(x.impl, np.take(x.data, which, axis)) if is_key else np.take(x, which, axis)
    return [
        x.key() if isinstance(x, Key) else jnp.asarray(x) if isinstance(x, np.ndarray | np.generic) else x
        for x in leaves
    ]


# --- as a file --------------------------------------------------------------------------------------------------------


class NotStorable(TypeError):
    """An argument that no file can hold; the text names its type."""


def store(call: Call, address: str, addresses: Callable[[], dict[int, str]], path: Path) -> None:
    """Write a call as arrays (.npz) with a description in JSON among them; nothing in it runs when it is read.

    Raises:
        NotStorable: the file cannot hold an argument.
    """
    arrays: dict[str, Any] = {}
    args = _described(call.args, arrays, addresses)
    module = sys.modules[address.partition(":")[0]]
    source = Path(getattr(module, "__file__", None) or "/").absolute()
    depth = module.__name__.count(".") + (source.name == "__init__.py")
    folder = local(str(source.parents[min(depth, len(source.parents) - 1)])) if len(source.parts) > 1 else ""
    record = {"rule": address, "from": folder, "args": args, "argnums": call.argnums, "x64": call.x64}
    record |= {"rows": call.rows, "special": call.special}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link that somebody laid there is not followed
    with path.open("xb") as file:
        np.savez(file, description=np.array(json.dumps(record)), **arrays)


def _described(x: Any, arrays: dict[str, Any], addresses: Callable[[], dict[int, str]]) -> Any:
    """A value as JSON; arrays go to `arrays`, in the bytes of their dtype."""

    def inner(y: Any) -> Any:
        return _described(y, arrays, addresses)

    if x is None or type(x) in (bool, int, float, str):
        return {"plain": x}
    if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return {"key": inner(jax.random.key_data(x)), "impl": str(jax.random.key_impl(x))}
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        value = np.asarray(x)
        name = f"a{len(arrays)}"
        arrays[name] = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        kind = "jax" if isinstance(x, jax.Array) else "numpy"
        weak = bool(getattr(x, "weak_type", False))
        return {"array": name, "dtype": str(value.dtype), "shape": value.shape, "weak": weak, "of": kind}
    if type(x) in (tuple, list):
        return {type(x).__name__: [inner(y) for y in x]}
    if type(x) is dict:
        return {"dict": [[inner(k), inner(v)] for k, v in x.items()]}
    if isinstance(x, tuple) and hasattr(x, "_fields") and (record := addresses().get(id(type(x)))):
        return {"record": record, "fields": [inner(y) for y in x]}
    if callable(x) and (place := addresses().get(id(x))):
        return {"at": place}
    raise NotStorable(f"an argument of type {type(x).__module__}.{type(x).__qualname__}")


def stored_in(arrays: Any) -> tuple[bool, Callable[[], Call]]:
    """Whether JAX had 64 bits, and the call that a file of these arrays holds, to be restored where it has.

    That imports the rule's module, and nothing else runs; it raises a LookupError if the rule, or what an argument is
    made of, is not where it was.

    Raises:
        ValueError: they are none that `store` wrote.
    """
    try:
        record = json.loads(str(arrays["description"]))
        if record.keys() != {"rule", "from", "args", "argnums", "x64", "rows", "special"}:
            raise KeyError("its parts")
    except (KeyError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"it holds no call of a rule: {str(error)[:200]}") from None

    def call() -> Call:
        folder = Path(record["from"])
        if not folder.is_absolute() and ".." not in folder.parts:  # as of a test's module, within this folder alone
            sys.path.append(str(folder.absolute()))
        try:
            rule, args = at(record["rule"], as_rule=True), _restored(record["args"], arrays)
            argnums, rows = tuple(record["argnums"]), tuple(record["rows"])
            return Call(rule, args, argnums, bool(record["x64"]), rows, record["special"])
        except (AttributeError, TypeError, ValueError, KeyError, RecursionError) as error:
            raise LookupError(f"the file is damaged: {type(error).__name__}: {error}") from None

    return bool(record["x64"]), call


def _restored(x: dict[str, Any], arrays: dict[str, Any]) -> Any:
    match x:
        case {"plain": value}:
            return value
        case {"key": data, "impl": impl}:
            return jax.random.wrap_key_data(_restored(data, arrays), impl=impl)
        case {"array": name, "dtype": dtype, "shape": shape, "weak": weak, "of": kind}:
            value = np.frombuffer(arrays[name].tobytes(), jnp.dtype(dtype)).reshape(shape)
            if kind == "numpy":
                return value if shape else value[()]
            return jnp.asarray(value.item()) if weak and not shape else jnp.asarray(value)
        case {"tuple": parts} | {"list": parts}:
            found = [_restored(part, arrays) for part in parts]
            return tuple(found) if "tuple" in x else found
        case {"dict": pairs}:
            return {_restored(key, arrays): _restored(value, arrays) for key, value in pairs}
        case {"record": address, "fields": fields}:
            cls = at(address, as_rule=False)
            if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
                raise LookupError(f"{address} is no NamedTuple")  # a file must not call what it likes
            return cls(*(_restored(field, arrays) for field in fields))
        case {"at": address}:
            return at(address, as_rule=False)
    raise ValueError(f"unknown part of a call: {x}")
