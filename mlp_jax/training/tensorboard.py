"""The records of a run for TensorBoard, beside `metrics.jsonl`."""

import math
from contextlib import ExitStack
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.files import Place
from mlp_jax.training.config import flat


class Board:
    """What `tensorboard --logdir` shows of a run; records of epochs after `done` that are there are replaced."""

    def __init__(self, folder: Place, done: int) -> None:
        """In a folder of its own, which stays open as long as it is written to."""
        folder.make_folder()
        self._folder = ExitStack()
        name = self._folder.enter_context(folder.named(is_folder=True))
        self._writer = summary_writer()(name, purge_step=done + 1)

    def add(self, records: list[dict[str, Any]]) -> None:
        """Add the records of epochs."""
        for record in records:
            for key, values in flat(record).items():
                name = key.replace(".", "/")
                scalars = (
                    {f"{name}/{k}": v for k, v in enumerate(values)} if isinstance(values, list) else {name: values}
                )
                for tag, value in scalars.items():
                    if tag != "epoch" and math.isfinite(value):
                        self._writer.add_scalar(tag, value, record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
        self._folder.close()


def summary_writer() -> Any:
    """What writes events; an InputError if tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            'training.tensorboard needs tensorboardX: pip install "mlp_jax[tensorboard]", or set it to false'
        ) from None
    return SummaryWriter
