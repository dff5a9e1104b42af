"""`mlp-jax reproduce RUN_DIR`: run a run again, and say how far it comes out the same."""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from mlp_jax.commands.claims import Difference, differences
from mlp_jax.errors import InputError
from mlp_jax.terminal import put
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config, flat
from mlp_jax.training.devices import alone
from mlp_jax.training.environment import environment
from mlp_jax.training.fitting import fit
from mlp_jax.training.progress import Reporter, reporter_for_terminal
from mlp_jax.training.run import load
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.store.directory import RunDirectory

# Below it, rounding in another order explains a difference: relative to the largest entry of a leaf. Another processor
# of the same name rounds in another order, too, so that the environment need not differ.
_ROUNDING = 1e-3
EQUAL = "equal bit for bit: weights, names, records and results"
_SHOWN = 5  # values that differ; of a run that comes out differently most do


def run(config: Config, options: Namespace) -> int:
    """Print what was found; 1 if it is another result."""
    load(options.run_dir)  # which says what is damaged, before the training
    same, finding = reproduce(options.run_dir, reporter_for_terminal())
    put(finding)
    return 0 if same else 1


def reproduce(run_dir: Path, reporter: type[Reporter] = Reporter) -> tuple[bool, str]:
    """Train anew with the configuration of a finished run, elsewhere, and compare all that the directory claims.

    Returns:
        Whether it is equal, bit for bit or to rounding; and a line that says which, or what differs by file and key,
        from which epoch on, and what is different in the environment.

    Raises:
        InputError: the run has not finished, or its files or data do not allow it.
    """
    directory = RunDirectory(run_dir)
    config = directory.load_config()
    summary = directory.load_summary(config.several is not None)
    if config.training.reproducible_over:
        config = alone(config)
    elif config.training.processes:
        raise InputError(
            f"the run in {run_dir} was trained in {config.training.processes} processes, without "
            "training.reproducible_over: one process rounds otherwise, so that there is nothing to compare"
        )
    if config.sweep and "data.cache" in config.sweep:
        raise InputError(f"the runs in {run_dir} have a data.cache each, which would be written: reproduce one of them")
    if summary["status"] != "finished":
        crash = f"the crash/report.txt of its runs in {run_dir}" if config.several else directory.crash
        remedy = f"see {crash}" if summary["status"] == "diverged" else "finish it with --resume first"
        raise InputError(f"the run in {run_dir} is {summary['status']}, so there is no result: {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        again = RunDirectory(Path(folder) / "run")
        one = next(iter(directory.children(config)), directory)
        require_same_data(one.load_summary().get("data"), prepare(alone(one.load_config())))
        if getattr(config.data, "cache", None):  # whose folder may be another's, or hold what another needs
            data = config.data.model_copy(update={"cache": Path(folder) / "cache"})
            config = config.model_copy(update={"data": data})
        fit(config, run_dir=again.path, reporter=reporter)
        found, summaries = list(differences(directory, again, config.several is not None)), [summary]
        for child, its in zip(directory.children(config), again.children(config), strict=True):
            found += differences(child, its, False, f"{child.path.name}/")
            summaries.append(child.load_summary())
    return judged(found, summaries, environment())


def judged(found: list[Difference], summaries: list[dict[str, Any]], now: dict[str, Any]) -> tuple[bool, str]:
    """Whether what differs is rounding at most, and what to say of it, and of the environment in these and now."""
    summary = summaries[0]
    changed = ", ".join(dict.fromkeys(filter(None, (_changes(each, now) for each in summaries))))
    why = f"; different are {changed}" if changed else "; device, versions and flags are the same" * bool(found)
    if not found:
        return True, f"{EQUAL}{why}"
    worst_first = sorted(found, key=lambda difference: -difference.size)
    shown = ", ".join(one.words for one in worst_first[:_SHOWN])
    more = f", and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    first, steps = min((one.epoch for one in found if one.epoch), default=0), summary.get("steps_per_epoch")
    where = f"; the records differ from epoch {first} on" if first else ""
    if first and isinstance(steps, int):
        where += f" (steps {(first - 1) * steps + 1} to {first * steps})"
    if worst_first[0].size <= _ROUNDING:
        return True, f"equal within rounding, not bit for bit: {shown}{more}{where}{why}"
    return False, f"differs: {shown}{more}{where}{why}"


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    one, other = flat({key: before.get(key) for key in now}), flat(now)
    keys = [key for key in one | other if one.get(key) != other.get(key)]
    return ", ".join(f"{key[:60]} ({str(one.get(key))[:60]}, now {str(other.get(key))[:60]})" for key in keys)
