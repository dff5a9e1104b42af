"""The training program of a configuration, called a quarter of a second at a time."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mlp_jax.mlp.parameters import Params, pays_as_one_loop
from mlp_jax.training.build import build_optimizer
from mlp_jax.training.config import Config
from mlp_jax.training.data import Examples, Prepared, network_for
from mlp_jax.training.errors import TrainingDiverged
from mlp_jax.training.metrics import METRICS, evaluate
from mlp_jax.training.step import Outcome, Patience, State, initial_state, run_steps, shuffled_batches

_SECONDS_PER_CALL = 0.25  # of the compiled program: how soon Ctrl-C is heard and the bar moves
_MOST_EPOCHS_PER_CALL = 128
_BY_LAYER = ("fromage", "lamb", "lars", "novograd")
_MOST_ROWS_PER_CALL = 65536


class Trainer:
    """The compiled program of one configuration, on its data.

    Attributes:
        net: the network.
        parts: the examples on the device: train, and where asked for, validation and test.
        size: how many examples an epoch has.
        steps: how many steps an epoch has.
        compile_seconds: what compiling the training program took.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        self.config = config
        self.net = network_for(config.network, prepared)
        self.optimizer = build_optimizer(config.optimizer, config.training.clip_norm)
        self.parts = {part: _on_device(examples, config) for part, examples in prepared.parts.items()}
        self.size = len(prepared.parts["train"].x)
        self.steps = -(-self.size // config.training.batch_size)
        self.compile_seconds = 0.0
        self._target_scale = jnp.asarray(
            prepared.targets.scale, jnp.float64 if config.network.dtype == "float64" else jnp.float32
        )
        rows = self.steps * config.training.batch_size
        self._epochs_per_call = max(1, min(_MOST_EPOCHS_PER_CALL, _MOST_ROWS_PER_CALL // rows))
        self._table = np.zeros((self._epochs_per_call, self.steps, config.training.batch_size), np.int32)
        self._table_of: tuple[int, int] | None = None
        self._steps_per_call = 1
        stopping = config.training.early_stopping
        self._patience = Patience(np.int32(stopping.patience), np.float32(stopping.min_delta)) if stopping else None
        self._costs = np.zeros(self.steps)  # of the epoch that is under way

    def initial_state(self) -> State:
        """The state before the first step."""
        network = self.config.network
        state = initial_state(
            self.net,
            self.optimizer,
            np.uint32(self.config.seed),
            initializer=network.initializer,
            bias=network.initial_bias,
            dtype=network.dtype,
            stacked=self._as_one_loop(),
            keep_best=self._patience is not None,
        )
        return jax.block_until_ready(state)  # if there is not memory enough, fail here

    def _as_one_loop(self) -> bool:
        """Whether runs of equal layers are stacked: for deep ones, where no optimizer treats each layer by its norm."""
        return pays_as_one_loop(self.net) and self.config.optimizer.name not in _BY_LAYER

    def compile(self, state: State) -> None:
        """Compile the training program, by taking no step."""
        started = time.perf_counter()
        self._run_steps(state, 0, 0, 0)
        self.compile_seconds = time.perf_counter() - started

    def advance(self, state: State, step: int) -> tuple[State, int, list[dict[str, Any]]]:
        """Train for about a quarter of a second: several short epochs, or a part of a long one.

        Args:
            state: the state before this step.
            step: the number of the step, from 0 over all epochs.

        Returns:
            The state after some steps, the number of the next step, and a record for each epoch completed:
            `loss` is the mean of J over the examples, each at the step that used it.

        Raises:
            TrainingDiverged: J or a parameter is not finite.
        """
        epoch, first = divmod(step, self.steps)
        stop = self._next_stop(epoch, first)
        started = time.perf_counter()
        after, outcome = self._run_steps(state, epoch, first, stop)
        self._set_pace(stop - first, time.perf_counter() - started)
        bad = self._first_not_finite(outcome, first, stop)
        if bad is not None:
            good = bad - bad % self.steps
            if good == 0:
                self._fail(outcome, epoch, bad)
            stop = good  # keep the epochs before it; the next call will fail
            after, outcome = self._run_steps(state, epoch, first, stop)
        if not outcome.ran.all():
            stop = min(stop, int(np.argmin(outcome.ran)) * self.steps)
        return after, step + stop - first, self._records(outcome, epoch, first, stop)

    def has_stopped(self, state: State) -> bool:
        """Whether early stopping has run out of patience."""
        return self._patience is not None and state.best is not None and int(state.best.since) >= self._patience.epochs

    def evaluate(self, params: Params, part: str) -> dict[str, float]:
        """Cost and metrics on one part of the data."""
        return self._by_name(jax.device_get(evaluate(self.net, params, self.parts[part], self._target_scale)))

    def _by_name(self, results: Sequence[Any]) -> dict[str, float]:
        names = ("loss", *METRICS[self.net.output_unit.kind])
        return {name: float(value) for name, value in zip(names, results, strict=True)}

    def _run_steps(self, state: State, epoch: int, first: int, stop: int) -> tuple[State, Outcome]:
        after, outcome = run_steps(
            self.net,
            self.optimizer,
            state,
            self.parts["train"],
            self.parts.get("validation"),
            self._target_scale,
            self._batches(epoch, -(-stop // self.steps)),
            first,
            stop,
            self._patience,
        )
        return after, jax.device_get(outcome)

    def _batches(self, epoch: int, count: int) -> NDArray[np.int32]:
        """A table for as many epochs as a call can have, filled for `count`; a long epoch needs it several times."""
        if self._table_of != (epoch, count):
            self._table_of = (epoch, count)
            for e in range(count):
                self._table[e] = shuffled_batches(
                    self.config.seed, epoch + e, self.size, self.config.training.batch_size
                )
        return self._table

    def _next_stop(self, epoch: int, first: int) -> int:
        """Where to stop, at the end of an epoch if one is near enough, never beyond the last."""
        epochs = min(self._epochs_per_call, self.config.training.epochs - epoch)
        stop = min(first + self._steps_per_call, epochs * self.steps)
        return stop if stop < self.steps else stop - stop % self.steps

    def _set_pace(self, steps: int, seconds: float) -> None:
        at_this_speed = int(steps * _SECONDS_PER_CALL / max(seconds, 1e-9))
        self._steps_per_call = max(1, min(at_this_speed, 8 * steps))

    def _first_not_finite(self, outcome: Outcome, first: int, stop: int) -> int | None:
        """The first step whose J, or by which a parameter, is not finite; parameters are looked at after epochs."""
        costs = first + np.flatnonzero(~np.isfinite(outcome.costs.ravel()[first:stop]))
        parameters = np.minimum((np.flatnonzero(~outcome.finite) + 1) * self.steps, stop) - 1
        return min([*costs.tolist(), *parameters.tolist()], default=None)

    def _fail(self, outcome: Outcome, epoch: int, step: int) -> None:
        J = outcome.costs[0, step]
        what = "a parameter became NaN or infinite" if np.isfinite(J) else f"the cost became {J}"
        at_start = epoch == step == 0 and not np.isfinite(J)
        remedy = "network.initializer: normal" if at_start else "a smaller optimizer.learning_rate"
        raise TrainingDiverged(
            f"{what} in epoch {epoch + 1}, step {step + 1} of {self.steps}{', at the initial weights' * at_start}; "
            f"{remedy} is the usual remedy"
        )

    def _records(self, outcome: Outcome, epoch: int, first: int, stop: int) -> list[dict[str, Any]]:
        batch_size = self.config.training.batch_size
        sizes = [batch_size] * (self.steps - 1) + [self.size - batch_size * (self.steps - 1)]
        records: list[dict[str, Any]] = []
        for e in range(-(-stop // self.steps)):
            taken = slice(max(first - e * self.steps, 0), stop - e * self.steps)
            self._costs[taken] = outcome.costs[e, taken]
            if stop >= (e + 1) * self.steps:
                loss = float(np.average(self._costs, weights=sizes))
                records.append({"epoch": epoch + e + 1, "loss": loss})
                if outcome.validation is not None:
                    records[-1]["validation"] = self._by_name([values[e] for values in outcome.validation])
        return records


def _on_device(examples: Examples, config: Config) -> Examples:
    dtype = config.network.dtype
    are_classes = examples.y.ndim == 1
    return Examples(jnp.asarray(examples.x, dtype), jnp.asarray(examples.y, None if are_classes else dtype))
