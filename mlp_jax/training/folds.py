"""Cross-validation: each fold of the examples is the test part of a training of its own, once."""

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlp_jax.tables.preparation import Prepared
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config
from mlp_jax.training.prediction import predictions
from mlp_jax.training.run import Run
from mlp_jax.training.standing import over_seeds
from mlp_jax.training.store.directory import RunDirectory


def cross_validate(
    config: Config, examples: Any, directory: RunDirectory | None, resume: bool, fit_one: Callable[..., Run]
) -> Run:
    """Train once for each fold, and summarise; `predictions.csv` has what each example got when it was held out.

    Args:
        config: says how many folds.
        examples: as for `fit`.
        directory: where to keep the runs; it is free, or may be gone on with.
        resume: whether to go on.
        fit_one: trains a fold: (config, prepared, run_dir) -> run.
    """
    _, folds = config.several or ("", ())
    if directory:
        if not (resume and directory.holds_run()):
            directory.start(config)
        directory.save_summary({"status": "running", "epochs": 0})
    runs: list[Run] = []
    rows: list[tuple[Any, ...]] = []
    header: list[str] = []
    started = time.perf_counter()
    for k in folds:
        one = of_fold(config, k)
        prepared = prepare(one, examples)
        if k:
            prepared = prepared._replace(said=())  # the first has said it
        runs.append(fit_one(one, prepared, directory and directory.child("fold", k).path))
        header, found = _held_out(runs[-1], prepared, k)
        rows += found
    seconds = {"all": round(time.perf_counter() - started, 3)}
    shared = {key: runs[0].summary[key] for key in ("parameters", "device", "versions", "steps_per_epoch")}
    summary = {
        "status": "finished",
        "epochs": max(run.summary["epochs"] for run in runs),
        "folds": len(folds),
        "results": over_seeds([run.results for run in runs]),
        "seconds": seconds,
        **shared,
    }
    if directory:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *sorted(rows)])
        directory.save_predictions(text.getvalue())
        directory.save_summary(summary)
    return Run(config, runs[0].net, None, summary["results"], [], summary, tuple(runs))


def of_fold(config: Config, k: int) -> Config:
    """The configuration of the training whose test part is this fold, counted from 0."""
    split = config.data.split.model_copy(update={"fold": k})
    return config.model_copy(update={"data": config.data.model_copy(update={"split": split})})


def _held_out(run: Run, prepared: Prepared, k: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The predictions for a fold: the number of the row in its file, from 1, the fold and the targets first."""
    assert run.model is not None
    assert prepared.rows is not None
    columns = predictions(run.config, run.model, prepared.parts["test"].x)
    numbers = (prepared.rows["test"] + 1).tolist()
    targets = prepared.schema.targets if prepared.schema else ()
    y = np.asarray(prepared.parts["test"].y)
    y = prepared.targets.undo(y) if y.ndim == 2 else y[:, None]
    true = {f"true {target.name}": target.cells(of) for target, of in zip(targets, y.T, strict=False)}
    cells = (*true.values(), *(values.tolist() for values in columns.values()))
    return ["row", "fold", *true, *columns], list(zip(numbers, [k] * len(numbers), *cells, strict=True))
