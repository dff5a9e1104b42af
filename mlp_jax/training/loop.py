"""A whole run: read the data, train, keep what was done, evaluate, and write the summary."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from mlp_jax.training import checkpoint, data
from mlp_jax.training.config import Config, as_values
from mlp_jax.training.data import Prepared
from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.step import State
from mlp_jax.training.trainer import Trainer

_SECONDS_BETWEEN_CHECKPOINTS = 10.0


def train(
    config: Config,
    run_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    reporter: type[Reporter] = Reporter,
) -> dict[str, Any]:
    """Train a network as the configuration says, and keep the run in a directory.

    Args:
        config: the run, from `config.load`.
        run_dir: where to write; see `RunDirectory`.
        resume: go on with the run that is there; from the beginning if there is none.
        overwrite: remove the run that is there.
        reporter: what shows the progress.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: the data or the run directory does not allow it.
        TrainingDiverged: J or a parameter became NaN or infinite; the last good weights are kept.
        TrainingInterrupted: Ctrl-C; the epochs that were completed are kept.
    """
    started = time.perf_counter()
    _require_dtype(config.network.dtype)
    directory = RunDirectory(run_dir)
    _require_free(directory, config, resume, overwrite)
    prepared = data.prepare(config)
    trainer = Trainer(config, prepared)
    state, done = trainer.initial_state(), 0
    if resume and directory.checkpoint.exists():
        state, done = checkpoint.load_checkpoint(directory.checkpoint, like=state)
        directory.save_config(config)
    else:
        directory.start(config)
    trainer.compile(state)

    def finish(status: str) -> dict[str, Any]:
        now = time.perf_counter()
        seconds = {"compile": trainer.compile_seconds, "training": now - training, "all": now - started}
        _keep(directory, state, done, prepared)
        summary = _summary(trainer, state, done, status, seconds)
        directory.save_summary(summary)
        return summary

    training = kept = time.perf_counter()
    try:
        with (
            directory.open_metrics(done) as metrics,
            reporter(config.training.epochs, done, trainer.size) as report,
        ):
            latest, step = state, done * trainer.steps
            while done < config.training.epochs:
                latest, step, records = trainer.advance(latest, step)
                for record in records:
                    directory.log(metrics, record)
                    report.after_epoch(record["epoch"], record)
                if records:  # the call ended with an epoch
                    state, done = latest, records[-1]["epoch"]
                report.within_epoch(step / trainer.steps)
                if time.perf_counter() - kept > _SECONDS_BETWEEN_CHECKPOINTS:
                    _keep(directory, state, done, prepared)
                    kept = time.perf_counter()
    except TrainingDiverged as error:
        finish("diverged")
        raise TrainingDiverged(f"{error}. The weights after epoch {done} are in {directory.weights}") from None
    except KeyboardInterrupt:
        finish("interrupted")
        raise TrainingInterrupted(f"stopped after {done} of {config.training.epochs} epochs") from None
    return finish("finished")


def _keep(directory: RunDirectory, state: State, done: int, prepared: Prepared) -> None:
    with directory.writing():
        checkpoint.save_checkpoint(directory.checkpoint, state, done)
        checkpoint.save_weights(directory.weights, state.params, prepared)


def _require_dtype(dtype: str) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f'network.dtype: {dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on'
        )


def _require_free(directory: RunDirectory, config: Config, resume: bool, overwrite: bool) -> None:
    if not directory.holds_a_run() or overwrite:
        return
    if not resume:
        raise InputError(
            f"{directory.path} holds a run; go on with it (--resume), replace it (--overwrite), "
            "or name another directory (--run-dir)"
        )
    before, now = _flat(as_values(directory.load_config())), _flat(as_values(config))
    changed = [key for key in before | now if before.get(key) != now.get(key) and key != "training.epochs"]
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise InputError(
            f"{directory.path} holds a run of another configuration: {differences}. "
            "Only training.epochs may change on --resume"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _summary(trainer: Trainer, state: State, done: int, status: str, seconds: dict[str, float]) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "status": status,
        "epochs": done,
        "results": {part: trainer.evaluate(state.params, part) for part in trainer.parts},
        "examples": {part: len(examples.x) for part, examples in trainer.parts.items()},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "seconds": {what: round(value, 3) for what, value in seconds.items()},
        "device": f"{device.platform}: {device.device_kind}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mlp_jax", "jax", "jaxlib", "optax", "numpy")},
        },
    }
