"""A run as a value: its configuration, network, parameters, results and records."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.mlp.parameters import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.training import config as configuration
from mlp_jax.training import data
from mlp_jax.training.config import Config
from mlp_jax.training.errors import InputError
from mlp_jax.training.predicting import predictions
from mlp_jax.training.reading import as_array, require_inputs
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.weights import Model, load_weights


class Run(NamedTuple):
    """A run and its parts.

    Attributes:
        config: the resolved configuration.
        net: the network.
        model: its parameters, and how inputs and targets were standardised; None if there are several seeds.
        results: cost and metrics by part; of several seeds, mean, standard deviation and each seed's.
        history: a record for each epoch, as in `metrics.jsonl`.
        summary: as in `summary.json`.
        seeds: the run of each seed, if there are several.
    """

    config: Config
    net: MLP
    model: Model | None
    results: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    seeds: tuple["Run", ...] = ()

    @property
    def params(self) -> Params:
        """The parameters that the run gives: with early stopping the best; else the average, or the last."""
        return self._one_model().params

    def predict(self, x: Any) -> tuple[list[str], list[list[Any]]]:
        """Predictions for inputs (n, d) as they were before standardisation: names of columns, and a row for each.

        Raises:
            InputError: an input does not fit.
        """
        model, x = self._one_model(), as_array("the inputs x", x)
        require_inputs("x", x, self.net.widths[0])
        names, rows = predictions(self.config, model, x)
        return names, list(rows)

    def _one_model(self) -> Model:
        if self.model is None:
            raise InputError(f"this run has {len(self.seeds)} seeds, each a run of its own in run.seeds: take one")
        return self.model


def load(run_dir: str | Path) -> Run:
    """The run that a directory holds.

    Raises:
        InputError: there is none, or a file of it is damaged.
    """
    directory = RunDirectory(Path(run_dir))
    config = directory.load_config()
    require_dtype(config.network.dtype)
    net = data.network_of(config.network)
    summary, history = directory.load_summary(), directory.read_metrics()
    if summary["status"] == "running":
        summary |= {"status": "running" if directory.is_held() else "killed", "epochs": len(history)}
        if config.seeds:
            raise InputError(f"{directory.path} has several seeds and is {summary['status']}: finish it with --resume")
    seeds = tuple(load(directory.of_seed(seed).path) for seed in config.seeds or ())
    model = None if seeds else load_weights(directory.weights, net, configuration.fingerprint(config))
    return Run(config, net, model, summary.get("results", {}), history, summary, seeds)


def over_seeds(results: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Mean, standard deviation and all values of each metric over the seeds.

    >>> over_seeds([{"test": {"accuracy": 0.5}}, {"test": {"accuracy": 1.0}}])["test"]["accuracy"]["mean"]
    0.75
    """
    return {
        part: {
            metric: {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if np.isfinite(values).all() else float("nan"),
                "seeds": values,
            }
            for metric, values in ((m, [of_seed[part][m] for of_seed in results]) for m in metrics)
        }
        for part, metrics in results[0].items()
    }


def require_dtype(dtype: str) -> None:
    """Raise an InputError if this process does not compute in it."""
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f'network.dtype: {dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on'
        )
