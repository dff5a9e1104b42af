"""What is checked: a function as one of its floating-point leaves alone, and the gradient rule under test."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import ours
from mlp_jax.verify.compiling import on_device
from mlp_jax.verify.precision import float64, is_float
from mlp_jax.verify.report import CannotCheck

Leaves = list[Any]
# (leaves, cotangents for the outputs) -> (outputs, gradients for the leaves)
Rule = Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]


@dataclass(frozen=True)
class Arguments:
    """Arguments apart: the leaves to differentiate for, and everything else, which is constant."""

    names: tuple[str, ...]
    leaves: tuple[Any, ...]  # as given
    numbers: tuple[np.ndarray, ...]  # what JAX makes of them in this process: float64 may have become float32
    places: tuple[int, ...]  # of these leaves among all
    all_names: tuple[str, ...]
    everything: tuple[Any, ...]
    tree: Any

    def rebuilt(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments with other leaves."""
        on_jax = any(isinstance(leaf, jax.Array) for leaf in leaves)
        # in float64() JAX 0.10 may hand a float64 array of numpy to a program as float32
        full = [
            jnp.asarray(x) if on_jax and isinstance(x, np.ndarray) and is_float(x.dtype) else x for x in self.everything
        ]
        for place, leaf in zip(self.places, leaves, strict=True):
            full[place] = leaf
        return tuple(jax.tree.unflatten(self.tree, full))

    def at(self, args: tuple[Any, ...]) -> "Arguments":
        """The same leaves of other arguments of the same structure."""
        everything = tuple(jax.tree.leaves(args))
        leaves = tuple(everything[place] for place in self.places)
        numbers = tuple(np.asarray(jnp.asarray(leaf)) for leaf in leaves)
        return replace(self, leaves=leaves, numbers=numbers, everything=everything)

    def upcast(self) -> Leaves:
        """The leaves in float64, from the values that this process computes with; to be called in `float64()`."""
        return [on_device(x.astype(np.float64)) for x in self.numbers]


def split(
    f: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int] | None = None, on_jax: bool = True
) -> Arguments:
    """Name the leaves of the arguments, and choose those to differentiate for.

    Raises:
        CannotCheck: there is none; one is complex; argnums names no argument.
    """
    if not callable(f):
        raise CannotCheck(f"what is checked must be a function, got {type(f).__name__}")
    chosen = _chosen(f, args, argnums)
    paths, tree = jax.tree_util.tree_flatten_with_path(args)
    everything = tuple(leaf for _, leaf in paths)
    names = ours.input_names(f, args)
    places = tuple(k for k, (path, x) in enumerate(paths) if path[0].idx in chosen and _is_variable(names[k], x))
    if not places:
        got = ", ".join(f"{name}: {_kind(x)}" for name, x in zip(names, everything, strict=True)) or "no arguments"
        raise CannotCheck(
            f"{name_of(f)} has no argument to differentiate for: needs at least one floating-point array or number, "
            f"got {got}; pass the arguments after the function, as in check_vjp(f, x, y)"
        )
    leaves = tuple(everything[k] for k in places)
    for k in places:
        if on_jax and not isinstance(everything[k], float | np.ndarray | np.generic | jax.Array):
            raise CannotCheck(f"{names[k]} must be an array or a number, got {type(everything[k]).__name__}")
        if getattr(everything[k], "dtype", None) == np.longdouble:
            raise CannotCheck(f"{names[k]} has dtype {everything[k].dtype}, which JAX has not; make it float64")
    numbers = tuple(np.asarray(jnp.asarray(leaf) if on_jax else leaf) for leaf in leaves)
    return Arguments(tuple(names[k] for k in places), leaves, numbers, places, tuple(names), everything, tree)


def _chosen(f: Any, args: tuple[Any, ...], argnums: int | Sequence[int] | None) -> set[int]:
    if argnums is None:
        return set(range(len(args))) - set(getattr(f, "nondiff_argnums", ()))
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    for k in numbers:
        if not isinstance(k, int) or not -len(args) <= k < len(args):
            raise CannotCheck(f"argnums={argnums} needs that argument; got {len(args)} arguments")
    return {k % len(args) for k in numbers}


def _is_variable(name: str, x: Any) -> bool:
    if isinstance(x, complex) or (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.complexfloating)):
        raise CannotCheck(f"{name} is complex; split it into its real and imaginary part: checks are of real gradients")
    return isinstance(x, float) or (hasattr(x, "dtype") and is_float(x.dtype))


def _kind(x: Any) -> str:
    if is_dataclass(x):
        return f"{type(x).__name__}, which jax.tree_util.register_dataclass has not made a pytree"
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") and hasattr(x, "shape") else type(x).__name__


def name_of(f: Any) -> str:
    """What a report calls a function."""
    if isinstance(f, functools.partial):
        return name_of(f.func)
    name = getattr(f, "__name__", None) or getattr(f, "name", None) or type(f).__name__
    return "lambda" if name == "<lambda>" else str(name)


def outputs_of(f: Callable[..., Any], arguments: Arguments) -> Callable[[Leaves], Leaves]:
    """F from its leaves to the floating-point leaves of its value."""

    def outputs(leaves: Leaves) -> Leaves:
        return list(numbers_in(f(*arguments.rebuilt(leaves))))

    return outputs


def is_number(z: Any) -> bool:
    """Whether an output is one of floating-point numbers."""
    return isinstance(z, float) or is_float(getattr(z, "dtype", np.int32))


def output_names(value: Any) -> list[str]:
    """A name for each floating-point leaf of a function's value."""
    paths, _ = jax.tree_util.tree_flatten_with_path(value)
    return ["primal" + jax.tree_util.keystr(path) for path, z in paths if is_number(z)]


def call_once(f: Callable[..., Any], arguments: Arguments, leaves: Sequence[Any]) -> Any:
    """The value of f, as it is given.

    Raises:
        CannotCheck: f raises, returns nothing or no floating-point numbers, or changes an argument in place.
    """
    kept = [np.array(leaf, copy=True) for leaf in leaves]
    try:
        value = f(*arguments.rebuilt(leaves))
    except Exception as error:
        raise CannotCheck(
            f"{name_of(f)} raised {type(error).__name__} at these arguments: {first_lines(error)}{_hint(error)}"
        ) from error
    require_unchanged(f, arguments, kept, leaves)
    numbers = jax.tree.leaves(value)
    if any(jnp.issubdtype(getattr(z, "dtype", type(z)), jnp.complexfloating) for z in numbers if _is_array(z)):
        raise CannotCheck(f"{name_of(f)} returns complex numbers; return their real and imaginary part")
    if not any(is_number(z) for z in numbers):
        got = "nothing (None)" if value is None else ", ".join(_kind(z) for z in numbers) or repr(value)
        raise CannotCheck(f"{name_of(f)} must return at least one floating-point array, got {got}")
    return value


def require_unchanged(f: Any, arguments: Arguments, before: Sequence[np.ndarray], after: Sequence[Any]) -> None:
    """Refuse a function that has changed its arguments.

    Raises:
        CannotCheck: it has.
    """
    for name, old, new in zip(arguments.names, before, after, strict=True):
        if not np.array_equal(old, np.asarray(new), equal_nan=True):
            raise CannotCheck(f"{name_of(f)} changes its argument {name} in place; let it work on a copy")


def numbers_in(value: Any) -> tuple[Any, ...]:
    """The floating-point leaves of a function's value."""
    return tuple(z for z in jax.tree.leaves(value) if is_number(z))


def _is_array(z: Any) -> bool:
    return hasattr(z, "dtype") or isinstance(z, complex)


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "; it is out of memory: check with smaller arguments, a fault in a rule shows there, too"
    if isinstance(error, TypeError) and "missing" in text and ("'key'" in text or "'rng'" in text):
        return "; a function that needs a key is checked with one, as in check_vjp(f, x, jax.random.key(0))"
    return ""


def first_lines(error: Exception, length: int = 300) -> str:
    """What an exception says, shortened to a line."""
    text = " ".join(str(error).split("\n\n")[0].split())
    return text if len(text) <= length else text[: length - 1] + "…"


def first_rows(args: tuple[Any, ...], out: Any, n: int) -> tuple[Any, ...]:
    """The arguments with the first n examples: rows of what is as long as the output, or as the last argument."""
    arrays = [x for x in args if hasattr(x, "shape") and np.ndim(x) > 0]
    if not arrays:
        raise CannotCheck("no argument has an axis")
    length = np.shape(out)[0] if np.ndim(out) else np.shape(arrays[-1])[0]
    if not any(np.shape(x)[0] == length for x in arrays):
        raise CannotCheck(f"no argument has {length} rows, as the output has")
    return tuple(x[:n] if hasattr(x, "shape") and np.ndim(x) > 0 and np.shape(x)[0] == length else x for x in args)


# --- the undecorated function, and rules -----------------------------------------------------------------


def undecorated(f: Any) -> Callable[..., Any] | None:
    """The function beneath a custom_vjp or custom_jvp, also within jit or partial; None if there is none."""
    if isinstance(f, functools.partial):
        inner = undecorated(f.func)
        return inner and functools.partial(inner, *f.args, **f.keywords)
    if _is_custom(f):
        plain: Callable[..., Any] = f.__wrapped__
        return plain
    return undecorated(f.__wrapped__) if _is_jitted(f) else None


def _is_jitted(f: Any) -> bool:
    return isinstance(f, jax.stages.Wrapped) and hasattr(f, "__wrapped__")


def _is_custom(f: Any) -> bool:
    return isinstance(f, jax.custom_vjp | jax.custom_jvp)


def by_jax(f: Callable[..., Any], arguments: Arguments) -> Rule:
    """The gradients that jax.vjp gives for f, by its own rule if it has one."""
    return by_vjp(outputs_of(f, arguments), jax.vjp)


def by_tracer(f: Callable[..., Any], arguments: Arguments) -> Rule:
    """The gradients by Algorithms 6.5 and 6.6, for a function of the operations."""
    return by_vjp(outputs_of(f, arguments), ours.vjp)


def by_vjp(outputs: Callable[[Leaves], Leaves], vjp: Callable[..., Any]) -> Rule:
    """The gradients that `jax.vjp`, or another's vjp, gives for a function of leaves."""

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        outs, pullback = vjp(outputs, leaves)
        return outs, pullback(_like(outs, cotangents))[0]

    return rule


def _like(outs: Leaves, cotangents: Leaves) -> Leaves:
    """The cotangents in the outputs' dtypes: a function may round to one of its own."""
    return [jnp.asarray(g, z.dtype) for g, z in zip(cotangents, outs, strict=True)]


def is_traceable(f: Callable[..., Any], arguments: Arguments) -> bool:
    """Whether the tracer can differentiate f: it is made of our operations and of Python's operators."""
    if ours.is_operation(f):
        return True
    with float64():
        leaves = [jax.ShapeDtypeStruct(np.shape(leaf), np.float64) for leaf in arguments.leaves]
        return ours.is_of_operations(outputs_of(f, arguments), leaves)
