"""The records of a run for TensorBoard, beside `metrics.jsonl`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError


class Board:
    """What `tensorboard --logdir` shows of a run; records of epochs after `done` that are there are replaced."""

    def __init__(self, folder: Path, done: int) -> None:
        """In a folder of its own within the run's.

        Raises:
            InputError: tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise InputError(
                'training.tensorboard needs tensorboardX: pip install "mlp_jax[tensorboard]", or set it to false'
            ) from None
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def add(self, records: list[dict[str, Any]]) -> None:
        """Add the records of epochs."""
        for record in records:
            for name, value in _scalars(record):
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _scalars(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, list):
            yield from _scalars({str(k): entry for k, entry in enumerate(value)}, f"{prefix}{key}/")
        elif key != "epoch" and math.isfinite(value):
            yield prefix + key, value
