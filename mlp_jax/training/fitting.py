"""A whole run: read the data, train, keep what was done, evaluate, and write the summary."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from mlp_jax.errors import InputError, TrainingInterrupted
from mlp_jax.guest import as_guest
from mlp_jax.mlp.params import Params, require_fit
from mlp_jax.processes.together import in_turn, is_first, require_equal, together
from mlp_jax.tables.frames import is_frame, with_target
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training import config as configuration
from mlp_jax.training import loop
from mlp_jax.training.build import prepare, resolve
from mlp_jax.training.config import Config
from mlp_jax.training.progress import Reporter, reporter_for_python
from mlp_jax.training.run import Run, require_dtype
from mlp_jax.training.single import Training
from mlp_jax.training.step import State
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.streamed import trainer_of
from mlp_jax.training.sweep import sweep


@as_guest()
def fit(
    config: Config | dict[str, Any],
    examples: Any = None,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    start_from: Params | State | Run | None = None,
    reporter: type[Reporter] | None = None,
) -> Run:
    """Train a network as the configuration says.

    Args:
        config: what a YAML file would say, as a dict, or a configuration that `config.load` read.
        examples: a pair of arrays, inputs x (n, d) and targets y, (n,) class numbers or (n, k); a data frame in which
            `data.target` is a column, or a pair (frame, y); a `Prepared` of somebody who split and encoded them; None
            to read what the configuration names.
        run_dir: where to keep the run; see `RunDirectory`. None keeps nothing.
        resume: go on with the run that is there, to the same bits as without a break; from the beginning if there is
            none.
        overwrite: remove the run that is there.
        start_from: parameters to begin with, in place of random ones; or a run, or its state, to go on from, with its
            optimizer's memory, on these examples. Of a run that is kept, network.start_from says it.
        reporter: what shows the progress; by default a bar in a notebook, and nothing elsewhere.

    Raises:
        InputError: the configuration is wrong, or the data or the run directory does not allow it.
        TrainingDiverged: a number became NaN or infinite: says layer, quantity and cause; the weights before are kept.
            Of a sweep, only if all its runs did: else the summary says which.
        TrainingInterrupted: Ctrl-C or a request to end (SIGTERM); all steps that were taken are kept.

    >>> import numpy as np
    >>> from mlp_jax.training import fit
    >>> x = np.linspace(-1, 1, 60)[:, None]
    >>> run = fit(
    ...     {
    ...         "network": {"widths": [1, 8, 1], "hidden": "tanh"},
    ...         "optimizer": {"name": "adam", "learning_rate": 0.05},
    ...         "training": {"epochs": 60, "batch_size": 16},
    ...     },
    ...     (x, np.sin(3 * x)),
    ... )
    >>> run.results["test"]["rmse"] < 0.1, len(run.history), run.params[0].W.shape
    (True, 60, (1, 8))
    """
    if resume and overwrite:
        raise InputError("resume goes on with a run, overwrite replaces it: give one of them")
    config, examples = _as_config(config, examples)
    if start_from is not None and (run_dir is not None or config.several):
        raise InputError(
            "start_from is for one training that is kept nowhere, for its values stand in no configuration: write them "
            "with mlp_jax.exchange.to_safetensors, and give network.start_from"
        )
    require_dtype(config.network.dtype)
    _require_processes(config)
    # of several processes the first writes and speaks
    reporter = (reporter or reporter_for_python()) if is_first() else Reporter
    directory = RunDirectory(Path(run_dir)) if run_dir is not None and is_first() else None
    return _fit(config, examples, directory, resume, overwrite, reporter, _state_of(start_from))


def _fit(
    config: Config,
    examples: Any,
    directory: RunDirectory | None,
    resume: bool,
    overwrite: bool,
    reporter: type[Reporter],
    start_from: State | None = None,
) -> Run:
    """Train on the examples, which may be prepared already."""
    started = time.perf_counter()
    unit, numbers = config.several or ("epoch", ())
    total = len(numbers) or config.training.epochs
    with _out_of_memory_explained(), reporter(total, unit) as report:
        if config.axes:
            return sweep(config, examples, directory, resume, overwrite, report)
        prepared = in_turn(lambda: examples if isinstance(examples, Prepared) else prepare(config, examples, report))
        require_equal(data=prepared.fingerprint)
        config = together(lambda: resolve(config, prepared))
        for finding in prepared.said:
            report.say(finding)
        free = config, resume, overwrite
        together(lambda: directory.require_free(*free) if directory else None)
        trainer = trainer_of(config, prepared)
        if start_from:
            require_fit(trainer.net, start_from.params)
        training = Training(config, trainer, report, start_from)  # which compiles, before the directory is touched
        with ExitStack() as until_the_end:
            together(lambda: directory and until_the_end.enter_context(directory.taken(*free)))
            return _to_its_end(training.begin(directory, resume), report, time.perf_counter() - started)


def _require_processes(config: Config) -> None:
    """Raise an InputError, in all processes, unless they are as many as the configuration says, and have the same."""
    given, there = config.training.processes, jax.process_count()
    if given not in (None, "auto", there):
        raise InputError(
            f"training.processes is {given}, and this is {there}: `mlp-jax train` starts them; in a program of yours "
            "each calls jax.distributed.initialize"
        )
    if there > 1 and config.several and config.several[0] != "seed":
        raise InputError(f"several processes train one network, or seeds of it: train {config.several[0]}s one by one")
    steps = f"{configuration.fingerprint(config)[:16]} {config.training.epochs} {config.training.checkpoint_seconds}"
    require_equal(configuration=steps, device=f"{jax.devices()[0].device_kind}, jax {jax.__version__}")


def _state_of(start_from: Params | State | Run | None) -> State | None:
    if start_from is None or isinstance(start_from, State):
        return start_from
    if not isinstance(start_from, Run):
        return State(start_from, None)
    if start_from.state is None:
        raise InputError(
            "start_from is a run without its optimizer's memory, of several seeds or loaded: give run.params"
        )
    return start_from.state


def _to_its_end(training: Training, report: Reporter, seconds_before: float) -> Run:
    report.start(training.done, training.trainer.size)
    try:
        for _ in loop.train([training], 1, lambda records: report.advanced(training.done, records)):
            pass
    except TrainingInterrupted as stop:
        training.finish(seconds_before, interrupted=True)
        raise TrainingInterrupted(f"stopped after {training.progress()}", stop.signal) from None
    run = training.finish(seconds_before)
    if training.diverged:
        raise training.why_diverged() from None
    return run


def _as_config(config: Config | dict[str, Any], examples: Any) -> tuple[Config, Any]:
    """The configuration, and the examples: arrays, or a frame in which y of a pair (frame, y) is a column."""
    if isinstance(config, Config):
        if examples is not None and config.data.source not in ("arrays", "frame"):
            raise InputError(f"give examples, or a configuration with data.source {config.data.source}: not both")
        return config, examples
    if not isinstance(config, dict):
        raise InputError(f"config must be a dict or a Config that config.load read, got {type(config).__name__}")
    if examples is not None:
        section = config.get("data") or {}
        if not isinstance(section, dict) or section.get("source", "arrays") not in ("arrays", "frame"):
            raise InputError("give examples, or a data section with a source: not both")
        found: dict[str, Any] = {"source": "arrays"}
        if is_frame(examples):
            found = {"source": "frame"}
        elif isinstance(examples, tuple | list) and len(examples) == 2 and is_frame(examples[0]):
            examples, target = with_target(*examples)
            found = {"source": "frame", "target": target}
        config = {**config, "data": {**section, **found}}
    return configuration.from_values(config), examples


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise InputError("the data need more memory than there is") from None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"network.widths, batch_size or the data need more memory than there is: {reason}") from None
