"""JAX does not live on in a process that was forked from one that used it."""

import os

_process: int | None = None  # in which JAX was used from here


def require_no_fork() -> None:
    """Raise a RuntimeError in a process that was forked from one in which this package had used JAX.

    Its threads are gone, and its locks may be held: what is asked of it would hang.
    """
    global _process
    if _process not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked after JAX had been used, and JAX would hang in it: start processes by "
            'multiprocessing.get_context("spawn") or "forkserver", or fork before JAX is used'
        )
    _process = os.getpid()
