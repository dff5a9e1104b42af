"""The truth in float64, from the strongest source that there is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.verify import differences
from mlp_jax.verify.compiling import Jit, on_device
from mlp_jax.verify.differences import Slope
from mlp_jax.verify.subject import Leaves, Rule

# Up to so many entries in all, forward mode and differences take every entry in turn.
ENTRY_BY_ENTRY = 1024
DIRECTIONS = 4
EAGER_SECONDS = 10.0


class Truth(NamedTuple):
    """Gradients of k projections Σ g·f of the outputs: for each leaf an array (k, *shape), an interval and an error.

    `low` and `high` are the one-sided slopes where differences see a kink, elsewhere both the gradient. `unseen` is the
    slope that the values of the function cannot show.
    """

    source: str
    gradients: list[np.ndarray]
    low: list[np.ndarray]
    high: list[np.ndarray]
    error: list[np.ndarray]
    unseen: list[np.ndarray]

    @classmethod
    def exact(cls, source: str, gradients: list[np.ndarray]) -> "Truth":
        """A reference without an interval or an error of its own."""
        nothing = [np.zeros_like(g) for g in gradients]
        return cls(source, gradients, gradients, gradients, nothing, nothing)


class Probe(NamedTuple):
    """The slopes of the k projections along one direction in one leaf."""

    leaf: int
    direction: np.ndarray
    slope: Slope

    def along(self, gradients: np.ndarray) -> np.ndarray:
        """The slopes that gradients (k, *shape) for the leaf have along the direction."""
        return np.sum((gradients * self.direction).reshape(len(gradients), -1), axis=1)

    def confirms(self, gradients: np.ndarray) -> bool:
        """Whether the slopes are surely those of the gradients."""
        expected, found = self.along(gradients), self.slope
        size = np.abs(found.middle) + np.abs(expected)
        certain = found.error <= np.maximum(1e-2 * size, found.unseen)
        return bool(
            (certain & (np.abs(expected - found.middle) <= 10 * found.error + 1e-3 * size + found.unseen)).all()
        )

    def contradicts(self, gradients: np.ndarray) -> bool:
        """Whether the slopes are surely others than those of the gradients; at a kink nothing is sure."""
        expected, found = self.along(gradients), self.slope
        size = np.abs(found.middle) + np.abs(expected)
        certain = (found.error < 1e-4 * size) & ~found.kink
        off = np.abs(expected - found.middle) > 10 * found.error + 1e-3 * size + found.unseen
        return bool((certain & off).any())


@dataclass(frozen=True)
class Function:
    """The function in float64: its projections on k cotangents, at leaves.

    Attributes:
        leaves: where; `replace` takes it elsewhere without compiling it again.
        projections: of leaves.
        ladder: the projections at many steps along a direction.
        push: the projections and their tangents along a direction, in forward mode.
        on_jax: whether JAX can trace it.
        eps: the precision of its values.
    """

    leaves: Leaves
    projections: Callable[[Leaves], Any]
    ladder: differences.Ladder
    push: Callable[[Leaves, Leaves], Any]
    on_jax: bool
    eps: float

    @classmethod
    def of(cls, projections: Callable[[Leaves], Any], leaves: Leaves, on_jax: bool, eps: float, jit: Jit) -> "Function":
        """Nothing is compiled before it is called."""
        push = jit(lambda leaves, d: jax.jvp(projections, (leaves,), (d,)))
        return cls(leaves, projections, differences.ladder(projections, on_jax, jit), push, on_jax, eps)

    @property
    def size(self) -> int:
        """The number of entries of all leaves."""
        return sum(int(np.size(leaf)) for leaf in self.leaves)

    @property
    def is_small(self) -> bool:
        """Whether every entry can be taken in turn: there are few, and a function of numpy does not take long."""
        if self.size > ENTRY_BY_ENTRY or self.on_jax:
            return self.size <= ENTRY_BY_ENTRY
        started = time.perf_counter()
        self.projections(self.leaves)
        return (time.perf_counter() - started) * 2 * 21 * self.size < EAGER_SECONDS


def evaluate(rule: Rule, leaves: Leaves, cotangents: Sequence[Leaves]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The outputs and the gradients (k, *shape) for each leaf, in numpy's float64."""
    outs: Leaves = []
    rows = []
    for g in cotangents:
        outs, grads = rule(leaves, g)
        rows.append([as_numbers(leaf) for leaf in grads])
    return [as_numbers(z) for z in outs], [np.stack(leaf) for leaf in zip(*rows, strict=True)]


def as_numbers(x: Any) -> np.ndarray:
    """An array of any floating-point dtype in numpy's float64."""
    return np.asarray(x).astype(np.float64)


def entry_by_entry(f: Function, forward: bool) -> Truth:
    """All gradients, by forward mode or by differences, one entry at a time."""
    slopes = [_slope_of_entry(f, k, i, forward) for k, leaf in enumerate(f.leaves) for i in range(np.size(leaf))]
    source = "jax.jvp, entry by entry," if forward else "differences, entry by entry,"
    shapes = [np.shape(leaf) for leaf in f.leaves]
    low = np.stack([np.minimum(s.left, s.right) for s in slopes], axis=-1)
    high = np.stack([np.maximum(s.left, s.right) for s in slopes], axis=-1)
    error = np.stack([s.error for s in slopes], axis=-1)
    unseen = np.stack([s.unseen for s in slopes], axis=-1)
    return Truth(source, *(_unraveled(entries, shapes) for entries in ((low + high) / 2, low, high, error, unseen)))


def _slope_of_entry(f: Function, k: int, i: int, forward: bool) -> Slope:
    """The slope along one entry, by steps in its own size, in its leaf's, or in 1, whichever sees most."""
    if forward:
        return _along(f, _unit(f, k, i, 1.0), forward=True)
    own, typical = abs(as_numbers(f.leaves[k]).ravel()[i]), scale_of(f.leaves[k])
    found = []
    for step in (own, 1e-3 * typical, 1.0):
        if 0 < step < np.inf:
            found.append(Slope(*(part / step for part in _along(f, _unit(f, k, i, step), forward=False))))
            slope, is_flat = found[-1], not (found[-1].left.any() or found[-1].right.any())
            clear = slope.kink | (slope.error <= np.maximum(1e-6 * np.abs(slope.middle), slope.unseen))
            if clear.all() and not is_flat:
                return slope
    # steps that do not reach the next number see a flat function: any others are believed before them
    moving = [s for s in found if s.left.any() or s.right.any()]
    return min(moving or found, key=lambda s: float(np.max(s.error)))


def _unit(f: Function, k: int, i: int, step: float) -> list[np.ndarray]:
    entry = np.zeros(np.size(f.leaves[k]))
    entry[i] = step
    return _in_leaf(f.leaves, k, entry.reshape(np.shape(f.leaves[k])))


def along_directions(f: Function, forward: bool, rng: np.random.Generator, count: int = DIRECTIONS) -> list[Probe]:
    """Slopes along `count` random directions in each leaf alone."""
    probes = []
    for k, leaf in enumerate(f.leaves):
        for _ in range(count if np.size(leaf) else 0):
            direction = rng.normal(size=np.shape(leaf)) * scale_of(leaf)
            probes.append(Probe(k, direction, _along(f, _in_leaf(f.leaves, k, direction), forward)))
    return probes


def _along(f: Function, d: list[np.ndarray], forward: bool) -> Slope:
    if forward:
        value, tangent = f.push(f.leaves, [on_device(leaf) for leaf in d])
        return Slope(np.asarray(tangent), np.asarray(tangent), np.zeros_like(value), differences.UNSEEN * np.abs(value))
    return differences.slope(*f.ladder(f.leaves, d), f.eps)


def scale_of(leaf: Any) -> float:
    """The size of a leaf's entries, or 1 where all are 0."""
    with np.errstate(all="ignore"):
        scale = float(np.sqrt(np.mean(np.square(as_numbers(leaf))))) if np.size(leaf) else 1.0
    return scale if 0 < scale < np.inf else 1.0


def _in_leaf(leaves: Leaves, k: int, direction: np.ndarray) -> list[np.ndarray]:
    return [direction if j == k else np.zeros(np.shape(leaf)) for j, leaf in enumerate(leaves)]


def _unraveled(entries: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """(k, all entries) apart into the leaves' shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(entries, ends[:-1], axis=-1)
    return [part.reshape(len(entries), *shape) for part, shape in zip(parts, shapes, strict=True)]
