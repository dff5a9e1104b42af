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
    if not config.seeds:
        return print_results(results[0])
    print_results(over_seeds(results))
    print(f"\n{how_many_seeds(config, over_seeds(results))}")
    for one in run.seeds:
        if one.summary["status"] != "finished":
            print(f"seed {one.config.seed} {one.summary['status']}")
    return None


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """A table of parts and metrics; of several seeds, mean ± standard deviation."""
    rows = rows_of(results, digits=6)
    widths = [max(12, *(len(row[k]) + 2 for row in rows)) for k in range(len(rows[0]))]
    for name, *cells in rows:
        print(f"{name:12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))


def how_many_seeds(config: Config, results: dict[str, dict[str, Any]]) -> str:
    """Over how many of its seeds the results of a sweep are: those that finished."""
    count = len(next(iter(next(iter(results.values())).values()))["seeds"])
    total = len(config.seeds or ())
    return f"{total} seeds" if count == total else f"{count} of {total} seeds"


def rows_of(results: dict[str, dict[str, Any]], digits: int) -> list[list[str]]:
    """The names of the metrics, and a row for each part."""
    rows = [[part, *(_number(value, digits) for value in values.values())] for part, values in results.items()]
    return [["", *next(iter(results.values()))], *rows]


def _number(value: Any, digits: int) -> str:
    if isinstance(value, dict):
        has_spread = value["sd"] is None or value["sd"] == value["sd"] or len(value["seeds"]) > 1
        return _number(value["mean"], digits) + (f" ± {_number(value['sd'], 2)}" if has_spread else "")
    return "not finite" if value is None else f"{value:.{digits}g}"
