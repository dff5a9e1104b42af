"""The loop that takes trainings forward, one or several side by side, until they end or somebody asks to stop."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from mlp_jax.errors import TrainingInterrupted
from mlp_jax.processes.together import everyones
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
        TrainingInterrupted: on the main thread, after Ctrl-C, SIGTERM or SIGHUP; those under way are as after
            their last steps.
    """
    waiting, running = iter(trainings), dict[Future[Any], Training]()
    with _requests_to_stop() as stopped, ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
        while True:
            while len(running) < at_once and (training := next(waiting, None)):
                if request := stopped():
                    raise TrainingInterrupted("stopped", request)
                if training.ended:  # of a run that goes on, before its first step
                    yield training
                else:
                    running[_started(pool, training)] = training
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                training = running.pop(future)
                moment, records = future.result()
                training.take(moment, records)
                noted(records)
                if request := stopped():
                    raise TrainingInterrupted("stopped", request)
                if training.ended:  # the others go on meanwhile
                    yield training
                else:
                    running[_started(pool, training)] = training


def _started(pool: ThreadPoolExecutor | None, training: Training) -> Future[Any]:
    """What the training's next call will give; without a pool, it is there already."""
    if pool:
        with suppress(RuntimeError):  # the interpreter is ending, and starts no thread
            return pool.submit(training.advance)
    done: Future[Any] = Future()
    done.set_result(training.advance())
    return done


@contextmanager
def _requests_to_stop() -> Iterator[Callable[[], int]]:
    """Let Ctrl-C, SIGTERM and SIGHUP, of a terminal that closes, be asked for between calls, in any process.

    A second one is as before; on the main thread only; what is ignored, as under nohup, stays so.
    """
    heard: list[int] = []
    on_main_thread = threading.current_thread() is threading.main_thread()
    kinds = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    handlers = {kind: signal.getsignal(kind) for kind in kinds if on_main_thread}
    before = {kind: handler for kind, handler in handlers.items() if handler is not signal.SIG_IGN}

    def note(number: int, frame: Any) -> None:
        heard.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: max(everyones(heard[0] if heard else 0))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
