"""The same command in several processes on this machine, over loopback: to try out what runs on many machines."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

from mlp_jax.errors import ProcessEnded
from mlp_jax.terminal import escaped

_SECONDS_FOR_THE_OTHERS = 10.0  # to end by themselves after the first that failed
_SHOWN = 2000  # of what a process said that failed alone, in characters
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run a command of ours in so many processes, each told which it is; only the first is heard.

    On the processors, unless JAX_PLATFORMS says otherwise.

    Returns:
        The exit status.

    Raises:
        ProcessEnded: one was killed; names it, when the others have ended, too.
    """
    where = f"127.0.0.1:{_free_port()}"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2"}  # no warnings of XLA's
    environment = {"JAX_PLATFORMS": "cpu", **quiet, "MLP_JAX_LAUNCHED": "1", **os.environ}
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        children: list[subprocess.Popen[bytes]] = []
        for index, stderr in enumerate([None, *said]):
            command = [sys.executable, "-P", "-m", "mlp_jax", *arguments]
            place = ["--processes", str(count), "--coordinator", where, "--process-id", str(index)]
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": stderr}
            if index:
                streams["stdout"] = subprocess.DEVNULL
            # in a group of their own, so that a terminal's Ctrl-C comes from here alone, once
            children.append(subprocess.Popen([*command, *place], env=environment, process_group=0, **streams))
        with _signals_passed_on(children):
            return _status(children, said)


def _status(children: list[subprocess.Popen[bytes]], said: Sequence[IO[bytes]]) -> int:
    """Wait for the first that fails, or for all; end the others."""
    first, others = children[0], children[1:]
    while first.poll() is None and not any(child.poll() for child in others):
        time.sleep(0.02)
    found = {index: status for index, child in enumerate(children) if (status := child.poll()) is not None}
    # where process 0 ends, JAX aborts the others: then it is not they that failed
    failed = sorted(found, key=lambda index: (found[index] == -signal.SIGABRT, found[index] >= 0, index))[0]
    was_killed = found[failed] < 0
    until = time.monotonic() + (0 if was_killed else _SECONDS_FOR_THE_OTHERS)
    while any(child.poll() is None for child in children) and time.monotonic() < until:
        time.sleep(0.02)
    had_ended = first.poll() is not None
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
    if was_killed:
        name = signal.Signals(-found[failed]).name
        raise ProcessEnded(
            f"process {failed} of {len(children)} (number {children[failed].pid} of this machine) was ended by {name}, "
            "and with it the training"
        )
    if failed and not had_ended:
        file = said[failed - 1]
        file.seek(0)
        text = escaped(file.read().decode(errors="replace")[-_SHOWN:])
        print(f"process {failed} of {len(children)}: {text}", end="", file=sys.stderr, flush=True)
        return found[failed]
    return first.returncode


@contextlib.contextmanager
def _signals_passed_on(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, _: Any) -> None:
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
