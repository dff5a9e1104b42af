"""The folder of a run: what it holds, that no run is overwritten unasked, and that one training uses it at a time."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.files import NO_FILE, Lock, opened_own, read_own, unfinished, write_atomically
from mlp_jax.training import config as configuration
from mlp_jax.training.config import Config, yaml
from mlp_jax.training.store.forms import Record, Summary, SummaryOfSeveral

CHECKPOINTS = "step-*.safetensors"  # in their folder
_KINDS = ("seed", "fold", "run")  # of runs of which several are made


class RunDirectory:
    """The files of a run; of several, config and summary, and a folder for each, which is a run of its own.

    Whatever cannot be read or written, or is in use, is an `InputError` that names it and says what to do.

    Attributes:
        config: `config.yaml`, the resolved configuration.
        metrics: `metrics.jsonl`, a line per epoch.
        weights: `weights.safetensors`, the network that the run gives; with early stopping the best one.
        schema: `schema.json`, of a table: how it becomes inputs of the network.
        predictions: `predictions.csv`, of folds: for each example, when it was held out.
        checkpoints: `checkpoints/`, what is needed to go on from the newest two of them.
        summary: `summary.json`, results, versions, device: see `single.summary_of`; of several `sweep` or `folds`.
        crash: `crash/report.txt`, of a run that diverged: what happened, and on which examples.
        report: `report.html`, which `mlp-jax report` writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.schema = path / "schema.json"
        self.predictions = path / "predictions.csv"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.crash = path / "crash" / "report.txt"
        self.report = path / "report.html"
        self.files = (
            self.summary, self.weights, self.schema, self.metrics, self.config, self.report, self.crash,
            self.predictions,
        )  # fmt: skip

    def child(self, kind: str, number: int) -> "RunDirectory":
        """The folder of one of several runs, which is a run of its own."""
        return RunDirectory(self.path / f"{kind}-{number}")

    def children(self, config: Config) -> list["RunDirectory"]:
        """The folders of the runs of which one of this configuration is made, if it is several."""
        kind, numbers = config.several or ("", ())
        return [self.child(kind, number) for number in numbers]

    def there(self) -> list[Path]:
        """The files of a run that are there, whoever wrote them; one of metrics without a line is none."""
        has_lines = self.metrics.exists() and self.metrics.stat().st_size > 0
        files = (*self.files, self.checkpoints)
        return [file for file in files if file.exists() and (file != self.metrics or has_lines)]

    def require_own(self) -> None:
        """Raise an InputError if a name of a run's files is that of a link out of the directory, or of no file.

        What is behind such a link is not the run's to read, replace or remove; the directory itself may be a link. All
        that opens a file of a run comes here first.
        """
        folder = self.path.resolve()
        folders = (self.checkpoints, self.crash.parent, self.path / "tensorboard")
        children = (child for kind in _KINDS for child in self.path.glob(f"{kind}-*"))
        for path in (*folders, *children, *self.files, *self.checkpoints.glob(CHECKPOINTS)):
            if not path.resolve().is_relative_to(folder):
                raise InputError(f"{path} is a link to {path.resolve()}, out of the run: put that there")
            if (path in self.files or path.parent == self.checkpoints) and path.exists() and not path.is_file():
                raise InputError(f"cannot use {path}: {NO_FILE}")

    def _require_elsewhere(self, data: Iterable[Path]) -> None:
        """Raise an InputError if one of these files, which a training reads, is where one of the run will be."""
        own = {file.resolve() for file in self.files}
        for path in data:
            if path.resolve() in own:
                raise InputError(f"{path} is data, which the run would replace; name another directory (run_dir=…)")

    def holds_run(self) -> bool:
        """Whether a run or a sweep was begun here: a configuration alone may be a person's own."""
        begun = self.metrics.exists() or self.summary.exists()
        begun = begun or any(any(self.path.glob(f"{kind}-*/metrics.jsonl")) for kind in _KINDS)
        return begun and self.config.exists()

    def require_free(self, config: Config, resume: bool, overwrite: bool) -> None:
        """Raise an InputError unless a run of this configuration may begin here, or go on."""
        self.require_own()  # before the configuration is read that is there
        runs = (self, *self.children(config), *self._children_before())
        data = [Path(path) for found in config.data.files.values() for path in _each(found)]
        for run in runs:
            run.require_own()
            run._require_elsewhere(data)
        there = [file for run in runs for file in run.there()]
        if overwrite or not there:
            return
        if not resume:
            raise InputError(
                f"{self.path} holds a run; go on with it (resume=True), replace it (overwrite=True), "
                f"or name another directory (run_dir=…): {there[0]} is there"
            )
        before, now = (configuration.flat(configuration.as_values(c)) for c in (self.load_config(), config))
        free = [f"training.{key}" for key in configuration.free_to_change(config)]
        # moved data are the same data
        moved = [*(f"data.{key}" for key in config.data.files), "network.start_from.path"]
        changed = [key for key in before | now if before.get(key) != now.get(key) and key not in (*free, *moved)]
        if changed:
            differences = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
            raise InputError(
                f"{self.path} holds a run of another configuration: {differences}. "
                f"Only {', '.join(free)} may change with resume=True"
            )

    @contextmanager
    def held(self, by_its_sweep: bool = False) -> Iterator[None]:
        """Make the folder, and keep other trainings out of it until the end, even if that is by kill -9.

        While a sweep is held, only it may hold the folders of its runs.
        """
        sweep = RunDirectory(self.path.parent)
        in_use = InputError(
            f"another training is using {self.path}; wait for it, or name another directory (run_dir=…)"
        )
        is_of_sweep = self.path.name.split("-")[0] in _KINDS and sweep.holds_run()
        if is_of_sweep and not by_its_sweep and sweep.is_held():
            raise in_use
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path)
        try:
            if not lock.taken(alone=True):
                raise in_use
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a training is using the folder."""
        try:
            with self.held():
                return False
        except InputError:
            return True

    def start(self, config: Config) -> None:
        """Begin a new run; the files of a run that was there go once the folder is known to be writable."""
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                os.fsync(probe.fileno())
            for run in (*self._children_before(), self):
                run.remove()
            if config.several:  # first: see `holds_run`
                self.save_summary({"status": "running", "epochs": 0})
            else:
                self.metrics.touch()
            self.save_config(config)

    def remove(self) -> None:
        """Remove the files of a run, and no others; the folder stays if there are others."""
        for file in (*self.files, *self._unfinished(), *self.checkpoints.glob(CHECKPOINTS)):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.crash.parent):
            with suppress(OSError):  # it is not there, or holds files of others
                folder.rmdir()

    def _unfinished(self) -> list[Path]:
        """What kills have left of files that were being written."""
        of_own = (unfinished(file.parent, file.name) for file in self.files)
        return [*chain.from_iterable(of_own), *unfinished(self.checkpoints, CHECKPOINTS)]

    def _children_before(self) -> Sequence["RunDirectory"]:
        """Those of the run that is there, if it is several."""
        try:
            return self.children(configuration.load(self.config))
        except InputError:
            return ()

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        with self.writing():
            write_atomically(self.config, yaml.as_text(configuration.as_values(config)).encode())

    def load_config(self) -> Config:
        """Read the resolved configuration."""
        self.require_own()
        if not self.holds_run():
            missing = self.metrics if self.config.exists() else self.config
            raise InputError(f"{self.path} holds no run: it has no {missing.name}")
        return configuration.load(self.config)

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`; numbers that are not finite become null."""
        with self.writing():
            write_atomically(self.summary, f"{json.dumps(_finite(summary), indent=2)}\n".encode())

    def load_summary(self, several: bool = False) -> dict[str, Any]:
        """Read `summary.json`, of one training or of several."""
        kind = SummaryOfSeveral if several else Summary
        return kind.of_json(self._read(self.summary), str(self.summary)).model_dump(exclude_unset=True)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The records of the epochs; a last line that a kill cut short does not count."""
        lines = self._read(self.metrics).split(b"\n")[:-1]
        records = [Record.of_json(line, f"{self.metrics}:{number}") for number, line in enumerate(lines, start=1)]
        for number, record in enumerate(records, start=1):
            if record.epoch != number or record.form() != records[0].form():
                raise InputError(f"{self.metrics}:{number} is damaged: it is not the record of epoch {number}")
        return [record.model_dump(exclude_unset=True) for record in records]

    def _read(self, file: Path) -> bytes:
        try:
            return read_own(file)
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}") from None

    def begin_metrics(self, epochs: int) -> list[dict[str, Any]]:
        """Give the records of so many epochs; drop what `metrics.jsonl` has beyond them, and unfinished files."""
        records = self.records_of(epochs)
        with self.writing():
            for file in self._unfinished():
                file.unlink(missing_ok=True)
            write_atomically(self.metrics, "".join(json.dumps(record) + "\n" for record in records).encode())
        return records

    def records_of(self, epochs: int) -> list[dict[str, Any]]:
        """The records of so many epochs."""
        records = self.read_metrics() if epochs and self.metrics.exists() else []
        if len(records) < epochs:
            raise InputError(
                f"{self.metrics} has the records of {len(records)} epochs, but the run has done {epochs}: lines were "
                "lost. Put them back, or train anew with overwrite=True"
            )
        return records[:epochs]

    def log(self, records: list[dict[str, Any]]) -> None:
        """Append lines to `metrics.jsonl`; numbers that are not finite become null."""
        if records:
            lines = "".join(json.dumps(_finite(record)) + "\n" for record in records).encode()
            with self.writing(), opened_own(self.metrics, os.O_WRONLY | os.O_APPEND) as file:
                while lines:  # a write may be a short one
                    lines = lines[os.write(file, lines) :]

    def sync_metrics(self) -> None:
        """Return when all lines are on the disk: a checkpoint never knows more epochs than the metrics."""
        with self.writing(), opened_own(self.metrics, os.O_WRONLY) as file:
            os.fsync(file)

    def save_predictions(self, table: str) -> None:
        """Write what the examples of each fold were predicted as."""
        with self.writing():
            write_atomically(self.predictions, table.encode())

    def save_crash(self, report: str) -> None:
        """Write what made the run diverge."""
        with self.writing():
            self.crash.parent.mkdir(exist_ok=True)
            write_atomically(self.crash, f"{report}\n".encode())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failure to write into an `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write the run directory {self.path}: {error.strerror}; name another with run_dir=…"
            ) from None


def _each(found: Any) -> Sequence[Any]:
    return found if isinstance(found, list | tuple) else () if found is None else (found,)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
