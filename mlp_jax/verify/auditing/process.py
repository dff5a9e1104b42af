"""The audit of whole programs: a variable in the environment, and each process that imports JAX watches and checks.

The parent runs the command unchanged, with a folder in PYTHONPATH whose `sitecustomize` calls `start` once JAX has been
imported: nothing is traced before. Workers and subprocesses inherit both. Each process writes at its end
what it found.
"""

import atexit
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "MLP_JAX_AUDIT"
_STARTUP = Path(__file__).parent / "startup"


class Order(NamedTuple):
    """What the processes are told."""

    folder: Path  # where they write
    exact: bool  # whether compiled programs are left as they are
    seconds: float  # for the checks of each process
    calls: Path  # where calls that did not pass are kept


def environment(order: Order, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a command is audited."""
    said = json.dumps([str(order.folder), order.exact, order.seconds, str(order.calls)])
    paths = [str(_STARTUP), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, VARIABLE: said, "PYTHONPATH": os.pathsep.join(paths)}


_finish: Any = None


def start(said: str) -> None:
    """Watch this process from now on, as the variable said when Python started, and check when it ends."""
    global _finish
    from mlp_jax.verify.auditing.watch import Watch
    from mlp_jax.verify.auditing.watch import start as start_watching

    folder, exact, seconds, calls = json.loads(said)
    if not Path(folder).is_dir():
        return  # the audit is over: this process outlived the command
    me, name = os.getpid(), Path(folder) / secrets.token_hex(8)
    watch = Watch(exact, name)
    name.with_suffix(".started").touch()
    start_watching(watch)

    def finish() -> None:
        """Check, and write what was found: once, and not in a process that was forked."""
        if os.getpid() != me or not watch.is_on or not Path(folder).is_dir():
            return
        from mlp_jax.verify.auditing.audit import complete
        from mlp_jax.verify.auditing.findings import Audit

        watch.close()
        found = Audit()
        try:
            complete(found, watch, seconds, Path(calls))
        except BaseException as error:  # as KeyboardInterrupt: what was found until then is kept
            found.problems.append(f"the checks ended early: {type(error).__name__}: {error}")
        with suppress(OSError):
            name.with_suffix(".part").write_text(found.to_json(), encoding="utf-8")
            name.with_suffix(".part").rename(name.with_suffix(".json"))

    def and_exit(status: int) -> None:
        with suppress(Exception):
            finish()
        exit_at_once(status)

    exit_at_once, os._exit = os._exit, and_exit  # type: ignore[assignment]
    atexit.register(finish)
    _finish = finish


def finish() -> None:
    """End the audit of this process early, if it is audited: what comes later is not seen."""
    if _finish is not None:
        _finish()
