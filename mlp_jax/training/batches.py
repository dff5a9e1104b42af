"""Which examples each step uses."""

from functools import partial

import numpy as np
from numpy.typing import NDArray


def shuffled_batches(seed: int, epoch: int, n: int, batch_size: int, width: int | None = None) -> NDArray[np.int32]:
    """The minibatches of an epoch: a permutation of the n examples, a function of (seed, epoch).

    Drawn on the host: XLA's sort takes ten times as long on a CPU.

    Returns:
        Numbers of examples (steps, width), each example once; −1 fills up the last row, and each row to `width`, by
        default the batch size.
    """
    steps = -(-n // batch_size)
    batches = np.full((steps, width or batch_size), -1, np.int32)
    order = np.random.default_rng([seed, epoch]).permutation(n)
    whole = n // batch_size
    batches[:whole, :batch_size] = order[: whole * batch_size].reshape(whole, batch_size)
    batches[whole:, : n - whole * batch_size] = order[whole * batch_size :]
    return batches


class Batches:
    """The minibatches of a training, in tables of E epochs: what one call of its program can take."""

    def __init__(self, seed: int, n: int, batch_size: int, width: int, epochs: int) -> None:
        self._draw = partial(shuffled_batches, seed, n=n, batch_size=batch_size, width=width)
        self._table = np.zeros((epochs, -(-n // batch_size), width), np.int32)
        self._holds: tuple[int, int] | None = None

    def table(self, epoch: int, count: int) -> NDArray[np.int32]:
        """A table (E, S, width) filled for `count` epochs from this one on; a long epoch needs it several times."""
        if self._holds != (epoch, count):
            self._holds = (epoch, count)
            for e in range(count):
                self._table[e] = self._draw(epoch=epoch + e)
        return self._table

    def of_step(self, epoch: int, step: int) -> NDArray[np.int32]:
        """The numbers of the examples that a step uses."""
        rows = self._draw(epoch=epoch)[step]
        return rows[rows >= 0]
