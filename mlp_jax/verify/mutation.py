"""Test the test: plant faults in the user's own rule, and see which of them the arguments would show."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_jax.verify import subject
from mlp_jax.verify.checks import case_of_vjp
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.judgement import Judge
from mlp_jax.verify.report import CannotCheck


@dataclass(frozen=True)
class Mutant:
    """A fault in the gradient for one leaf, and whether a check at these arguments finds it."""

    leaf: str
    fault: str
    caught: bool
    reason: str = ""


@dataclass(frozen=True)
class Mutations:
    """All mutants of a rule. `str()` tells the score and each survivor."""

    title: str
    mutants: tuple[Mutant, ...]
    seconds: float

    @property
    def survivors(self) -> tuple[Mutant, ...]:
        """The faults that the arguments do not show."""
        return tuple(m for m in self.mutants if not m.caught)

    @property
    def score(self) -> float:
        """The fraction of faults that are found."""
        return 1 - len(self.survivors) / len(self.mutants) if self.mutants else 1.0

    def __str__(self) -> str:
        """The score, and what would pass."""
        caught = len(self.mutants) - len(self.survivors)
        lines = [f"{self.title}: {caught} of {len(self.mutants)} planted faults are found at these arguments"]
        lines += [f"  {m.leaf}: {m.fault}: would pass: {m.reason}" for m in self.survivors]
        return "\n".join(lines)


def mutate(f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] | None = None, seed: int = 0) -> Mutations:
    """Plant faults in the gradient of f, one at a time, and say which of them `check_vjp` finds at these arguments.

    A fault can hide in the arguments: a gradient that is 0 hides any factor, a batch of one example a missing sum over
    examples, equal rows a permutation. What survives here would pass in your test, too: choose other arguments.

    Args:
        f: a function whose rule is right at the arguments.
        args: its arguments.
        argnums: as for `check_vjp`.
        seed: of cotangents.

    Raises:
        CannotCheck: as for `check_vjp`, or the rule is wrong already, or no reference has all its entries.

    >>> import jax, jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def product(a, b):
    ...     return a * b
    >>> product.defvjp(lambda a, b: (a * b, (a, b)), lambda ab, g: (g * ab[1], g * ab[0]))
    >>> print(mutate(product, 3.0, 0.0).survivors[0])
    Mutant(leaf='a', fault='set to zero', caught=False, reason='the gradient is 0 at these arguments')
    """
    started = time.perf_counter()
    comparison = Comparison(case_of_vjp(f, args, None, argnums, seed))
    names = comparison.case.arguments.names
    if comparison.truth is None or isinstance(comparison.yours, Exception):
        raise CannotCheck(f"{subject.name_of(f)} has no reference for each entry in float64, so nothing can be planted")
    outs, yours = comparison.yours
    judge = Judge(comparison, (outs, yours), names)
    for k, name in enumerate(names):
        if not judge.in_float64(k, yours[k]).passed:
            raise CannotCheck(f"the gradient for {name} is wrong already: see check_vjp; then plant faults")
    mutants = []
    for k, fault, planted in _faults(comparison, yours):
        caught = not judge.in_float64(k, planted).passed
        mutants.append(Mutant(names[k], fault, caught, "" if caught else _why(yours[k], planted)))
    return Mutations(f"mutate({subject.name_of(f)})", tuple(mutants), time.perf_counter() - started)


def _why(yours: np.ndarray, planted: np.ndarray) -> str:
    if not yours.any():
        return "the gradient is 0 at these arguments"
    return "it changes nothing here" if np.array_equal(yours, planted) else "the change is within the tolerance"


def _faults(comparison: Comparison, yours: Arrays) -> Iterator[tuple[int, str, np.ndarray]]:
    """The number of a leaf, a fault, and the gradients (cotangents, *shape) with it."""
    for k, Y in enumerate(yours):
        if not Y[0].size:
            continue
        yield k, "set to zero", np.zeros_like(Y)
        yield k, "its sign turned", -Y
        yield k, "doubled", 2 * Y
        yield k, "1 % off", 1.01 * Y
        if not comparison.case.scalar and len(Y) > 1:
            yield k, "the cotangent ignored", np.broadcast_to(Y[:1], Y.shape)
        if Y.ndim == 1:
            continue
        if Y[0].size > 1:
            entry = Y.copy().reshape(len(Y), -1)
            entry[:, np.argsort(np.abs(Y[0]).ravel())[Y[0].size // 2]] = 0
            yield k, "one entry dropped", entry.reshape(Y.shape)
        for axis in range(1, Y.ndim):
            if Y.shape[axis] > 1:
                dropped = Y.copy()
                dropped[(slice(None),) * axis + (Y.shape[axis] // 2,)] = 0
                if Y.ndim > 2:
                    yield k, f"one index of axis {axis - 1} dropped", dropped
                yield k, f"shifted by one along axis {axis - 1}", np.roll(Y, 1, axis=axis)
        if Y.ndim > 2 and Y.shape[-1] == Y.shape[-2]:
            yield k, "transposed", np.swapaxes(Y, -1, -2)
        n = next((z.shape[0] for z in map(np.asarray, comparison.case.values) if z.ndim), 0) or _rows(comparison)
        if n:
            yield k, "a sum over examples for a mean", n * Y
        x = np.asarray(comparison.leaves[k])
        yield k, "a penalty 0.001 Σθ² too much", Y + 0.002 * x
        for j in range(k):
            if yours[j].shape == Y.shape:
                yield k, f"swapped with that for {comparison.case.arguments.names[j]}", yours[j]


def _rows(comparison: Comparison) -> int:
    """The number of examples, by the last argument."""
    shapes = [np.shape(x) for x in comparison.case.arguments.everything if np.ndim(x)]
    return shapes[-1][0] if shapes else 0
