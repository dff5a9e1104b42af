"""The records of a run for TensorBoard, beside `metrics.jsonl`."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_jax.training.errors import InputError


@contextmanager
def writer(folder: Path, done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that adds the record of an epoch; records of epochs after `done` that are there are replaced.

    Raises:
        InputError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            'training.tensorboard needs tensorboardX: pip install "mlp_jax[tensorboard]", or set it to false'
        ) from None
    with SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1) as board:

        def add(record: dict[str, Any]) -> None:
            for name, value in _scalars(record):
                board.add_scalar(name, value, record["epoch"])
            board.flush()

        yield add


def _scalars(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, list):
            yield from _scalars({str(k): entry for k, entry in enumerate(value)}, f"{prefix}{key}/")
        elif key != "epoch" and math.isfinite(value):
            yield prefix + key, value
