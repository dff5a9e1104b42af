"""Test the test: plant faults in the user's own rule, and see which of them the arguments would show."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_jax.verify.arguments import AnyFunction, Argnums, name_of
from mlp_jax.verify.checks import Checked, prepared
from mlp_jax.verify.one_leaf import gradient
from mlp_jax.verify.report import CannotCheck
from mlp_jax.verify.table import Table


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
        n, survivors = len(self.mutants), self.survivors
        lines = [f"{self.title}: {n - len(survivors)} of {n} planted faults are found at these arguments"]
        return "\n".join([*lines, *(f"  {m.leaf}: {m.fault}: would pass: {m.reason}" for m in survivors)])


def mutate(f: AnyFunction, *args: Any, argnums: Argnums = None, seed: int = 0) -> Mutations:
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
    checked = prepared(f, args, None, argnums, seed)
    experiment, names = checked.experiment, checked.arguments.names
    if experiment is None or checked.faults:
        raise CannotCheck(f"{name_of(f)} cannot be checked, so nothing can be planted: see check_vjp")
    table = experiment.table(experiment.leaves)
    if table.reference is None:
        raise CannotCheck(f"{name_of(f)} has no reference for each entry in float64, so nothing can be planted")
    for k, name in enumerate(names):
        if not _passes(table, k):
            raise CannotCheck(f"the gradient for {name} is wrong already: see check_vjp; then plant faults")
    mutants = []
    for k, right in enumerate(table.yours):
        for fault, planted in _faults(checked, table, k) if right[0].size else ():
            yours = [planted if i == k else y for i, y in enumerate(table.yours)]
            mutant = dataclasses.replace(table, yours=yours, own=yours, answers=dict(table.answers))
            caught = not _passes(mutant, k)
            mutants.append(Mutant(names[k], fault, caught, "" if caught else _reason(right, planted)))
    return Mutations(f"mutate({name_of(f)})", tuple(mutants), time.perf_counter() - started)


def _passes(table: Table, k: int) -> bool:
    with np.errstate(all="ignore"):
        return gradient(table, k).passes


def _reason(yours: np.ndarray, planted: np.ndarray) -> str:
    if not yours.any():
        return "the gradient is 0 at these arguments"
    return "it changes nothing here" if np.array_equal(yours, planted) else "the change is within the tolerance"


def _faults(checked: Checked, table: Table, k: int) -> Iterator[tuple[str, np.ndarray]]:
    """Faults in the gradient for leaf k, and the gradients (cotangents, *shape) with each."""
    Y = table.yours[k]
    yield "set to zero", np.zeros_like(Y)
    yield "its sign turned", -Y
    yield "doubled", 2 * Y
    yield "1 % off", 1.01 * Y
    if len(Y) > 1:
        yield "the cotangent ignored", np.broadcast_to(Y[:1], Y.shape)
    if Y.ndim == 1:
        return
    if Y[0].size > 1:
        dropped = Y.copy().reshape(len(Y), -1)
        dropped[:, np.argsort(np.abs(Y[0]).ravel())[Y[0].size // 2]] = 0
        yield "one entry dropped", dropped.reshape(Y.shape)
    for axis in (axis for axis in range(1, Y.ndim) if Y.shape[axis] > 1):
        if Y.ndim > 2:
            dropped = Y.copy()
            np.moveaxis(dropped, axis, 0)[Y.shape[axis] // 2] = 0
            yield f"one index of axis {axis - 1} dropped", dropped
        yield f"shifted by one along axis {axis - 1}", np.roll(Y, 1, axis=axis)
    if Y.ndim > 2 and Y.shape[-1] == Y.shape[-2]:
        yield "transposed", np.swapaxes(Y, -1, -2)
    if n := _examples(table.values) or _examples(checked.arguments.everything[::-1]):
        yield "a sum over examples for a mean", n * Y
    scales = table.scales.reshape(-1, *[1] * (Y.ndim - 1))
    yield "a penalty 0.001 Σθ² too much", Y + 0.002 * table.leaves[k] * scales
    for name, other in zip(checked.arguments.names[:k], table.yours[:k], strict=True):
        if other.shape == Y.shape:
            yield f"swapped with that for {name}", other


def _examples(arrays: Sequence[Any]) -> int:
    """The number of rows of the first that has any."""
    return next((np.shape(x)[0] for x in arrays if np.ndim(x)), 0)
