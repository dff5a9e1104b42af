"""A whole run: read the data, train, keep what was done, evaluate, and write the summary."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.mlp.network import Params
from mlp_jax.training import checkpoint, data
from mlp_jax.training.build import build_network, build_optimizer
from mlp_jax.training.config import Config, as_values
from mlp_jax.training.data import Examples, Prepared
from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training.metrics import evaluate
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.step import State, initial_state, run_steps, shuffled_batches

_SECONDS_PER_CALL = 0.25  # of the compiled program: how soon Ctrl-C is heard and the bar moves
_SECONDS_BETWEEN_CHECKPOINTS = 10.0


class Trainer:
    """The compiled program of one configuration, on its data.

    Attributes:
        net: the network.
        parts: the examples on the device: train, and where asked for, validation and test.
        compile_seconds: what compiling the training took.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        self.config = config
        self.net = build_network(config.network)
        self.optimizer = build_optimizer(config.optimizer)
        self._target_scale = jnp.asarray(prepared.targets.scale, jnp.float32)
        self.parts = {part: _on_device(examples, config) for part, examples in prepared.parts.items()}
        self.size = len(prepared.parts["train"].x)
        self.steps = -(-self.size // config.training.batch_size)
        self._steps_per_call = 1
        self.compile_seconds = 0.0

    def initial_state(self) -> State:
        """The state before the first step."""
        network = self.config.network
        return initial_state(
            self.net,
            self.optimizer,
            np.uint32(self.config.seed),
            initializer=network.initializer,
            bias=network.initial_bias,
            dtype=network.dtype,
        )

    def compile(self, state: State) -> None:
        """Compile what an epoch runs, by taking no step."""
        started = time.perf_counter()
        jax.block_until_ready(self._run_steps(state, self._batches(0), 0, 0))
        if "validation" in self.parts:
            self.evaluate(state.params, "validation")
        self.compile_seconds = time.perf_counter() - started

    def run_epoch(self, state: State, epoch: int, reporter: Reporter) -> tuple[State, float]:
        """Train for one epoch, counted from 0.

        Returns:
            The new state, and the mean of J over the examples, each at the step that used it.

        Raises:
            TrainingDiverged: J or a parameter is not finite.
        """
        batches = self._batches(epoch)
        costs = np.zeros(self.steps)
        first = 0
        while first < self.steps:
            stop = min(first + self._steps_per_call, self.steps)
            started = time.perf_counter()
            state, *checked = self._run_steps(state, batches, first, stop)
            taken, finite = jax.device_get(checked)
            costs[first:stop] = taken[first:stop]
            self._require_finite(costs, finite, epoch, first, stop)
            self._set_pace(stop - first, time.perf_counter() - started)
            first = stop
            reporter.within_epoch(epoch + stop / self.steps)
        return state, float(np.average(costs, weights=self._batch_sizes()))

    def evaluate(self, params: Params, part: str) -> dict[str, float]:
        """Cost and metrics on one part of the data."""
        J, metrics = jax.device_get(evaluate(self.net, params, self.parts[part], self._target_scale))
        return {"loss": float(J), **{name: float(value) for name, value in metrics.items()}}

    def _run_steps(self, state: State, batches: Any, first: int, stop: int) -> Any:
        return run_steps(self.net, self.optimizer, state, self.parts["train"], batches, first, stop)

    def _batches(self, epoch: int) -> Any:
        return shuffled_batches(self.config.seed, epoch, self.size, self.config.training.batch_size)

    def _batch_sizes(self) -> list[int]:
        batch_size = self.config.training.batch_size
        return [batch_size] * (self.steps - 1) + [self.size - batch_size * (self.steps - 1)]

    def _set_pace(self, steps: int, seconds: float) -> None:
        at_this_speed = int(steps * _SECONDS_PER_CALL / max(seconds, 1e-9))
        self._steps_per_call = max(1, min(at_this_speed, 8 * steps, self.steps))

    def _require_finite(self, costs: Any, parameters: bool, epoch: int, first: int, stop: int) -> None:
        bad = first + np.flatnonzero(~np.isfinite(costs[first:stop]))
        if len(bad):
            what = f"the cost became {costs[bad[0]]} in epoch {epoch + 1}, step {bad[0] + 1} of {self.steps}"
        elif not parameters:
            what = f"a parameter became NaN or infinite in epoch {epoch + 1}, by step {stop} of {self.steps}"
        else:
            return
        raise TrainingDiverged(f"{what}; a smaller optimizer.learning_rate is the usual remedy")


def train(
    config: Config,
    run_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    reporter: type[Reporter] = Reporter,
) -> dict[str, Any]:
    """Train a network as the configuration says, and keep the run in a directory.

    Args:
        config: the run, from `config.load`.
        run_dir: where to write; see `RunDirectory`.
        resume: go on with the run that is there; from the beginning if there is none.
        overwrite: remove the run that is there.
        reporter: what shows the progress.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: the data or the run directory does not allow it.
        TrainingDiverged: J or a parameter became NaN or infinite; the weights from before that epoch are kept.
        TrainingInterrupted: Ctrl-C; the epochs that were completed are kept.
    """
    started = time.perf_counter()
    _require_dtype(config.network.dtype)
    directory = RunDirectory(run_dir)
    _require_free(directory, config, resume, overwrite)
    prepared = data.prepare(config)
    trainer = Trainer(config, prepared)
    state, done = trainer.initial_state(), 0
    if resume and directory.checkpoint.exists():
        state, done = checkpoint.load_checkpoint(directory.checkpoint, like=state)
        directory.save_config(config)
    else:
        directory.start(config)
    trainer.compile(state)

    def finish(status: str) -> dict[str, Any]:
        now = time.perf_counter()
        seconds = {"compile": trainer.compile_seconds, "training": now - training, "all": now - started}
        _keep(directory, state, done, prepared)
        summary = _summary(trainer, state, done, status, seconds)
        directory.save_summary(summary)
        return summary

    training = kept = time.perf_counter()
    try:
        with (
            directory.open_metrics(done) as metrics,
            reporter(config.training.epochs, done, trainer.size) as report,
        ):
            for epoch in range(done, config.training.epochs):
                state_after, cost = trainer.run_epoch(state, epoch, report)
                record: dict[str, Any] = {"epoch": epoch + 1, "loss": cost}
                if "validation" in trainer.parts:
                    record["validation"] = trainer.evaluate(state_after.params, "validation")
                directory.log(metrics, record)
                state, done = state_after, epoch + 1
                report.after_epoch(done, record)
                if time.perf_counter() - kept > _SECONDS_BETWEEN_CHECKPOINTS:
                    _keep(directory, state, done, prepared)
                    kept = time.perf_counter()
    except TrainingDiverged as error:
        finish("diverged")
        raise TrainingDiverged(f"{error}. The weights after epoch {done} are in {directory.weights}") from None
    except KeyboardInterrupt:
        finish("interrupted")
        raise TrainingInterrupted(f"stopped after {done} of {config.training.epochs} epochs") from None
    return finish("finished")


def _on_device(examples: Examples, config: Config) -> Examples:
    dtype = config.network.dtype
    y = examples.y if examples.y.dtype.kind == "i" else jnp.asarray(examples.y, dtype)
    return Examples(jnp.asarray(examples.x, dtype), jnp.asarray(y))


def _keep(directory: RunDirectory, state: State, done: int, prepared: Prepared) -> None:
    with directory.writing():
        checkpoint.save_checkpoint(directory.checkpoint, state, done)
        checkpoint.save_weights(directory.weights, state.params, prepared)


def _require_dtype(dtype: str) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f'network.dtype: {dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on'
        )


def _require_free(directory: RunDirectory, config: Config, resume: bool, overwrite: bool) -> None:
    if not directory.holds_a_run() or overwrite:
        return
    if not resume:
        raise InputError(
            f"{directory.path} holds a run; go on with it (--resume), replace it (--overwrite), "
            "or name another directory (--run-dir)"
        )
    before, now = _flat(as_values(directory.load_config())), _flat(as_values(config))
    changed = [key for key in before | now if before.get(key) != now.get(key) and key != "training.epochs"]
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise InputError(
            f"{directory.path} holds a run of another configuration: {differences}. "
            "Only training.epochs may change on --resume"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _summary(trainer: Trainer, state: State, done: int, status: str, seconds: dict[str, float]) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "status": status,
        "epochs": done,
        "results": {part: trainer.evaluate(state.params, part) for part in trainer.parts},
        "examples": {part: len(examples.x) for part, examples in trainer.parts.items()},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "seconds": {what: round(value, 3) for what, value in seconds.items()},
        "device": f"{device.platform}: {device.device_kind}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mlp_jax", "jax", "jaxlib", "optax", "numpy")},
        },
    }
