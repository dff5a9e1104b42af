"""`mlp-jax reproduce RUN_DIR`: run a run again, and say how far it comes out the same."""

import tempfile
from argparse import Namespace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config, flat
from mlp_jax.training.environment import environment
from mlp_jax.training.fitting import fit
from mlp_jax.training.progress import Reporter, reporter_for_terminal
from mlp_jax.training.run import load
from mlp_jax.training.store import tensors
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.store.directory import RunDirectory

# Below it, rounding in another order explains a difference: relative to the largest entry of a leaf.
_ROUNDING = 1e-3
_EQUAL = "equal bit for bit: all records and weights"


def run(config: Config, options: Namespace) -> int:
    """Print what was found; 1 if it is another result."""
    load(options.run_dir)  # which says what is damaged, before the training
    same, finding = reproduce(options.run_dir, reporter_for_terminal())
    print(finding)
    return 0 if same else 1


def reproduce(run_dir: Path, reporter: type[Reporter] = Reporter) -> tuple[bool, str]:
    """Train anew with the configuration of a finished run, elsewhere, and compare records and weights.

    Returns:
        Whether they are equal, bit for bit or to rounding; and a line that says which, or from which epoch and at which
        leaf they differ, and what is different in the environment.

    Raises:
        InputError: the run has not finished, or its files or data do not allow it.
    """
    directory = RunDirectory(run_dir)
    config, summary = directory.load_config(), directory.load_summary()
    if config.data.folds:
        raise InputError(f"{run_dir} holds several folds: reproduce one, as {run_dir / 'fold-0'}")
    if summary["status"] != "finished":
        crash = f"the crash/report.txt of its seeds in {run_dir}" if config.seeds else directory.crash
        remedy = f"see {crash}" if summary["status"] == "diverged" else "finish it with --resume first"
        raise InputError(f"the run in {run_dir} is {summary['status']}, so there is no result: {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        again = RunDirectory(Path(folder) / "run")
        require_same_data(summary.get("data"), prepare(config))
        fit(config, run_dir=again.path, reporter=reporter)
        if not config.seeds:
            return _compared(directory, again, summary)
        found = [(_compared(directory.of_seed(seed), again.of_seed(seed), summary), seed) for seed in config.seeds]
    # the worst: another result, else one that is not equal to the bit
    (same, finding), seed = min(found, key=lambda of_seed: (of_seed[0][0], of_seed[0][1] == _EQUAL))
    return same, finding if finding == _EQUAL else f"seed {seed}: {finding}"


def _compared(directory: RunDirectory, again: RunDirectory, summary: dict[str, Any]) -> tuple[bool, str]:
    records = directory.read_metrics(), again.read_metrics()
    size, leaf = _difference(directory.weights, again.weights)
    differ = [epoch for epoch, (one, other) in enumerate(zip_longest(*records), start=1) if one != other]
    if not differ and size == 0:
        return True, _EQUAL
    where = ""
    if differ:
        first = differ[0]
        size, leaf = max((size, leaf), (_apart(*records), "the records"))
        steps = summary["steps_per_epoch"]
        where = f"; the records differ from epoch {first} on (steps {(first - 1) * steps + 1} to {first * steps})"
    changed = _changes(summary, environment())
    why = f"; different are {changed}" if changed else "; device, versions and flags are the same"
    what = f"{size:.1e} of the largest entry of {leaf}"
    if size <= _ROUNDING:
        return True, f"equal within {what}{where}{why}"
    return False, f"differs by {what}{where}{why}"


def _apart(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> float:
    """The largest difference of a number of the records, relative to it; infinite if one is missing."""
    found, missing = 0.0, dict[str, Any]()
    for one, other in zip_longest(map(flat, before), map(flat, after), fillvalue=missing):
        for key in one | other:
            a, b = (np.asarray(record.get(key, np.nan), np.float64) for record in (one, other))
            if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
                return np.inf
            found = max(found, float(np.nan_to_num(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-12)))))
    return found


def _difference(before: Path, after: Path) -> tuple[float, str]:
    """The largest difference of a leaf relative to its largest entry, and the leaf's name."""
    one, other = tensors.read(before)[0], tensors.read(after)[0]
    found = (0.0, "")
    for name in one:
        a, b = (np.asarray(values[name], np.float64) for values in (one, other))
        found = max(found, (float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-300)), name))
    return found


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    one, other = flat({key: before.get(key) for key in now}), flat(now)
    keys = [key for key in one | other if one.get(key) != other.get(key)]
    return ", ".join(f"{key} ({one.get(key)}, now {other.get(key)})" for key in keys)
