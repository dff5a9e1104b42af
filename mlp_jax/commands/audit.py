"""`mlp-jax audit -- COMMAND`: run a program unchanged, and check every gradient rule that it uses."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from argparse import Namespace
from pathlib import Path

from mlp_jax.caches import file_of_user
from mlp_jax.errors import InputError
from mlp_jax.files import write_atomically
from mlp_jax.terminal import put
from mlp_jax.verify.auditing.process import Order, collected, environment


def run(config: None, options: Namespace) -> int:
    """Print what was found; the command's own exit status if it failed, else 1 if a rule is wrong."""
    command = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not command:
        raise InputError("audit needs a command, as in: mlp-jax audit -- pytest tests/")
    if shutil.which(command[0]) is None:
        raise InputError(f"there is no command {command[0]!r} to audit")
    if not (options.seconds >= 0):
        raise InputError(f"--seconds must be at least 0, got {options.seconds}")
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        order = Order(folder, options.exact, options.seconds, options.folder.absolute(), file_of_user("audited.json"))
        status = _run(command, environment(order, os.environ))
        found = collected(shlex.join(command), order)
    write_atomically(options.folder / "report.json", found.to_json().encode())
    put(found)
    if status:
        sentence = f"the command ended with exit status {status}"
        put(f"  {sentence}; if it does not without the audit, try --exact" if not options.exact else f"  {sentence}")
    return status if status > 0 else 128 - status if status < 0 else int(not found.passed)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command, which gets the signals: what it used until then is checked all the same."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the command, too
    process = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()
