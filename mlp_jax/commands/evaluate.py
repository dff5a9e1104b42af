"""`mlp-jax evaluate RUN_DIR`: cost and metrics of a trained network on its data."""

from argparse import Namespace
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config
from mlp_jax.training.run import load
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.sweep import over_seeds
from mlp_jax.training.trainer import Trainer


def run(config: Config, options: Namespace) -> None:
    """Evaluate the saved weights; of several seeds those that finished."""
    run = load(options.run_dir)
    prepared = prepare(config)
    trainer = Trainer(config, prepared)
    results = []
    finished = [seed for seed in run.seeds if seed.summary["status"] == "finished"]
    if config.seeds and not finished:
        raise InputError(f"{options.run_dir} is {run.summary['status']}: none of its seeds has finished")
    for one in finished or [run]:
        require_same_data(one.trained_on, prepared)
        results.append(trainer.evaluate(one.params))
    print_results(over_seeds(results) if run.seeds else results[0])


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """A table of parts and metrics; of several seeds, mean ± standard deviation."""
    rows = rows_of(results, digits=6)
    widths = [max(12, *(len(row[k]) + 2 for row in rows)) for k in range(len(rows[0]))]
    for name, *cells in rows:
        print(f"{name:12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))


def rows_of(results: dict[str, dict[str, Any]], digits: int) -> list[list[str]]:
    """The names of the metrics, and a row for each part."""
    rows = [[part, *(_number(value, digits) for value in values.values())] for part, values in results.items()]
    return [["", *next(iter(results.values()))], *rows]


def _number(value: Any, digits: int) -> str:
    if isinstance(value, dict):
        return f"{_number(value['mean'], digits)} ± {_number(value['sd'], 2)}"
    return "not finite" if value is None else f"{value:.{digits}g}"
