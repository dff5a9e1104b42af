"""A whole run: read the data, train, keep what was done, evaluate, and write the summary."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from mlp_jax.training import checkpoint, data, failure
from mlp_jax.training import config as configuration
from mlp_jax.training.config import Config, as_values
from mlp_jax.training.data import Prepared
from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training.progress import Reporter
from mlp_jax.training.record import environment, flat
from mlp_jax.training.run import Run, over_seeds, require_dtype
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.trainer import Moment, Trainer
from mlp_jax.training.weights import Model, model_of, save_weights


def fit(
    config: Config | dict[str, Any],
    examples: Any = None,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reporter: type[Reporter] = Reporter,
) -> Run:
    """Train a network as the configuration says.

    Args:
        config: what a YAML file would say, as a dict, or a configuration that `config.load` read.
        examples: a pair of arrays, inputs x (n, d) and targets y, (n,) class numbers or (n, k); None to read what
            the configuration names.
        run_dir: where to keep the run; see `RunDirectory`. None keeps nothing.
        resume: go on with the run that is there, to the same bits as without a break; from the beginning if there is
            none.
        overwrite: remove the run that is there.
        reporter: what shows the progress.

    Raises:
        InputError: the configuration is wrong, or the data or the run directory does not allow it.
        TrainingDiverged: a number became NaN or infinite: says layer, quantity and cause; the weights before are kept.
        TrainingInterrupted: Ctrl-C or a request to end (SIGTERM); all steps that were taken are kept.

    >>> import numpy as np
    >>> from mlp_jax.training import fit
    >>> x = np.linspace(-1, 1, 60)[:, None]
    >>> run = fit(
    ...     {
    ...         "network": {"widths": [1, 8, 1], "hidden": "tanh"},
    ...         "optimizer": {"name": "adam", "learning_rate": 0.05},
    ...         "training": {"epochs": 60, "batch_size": 16},
    ...     },
    ...     (x, np.sin(3 * x)),
    ... )
    >>> run.results["test"]["rmse"] < 0.1, len(run.history), run.params[0].W.shape
    (True, 60, (1, 8))
    """
    started = time.perf_counter()
    if resume and overwrite:
        raise InputError("resume goes on with a run, overwrite replaces it: give one of them")
    config = _as_config(config, examples)
    require_dtype(config.network.dtype)
    with _out_of_memory_explained(), reporter(config.training.epochs) as report, ExitStack() as stack:
        stack.enter_context(jax.numpy_dtype_promotion("standard"))  # optax needs it, whatever the caller's setting
        prepared = data.prepare(config, examples)
        directory = RunDirectory(Path(run_dir)) if run_dir is not None else None
        if directory:
            _require_free(directory, config, resume, overwrite)
        trainer = Trainer(config, prepared)
        moment = trainer.start()
        if directory:
            stack.enter_context(directory.held())
            _require_free(directory, config, resume, overwrite)  # again: another run may have begun meanwhile
            moment = _begin(directory, moment, config, prepared, resume, report)
        training = _Training(directory, prepared, trainer, moment, started)
        report.start(moment.step / trainer.steps, trainer.size * len(trainer.seeds))
        if directory:
            directory.save_summary(summary_of(trainer, prepared, "running", training.done, {}))
        try:
            training.train(report, stack)
        except TrainingDiverged as error:
            raise TrainingDiverged(training.keep_crash(str(error))) from None
        except _Stopped as stop:
            training.finish("interrupted")
            raise TrainingInterrupted(f"stopped after {training.progress()}", stop.signal) from None
        if any(s.best is not None and not np.isfinite(s.best.loss) for s in training.moment.states):
            report.say(
                "the validation cost was never finite: early stopping could not choose, the last weights are kept"
            )
        return training.finish("finished")


def replay(run_dir: str | Path) -> str:
    """Take the step that made a run diverge again, and say what happens.

    Raises:
        InputError: the run did not diverge, or its files or data do not allow it.
    """
    directory = RunDirectory(Path(run_dir))
    config = directory.load_config()
    if not (directory.crash / failure.STATE).exists():
        raise InputError(f"{directory.path} holds no crash: its run did not diverge, or the folder crash was removed")
    require_dtype(config.network.dtype)
    prepared = data.prepare(config)
    with jax.numpy_dtype_promotion("standard"):  # as in `fit`
        trainer = Trainer(config, prepared)
        moment = checkpoint.load(directory.crash / failure.STATE, trainer.start(), config, prepared)
        return trainer.diagnosis(moment)


class _Stopped(BaseException):
    """Ctrl-C or a request to end came while training."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


class _Training:
    """A training under way: the moment it has come to, and where it is kept."""

    def __init__(
        self, directory: RunDirectory | None, prepared: Prepared, trainer: Trainer, moment: Moment, started: float
    ) -> None:
        self.directory = directory
        self.prepared = prepared
        self.trainer = trainer
        self.moment = moment
        self.started = started
        self.history: list[dict[str, Any]] = []
        self.metrics: TextIO | None = None
        self.training_started = self.kept = time.perf_counter()

    @property
    def done(self) -> int:
        """How many epochs were completed."""
        return self.moment.step // self.trainer.steps

    def progress(self) -> str:
        """How far it came, in words."""
        steps = self.moment.step % self.trainer.steps
        more = f" and {steps} of {self.trainer.steps} steps of the next" if steps else ""
        return f"{self.done} of {self.trainer.config.training.epochs} epochs{more}"

    def train(self, report: Reporter, stack: ExitStack) -> None:
        """Run the epochs that are left."""
        self.training_started = self.kept = time.perf_counter()
        trainer, training = self.trainer, self.trainer.config.training
        boards = []
        if self.directory:
            self.metrics, self.history = stack.enter_context(self.directory.open_metrics(self.done))
            if training.tensorboard:
                from mlp_jax.training.tensorboard import writer

                boards.append(stack.enter_context(writer(self.directory.path, self.done)))
        with _requests_to_stop() as stopped:
            while self.done < training.epochs and not trainer.has_stopped(self.moment):
                self.moment, records = trainer.advance(self.moment)
                for record in records:
                    self.history.append(record)
                    if self.directory and self.metrics:
                        self.directory.log(self.metrics, record)
                    for board in boards:
                        board(record)
                report.advanced(self.moment.step / trainer.steps, records)
                if request := stopped():
                    raise _Stopped(request)
                if time.perf_counter() - self.kept > training.checkpoint_seconds:
                    self.keep()

    def keep(self) -> None:
        """Write the checkpoint and the weights."""
        if self.directory:
            with self.directory.writing():
                if self.metrics and not self.metrics.closed:
                    os.fsync(self.metrics.fileno())  # a checkpoint never knows more epochs than the metrics
                checkpoint.save_next(self.directory.checkpoints, self.moment, self.trainer.config, self.prepared)
                for i, seed in enumerate(self.trainer.seeds):
                    self._directory_of(seed).path.mkdir(exist_ok=True)
                    belongs_to = configuration.fingerprint(self._config_of(i))
                    save_weights(self._directory_of(seed).weights, self.trainer.net, self._model(i), belongs_to)
        self.kept = time.perf_counter()

    def keep_crash(self, what: str) -> str:
        """Write the moment before a divergence, and say what happened and where it is kept."""
        self.finish("diverged", what)
        if not self.directory:
            return what
        folder = self.directory.crash
        with self.directory.writing():
            folder.mkdir(exist_ok=True)
            checkpoint.save(folder / failure.STATE, self.moment, self.trainer.config, self.prepared)
            batches = [self.trainer.batch(i, self.moment.step) for i in range(len(self.trainer.seeds))]
            failure.write_report(folder, what, self.moment.step, self.trainer.seeds, batches)
        return (
            f"{what}. The moment before that step is in {folder}; `mlp-jax replay {self.directory.path}` shows it "
            "again; a smaller optimizer.learning_rate or training.clip_norm is the usual remedy"
        )

    def finish(self, status: str, reason: str | None = None) -> Run:
        """Keep what was done, evaluate it, and write the summary."""
        now = time.perf_counter()
        seconds = {
            "compile": self.trainer.compile_seconds,
            "training": now - self.training_started,
            "all": now - self.started,
        }
        self.keep()
        runs = [self._run_of(i, status, reason, seconds) for i in range(len(self.trainer.seeds))]
        run = runs[0] if len(runs) == 1 else self._run_of_all(tuple(runs), seconds)
        if self.directory:
            self.directory.save_summary(run.summary)
            for one in run.seeds:
                child = self.directory.of_seed(one.config.seed)
                child.save_config(one.config)
                with child.open_metrics(0) as (metrics, _):
                    for record in one.history:
                        child.log(metrics, record)
                child.save_summary(one.summary)
        return run

    def _directory_of(self, seed: int) -> RunDirectory:
        assert self.directory
        return self.directory if len(self.trainer.seeds) == 1 else self.directory.of_seed(seed)

    def _config_of(self, i: int) -> Config:
        config, seeds = self.trainer.config, self.trainer.seeds
        return config if len(seeds) == 1 else config.model_copy(update={"seed": seeds[i], "seeds": None})

    def _model(self, i: int) -> Model:
        return model_of(self.trainer.chosen(self.moment, i), self.prepared)

    def _run_of(self, i: int, status: str, reason: str | None, seconds: dict[str, float]) -> Run:
        trainer, state, model = self.trainer, self.moment.states[i], self._model(i)
        config, history = self._config_of(i), self.history
        if len(trainer.seeds) > 1:
            history = [_of_seed(record, i) for record in history]
            history = history[: next((k for k, r in enumerate(history) if r["loss"] != r["loss"]), None)]
        summary = summary_of(trainer, self.prepared, status, len(history) if trainer.seeds[1:] else self.done, seconds)
        if reason:
            summary["reason"] = reason
        if state.best:
            summary["best_epoch"] = summary["epochs"] - int(state.best.since)
        results: dict[str, Any] = {}
        if status != "interrupted":  # which is to stop at once
            results = {part: trainer.evaluate(model.params, part) for part in trainer.parts}
            summary["results"] = results
        return Run(config, trainer.net, model, results, history, summary)

    def _run_of_all(self, runs: tuple[Run, ...], seconds: dict[str, float]) -> Run:
        summary = runs[0].summary | {"epochs": self.done, "seeds": list(self.trainer.seeds)}
        summary.pop("best_epoch", None)
        results = over_seeds([run.results for run in runs])
        if results:
            summary["results"] = results
        return Run(self.trainer.config, self.trainer.net, None, results, self.history, summary, runs)


def summary_of(
    trainer: Trainer, prepared: Prepared, status: str, epochs: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """What is known of a run, but its results."""
    network = trainer.config.network
    return {
        "status": status,
        "epochs": epochs,
        "steps_per_epoch": trainer.steps,
        "examples": {part: len(examples.x) for part, examples in trainer.parts.items()},
        "data": prepared.fingerprint,
        "parameters": trainer.parameters,
        "precision": {"parameters": network.dtype, "products": network.products or network.dtype},
        "seconds": {what: round(value, 3) for what, value in seconds.items()},
        **environment(),
    }


def _of_seed(record: Any, i: int) -> Any:
    """A seed's part of a record, whose lists have an entry for each seed."""
    if isinstance(record, dict):
        return {key: _of_seed(value, i) for key, value in record.items()}
    value = record[i] if isinstance(record, list) else record
    return float("nan") if value is None else value


def _as_config(config: Config | dict[str, Any], examples: Any) -> Config:
    if isinstance(config, Config):
        if examples is not None and config.data.source != "arrays":
            raise InputError(f"give examples, or a configuration with data.source {config.data.source}: not both")
        return config
    if not isinstance(config, dict):
        raise InputError(f"config must be a dict or a Config that config.load read, got {type(config).__name__}")
    if examples is not None:
        section = config.get("data") or {}
        if not isinstance(section, dict) or section.get("source", "arrays") != "arrays":
            raise InputError("give examples, or a data section with a source: not both")
        config = {**config, "data": {**section, "source": "arrays"}}
    return configuration.from_values(config)


def _require_free(directory: RunDirectory, config: Config, resume: bool, overwrite: bool) -> None:
    children = [directory.of_seed(seed) for seed in config.seeds or ()]
    if overwrite or (directory.is_free() and all(child.is_free() for child in children)):
        return
    if not resume:
        raise InputError(
            f"{directory.path} holds a run; go on with it (--resume), replace it (--overwrite), "
            "or name another directory (--run-dir)"
        )
    before, now = flat(as_values(directory.load_config())), flat(as_values(config))
    free = [f"training.{key}" for key in configuration.FREE_TO_CHANGE]
    changed = [key for key in before | now if before.get(key) != now.get(key) and key not in free]
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise InputError(
            f"{directory.path} holds a run of another configuration: {differences}. "
            f"Only {', '.join(free)} may change on --resume"
        )


def _begin(
    directory: RunDirectory, start: Moment, config: Config, prepared: Prepared, resume: bool, report: Reporter
) -> Moment:
    """The moment from which to go on: that of the newest checkpoint, or the start of a new run."""
    steps = start.under_way.cost.shape[1]
    found = resume and checkpoint.load_newest(directory.checkpoints, start, config, prepared, report.say)
    if not found:
        if resume and any(run.weights.exists() for run in (directory, *map(directory.of_seed, config.seeds or ()))):
            raise InputError(
                f"{directory.path} has weights, but no checkpoint to go on from: put {directory.checkpoints} back, or "
                "train anew with --overwrite"
            )
        if resume and directory.config.exists():
            report.say(f"{directory.path} has no checkpoint yet: starting from the beginning")
        directory.start(config)
        return start
    done = -(-found.step // steps)
    if done > config.training.epochs:
        raise InputError(
            f"the run in {directory.path} has {done} epochs; training.epochs is {config.training.epochs}. "
            f"Set it to {done} or more to go on"
        )
    directory.save_config(config)
    return found


@contextmanager
def _requests_to_stop() -> Iterator[Callable[[], int]]:
    """Let Ctrl-C and SIGTERM be asked for between calls of the program; a second one is as before.

    On the main thread only.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: noted[0] if noted else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
