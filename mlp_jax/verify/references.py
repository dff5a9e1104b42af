"""The truth in float64, from the strongest source that there is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import differences
from mlp_jax.verify.differences import Slope
from mlp_jax.verify.subject import Leaves, Rule

# Up to so many entries in all, forward mode and differences take every entry in turn.
ENTRY_BY_ENTRY = 1024
DIRECTIONS = 4


class Truth(NamedTuple):
    """Gradients of k projections Σ g·f of the outputs: for each leaf an array (k, *shape), an interval and an error.

    `low` and `high` are the one-sided slopes where differences see a kink, elsewhere both the gradient.
    """

    source: str
    gradients: list[np.ndarray]
    low: list[np.ndarray]
    high: list[np.ndarray]
    error: list[np.ndarray]

    @classmethod
    def exact(cls, source: str, gradients: list[np.ndarray]) -> "Truth":
        """A reference without an interval or an error of its own."""
        return cls(source, gradients, gradients, gradients, [np.zeros_like(g) for g in gradients])


class Probe(NamedTuple):
    """The slopes of the k projections along one direction in one leaf."""

    leaf: int
    direction: np.ndarray
    slope: Slope


class Function(NamedTuple):
    """The function in float64: its projections on k cotangents, at leaves."""

    leaves: Leaves
    projections: Callable[[Leaves], Any]
    on_jax: bool
    eps: float  # the precision of its values

    @property
    def size(self) -> int:
        """The number of entries of all leaves."""
        return sum(int(np.size(leaf)) for leaf in self.leaves)


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
    shapes = [np.shape(leaf) for leaf in f.leaves]
    basis = _basis(f, scaled=not forward)
    if forward:
        slopes = _pushed(f, basis)
        source = "jax.jvp, entry by entry"
    else:
        at_0, values = _ladders(f, basis)
        slopes = [differences.slope(at_0, v, f.eps) for v in values]
        source = "differences in float64, entry by entry"
    steps = [float(np.max(np.abs(np.concatenate([np.ravel(leaf) for leaf in d])))) for d in basis]
    low, high, error = (
        np.stack([column / step for column, step in zip(columns, steps, strict=True)], axis=-1)
        for columns in (
            [np.minimum(s.left, s.right) for s in slopes],
            [np.maximum(s.left, s.right) for s in slopes],
            [s.error for s in slopes],
        )
    )
    return Truth(source, *(_unraveled(entries, shapes) for entries in ((low + high) / 2, low, high, error)))


def along_directions(f: Function, forward: bool, rng: np.random.Generator, count: int = DIRECTIONS) -> list[Probe]:
    """Slopes along `count` random directions in each leaf alone."""
    probes = [
        (k, rng.normal(size=np.shape(leaf)) * scale_of(leaf))
        for k, leaf in enumerate(f.leaves)
        if np.size(leaf)
        for _ in range(count)
    ]
    directions = [_in_leaf(f.leaves, k, d) for k, d in probes]
    if forward:
        slopes = _pushed(f, directions)
    else:
        at_0, values = _ladders(f, directions)
        slopes = [differences.slope(at_0, v, f.eps) for v in values]
    return [Probe(k, d, slope) for (k, d), slope in zip(probes, slopes, strict=True)]


def scale_of(leaf: Any) -> float:
    """The size of a leaf's entries, or 1 where all are 0."""
    with np.errstate(all="ignore"):
        scale = float(np.sqrt(np.mean(np.square(as_numbers(leaf))))) if np.size(leaf) else 1.0
    return scale if 0 < scale < np.inf else 1.0


def _in_leaf(leaves: Leaves, k: int, direction: np.ndarray) -> list[np.ndarray]:
    return [direction if j == k else np.zeros(np.shape(leaf)) for j, leaf in enumerate(leaves)]


def _basis(f: Function, scaled: bool) -> list[list[np.ndarray]]:
    """A direction for each entry; for differences as long as the entry, or its leaf, is large."""
    directions = []
    for k, leaf in enumerate(f.leaves):
        numbers, typical = as_numbers(leaf), scale_of(leaf)
        for i in range(numbers.size):
            entry = np.zeros(numbers.size)
            entry[i] = max(abs(numbers.flat[i]), 1e-3 * typical) if scaled else 1.0
            directions.append(_in_leaf(f.leaves, k, entry.reshape(numbers.shape)))
    return directions


def _ladders(f: Function, directions: list[list[np.ndarray]]) -> tuple[np.ndarray, list[np.ndarray]]:
    run = differences.ladder(f.projections, f.on_jax)
    at_0: Any = None
    values = []
    for d in directions:
        at_0, value = run(f.leaves, d)
        values.append(value)
    return at_0, values


def _pushed(f: Function, directions: list[list[np.ndarray]]) -> list[Slope]:
    """Forward mode along each direction."""
    push = jax.jit(lambda leaves, d: jax.jvp(f.projections, (leaves,), (d,))[1])
    slopes = []
    for d in directions:
        value = np.asarray(push(f.leaves, [jnp.asarray(leaf) for leaf in d]))
        slopes.append(Slope(value, value, np.zeros_like(value)))
    return slopes


def _unraveled(entries: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """(k, all entries) apart into the leaves' shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(entries, ends[:-1], axis=-1)
    return [part.reshape(len(entries), *shape) for part, shape in zip(parts, shapes, strict=True)]
