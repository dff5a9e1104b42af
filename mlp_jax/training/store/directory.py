"""The folder of a run: what it holds, that no run is overwritten unasked, and that one training uses it at a time."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.files import Lock, Place, write_atomically
from mlp_jax.training import config as configuration
from mlp_jax.training.config import Config, yaml
from mlp_jax.training.store.forms import Record, Summary, SummaryOfSeveral

CHECKPOINTS = "step-*.safetensors"  # in their folder
_KINDS = ("seed", "fold", "run")  # of runs of which several are made


class RunDirectory:
    """The files of a run; of several, config and summary, and a folder for each, which is a run of its own.

    Whatever cannot be read or written, or is in use, is an `InputError` that names it and says what to do. So is a link
    in place of a file or a folder; the directory itself may be one.

    Attributes:
        path: of the directory.
        place: the same, as the files in it are opened.
        files: all that may be in it, but for checkpoints and TensorBoard's events.
    """

    def __init__(self, path: Path | Place) -> None:
        self.path = Path(path)
        self.place = place = path if isinstance(path, Place) else Place(path)
        self.config = place / "config.yaml"  # the resolved configuration
        self.metrics = place / "metrics.jsonl"  # a line per epoch
        self.weights = place / "weights.safetensors"  # the network that it gives; with early stopping the best one
        self.schema = place / "schema.json"  # of a table: how it becomes inputs of the network
        self.predictions = place / "predictions.csv"  # of folds: for each example, when it was held out
        self.checkpoints = place / "checkpoints"  # what is needed to go on from the newest two of them
        self.summary = place / "summary.json"  # see `single.summary_of`; of several also `sweep` or `folds`
        self.crashes = place / "crash"
        self.crash = self.crashes / "report.txt"  # of a run that diverged: what happened, and on which examples
        self.report = place / "report.html"  # which `mlp-jax report` writes
        self.files = (
            self.summary, self.weights, self.schema, self.metrics, self.config, self.report, self.crash,
            self.predictions,
        )  # fmt: skip

    def child(self, kind: str, number: int) -> "RunDirectory":
        """The folder of one of several runs, which is a run of its own."""
        return RunDirectory(self.place / f"{kind}-{number}")

    def children(self, config: Config) -> list["RunDirectory"]:
        """The folders of the runs of which one of this configuration is made, if it is several."""
        kind, numbers = config.several or ("", ())
        return [self.child(kind, number) for number in numbers]

    def there(self) -> list[Place]:
        """The files of a run that are there, whoever wrote them; one of metrics without a line is none."""
        found = [(file, file.status()) for file in (*self.files, self.checkpoints)]
        return [file for file, status in found if status and (file is not self.metrics or status.st_size)]

    def _require_elsewhere(self, data: Iterable[Path]) -> None:
        """Raise an InputError if one of these files, which a training reads, is where one of the run will be."""
        own = {os.path.realpath(file) for file in self.files}
        for path in data:
            if os.path.realpath(path) in own:
                raise InputError(f"{path} is data, which the run would replace; name another directory (run_dir=…)")

    def holds_run(self) -> bool:
        """Whether a run or a sweep was begun here: a configuration alone may be a person's own."""
        if not self.config.exists():
            return False
        children = (child for kind in _KINDS for child in self.place.found(f"{kind}-*"))
        begun = (self.metrics, self.summary, *(child / "metrics.jsonl" for child in children))
        return any(file.exists() for file in begun)

    def require_free(self, config: Config, resume: bool, overwrite: bool) -> None:
        """Raise an InputError unless a run of this configuration may begin here, or go on."""
        runs = (self, *self.children(config), *self._children_before())
        found = config.data.files.values()
        data = [Path(path) for each in found if each for path in (each if isinstance(each, tuple) else (each,))]
        for run in runs:
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
            self.place.make_folder()
        lock = Lock(self.place)
        try:
            if not lock.taken(alone=True):
                raise in_use
            yield
        finally:
            lock.release()

    @contextmanager
    def taken(self, config: Config, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder, if it is free: another run may have begun in it meanwhile."""
        with self.held():
            self.require_free(config, resume, overwrite)
            yield

    def is_held(self) -> bool:
        """Whether a training is using the folder."""
        try:
            with self.held():
                return False
        except InputError:
            return True

    def start(self, config: Config) -> None:
        """Begin a new run; the files of a run that was there go once the new configuration is on the disk."""
        with self.writing():
            self.place.make_folder()
            before = [*self._children_before(), self]
            files = [file for run in before for file in run._all_files()]
            with self.config.replaced() as config_file:  # takes its name as the last: see `holds_run`
                config_file.write(_as_text(config))
                config_file.flush()
                os.fsync(config_file.fileno())
                for file in files:
                    file.remove()
                for folder in (folder for run in before for folder in (run.checkpoints, run.crashes)):
                    folder.remove_if_empty()  # unless it holds files of others
                if config.several:
                    self.save_summary({"status": "running", "epochs": 0})
                else:
                    write_atomically(self.metrics, b"")

    def _all_files(self) -> list[Place]:
        """All that a run wrote."""
        return [*self.files, *self._unfinished(), *self.checkpoints.found(CHECKPOINTS)]

    def _unfinished(self) -> list[Place]:
        """What kills have left of files that were being written."""
        files = (*self.files, self.checkpoints / CHECKPOINTS)
        return [left for file in files for left in file.unfinished()]

    def _children_before(self) -> Sequence["RunDirectory"]:
        """Those of the run that is there, if it is several."""
        try:
            return self.children(configuration.load(self.config))
        except InputError:
            return ()

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        self.write(self.config, _as_text(config))

    def load_config(self) -> Config:
        """Read the resolved configuration."""
        if not self.holds_run():
            missing = self.metrics if self.config.exists() else self.config
            raise InputError(f"{self.path} holds no run: it has no {missing.name}")
        return configuration.load(self.config)

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`; numbers that are not finite become null."""
        self.write(self.summary, f"{json.dumps(_finite(summary), indent=2)}\n".encode())

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

    def _read(self, file: Place) -> bytes:
        try:
            return file.read()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}") from None

    def begin_metrics(self, epochs: int) -> list[dict[str, Any]]:
        """Give the records of so many epochs; drop what `metrics.jsonl` has beyond them, and unfinished files."""
        records = self.records_of(epochs)
        with self.writing():
            for file in self._unfinished():
                file.remove()
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
            with self.writing(), self.metrics.open("ab") as file:
                file.write(lines)

    def sync_metrics(self) -> None:
        """Return when all lines are on the disk: a checkpoint never knows more epochs than the metrics."""
        with self.writing(), self.metrics.open("ab") as file:
            os.fsync(file.fileno())

    def save_crash(self, report: str) -> None:
        """Write what made the run diverge."""
        with self.writing():
            self.crashes.make_folder()
        self.write(self.crash, f"{report}\n".encode())

    def write(self, file: Place, content: bytes) -> None:
        """Write one of the files."""
        with self.writing():
            write_atomically(file, content)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failure to write into an `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write the run directory {self.path}: {error.strerror}; name another with run_dir=…"
            ) from None


def _as_text(config: Config) -> bytes:
    return yaml.as_text(configuration.as_values(config)).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
