"""The minibatches of a training whose examples are in a file: those of the next steps are read meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.training.batches import Batches, Layout

Gather = Callable[[NDArray[Any]], tuple[NDArray[Any], Any]]


class Window(NamedTuple):
    """The examples of some steps that follow each other.

    Attributes:
        first: the first of the steps, counted in its epoch.
        table: which of the examples each step uses, (1, S, batch size), −1 for a filler.
        examples: arrays of as many rows as the table has places.
    """

    first: int
    table: NDArray[np.int32]
    examples: Any


class Windows(Batches):
    """The same minibatches as `Batches`, each with its examples.

    A thread reads those of the next steps. It touches numpy alone: JAX's settings are those of a thread.
    """

    def __init__(self, layout: Layout, seed: int, shuffle: bool, gather: Gather, ready: Callable[[Any], Any]) -> None:
        """Of a layout whose tables hold a part of an epoch.

        Args:
            layout: how an epoch is cut.
            seed: with the epoch's number it determines the order.
            shuffle: whether there is another order in each epoch.
            gather: the place of each of some rows (m,) in arrays of examples, and these arrays.
            ready: what the program takes of the arrays.
        """
        super().__init__(layout, seed, shuffle)
        self._gather, self._ready = gather, ready
        self._reader = ThreadPoolExecutor(1)
        self._order: tuple[int, Any] = -1, None
        self._next: tuple[Any, Future[Window]] | None = None
        self._now: tuple[Any, Window] | None = None

    def window(self, epoch: int, step: int) -> Window:
        """That of a step; the next one is read meanwhile."""
        slots = self._layout.table[1]
        place = epoch, step - step % slots
        if self._now is None or self._now[0] != place:
            if self._next is None or self._next[0] != place:
                self._next = place, self._started(*place)
            found = self._next[1].result()
            after = (epoch, place[1] + slots) if place[1] + slots < self._layout.steps else (epoch + 1, 0)
            self._next = after, self._started(*after)
            self._now = place, found._replace(examples=self._ready(found.examples))
        return self._now[1]

    def _started(self, epoch: int, first: int) -> Future[Window]:
        with suppress(RuntimeError):  # the interpreter is ending, and starts no thread
            return self._reader.submit(self._read, epoch, first)
        done: Future[Window] = Future()
        done.set_result(self._read(epoch, first))
        return done

    def _read(self, epoch: int, first: int) -> Window:
        if self._order[0] != epoch:
            self._order = -1, None  # before the next one is drawn
            self._order = epoch, self._of_epoch(epoch)
        table = np.full(self._layout.table, -1, np.int32)
        rows = self._order[1][first : first + table.shape[1]]
        there = rows >= 0
        places, examples = self._gather(rows[there])
        table[0, : len(rows), : rows.shape[1]][there] = places
        return Window(first, table, examples)
