#!/usr/bin/env python
"""Kill a training at random moments, go on with it each time, and compare the result with that of an unbroken run.

    scripts/run python scripts/kill_runs.py [KILLS [PROCESSES]]

A run of configs/digits.yaml that writes a checkpoint several times a second is killed with SIGKILL after a random time,
within the writing of a checkpoint in every other case, and resumed, until KILLS (default 50) kills are done; then it is
left to finish. Final weights, metrics and newest checkpoint must equal those of the unbroken run, byte for byte.

With PROCESSES, as in 4, it begins in so many, one of which is killed, whichever; it goes on in half as many, and so on
to one, and again from the start: all to the bytes of the unbroken run, which is one process.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "configs" / "digits.yaml"
EPOCHS = 20_000
CHECKPOINT_SECONDS = 0.3


class Trainings:
    """Of which one is killed again and again.

    Attributes:
        processes: in how many processes it begins.
        changes: of the configuration.
    """

    def __init__(self, config: Path = CONFIG, processes: int = 1, epochs: int = EPOCHS) -> None:
        self.config, self.processes = config, processes
        self.changes = [f"training.epochs={epochs}", f"training.checkpoint_seconds={CHECKPOINT_SECONDS}"]
        if processes > 1:
            self.changes.append(f"training.reproducible_over={processes}")

    def start(self, run: Path, *options: str, processes: int = 1) -> subprocess.Popen[str]:
        """A training in a process of its own, or in several that this one starts."""
        command = [sys.executable, "-m", "mlp_jax", "train", str(self.config), "--run-dir", str(run), *options]
        command += ["--processes", str(processes), "--set", *self.changes]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def at_attempt(self, k: int) -> int:
        """In how many processes: of 4 in 4, 2, 1, 4, 2 and so on."""
        return self.processes >> k % self.processes.bit_length()


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    steps = [int(file.stem[5:]) for file in (run / "checkpoints").glob("step-*.safetensors")]
    return max(steps, default=0)


def kill_once(trainings: Trainings, run: Path, rng: random.Random, k: int) -> str:
    """Resume, kill after a while, in every other case within a write; what happened, in words."""
    before, processes, in_write = newest_step(run), trainings.at_attempt(k), k % 2 == 1
    process = trainings.start(run, "--resume", processes=processes)
    while newest_step(run) == before and process.poll() is None:  # until it has come further
        time.sleep(0.005)
    deadline = time.monotonic() + rng.uniform(0, 1.0)
    while time.monotonic() < deadline and process.poll() is None:
        if in_write and unfinished(run):
            break
        time.sleep(0 if in_write else 0.002)
    finished = process.poll() is not None
    victim = rng.choice(children_of(process)) if processes > 1 and not finished else process.pid
    os.kill(victim, signal.SIGKILL)
    said = process.communicate()[0]
    if processes > 1 and not finished and not re.search(rf"process \d of {processes} .number {victim} .*SIGKILL", said):
        raise SystemExit(f"it does not say that process {victim} was killed: {said}")
    of = f" of a process of {processes}" * (processes > 1)
    return f"kill {k + 1}{of}: step {before:,} → {newest_step(run):,}{' (it had finished)' * finished}"


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that it has started."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def unfinished(run: Path) -> bool:
    """Whether a checkpoint is being written, or was when the run was killed: one newer than those that are whole."""
    parts = [name for name in os.listdir(run / "checkpoints") if name.endswith(".part")]
    return any(int(name.removeprefix(".step-").partition(".")[0]) > newest_step(run) for name in parts)


def contents(run: Path) -> dict[str, bytes]:
    """What must be the same to the byte, by name."""
    files = [run / "weights.safetensors", run / "metrics.jsonl", max((run / "checkpoints").iterdir())]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def same_after(trainings: Trainings, kills: int, folder: Path) -> bool:
    """Kill, resume, compare; say what happened."""
    rng, unfinished_writes = random.Random(0), 0
    whole, broken = folder / "whole", folder / "broken"
    trainings.start(whole).communicate()
    for k in range(kills):
        print(kill_once(trainings, broken, rng, k), flush=True)
        unfinished_writes += unfinished(broken)
    output, _ = trainings.start(broken, "--resume").communicate()
    same = contents(whole) == contents(broken)
    print(output.splitlines()[-1])
    print(f"{kills} kills, {unfinished_writes} within the writing of a checkpoint: ", end="")
    print("the same bytes as without" if same else "DIFFERENT from the unbroken run")
    return same


def main() -> int:
    """The exit status is 1 if anything differs."""
    numbers = [int(argument) for argument in sys.argv[1:]]
    kills, processes = (*numbers, *(50, 1)[len(numbers) :])
    with tempfile.TemporaryDirectory() as folder:
        return 0 if same_after(Trainings(processes=processes), kills, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
