"""What functions and rules are made of: programs compiled soon, remembered, in float64 for a while."""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlp_jax.verify.arguments import Leaves
from mlp_jax.verify.interpreter import Program, calls, fingerprint, is_float, typed_precision

# (leaves, cotangents for the outputs) -> (outputs, gradients for the leaves)
Rule = Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]
Outputs = Callable[[Leaves], Leaves]

# Float64 programs run a few dozen times; to compile them well takes longer. Without LLVM's optimization and XLA's newer
# emitter of loops it takes a quarter of the time. Their numbers are as precise.
_SOON = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
# So many programs stay compiled: a check of the same function at the same shapes starts there.
_REMEMBERED = 48
_memory: OrderedDict[Any, dict[str, Any]] = OrderedDict()


class Compiled:
    """A program of JAX, and what was made of it, here or of an equal one before."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.typed = typed_precision(program)  # the coarsest ε of what keeps its type in float64

    @functools.cached_property
    def _memory(self) -> dict[str, Any]:
        found = _memory.setdefault((key := (type(self), fingerprint(self.program), jax.default_backend())), {})
        _memory.move_to_end(key)
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)
        return found

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is made of the program, the first time."""
        if name not in self._memory:
            self._memory[name] = make()
        return self._memory[name]


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """64-bit numbers and plain promotion within the block and this thread; the process is left as it was."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def as_numbers(x: Any) -> np.ndarray:
    """An array of any floating-point dtype in numpy's float64, a complex one in complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def typed(cotangents: Leaves, outputs: Sequence[Any]) -> Leaves:
    """The cotangents in the outputs' dtypes."""
    return [jnp.asarray(g, z.dtype) for g, z in zip(cotangents, outputs, strict=True)]


def arrays(leaves: Sequence[Any], on_jax: bool) -> Leaves:
    """Arrays of JAX or of numpy, as a function takes them."""
    return [jnp.asarray(x) if on_jax else np.array(x) for x in leaves]


def by_vjp(outputs: Outputs, vjp: Callable[..., Any]) -> Rule:
    """The gradients that `jax.vjp`, or another's vjp, gives for a function of leaves."""

    def rule(leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        outs, pullback = vjp(outputs, list(leaves))
        given = iter(cotangents)
        no_gradient = jax.dtypes.float0
        full = [
            jnp.asarray(next(given), z.dtype) if is_float(z.dtype) else np.zeros(z.shape, no_gradient) for z in outs
        ]
        return outs, list(pullback(full)[0])

    return rule


def for_each(f: Callable[[Leaves], Any], cotangents: Leaves) -> Any:
    """F for each cotangent, all at once where every operation can do that, else one after the other."""
    try:
        return jax.vmap(f)(cotangents)
    except NotImplementedError:  # an operation that has no batching rule, as callbacks
        return lax.map(f, cotangents)


def compiled_soon(f: Callable[..., Any], program: Program | None = None) -> Callable[..., Any]:
    """A function that evaluates a program under jit, compiled soon instead of well where this is a CPU.

    But not convolutions: these would run twenty times as long.
    """
    soon = None if program is not None and calls(program, "conv_general_dilated") else _soon(jax.default_backend())
    return jax.jit(f, compiler_options=soon)


@functools.cache
def _soon(backend: str) -> dict[str, Any] | None:
    known: dict[str, Any] = {}
    for option, value in _SOON.items() if backend == "cpu" else ():
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # an XLA without it
            jax.jit(lambda: 0, compiler_options={option: value})()
            known[option] = value
    return known or None
