"""The training program of a configuration, called a quarter of a second at a time."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mlp_jax.mlp.parameters import Params, pays_as_one_loop, structure
from mlp_jax.training.build import build_program
from mlp_jax.training.config import Config
from mlp_jax.training.data import Examples, Prepared, batch_size, network_for
from mlp_jax.training.errors import TrainingDiverged
from mlp_jax.training.execution import Execution
from mlp_jax.training.failure import diagnose
from mlp_jax.training.metrics import METRICS, evaluate, last_layer
from mlp_jax.training.program import SOONER_COMPILED, jitted
from mlp_jax.training.step import Outcome, Patience, State, initial_state, shuffled_batches

_SECONDS_PER_CALL = 0.25  # of the compiled program: how soon Ctrl-C is heard and the bar moves
_MOST_EPOCHS_PER_CALL = 128
_BY_LAYER = ("fromage", "lamb", "lars", "novograd")
_MOST_ROWS_PER_CALL = 65536


class Moment(NamedTuple):
    """All that going on needs: where a training stands between two steps.

    Attributes:
        states: of each seed parameters, optimizer's state, best so far, average.
        step: the number of the next step, from 0 over all epochs.
        under_way: what the steps of the epoch under way gave so far, an `OfStep` of arrays (seeds, steps, …).
    """

    states: tuple[State, ...]
    step: int
    under_way: Any

    @property
    def state(self) -> State:
        """That of the first seed."""
        return self.states[0]


class Trainer:
    """The compiled program of one configuration, on its data.

    Attributes:
        program: network, optimizer and ways of training.
        net: the network.
        seeds: one, or several that train side by side.
        parts: the examples on the device: train, and where asked for, validation and test.
        size: how many examples an epoch has.
        steps: how many steps an epoch has.
        execution: how they run.
        compile_seconds: what compiling the training program took.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        self.config = config
        self.net = network_for(config.network, prepared)
        self.program = build_program(config, self.net)
        self.seeds = config.seeds or (config.seed,)
        self.parts = {part: _on_device(examples, config) for part, examples in prepared.parts.items()}
        self.size = len(prepared.parts["train"].x)
        self.batch_size = batch_size(config, self.size)
        self.steps = -(-self.size // self.batch_size)
        self.compile_seconds = 0.0
        self._target_scale = jnp.asarray(
            prepared.targets.scale, jnp.float64 if config.network.dtype == "float64" else jnp.float32
        )
        parts = self.program.microbatches
        self._width = -(-self.batch_size // parts) * parts
        rows = self.steps * self._width
        self._epochs_per_call = max(1, min(_MOST_EPOCHS_PER_CALL, _MOST_ROWS_PER_CALL // rows))
        self._table = np.zeros((len(self.seeds), self._epochs_per_call, self.steps, self._width), np.int32)
        self._table_of: tuple[int, int] | None = None
        last = self.size - self.batch_size * (self.steps - 1)
        self._shares = np.array([self.batch_size] * (self.steps - 1) + [last]) / self.size  # of each step in an epoch
        self._steps_per_call = 1
        stopping = config.training.early_stopping
        self._patience = Patience(np.int32(stopping.patience), np.float32(stopping.min_delta)) if stopping else None
        self.execution = Execution(self.program, self.batch_size, self.parts, self._target_scale, self._patience)

    @property
    def parameters(self) -> int:
        """How many numbers the network of one seed has."""
        return sum(leaf.size for leaf in jax.tree.leaves(structure(self.net)))

    def start(self) -> Moment:
        """The moment before the first step; compiles the training program, by taking no step."""
        network = self.config.network
        static = ("program", "initializer", "bias", "dtype", "stacked", "keep_best")
        initial = jitted(initial_state, static, SOONER_COMPILED)
        states = tuple(
            initial(
                self.program,
                np.uint32(seed),
                initializer=network.initializer,
                bias=network.initial_bias,
                dtype=network.dtype,
                stacked=self._as_one_loop(),
                keep_best=self._patience is not None,
            )
            for seed in self.seeds
        )
        jax.block_until_ready(states)  # if there is not memory enough, fail here
        started = time.perf_counter()
        _, outcome = self.execution(states, self._batches(0, 0), 0, 0)
        self.compile_seconds = time.perf_counter() - started
        return Moment(states, 0, jax.tree.map(lambda table: np.zeros_like(table[:, 0]), outcome.steps))

    def _as_one_loop(self) -> bool:
        """Whether runs of equal layers are stacked: for deep ones, where nothing treats each layer on its own."""
        by_layer = self.config.optimizer.name in _BY_LAYER or self.program.frozen
        return pays_as_one_loop(self.net) and not by_layer

    def advance(self, moment: Moment) -> tuple[Moment, list[dict[str, Any]]]:
        """Train for about a quarter of a second: several short epochs, or a part of a long one.

        Returns:
            The moment after some steps, and a record for each epoch completed: `loss` is the mean of J over the
            examples, each at the step that used it; of several seeds, each number is a list.

        Raises:
            TrainingDiverged: in the next step something is not finite: which, and why.
        """
        epoch, first = divmod(moment.step, self.steps)
        stop = self._next_stop(epoch, first)
        started = time.perf_counter()
        batches = self._batches(epoch, -(-stop // self.steps))
        states, outcome = self.execution(moment.states, batches, first, stop)
        self._set_pace(stop - first, time.perf_counter() - started)
        if not self._is_finite(outcome, first, stop):
            stop = self._last_finite(moment.states, batches, first, stop)  # keep the steps before it
            if stop == first:
                raise TrainingDiverged(self.diagnosis(moment))
            states, outcome = self.execution(moment.states, batches, first, stop)
        if not outcome.ran.any(axis=0).all():
            stop = min(stop, int(np.argmin(outcome.ran.any(axis=0))) * self.steps)
        return self._after(moment, states, outcome, stop)

    def has_stopped(self, moment: Moment) -> bool:
        """Whether early stopping has run out of patience, for every seed."""
        patience = self._patience
        return patience is not None and all(
            s.best is not None and s.best.since >= patience.epochs for s in moment.states
        )

    def chosen(self, moment: Moment, i: int) -> Params:
        """The parameters that a seed gives: with early stopping the best; else the average, or the last."""
        state = moment.states[i]
        if state.best and np.isfinite(state.best.loss):
            return state.best.params
        return self.program.chosen(state)

    def evaluate(self, params: Params, part: str) -> dict[str, float]:
        """Cost and metrics on one part of the data."""
        values = jax.device_get(evaluate(self.net, params, self.parts[part], self._target_scale))
        return {name: float(value) for name, value in zip(self._names(), values, strict=True)}

    def predict(self, params: Params, part: str) -> NDArray[Any]:
        """ŷ for one part of the data, as the network gives it."""
        tape = jax.jit(last_layer, static_argnums=0)(self.net, params, self.parts[part].x)
        return np.asarray(tape.h[-1], np.float64)

    def batch(self, i: int, step: int) -> NDArray[np.int32]:
        """The numbers of the training examples that a seed's step uses; −1 is none."""
        epoch, k = divmod(step, self.steps)
        return shuffled_batches(self.seeds[i], epoch, self.size, self.batch_size, self._width)[k]

    def diagnosis(self, moment: Moment) -> str:
        """What is not finite in the next step, and why."""
        epoch, k = divmod(moment.step, self.steps)
        for i, seed in enumerate(self.seeds):
            rows = self.batch(i, moment.step)
            found = diagnose(self.program, moment.states[i], self.parts["train"], rows)
            if found is not None:
                of = f" of seed {seed}" * (len(self.seeds) > 1)
                return f"epoch {epoch + 1}, step {k + 1} of {self.steps}{of}: {found}"
        return (
            f"epoch {epoch + 1}, step {k + 1} of {self.steps}: a number is not finite in the compiled step, while in "
            "the same step taken operation by operation all are: it happens at the edge of the dtype's range"
        )

    def _names(self) -> Sequence[str]:
        return ("loss", *METRICS[self.net.output_unit.kind])

    def _batches(self, epoch: int, count: int) -> NDArray[np.int32]:
        """A table for as many epochs as a call can have, filled for `count`; a long epoch needs it several times."""
        if self._table_of != (epoch, count):
            self._table_of = (epoch, count)
            for i, seed in enumerate(self.seeds):
                for e in range(count):
                    self._table[i, e] = shuffled_batches(seed, epoch + e, self.size, self.batch_size, self._width)
        return self._table

    def _next_stop(self, epoch: int, first: int) -> int:
        """Where to stop, at the end of an epoch if one is near enough, never beyond the last."""
        epochs = min(self._epochs_per_call, self.config.training.epochs - epoch)
        stop = min(first + self._steps_per_call, epochs * self.steps)
        return stop if stop < self.steps else stop - stop % self.steps

    def _set_pace(self, steps: int, seconds: float) -> None:
        at_this_speed = int(steps * _SECONDS_PER_CALL / max(seconds, 1e-9))
        self._steps_per_call = max(1, min(at_this_speed, 8 * steps))

    def _is_finite(self, outcome: Outcome, first: int, stop: int) -> bool:
        costs = outcome.steps.cost.reshape(len(self.seeds), -1)[:, first:stop]
        return bool(np.isfinite(costs).all() and outcome.finite.all())

    def _last_finite(self, states: tuple[State, ...], batches: Any, first: int, stop: int) -> int:
        """The last step up to which all is finite; by halving, for parameters are looked at after epochs only."""
        while stop - first > 1:
            middle = (first + stop) // 2
            after, outcome = self.execution(states, batches, first, middle)
            if self._is_finite(outcome, first, middle):
                states, first = after, middle
            else:
                stop = middle
        return first

    def _after(
        self, moment: Moment, states: tuple[State, ...], outcome: Outcome, stop: int
    ) -> tuple[Moment, list[dict[str, Any]]]:
        """The moment after the steps up to `stop`, and the records of the epochs that they completed."""
        epoch, first = divmod(moment.step, self.steps)
        under_way, records = moment.under_way, []
        for e in range(-(-stop // self.steps)):
            taken = slice(max(first - e * self.steps, 0), stop - e * self.steps)

            def with_taken(so_far: Any, table: Any, e: int = e, taken: slice = taken) -> Any:
                so_far = so_far.copy()
                so_far[:, taken] = table[:, e, taken]
                return so_far

            under_way = jax.tree.map(with_taken, under_way, outcome.steps)
            if stop >= (e + 1) * self.steps:
                records.append(self._record(epoch + e + 1, under_way, outcome, e))
                under_way = jax.tree.map(np.zeros_like, under_way)
        return Moment(states, epoch * self.steps + stop, under_way), records

    def _record(self, epoch: int, steps: Any, outcome: Outcome, e: int) -> dict[str, Any]:
        ran = outcome.ran[:, e]

        def of_seeds(values: Any) -> Any:
            """A number or list; of several seeds a list of them, NaN where patience had run out before."""
            if not ran.all():
                values = np.where(ran.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
            of_each = values.tolist()
            return of_each[0] if len(self.seeds) == 1 else of_each

        record = {"epoch": epoch, "loss": of_seeds(np.sum(steps.cost.astype(np.float64) * self._shares, axis=1))}
        for part in ("training", "validation"):
            if (results := getattr(outcome, part)) is not None:
                values = (of_seeds(value[:, e]) for value in results)
                record[part] = dict(zip(self._names(), values, strict=True))
        if steps.health is not None:
            means = {name: value.mean(axis=1) for name, value in steps.health._asdict().items()}
            record["layers"] = {name: of_seeds(value) for name, value in means.items()}
        return record


def _on_device(examples: Examples, config: Config) -> Examples:
    dtype = config.network.dtype
    are_classes = examples.y.ndim == 1
    return Examples(jnp.asarray(examples.x, dtype), jnp.asarray(examples.y, None if are_classes else dtype))
