"""The audit of whole programs: a variable in the environment, and each process that imports JAX watches and checks.

The parent runs the command unchanged, with a folder in PYTHONPATH whose `sitecustomize` calls `start` once JAX has been
imported: nothing is traced before. Workers and subprocesses inherit both. Each process writes at its end
what it found.
"""

import atexit
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mlp_jax.verify.auditing import watch
from mlp_jax.verify.auditing.audit import complete
from mlp_jax.verify.auditing.findings import NOT_CHECKED, Audit, Finding, local, of_json, together
from mlp_jax.verify.auditing.known import remember

VARIABLE = "MLP_JAX_AUDIT"
_STARTUP = Path(__file__).parent / "startup"


class Order(NamedTuple):
    """What the processes are told."""

    folder: Path  # where they write
    exact: bool  # whether compiled programs are left as they are
    seconds: float  # for the checks of each process
    calls: Path  # where calls that did not pass are kept
    remembered: Path | None  # the file of what passed in earlier audits, in a folder of the user's alone

    def to_json(self) -> str:
        """As the variable says it."""
        return json.dumps(self, default=str)


def environment(order: Order, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a command is audited."""
    paths = [str(_STARTUP), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, VARIABLE: order.to_json(), "PYTHONPATH": os.pathsep.join(paths)}


current: watch.Watch | None = None  # of this process
# Ends the audit of this process early: what comes later is not seen.
finish: Callable[[], None] = lambda: None  # noqa: E731


def start(said: str) -> None:
    """Watch this process from now on, as the variable says, and check when it ends."""
    global finish, current
    folder, exact, seconds, calls, remembered = json.loads(said)
    if not Path(folder).is_dir():
        return  # the audit is over: this process outlived the command
    me, name = os.getpid(), Path(folder) / secrets.token_hex(8)
    seeing = current = watch.Watch(exact, name)
    name.with_suffix(".started").touch()
    watch.start(seeing)

    def check() -> None:
        """Check, and write what was found: once, and not in a process that was forked."""
        if os.getpid() != me or not seeing.is_on or not Path(folder).is_dir():
            return
        seeing.close()
        found = Audit()
        try:
            complete(found, seeing, seconds, Path(calls), Path(remembered) if remembered else None)
        except BaseException as error:  # as KeyboardInterrupt: what was found until then is kept
            found.problems.append(f"the checks ended early: {type(error).__name__}: {error}")
        with suppress(OSError):
            name.with_suffix(".part").write_text(found.to_json(), encoding="utf-8")
            name.with_suffix(".part").rename(name.with_suffix(".json"))

    def and_exit(status: int) -> None:
        with suppress(Exception):
            check()
        exit_at_once(status)

    exit_at_once, os._exit = os._exit, and_exit  # type: ignore[assignment]
    atexit.register(check)
    finish = check


def collected(of: str, order: Order) -> Audit:
    """What all processes of the command found, which is remembered, and what they saw that did not live to check it."""
    folder = order.folder
    ended = {path.stem: of_json(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    lost = []
    for path in sorted(folder.glob("*.seen")):
        if path.stem not in ended:
            for line in path.read_text(encoding="utf-8").splitlines():
                seen = json.loads(line)
                lost.append(
                    Finding(
                        seen["name"], local(seen["place"]), local(seen["caller"]), seen["arguments"],
                        verdict=NOT_CHECKED, reason="its process ended before the checks",
                    )
                )  # fmt: skip
    found = together(of, ended.values(), lost)
    if order.remembered:
        remember(order.remembered, found.findings)
    if not any(folder.glob("*.started")):
        found.said.append(
            "no process of the command imported JAX where the audit could see it (python -S or -I, or another "
            "environment than that of mlp-jax)"
        )
    return found
