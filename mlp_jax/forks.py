"""After `os.fork` JAX's threads are gone and its locks may be held: what is asked of it hangs. Say so instead."""

import os

_process: int | None = None


def require_no_fork() -> None:
    """Raise a RuntimeError in a process that was forked from one in which this package had used JAX."""
    global _process
    if _process not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked after JAX had been used, and JAX would hang in it: start processes by "
            'multiprocessing.get_context("spawn") or "forkserver", or fork before JAX is used'
        )
    _process = os.getpid()
