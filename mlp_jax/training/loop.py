"""A whole run: read the data, train, keep what was done, evaluate, and write the summary."""

import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from mlp_jax.mlp.parameters import Params
from mlp_jax.training import checkpoint, data
from mlp_jax.training.config import Config, as_values
from mlp_jax.training.data import Prepared
from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.step import State
from mlp_jax.training.trainer import Trainer

_SECONDS_BETWEEN_CHECKPOINTS = 10.0


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
        TrainingDiverged: J or a parameter became NaN or infinite; the last good weights are kept.
        TrainingInterrupted: Ctrl-C; the epochs that were completed are kept.
    """
    started = time.perf_counter()
    _require_dtype(config.network.dtype)
    directory = RunDirectory(run_dir)
    _require_free(directory, config, resume, overwrite)
    with _out_of_memory_explained(), reporter(config.training.epochs) as report:
        prepared = data.prepare(config)
        trainer = Trainer(config, prepared)
        state, done = trainer.initial_state(), 0
        goes_on = resume and directory.checkpoint.exists()
        if goes_on:
            state, done = checkpoint.load_checkpoint(directory.checkpoint, state, prepared)
            _require_more_epochs(done, config, directory)
        trainer.compile(state)
        if goes_on:
            directory.save_config(config)
        else:
            directory.start(config)
        run = Run(directory, prepared, trainer, state, done, started)
        report.start(done, trainer.size)
        try:
            run.train(report)
        except TrainingDiverged as error:
            run.finish("diverged")
            raise TrainingDiverged(f"{error}. The weights after epoch {run.done} are in {directory.weights}") from None
        except KeyboardInterrupt:
            run.finish("interrupted")
            raise TrainingInterrupted(f"stopped after {run.done} of {config.training.epochs} epochs") from None
        return run.finish("finished")


class Run:
    """A training under way: the last state at the end of an epoch, and where it is kept."""

    def __init__(
        self, directory: RunDirectory, prepared: Prepared, trainer: Trainer, state: State, done: int, started: float
    ) -> None:
        self.directory = directory
        self.prepared = prepared
        self.trainer = trainer
        self.state = state
        self.done = done
        self.started = started
        self.training_started = self.kept = time.perf_counter()

    def train(self, report: Reporter) -> None:
        """Run the epochs that are left."""
        trainer, epochs = self.trainer, self.trainer.config.training.epochs
        latest, step = self.state, self.done * trainer.steps
        with (
            self.directory.writing(),
            self.directory.open_metrics(self.done) as metrics,
            _interrupts_noted() as interrupted,
        ):
            while self.done < epochs and not trainer.has_stopped(self.state):
                latest, step, records = trainer.advance(latest, step)
                for record in records:
                    self.directory.log(metrics, record)
                if records:  # the call ended with an epoch
                    self.state, self.done = latest, records[-1]["epoch"]
                report.advanced(step / trainer.steps, records)
                if interrupted():
                    raise KeyboardInterrupt
                if time.perf_counter() - self.kept > _SECONDS_BETWEEN_CHECKPOINTS:
                    self.keep()

    @property
    def chosen(self) -> Params:
        """The parameters that a run gives: with early stopping the best, else the last."""
        return self.state.best.params if self.state.best and self.done else self.state.params

    def keep(self) -> None:
        """Write the checkpoint and the weights."""
        with self.directory.writing():
            checkpoint.save_checkpoint(self.directory.checkpoint, self.state, self.done, self.prepared)
            checkpoint.save_weights(self.directory.weights, self.trainer.net, self.chosen, self.prepared)
        self.kept = time.perf_counter()

    def finish(self, status: str) -> dict[str, Any]:
        """Keep what was done, evaluate it, and write the summary."""
        now = time.perf_counter()
        seconds = {
            "compile": self.trainer.compile_seconds,
            "training": now - self.training_started,
            "all": now - self.started,
        }
        self.keep()
        summary = _summary(self.trainer, self.state, self.done, status, seconds)
        if self.state.best:
            summary["best_epoch"] = self.done - int(self.state.best.since)
        if status != "interrupted":  # which is to stop at once
            parts = self.trainer.parts
            summary["results"] = {part: self.trainer.evaluate(self.chosen, part) for part in parts}
        self.directory.save_summary(summary)
        return summary


def _require_dtype(dtype: str) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f'network.dtype: {dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on'
        )


def _require_free(directory: RunDirectory, config: Config, resume: bool, overwrite: bool) -> None:
    if directory.is_free() or overwrite:
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


def _require_more_epochs(done: int, config: Config, directory: RunDirectory) -> None:
    if done > config.training.epochs:
        raise InputError(
            f"the run in {directory.path} has {done} epochs; training.epochs is {config.training.epochs}. "
            f"Set it to {done} or more to go on"
        )


@contextmanager
def _interrupts_noted() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C be asked for between calls of the program; a second one is as before. On the main thread only."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise InputError("the data need more memory than there is") from None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"network.widths, batch_size or the data need more memory than there is: {reason}") from None


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
        "examples": {part: len(examples.x) for part, examples in trainer.parts.items()},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "seconds": {what: round(value, 3) for what, value in seconds.items()},
        "device": f"{device.platform}: {device.device_kind}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mlp_jax", "jax", "jaxlib", "optax", "numpy")},
        },
    }
