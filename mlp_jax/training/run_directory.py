"""The folder of a run: what it holds, and that no run is overwritten unasked."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
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
        weights: `weights.safetensors`, the trained network.
        checkpoint: `checkpoint.safetensors`, what is needed to go on.
        summary: `summary.json`, results, versions, device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.checkpoint = path / "checkpoint.safetensors"
        self.summary = path / "summary.json"

    def is_free(self) -> bool:
        """Whether none of the files of a run is there, whoever wrote it."""
        files = (self.config, self.metrics, self.weights, self.checkpoint, self.summary)
        return not any(file.exists() for file in files)

    def start(self, config: Config) -> None:
        """Make the folder for a new run; the files of a run that was there go once it is known to be writable.

        Raises:
            InputError: the folder cannot be written.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            self.save_config(config)
            for file in (self.summary, self.checkpoint, self.weights, self.metrics):
                file.unlink(missing_ok=True)

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        with self.writing():
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

    def open_metrics(self, epochs: int) -> TextIO:
        """Open `metrics.jsonl` for the lines that follow those of so many epochs; drop what stands beyond."""
        with self.writing():
            lines = self.metrics.read_bytes().splitlines(keepends=True) if self.metrics.exists() else []
            write_atomically(self.metrics, b"".join(lines[:epochs]))
            return self.metrics.open("a", buffering=1)

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
    return None if isinstance(value, float) and not math.isfinite(value) else value
