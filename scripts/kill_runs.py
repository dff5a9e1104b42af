#!/usr/bin/env python
"""Kill a training at random moments, go on with it each time, and compare the result with that of an unbroken run.

    scripts/run python scripts/kill_runs.py [KILLS]

A run of configs/digits.yaml that writes a checkpoint several times a second is killed with SIGKILL after a random time,
within the writing of a checkpoint in every other case, and resumed, until KILLS (default 50) kills are done; then it is
left to finish. Final weights, metrics and newest checkpoint must equal those of the unbroken run, byte for byte.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "configs" / "digits.yaml"
EPOCHS = 20_000
CHECKPOINT_SECONDS = 0.3


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    """A training in a process of its own."""
    changes = [f"training.epochs={EPOCHS}", f"training.checkpoint_seconds={CHECKPOINT_SECONDS}"]
    command = [sys.executable, "-m", "mlp_jax", "train", str(CONFIG), "--run-dir", str(run), *options]
    return subprocess.Popen([*command, "--set", *changes], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    steps = [int(file.stem[5:]) for file in (run / "checkpoints").glob("step-*.safetensors")]
    return max(steps, default=0)


def kill_once(run: Path, rng: random.Random, in_write: bool) -> tuple[int, int, bool]:
    """Resume, kill after a while; the newest step before and after, and whether it had already finished."""
    before = newest_step(run)
    process = start(run, "--resume")
    while newest_step(run) == before and process.poll() is None:  # until it has come further
        time.sleep(0.005)
    deadline = time.monotonic() + rng.uniform(0, 1.0)
    while time.monotonic() < deadline and process.poll() is None:
        if in_write and unfinished(run):
            break
        time.sleep(0 if in_write else 0.002)
    finished = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return before, newest_step(run), finished


def unfinished(run: Path) -> bool:
    """Whether a checkpoint is being written, or was when the run was killed: one newer than those that are whole."""
    parts = [name for name in os.listdir(run / "checkpoints") if name.endswith(".part")]
    return any(int(name.removeprefix(".step-").partition(".")[0]) > newest_step(run) for name in parts)


def contents(run: Path) -> dict[str, bytes]:
    """What must be the same, by name."""
    files = [run / "weights.safetensors", run / "metrics.jsonl", max((run / "checkpoints").iterdir())]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def main() -> int:
    """Kill, resume, compare; the exit status is 1 if anything differs."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    rng, unfinished_writes = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        start(whole).communicate()
        for k in range(kills):
            before, after, finished = kill_once(broken, rng, in_write=k % 2 == 1)
            unfinished_writes += unfinished(broken)
            print(f"kill {k + 1}: step {before:,} → {after:,}{' (it had finished)' * finished}", flush=True)
        output, _ = start(broken, "--resume").communicate()
        same = contents(whole) == contents(broken)
        print(output.splitlines()[-1])
        print(f"{kills} kills, {unfinished_writes} within the writing of a checkpoint: ", end="")
        print("the same bytes as without" if same else "DIFFERENT from the unbroken run")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
