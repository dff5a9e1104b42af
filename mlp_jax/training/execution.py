"""How the steps run on the device at hand: those of one seed, or of several side by side."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.training.program import Program
from mlp_jax.training.step import Outcome, State, run_one, run_one_of_small_products, run_several

_MOST_OPERATIONS = 2**20  # of a matrix product that is small; by measurement on two processors


class Execution:
    """`run_steps` with all but the states, the minibatches and the steps fixed.

    On a CPU, each seed runs the program of one in a thread, and so gets the bits that it would get alone; on other
    devices several seeds are one call of a batched program.

    Args:
        program: network, optimizer and ways of training.
        batch_size: of the minibatches.
        train: the examples to learn from.
        validation: the examples to evaluate after each epoch, if any.
        target_scale: (k,), for the metrics.
        patience: when to take no more steps, if at all.
    """

    def __init__(
        self, program: Program, batch_size: int, train: Any, validation: Any, target_scale: Any, patience: Any
    ) -> None:
        self._program = program
        self._data = train, validation, target_scale
        self._patience = patience
        on_cpu = jax.default_backend() == "cpu"
        self.as_one_call = not on_cpu
        largest = max(2 * batch_size * n * m for n, m in program.net.shapes)
        self._run_one: Any = run_one_of_small_products if on_cpu and largest <= _MOST_OPERATIONS else run_one
        self._in_threads: Any = None

    def compile(self, states: tuple[State, ...], batches: Any) -> Outcome:
        """Compile what will run; the outcome of no step."""
        try:
            return self(states, batches, 0, 0)[1]
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
        self._run_one = run_one  # this XLA has other options than those of the small program
        return self(states, batches, 0, 0)[1]

    def __call__(
        self, states: tuple[State, ...], batches: Any, first: int, stop: int
    ) -> tuple[tuple[State, ...], Outcome]:
        """The states after the steps; the outcome, on the host, with a leading axis for the seeds.

        Args:
            states: of each seed.
            batches: of each seed, (seeds, E, S, batch size).
            first: the first step.
            stop: the step after the last one.
        """
        steps = np.int32(first), np.int32(stop), self._patience
        if len(states) > 1 and self.as_one_call:
            stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
            after, outcome = run_several(self._program, stack, *self._data, batches, *steps)
            each = (jax.tree.map(lambda leaf, i=i: leaf[i], after) for i in range(len(states)))
            return tuple(each), jax.device_get(outcome)
        if len(states) > 1:
            results = self._run_in_threads(states, batches, steps)
        else:
            results = [self._run_one(self._program, states[0], *self._data, batches[0], *steps)]
        afters, outcomes = zip(*results, strict=True)
        return afters, jax.tree.map(lambda *values: np.stack(values), *jax.device_get(outcomes))

    def _run_in_threads(self, states: tuple[State, ...], batches: Any, steps: tuple[Any, ...]) -> Sequence[Any]:
        if self._in_threads is None:  # compiled here: JAX's settings are those of a thread, and may differ in others
            lowered = self._run_one.lower(self._program, states[0], *self._data, batches[0], *steps)
            self._in_threads = lowered.compile()

        def run(state: State, batches: Any) -> Any:
            return jax.block_until_ready(self._in_threads(state, *self._data, batches, *steps))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(run, states, batches))
