"""A sweep: the same training from several seeds, each a run of its own, and what they come to together."""

import time
from contextlib import ExitStack
from itertools import chain
from typing import Any

import numpy as np

from mlp_jax.errors import TrainingDiverged, TrainingInterrupted
from mlp_jax.training import loop
from mlp_jax.training.config import Config
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.single import Training, summary_of
from mlp_jax.training.store.directory import RunDirectory


def sweep(
    config: Config, first: Training, directory: RunDirectory | None, resume: bool, report: Reporter, started: float
) -> Run:
    """Train from each seed, on a CPU several side by side, and summarise those that finished.

    `first` is the training of the first seed, which has not begun.

    Raises:
        TrainingDiverged: all of them did.
        TrainingInterrupted: Ctrl-C or SIGTERM; all steps that were taken are kept.
    """
    seeds, epochs, trainer = config.seeds or (), config.training.epochs, first.trainer
    under_way: dict[int, Training] = {}
    locks: dict[int, ExitStack] = {}
    runs: dict[int, Run] = {}

    def begun(training: Training) -> Training:
        seed = training.config.seed
        locks[seed] = ExitStack()
        if directory:
            locks[seed].enter_context(directory.of_seed(seed).held(by_its_sweep=True))
        under_way[seed] = training.begin(directory and directory.of_seed(seed), resume)
        return training

    def finish(seed: int, interrupted: bool = False) -> Run:
        with locks.pop(seed):
            return under_way.pop(seed).finish(interrupted=interrupted)

    def show(records: list[dict[str, Any]]) -> None:
        report.advanced(len(runs) + sum(training.done for training in under_way.values()) / epochs, records)

    def summarise(status: str) -> Run:
        children = tuple(runs[seed] for seed in seeds if seed in runs)
        now = time.perf_counter()
        seconds = {"compile": trainer.compile_seconds, "training": now - training_started, "all": now - started}
        done = max((run.summary["epochs"] for run in children), default=0)
        summary = summary_of(trainer, status, done, seconds) | {"seeds": list(seeds)}
        if diverged := [run for run in children if run.summary["status"] == "diverged"]:
            summary["diverged"] = {str(run.config.seed): run.summary["reason"] for run in diverged}
        if finished := [run for run in children if run.summary["status"] == "finished"]:
            summary["results"] = over_seeds([run.results for run in finished])
        if directory:
            directory.save_summary(summary)
        return Run(config, trainer.net, None, summary.get("results", {}), [], summary, children)

    training_started = time.perf_counter()
    if directory and resume and directory.holds_run():
        for seed in seeds:  # any of which may refuse, before anything of what is there is changed
            with directory.of_seed(seed).held(by_its_sweep=True):
                first.found_in(directory.of_seed(seed), of_seed(config, seed))
        directory.save_config(config)
    elif directory:
        directory.start(config)
    begun(first)
    if directory:
        summarise("running")
    report.start(0, trainer.size * epochs)
    others = (begun(Training(of_seed(config, seed), trainer, report)) for seed in seeds[1:])
    try:
        for training in loop.train(chain([first], others), trainer.at_once, lambda _: show([])):
            seed = training.config.seed
            runs[seed] = finish(seed)
            if training.diverged:
                report.say(f"seed {seed} diverged: {training.why_diverged()}")
            show([{**record, "seed": len(runs)} for record in training.history[-1:]])
    except TrainingInterrupted as stop:
        ended = len(runs)
        runs |= {seed: finish(seed, interrupted=True) for seed in tuple(under_way)}
        summarise("interrupted")
        raise TrainingInterrupted(f"stopped after {ended} of {len(seeds)} seeds", stop.signal) from None
    if any(run.summary["status"] == "finished" for run in runs.values()):
        return summarise("finished")
    why = summarise("diverged").seeds[0].summary["reason"]
    raise TrainingDiverged(f"all {len(seeds)} seeds diverged; seed {seeds[0]}: {why}")


def of_seed(config: Config, seed: int) -> Config:
    """The configuration of one of the trainings of a sweep."""
    return config.model_copy(update={"seed": seed, "seeds": None})


def over_seeds(results: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Mean, standard deviation and all values of each metric over the seeds that finished.

    >>> over_seeds([{"test": {"accuracy": 0.5}}, {"test": {"accuracy": 1.0}}])["test"]["accuracy"]["mean"]
    0.75
    """
    return {
        part: {metric: _statistics([result[part][metric] for result in results]) for metric in metrics}
        for part, metrics in results[0].items()
    }


def _statistics(values: list[float]) -> dict[str, Any]:
    has_spread = len(values) > 1 and np.isfinite(values).all()
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if has_spread else float("nan"),  # one value has no spread
        "seeds": values,
    }
