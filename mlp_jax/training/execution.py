"""How the steps run on the device at hand: those of one seed, or of several side by side."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.training.data import Examples
from mlp_jax.training.program import FOR_SMALL_PRODUCTS, Program, jitted
from mlp_jax.training.step import Outcome, Patience, State, run_steps, run_steps_of_seeds

# Operations of the largest matrix product of a step, by measurement on two cores: up to the first, XLA's options for
# small products pay; up to the second, a thread for each seed does: beyond, one program keeps all cores busy.
_FEW, _SOME = 2**20, 2**24


class Execution:
    """`run_steps` with all but the states, the minibatches and the steps fixed.

    On a CPU each seed runs the program of one, and so gets the bits that it would get alone; on other devices several
    seeds are one call of a batched program.

    Attributes:
        as_one_call: whether several seeds are one call.

    Args:
        program: network, optimizer and ways of training.
        batch_size: of the minibatches.
        parts: the examples by part: train, and validation if there is one.
        target_scale: (k,), for the metrics.
        patience: when to take no more steps, if at all.
    """

    def __init__(
        self,
        program: Program,
        batch_size: int,
        parts: dict[str, Examples],
        target_scale: Any,
        patience: Patience | None,
    ) -> None:
        self.as_one_call = jax.default_backend() != "cpu"
        self._program = program
        self._parts = parts
        self._target_scale = target_scale
        self._patience = patience
        largest = max(2 * batch_size * n * m for n, m in program.net.shapes)
        self._run_one = jitted(run_steps, ("program",), FOR_SMALL_PRODUCTS if largest <= _FEW else ())
        self._threads = largest <= _SOME
        self._compiled: Any = None

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
        fixed = self._parts["train"], self._parts.get("validation"), self._target_scale
        steps = np.int32(first), np.int32(stop), self._patience
        if len(states) > 1 and self.as_one_call:
            stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
            run = jitted(run_steps_of_seeds, ("program",))
            after, outcome = run(self._program, stack, *fixed, batches, *steps)
            each = (jax.tree.map(lambda leaf, i=i: leaf[i], after) for i in range(len(states)))
            return tuple(each), jax.device_get(outcome)
        arguments = [(state, *fixed, b, *steps) for state, b in zip(states, batches, strict=True)]
        if len(states) > 1 and self._threads and not is_debugging():
            results = self._in_threads(arguments)
        else:
            results = [self._run_one(self._program, *of_seed) for of_seed in arguments]
        afters, outcomes = zip(*results, strict=True)
        return afters, jax.tree.map(lambda *values: np.stack(values), *jax.device_get(outcomes))

    def _in_threads(self, arguments: Sequence[Any]) -> list[Any]:
        if self._compiled is None:  # here: JAX's settings are those of a thread, and may differ in others
            self._compiled = self._run_one.lower(self._program, *arguments[0]).compile()

        def run(of_seed: Any) -> Any:
            return jax.block_until_ready(self._compiled(*of_seed))

        with ThreadPoolExecutor(getattr(os, "process_cpu_count", os.cpu_count)()) as pool:
            try:
                running = [pool.submit(run, of_seed) for of_seed in arguments]
            except RuntimeError:  # the interpreter is ending and starts no thread
                return [run(of_seed) for of_seed in arguments]
            return [each.result() for each in running]


def is_debugging() -> bool:
    """Whether a setting is on that JAX heeds only where it compiles or runs a program by itself."""
    config: Any = jax.config
    return bool(config.jax_disable_jit or config.jax_debug_nans or config.jax_debug_infs)
