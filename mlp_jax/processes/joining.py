"""The processes of one training meet by `jax.distributed`, and when one of them ends, all do, by name."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from mlp_jax.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.processes.together import everyone_says
from mlp_jax.terminal import leave

SECONDS_TO_MEET = 60.0
SECONDS_TO_NOTICE = 20  # that a process, or its machine, is gone
_SECONDS_BETWEEN_LOOKS = 1.0

_names: list[str] = []
_is_over = threading.Event()


@contextlib.contextmanager
def joined(coordinator: str | None, processes: int | None, index: int | None) -> Iterator[None]:
    """Make this process one of several, before JAX has looked for devices, and end with them.

    Without arguments Slurm's or Open MPI's environment says which. Of those that are not the first, nothing is printed.
    The process ends, with a message, if they do not meet within `SECONDS_TO_MEET`, and whenever one of them is gone for
    `SECONDS_TO_NOTICE`.

    Raises:
        InputError: no such environment; a coordinator that is no HOST:PORT, or a port that is taken; processes with
            different numbers of devices.
    """
    _join(coordinator, processes, index)
    if jax.process_index():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 to the end of the process
    try:
        yield
    except (TrainingDiverged, TrainingInterrupted):  # in all of them
        _leave_together()
        raise
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
            time.sleep(2 * SECONDS_TO_NOTICE)  # in which `_watch` says who is gone, and ends this process
        raise
    _leave_together()


def _join(coordinator: str | None, processes: int | None, index: int | None) -> None:
    options: dict[str, Any] = {}
    if coordinator is not None:
        _require_address(coordinator, is_here=index == 0)
        # at that address alone, and not at all of the machine's
        options = {"cluster_detection_method": "deactivate", "coordinator_bind_address": coordinator}
    jax.config.update("jax_enable_recoverability", True)  # it is we who end, with a message
    jax.config.update("jax_enable_preemption_service", False)  # which would take SIGTERM from us
    missing = (
        f"{processes or 'the'} processes did not meet{f' at {coordinator}' * bool(coordinator)} within "
        f"{SECONDS_TO_MEET:g} s: start each of them with the same --coordinator and --processes, and a --process-id of "
        "its own; process 0 answers there"
    )
    too_late = threading.Timer(SECONDS_TO_MEET, leave, (missing, 2))  # JAX would abort, with a trace of its own
    too_late.start()
    options |= {"initialization_timeout": int(2 * SECONDS_TO_MEET), "heartbeat_timeout_seconds": SECONDS_TO_NOTICE}
    try:
        jax.distributed.initialize(coordinator, processes, index, **options)
    except ValueError:
        raise InputError(
            "training.processes is auto, and neither Slurm nor Open MPI has started this: give --processes N, to start "
            "them here, or --coordinator HOST:PORT --processes N --process-id I, to each of them"
        ) from None
    finally:
        too_late.cancel()
    if absent := _absent():  # waits for all, however long they need to come here
        raise InputError(_ended(absent))
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        numbers = ", ".join(f"{counts[index]} in process {index}" for index in sorted(counts))
        raise InputError(f"each process must have as many devices as the others; there are {numbers}")
    with _without_output():
        _names[:] = everyone_says(f"{socket.gethostname()}, process {os.getpid()}")
    threading.Thread(target=_watch, daemon=True).start()


def _leave_together() -> None:
    """End as one, process 0 last: when it goes, JAX aborts those that are still there."""
    _is_over.set()
    everyone_says("done")
    if jax.process_index():
        jax.distributed.shutdown()
        return
    until = time.monotonic() + SECONDS_TO_NOTICE
    while len(_absent()) < jax.process_count() - 1 and time.monotonic() < until:
        time.sleep(0.01)


def _watch() -> None:
    """Look again and again, in all processes at once, whether all are there."""
    while not _is_over.wait(_SECONDS_BETWEEN_LOOKS):
        try:
            absent = _absent()
        except jax.errors.JaxRuntimeError:
            absent = [0]  # at which they meet
        if absent and not _is_over.is_set():
            leave(_ended(absent), 1)


def _ended(absent: list[int]) -> str:
    named = [f"{index} ({_names[index]})" if _names else str(index) for index in absent]
    return (
        f"process{'es' * (len(absent) > 1)} {', '.join(named)} of {jax.process_count()} has ended or does not answer, "
        "and with it the training: go on with --resume"
    )


def _absent() -> list[int]:
    """Which processes are gone; waits until all others ask it, too."""
    devices = jax.devices()
    there = {device.process_index for device in devices}
    try:
        with multihost_utils.live_devices(devices) as live:
            return sorted(there - {device.process_index for device in live})
    except multihost_utils.ProcessFailureError as error:
        return sorted({device.process_index for device in error.failed_devices})


def _require_address(coordinator: str, is_here: bool) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator must be HOST:PORT, as in 10.0.0.1:4242; got {coordinator}")
    if not is_here or ":" in host:  # of IPv6
        return
    try:  # of a port that is taken JAX makes a crash
        socket.create_server((host, int(port))).close()
    except OSError as error:
        raise InputError(
            f"process 0 cannot answer at {coordinator}: {error.strerror}; give an address of this machine, and a port "
            "that is free"
        ) from None


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Keep from standard output what gloo writes there of its connections."""
    nowhere, before = os.open(os.devnull, os.O_WRONLY), os.dup(1)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)
