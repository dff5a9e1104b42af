"""The arguments of what is checked: the leaves to differentiate for, with their names, and everything else."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.report import CannotCheck

Leaves = list[Any]
AnyFunction = Callable[..., Any]
Argnums = int | Sequence[int] | None


@dataclass(frozen=True)
class Arguments:
    """Arguments apart."""

    names: tuple[str, ...]  # of the leaves to differentiate for, as in `params[0].W`
    leaves: tuple[Any, ...]  # these, as given
    places: tuple[int, ...]  # of these among all leaves; a complex one is two, its real part and its imaginary part
    all_names: tuple[str, ...]  # of all leaves
    everything: tuple[Any, ...]  # all leaves; those at other places are constants
    tree: Any  # their structure
    constants: tuple[str, ...]  # what is not looked at, though gradients for its argument are asked for: names, and why

    def rebuilt(self, leaves: Sequence[Any], others: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """The arguments with other leaves, and with others in the places of constants."""
        full = list(self.everything if others is None else others)
        for k, (place, leaf) in enumerate(zip(self.places, leaves, strict=True)):
            full[place] = _complex(full[place], leaf) if place in self.places[:k] else leaf
        return tuple(jax.tree.unflatten(self.tree, full))


def split(f: AnyFunction, args: tuple[Any, ...], argnums: Argnums = None) -> Arguments:
    """Name the leaves of the arguments, and choose those to differentiate for.

    Raises:
        CannotCheck: there is none; argnums names no argument.
    """
    if not callable(f):
        raise CannotCheck(f"what is checked must be a function, got {type(f).__name__}")
    chosen = _chosen(f, args, argnums)
    paths, tree = jax.tree_util.tree_flatten_with_path(args)
    names = _names(f, args, [path for path, _ in paths])
    found = {k: (names[k], x) for k, (path, x) in enumerate(paths) if path[0].idx in chosen}
    places = tuple(k for k, (_, x) in found.items() if is_number(x) or _is_complex(x))
    if not places:
        got = ", ".join(f"{name}: {_kind(x)}" for name, (_, x) in zip(names, paths, strict=True)) or "no arguments"
        raise CannotCheck(
            f"{name_of(f)} has no argument to differentiate for: needs at least one floating-point array or number, "
            f"got {got}; pass the arguments after the function, as in check_vjp(f, x, y)"
        )
    for name, x in (found[k] for k in places):
        if getattr(x, "dtype", None) == np.longdouble:
            raise CannotCheck(f"{name} has dtype {x.dtype}, which JAX has not; make it float64")
    unseen = [(name, x) for k, (name, x) in found.items() if k not in places and _looks_like_data(x)]
    how = ["" if is_dataclass(x) else float(x) if isinstance(x, int) else "floating-point numbers" for _, x in unseen]
    more = [f"; pass {numbers} to check the gradient for it" * (numbers != "") for numbers in how]
    constants = tuple(f"{name} ({_kind(x)}{said})" for (name, x), said in zip(unseen, more, strict=True))
    parts = [(name + of, part, k) for k in places for name, x in [found[k]] for of, part in _parts(x)]
    own_names, leaves, places = zip(*parts, strict=True)
    return Arguments(own_names, leaves, places, tuple(names), tuple(x for _, x in paths), tree, constants)


def top_level(arguments: Arguments) -> dict[str, set[int]]:
    """For each argument with leaves to differentiate for, as params of params[0].W: the numbers of its leaves."""
    found: dict[str, set[int]] = {}
    for k, name in enumerate(arguments.names):
        found.setdefault(name.partition("[")[0].partition(".")[0], set()).add(k)
    return found


def _names(f: Any, args: tuple[Any, ...], paths: Sequence[Any]) -> list[str]:
    """The names of f's parameters, with the path of each leaf."""
    try:
        parameters = list(inspect.signature(getattr(f, "f", f)).parameters.values())
    except (TypeError, ValueError):  # a function built into Python shows none
        parameters = []
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in by_position]
    names += [f"args[{k}]" for k in range(len(names), len(args))]
    return [names[path[0].idx] + jax.tree_util.keystr(path[1:]) for path in paths]


def _chosen(f: Any, args: tuple[Any, ...], argnums: Argnums) -> set[int]:
    if argnums is None:
        return set(range(len(args))) - set(getattr(f, "nondiff_argnums", ()))
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    for k in numbers:
        if not isinstance(k, int) or not -len(args) <= k < len(args):
            raise CannotCheck(f"argnums={argnums} needs that argument; got {len(args)} arguments")
    return {k % len(args) for k in numbers}


def is_number(x: Any) -> bool:
    """Whether it is a floating-point number or an array of them."""
    return isinstance(x, float) or _is_array_of(jnp.floating, x)


def real_parts(arrays: Sequence[Any]) -> Leaves:
    """Arrays where each complex one is two: its real part and its imaginary part."""
    return [part for x in arrays for _, part in _parts(x)]


def _parts(x: Any) -> list[tuple[str, Any]]:
    return [(".real", x.real), (".imag", x.imag)] if _is_complex(x) else [("", x)]


def _complex(real: Any, imaginary: Any) -> Any:
    if isinstance(real, jax.Array):
        return jax.lax.complex(real, jnp.asarray(imaginary, real.dtype))
    return real + 1j * imaginary


def _is_complex(x: Any) -> bool:
    return isinstance(x, complex) or _is_array_of(jnp.complexfloating, x)


def _is_array_of(kind: Any, x: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, kind))


def _looks_like_data(x: Any) -> bool:
    """Whether one may think that a gradient for it was checked."""
    if isinstance(x, bool) or callable(x):
        return False
    if getattr(x, "dtype", None) is None:
        return isinstance(x, int) or is_dataclass(x)
    return not (_is_array_of(np.bool_, x) or _is_array_of(jax.dtypes.extended, x))


def _kind(x: Any) -> str:
    if is_dataclass(x):
        return f"{type(x).__name__}, which jax.tree_util.register_dataclass has not made a pytree"
    if isinstance(x, int) and not isinstance(x, bool):
        return "int"
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") and hasattr(x, "shape") else type(x).__name__


def name_of(f: Any) -> str:
    """What a report calls a function."""
    if isinstance(f, functools.partial):
        return name_of(f.func)
    name = getattr(f, "__name__", None) or getattr(f, "name", None) or type(f).__name__
    return "lambda" if name == "<lambda>" else str(name)


def output_names(value: Any) -> list[str]:
    """A name for each floating-point leaf of a function's value."""
    paths, _ = jax.tree_util.tree_flatten_with_path(value)
    numbers = [(path, z) for path, z in paths if is_number(z) or _is_complex(z)]
    return ["primal" + jax.tree_util.keystr(path) + of for path, z in numbers for of, _ in _parts(z)]


def require_numbers(f: Any, value: Any) -> None:
    """Refuse a value without floating-point numbers.

    Raises:
        CannotCheck: it has none.
    """
    leaves = jax.tree.leaves(value)
    if not any(is_number(z) or _is_complex(z) for z in leaves):
        got = "nothing (None)" if value is None else ", ".join(_kind(z) for z in leaves) or repr(value)
        raise CannotCheck(f"{name_of(f)} must return at least one floating-point array, got {got}")


def first_lines(error: Exception, length: int = 300) -> str:
    """What an exception says, shortened to a line."""
    text = " ".join(str(error).split("\n\n")[0].split())
    return text if len(text) <= length else text[: length - 1] + "…"


def outputs_of(
    f: AnyFunction, arguments: Arguments, names: list[str] | None = None, only_numbers: bool = False
) -> Callable[[Leaves], Leaves]:
    """F from its leaves to the arrays of its value; the names of the floating-point ones are noted in `names`."""

    def outputs(leaves: Leaves) -> Leaves:
        value = f(*arguments.rebuilt(leaves))
        require_numbers(f, value)
        if names is not None:
            names[:] = output_names(value)
        arrays = real_parts(
            [z for z in jax.tree.leaves(value) if hasattr(z, "dtype") or isinstance(z, float | complex)]
        )
        return [jnp.asarray(z) if isinstance(z, float) else z for z in arrays if is_number(z) or not only_numbers]

    return outputs
