"""The loop that takes trainings forward, one or several side by side, until they end or somebody asks to stop."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from mlp_jax.errors import TrainingInterrupted
from mlp_jax.training.single import Training


def train(
    trainings: Iterable[Training], at_once: int, noted: Callable[[list[dict[str, Any]]], None]
) -> Iterator[Training]:
    """Take trainings forward, and give each when it has ended.

    Args:
        trainings: as an iterator, which begins the next one only when there is room for it.
        at_once: how many are under way side by side, each in a thread.
        noted: is told that there is progress, with the new records.

    Raises:
        TrainingInterrupted: on the main thread, after Ctrl-C or SIGTERM; those under way are as after their last steps.
    """
    waiting, under_way = iter(trainings), list[Training]()
    with _requests_to_stop() as stopped, ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
        while True:
            while len(under_way) < at_once and (training := next(waiting, None)):
                under_way.append(training)
            if not under_way:
                return
            still = [training for training in under_way if not training.ended]
            for training, (moment, records) in zip(still, _side_by_side(pool, still), strict=True):
                training.take(moment, records)
                noted(records)
            if request := stopped():
                raise TrainingInterrupted("stopped", request)
            yield from [training for training in under_way if training.ended]
            under_way = [training for training in under_way if not training.ended]


def _side_by_side(pool: ThreadPoolExecutor | None, trainings: list[Training]) -> list[Any]:
    running = None
    with suppress(RuntimeError):  # the interpreter is ending and starts no thread
        running = [pool.submit(training.advance) for training in trainings] if pool else None
    return [each.result() for each in running] if running else [training.advance() for training in trainings]


@contextmanager
def _requests_to_stop() -> Iterator[Callable[[], int]]:
    """Let Ctrl-C and SIGTERM be asked for between calls of the program; a second one is as before.

    On the main thread only.
    """
    noted: list[int] = []
    on_main_thread = threading.current_thread() is threading.main_thread()
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)} if on_main_thread else {}

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
