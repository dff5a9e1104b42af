"""A tap: a primitive without results that every transformation of JAX passes on, and that writes down which it was.

With `jax.debug.callback` alone `vmap` over 300 examples makes 300 callbacks. This one is lowered to it at the very end,
so that its values are whole batches, with the axes along which they were mapped. Its effect is that of
`debug.callback`: nothing drops it, and everything permits it. It uses what JAX offers to those who define primitives:
`jax.extend.core`, and the tables in `jax.interpreters`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import jet
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Passed(NamedTuple):
    """A transformation that passed a tap on, or `compiled`."""

    by: str  # vmap, jvp or compiled
    # of vmap the axis of each argument, or None; of jvp the arguments that are differentiated
    about: tuple[int | None, ...] = ()


# Called with what passed the tap on, the innermost first, and the values, perhaps from a thread of XLA: it must not
# raise, nor call JAX.
Take = Callable[..., None]


def tap(take: Take, arrays: Sequence[Any]) -> None:
    """Give the values of arrays to a function: at once, or whenever the program that is being traced runs."""
    _tap.bind(*arrays, take=take, path=())


_tap = Primitive("gradient_rule_tap")
_tap.multiple_results = True


@functools.cache
def _effect() -> set[Any]:
    return set(jax.make_jaxpr(lambda x: jax.debug.callback(lambda x: None, x))(0.0).jaxpr.effects)


def _evaluated(*args: Any, take: Take, path: tuple[Passed, ...]) -> list[Any]:
    take(path, *args)
    return []


def _mapped(args: Any, axes: Any, *, take: Take, path: tuple[Passed, ...]) -> Any:
    about = tuple(axis if isinstance(axis, int) else None for axis in axes)
    _tap.bind(*args, take=take, path=(*path, Passed("vmap", about)))
    return [], []


def _differentiated(primals: Any, tangents: Any, *, take: Take, path: tuple[Passed, ...]) -> Any:
    moved = tuple(k for k, tangent in enumerate(tangents) if type(tangent) is not ad.Zero)
    _tap.bind(*primals, take=take, path=(*path, Passed("jvp", moved)))
    return [], []


def _lowered(*args: Any, take: Take, path: tuple[Passed, ...]) -> list[Any]:
    jax.debug.callback(functools.partial(take, (*path, Passed("compiled"))), *args)
    return []


_tap.def_impl(_evaluated)
_tap.def_effectful_abstract_eval(lambda *args, **params: ([], _effect()))
batching.primitive_batchers[_tap] = _mapped
ad.primitive_jvps[_tap] = _differentiated
# A rule that is called on a tangent alone: it has no value when its program is transposed.
ad.primitive_transposes[_tap] = lambda cotangents, *args, **params: [None] * len(args)
mlir.register_lowering(_tap, mlir.lower_fun(_lowered, multiple_results=True))
jet.jet_rules[_tap] = lambda primals, series, **params: (_tap.bind(*primals, **params), [])
