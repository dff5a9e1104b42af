"""The training of one network under way: the moment it has come to, its records, and where it is kept."""

import time
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import InputError, TrainingDiverged
from mlp_jax.guest import as_guest
from mlp_jax.processes.together import everyones, from_first, together
from mlp_jax.training import config as configuration
from mlp_jax.training.config import Config
from mlp_jax.training.devices import here
from mlp_jax.training.moment import Moment
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.step import State
from mlp_jax.training.store import checkpoint
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.store.weights import Model, model_of, save_weights
from mlp_jax.training.tensorboard import Board, summary_writer
from mlp_jax.training.trainer import Trainer


class Training:
    """One network, one seed; `loop.train` takes it forward.

    Attributes:
        config: its configuration, of one seed.
        history: the records of the epochs done.
        ended: whether there is no step left to take.
        diverged: why it cannot go on, if so.
    """

    def __init__(self, config: Config, trainer: Trainer, report: Reporter, start_from: State | None = None) -> None:
        """Before the first step, and kept nowhere; see `begin`."""
        if config.training.tensorboard:
            summary_writer()  # it must be installed
        self.config = config
        self.trainer = trainer
        self.history: list[dict[str, Any]] = []
        self.diverged: str | None = None
        self._directory: RunDirectory | None = None
        self._report = report
        self._x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
        self._batches = trainer.batches(config.seed)
        self._moment = trainer.start(config.seed, start_from)
        self._board: Any = None
        self._started = self._kept = time.perf_counter()

    def begin(self, directory: RunDirectory | None, resume: bool) -> "Training":
        """Begin, or where `resume` says so, go on from the newest checkpoint of the directory.

        Raises:
            InputError: the directory does not allow it.
        """
        self._directory = directory
        self._started = self._kept = time.perf_counter()
        together(lambda: self._begin_in(directory, resume))
        self._moment = self.trainer.placed(from_first(self._moment))
        return self

    def _begin_in(self, directory: RunDirectory | None, resume: bool) -> None:
        if directory is None:  # or that of another process
            return
        self._moment = self._first_moment(directory, resume)
        self.history = directory.begin_metrics(self.epochs)
        if self.config.training.tensorboard:
            self._board = Board(directory.place / "tensorboard", self.epochs)
        directory.save_summary(summary_of(self.trainer, "running", self.epochs, {}))

    @property
    def ended(self) -> bool:
        """Whether all steps are done, early stopping has had enough, or a number is not finite."""
        return self.diverged is not None or self.trainer.has_ended(self._moment)

    @property
    def epochs(self) -> int:
        """How many epochs were completed."""
        return self._moment.step // self.trainer.steps

    @property
    def done(self) -> float:
        """How many epochs are done, the last perhaps in part."""
        return self._moment.step / self.trainer.steps

    def progress(self) -> str:
        """How far it came, in words."""
        steps = self._moment.step % self.trainer.steps
        more = f" and {steps} of {self.trainer.steps} steps of the next" if steps else ""
        return f"{self.epochs} of {self.config.training.epochs} epochs{more}"

    def advance(self) -> tuple[Moment, list[dict[str, Any]]]:
        """What `Trainer.advance` makes of the moment, which stays as it is; it may run in any thread."""
        with as_guest(), jax.enable_x64(self._x64):  # JAX's settings are those of a thread
            return self.trainer.advance(self._moment, self._batches)

    def take(self, moment: Moment, records: list[dict[str, Any]]) -> None:
        """Go to a moment that `advance` gave; where it is the same, find out why."""
        if moment.step == self._moment.step:
            self.diverged = self.trainer.diagnosis(moment, self._batches)
            return
        self._moment = moment
        self.history += records
        if self._directory:
            self._directory.log(records)
        if everyones(time.perf_counter() - self._kept > self.config.training.checkpoint_seconds)[0]:
            self.keep()
        if self._board:
            self._board.add(records)

    def keep(self) -> None:
        """Write the checkpoint and the weights; processes that write nothing wait for the one that does."""
        together(self._save)
        self._kept = time.perf_counter()

    def _save(self) -> None:
        if directory := self._directory:
            with directory.writing():
                directory.sync_metrics()
                checkpoint.save_next(directory.checkpoints, self._moment, self.config, self.trainer.prepared)
                belongs_to = configuration.fingerprint(self.config)
                save_weights(directory.weights, self.trainer.net, self._model(), belongs_to)

    def finish(self, seconds_before: float = 0.0, interrupted: bool = False) -> Run:
        """Keep what was done, evaluate it unless somebody asked to stop, and write the summary.

        `seconds_before` is what it took before this training began.
        """
        took = time.perf_counter() - self._started
        self.keep()
        model = self._model()
        status = "interrupted" if interrupted else "diverged" if self.diverged else "finished"
        seconds = {"compile": self.trainer.compile_seconds, "training": took, "all": seconds_before + took}
        summary = summary_of(self.trainer, status, self.epochs, seconds)
        if self.diverged:
            summary["reason"] = self.diverged
        if best := self._moment.best:
            stopping: Any = self.config.training.early_stopping
            if not best.params:
                summary["early_stopping"] = self._how_it_stopped("the last weights are kept")
            elif np.isfinite(best.loss):
                summary["best_epoch"] = self.epochs - int(best.since)
                summary["early_stopping"] = self._how_it_stopped(
                    f"the weights of epoch {summary['best_epoch']} are kept, which has the best validation "
                    f"{stopping.metric or 'cost'}"
                )
            else:
                self._report.say(
                    f"seed {self.config.seed}: the validation cost was never finite: early stopping could not choose, "
                    "the last weights are kept"
                )
        if self.trainer.prepared.said:
            summary["said"] = list(self.trainer.prepared.said)
        if not interrupted:
            summary |= self.trainer.summary(model.params)
        if self._board:
            self._board.close()
        if self._directory:
            self._directory.save_summary(summary)
        results = summary.get("results", {})
        return Run(self.config, self.trainer.net, model, results, self.history, summary, state=here(self._moment.state))

    def _how_it_stopped(self, kept: str) -> str:
        """In words: whether patience ran out, and which weights are kept."""
        best, stopping = self._moment.best, self.config.training.early_stopping
        if best and stopping and int(best.stalled) >= stopping.patience:
            return f"stopped early, after epoch {self.epochs} of {self.config.training.epochs}; {kept}"
        return f"ran to epoch {self.epochs}; {kept}"

    def why_diverged(self) -> TrainingDiverged:
        """The error that says why, and where the report of it is, which this writes."""
        if not self._directory:
            return TrainingDiverged(self.diverged)
        epoch, step = divmod(self._moment.step, self.trainer.steps)
        rows = self._batches.of_step(epoch, step).tolist()
        self._directory.save_crash(
            f"{self.diverged}\nThe examples of that step, counted from 0 in the training part: {rows}\n"
            f"{self._directory.weights} and the newest checkpoint are of the moment before it."
        )
        return TrainingDiverged(
            f"{self.diverged}. The report is {self._directory.crash}, the weights are those before that step; "
            f"{self.trainer.remedy()}"
        )

    def _first_moment(self, directory: RunDirectory, resume: bool) -> Moment:
        """The moment from which to go on: that of the newest checkpoint, or the start of a new run."""
        found = self.found_in(directory, self.config) if resume else None
        if found:
            directory.save_config(self.config)
            return found
        if resume and directory.config.exists():
            self._report.say(f"{directory.path} has no checkpoint yet: starting from the beginning")
        directory.start(self.config)
        return self._moment

    def found_in(self, directory: RunDirectory, config: Config) -> Moment | None:
        """The moment from which a run of this configuration (its seed may differ) can go on; None if there is none.

        Raises:
            InputError: it cannot go on; nothing has been changed.
        """
        trainer = self.trainer
        found = checkpoint.load_newest(directory.checkpoints, self._moment, config, trainer.prepared, self._report.say)
        if not found:
            if directory.weights.exists():
                raise InputError(
                    f"{directory.path} has weights, but no checkpoint to go on from: put {directory.checkpoints} back, "
                    "or train anew with overwrite=True"
                )
            return None
        done = -(-found.step // trainer.steps)
        if done > config.training.epochs:
            raise InputError(
                f"the run in {directory.path} has {done} epochs; training.epochs is {config.training.epochs}. "
                f"Set it to {done} or more to go on"
            )
        directory.records_of(found.step // trainer.steps)
        return found

    def _model(self) -> Model:
        return model_of(self.trainer.chosen(here(self._moment)), self.trainer.net, self.trainer.prepared)


def summary_of(trainer: Trainer, status: str, epochs: int, seconds: dict[str, float]) -> dict[str, Any]:
    """What is known of a run, but its results."""
    network = trainer.config.network
    return {
        "status": status,
        "epochs": epochs,
        "steps_per_epoch": trainer.steps,
        "examples": {part: len(examples.x) for part, examples in trainer.prepared.parts.items()},
        "data": trainer.prepared.fingerprint,
        "parameters": trainer.parameters,
        "precision": {"parameters": network.dtype, "products": network.products or network.dtype},
        "seconds": {what: round(value, 3) for what, value in seconds.items()},
        **trainer.environment,
    }
