"""Which examples each step uses, in tables of few shapes: trainings on nearly as many examples share a program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

# So many epochs are a table of a size that is quick to fill, and cost nothing where a call takes fewer.
_MOST_EPOCHS_PER_CALL = 128
_MOST_ROWS_PER_CALL = 65536


def rounded_up(n: int) -> int:
    """n, or the next of four sizes between powers of two, so that there are few; a large n as it is.

    Where there are many examples, compiling takes little beside training, and fillers take memory.

    >>> [rounded_up(n) for n in (7, 119, 120, 140, 1e6)]
    [7, 128, 128, 160, 1000000.0]
    """
    if n > _MOST_ROWS_PER_CALL:
        return n
    quarter = 2 ** max(0, int(n).bit_length() - 3)
    return -(-n // quarter) * quarter


def filled_up(values: NDArray[Any], dtype: Any, parts: int = 1) -> jax.Array:
    """On the device, with rows of 0 up to one of few numbers of rows, and to parts of one size."""
    spare = -(-rounded_up(len(values)) // parts) * parts - len(values)
    return jnp.asarray(np.pad(values, [(0, spare), *[(0, 0)] * (values.ndim - 1)]), dtype)


def shuffled_batches(seed: int, epoch: int, n: int, batch_size: int) -> NDArray[np.int32]:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Drawn on the host: XLA's sort takes ten times as long on a CPU.

    Returns:
        Numbers of examples (steps, batch size), each example once; −1 fills up the last row.
    """
    order = np.arange(n, dtype=np.int32)
    np.random.default_rng([seed, epoch]).shuffle(order)  # to what its permutation(n) is, in half the memory
    return in_batches(order, batch_size)


def in_batches(order: NDArray[Any], batch_size: int) -> NDArray[np.int32]:
    """Numbers of examples in rows of a step each; −1 fills up the last."""
    batches = np.full((-(-len(order) // batch_size), batch_size), -1, np.int32)
    batches.reshape(-1)[: len(order)] = order
    return batches


class Layout(NamedTuple):
    """How an epoch of n examples is cut into steps, and what the tables of `Batches` hold.

    Attributes:
        n: how many examples an epoch has.
        batch_size: how many of them a step uses.
        steps: how many steps an epoch has.
        table: epochs E, steps S and examples of a step in a table, the last two with room to spare.
    """

    n: int
    batch_size: int
    steps: int
    table: tuple[int, int, int]

    @classmethod
    def of(cls, n: int, batch_size: int, microbatches: int = 1) -> "Layout":
        """That of n examples; a step is cut into microbatches of one size."""
        steps = -(-n // batch_size)
        width = rounded_up(n) if batch_size == n else batch_size
        slots, width = rounded_up(steps), -(-width // microbatches) * microbatches
        epochs = max(1, min(_MOST_EPOCHS_PER_CALL, _MOST_ROWS_PER_CALL // (slots * width)))
        return cls(n, batch_size, steps, (epochs, slots, width))


class Batches:
    """The minibatches of a training, in tables: what one call of its program can take."""

    def __init__(self, layout: Layout, seed: int, shuffle: bool = True) -> None:
        self._layout = layout
        self._seed = seed if shuffle else None
        self._table = np.full(layout.table, -1, np.int32)
        self._holds: tuple[int, int] | None = None

    def table(self, epoch: int, count: int) -> NDArray[np.int32]:
        """A table (E, S, …) filled for `count` epochs from this one on; a long epoch needs it several times."""
        if self._holds != (epoch, count):
            self._holds = (epoch, count)
            for e in range(count):
                self._table[e, : self._layout.steps, : self._layout.batch_size] = self._of_epoch(epoch + e)
        return self._table

    def of_step(self, epoch: int, step: int) -> NDArray[np.int32]:
        """The numbers of the examples that a step uses."""
        rows = self._of_epoch(epoch)[step]
        return rows[rows >= 0]

    def _of_epoch(self, epoch: int) -> NDArray[np.int32]:
        if self._seed is None:
            return in_batches(np.arange(self._layout.n, dtype=np.int32), self._layout.batch_size)
        return shuffled_batches(self._seed, epoch, self._layout.n, self._layout.batch_size)
