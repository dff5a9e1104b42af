"""The loop that takes trainings forward, one or several side by side, until they end or somebody asks to stop."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

from mlp_jax.errors import TrainingInterrupted
from mlp_jax.training.single import Training


def train(
    trainings: Iterable[Training], at_once: int, noted: Callable[[list[Training], list[dict[str, Any]]], None]
) -> Iterator[Training]:
    """Take trainings forward, and give each when it has ended.

    Args:
        trainings: as an iterator, which begins the next one only when there is room for it.
        at_once: how many are under way side by side, each in a thread.
        noted: is told of progress: those under way, and the new records.

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
                noted(under_way, records)
            if request := stopped():
                raise TrainingInterrupted("stopped", request)
            yield from [training for training in under_way if training.ended]
            under_way = [training for training in under_way if not training.ended]


def _side_by_side(pool: ThreadPoolExecutor | None, trainings: list[Training]) -> list[Any]:
    if pool is None:
        return [training.advance() for training in trainings]
    try:
        running = [pool.submit(training.advance) for training in trainings]
    except RuntimeError:  # the interpreter is ending and starts no thread
        return [training.advance() for training in trainings]
    return [each.result() for each in running]


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
