"""The folder of a run: what it holds, that no run is overwritten unasked, and that one training uses it at a time."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from mlp_jax.training import config as configuration
from mlp_jax.training import strict_yaml
from mlp_jax.training.config import Config
from mlp_jax.training.errors import InputError
from mlp_jax.training.files import write_atomically


class RunDirectory:
    """The files of a run.

    Attributes:
        config: `config.yaml`, the resolved configuration.
        metrics: `metrics.jsonl`, a line per epoch.
        weights: `weights.safetensors`, the network that the run gives; with early stopping the best one.
        checkpoints: `checkpoints/`, what is needed to go on from the newest two of them.
        summary: `summary.json`, results, seeds, versions, device.
        crash: `crash/`, of a run that diverged: the moment before, and what happened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.crash = path / "crash"

    def of_seed(self, seed: int) -> "RunDirectory":
        """The folder of one of several seeds, a run of its own."""
        return RunDirectory(self.path / f"seed-{seed}")

    def is_free(self) -> bool:
        """Whether none of the files of a run is there, whoever wrote it."""
        files = (self.config, self.weights, self.checkpoints, self.summary)
        has_lines = self.metrics.exists() and self.metrics.stat().st_size > 0
        return not has_lines and not any(file.exists() for file in files)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other trainings out of it until the end, even if that is by kill -9.

        Raises:
            InputError: it cannot be made, or another training uses it.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"another training is using {self.path}; wait for it, or name another directory (--run-dir)"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether a training is using the folder."""
        try:
            with self.held():
                return False
        except InputError:
            return True

    def start(self, config: Config) -> None:
        """Begin a new run; the files of a run that was there go once the folder is known to be writable.

        Raises:
            InputError: the folder cannot be written.
        """
        with self.writing():
            write_atomically(self.path / ".writable", b"")
            (self.path / ".writable").unlink()
            for run in (*map(self.of_seed, self._seeds_before()), self):
                run.remove()
            self.metrics.touch()  # first, for a configuration alone may be a person's own
            self.save_config(config)

    def remove(self) -> None:
        """Remove the files of a run, and no others; the folder stays if there are others."""
        files = [self.summary, self.weights, self.metrics, self.config, self.path / "report.html"]
        files += [file for pattern in ("step-*.safetensors", ".step-*.part") for file in self.checkpoints.glob(pattern)]
        files += [self.crash / name for name in ("state.safetensors", "report.txt", "batch.json")]
        for file in files:
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.crash):
            with suppress(OSError):  # it is not there, or holds files of others
                folder.rmdir()

    def _seeds_before(self) -> Sequence[int]:
        """Those of the run that is there, if it is one of several seeds."""
        try:
            return configuration.load(self.config).seeds or ()
        except InputError:
            return ()

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            text = strict_yaml.as_text(configuration.as_values(config))
            write_atomically(self.config, text.encode())

    def load_config(self) -> Config:
        """Read the resolved configuration.

        Raises:
            InputError: there is no run here, or its configuration was damaged.
        """
        for file in (self.config, self.metrics):
            if not file.exists():
                raise InputError(f"{self.path} holds no run: it has no {file.name}")
        return configuration.load(self.config)

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`; numbers that are not finite become null."""
        with self.writing():
            text = json.dumps(_finite(summary), indent=2) + "\n"
            write_atomically(self.summary, text.encode())

    def load_summary(self) -> dict[str, Any]:
        """Read `summary.json`.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
            if not isinstance(summary, dict) or not {"status", "epochs"} <= summary.keys():
                raise ValueError
        except (OSError, ValueError):
            raise InputError(f"cannot read {self.summary}: it is missing or damaged") from None
        return summary

    def read_metrics(self) -> list[dict[str, Any]]:
        """The records of the epochs; a last line that a kill cut short does not count.

        Raises:
            InputError: the file is missing or a line is damaged.
        """
        try:
            lines = self.metrics.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise InputError(f"cannot read {self.metrics}: {error.strerror}") from None
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or record.get("epoch") != number or "loss" not in record:
                    raise ValueError
            except ValueError:
                raise InputError(
                    f"{self.metrics}:{number} is damaged: it is not the record of epoch {number}"
                ) from None
            records.append(record)
        return records

    @contextmanager
    def open_metrics(self, epochs: int) -> Iterator[tuple[TextIO, list[dict[str, Any]]]]:
        """Open `metrics.jsonl` for the lines after those of so many epochs, and give these; drop what stands beyond.

        Raises:
            InputError: lines were lost, or the file cannot be written.
        """
        records = self.read_metrics() if epochs and self.metrics.exists() else []
        if len(records) < epochs:
            raise InputError(
                f"{self.metrics} has the records of {len(records)} epochs, but the run has done {epochs}: lines were "
                "lost. Put them back, or train anew with --overwrite"
            )
        with self.writing():
            lines = [json.dumps(record) + "\n" for record in records[:epochs]]
            write_atomically(self.metrics, "".join(lines).encode())
            file = self.metrics.open("a", buffering=1)
        try:
            yield file, records[:epochs]
        finally:
            with suppress(OSError):  # `log` has told of a line that could not be written
                file.close()

    def log(self, file: TextIO, record: dict[str, Any]) -> None:
        """Append a line to the open `metrics.jsonl`; numbers that are not finite become null."""
        with self.writing():
            file.write(json.dumps(_finite(record)) + "\n")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failure to write into an `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write the run directory {self.path}: {error.strerror}; name another with --run-dir"
            ) from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
