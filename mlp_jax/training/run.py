"""A run as a value: its configuration, network, parameters, results and records."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mlp_jax.errors import InputError
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.schema import Surprises
from mlp_jax.training import config as configuration
from mlp_jax.training.build import build_network
from mlp_jax.training.config import Config
from mlp_jax.training.prediction import encoded, predictions
from mlp_jax.training.shown import Shown
from mlp_jax.training.step import State
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.store.weights import Model, load_weights


class Run(NamedTuple):
    """A run and its parts.

    Attributes:
        config: the resolved configuration.
        net: the network.
        model: its parameters, and how inputs and targets were standardised; None if there are several runs.
        results: cost and metrics by part; of several seeds or folds, mean, standard deviation and each one's, of those
            that finished; of another sweep, of the best.
        history: a record for each epoch, as in `metrics.jsonl`; of several, each run in `seeds` has its own.
        summary: as in `summary.json`.
        seeds: the run of each seed, fold or combination of values, if there are several.
        state: what the steps ended with, the optimizer's memory included; None of several, or of a run that was loaded.
    """

    config: Config
    net: MLP
    model: Model | None
    results: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    seeds: tuple["Run", ...] = ()
    state: State | None = None

    def __repr__(self) -> str:
        """What was trained, and the results: not all weights and records."""
        return self._shown().as_text()

    def _shown(self) -> Shown:
        return Shown(self.config, self.net, self.results, self.history, self.summary)

    def _repr_html_(self) -> str:
        return self._shown().as_html()

    @property
    def params(self) -> Params:
        """The parameters that the run gives: with early stopping the best; else the average, or the last."""
        return self._one_model().params

    @property
    def trained_on(self) -> str:
        """The fingerprint of the examples that it was trained on."""
        return self._one_model().data

    def predict(self, x: Any) -> tuple[list[str], list[list[Any]]]:
        """Predictions for inputs as they were before standardisation: names of columns, and a row for each.

        Inputs are an array (n, d), whose columns stand in the order of the training data; or a data frame, whose
        columns are found by name: a warning names what it holds that the training part does not. Classes are text,
        whole numbers or truth values, as they were.

        Raises:
            InputError: an input does not fit.
        """
        model, found = self._one_model(), Surprises()
        columns = predictions(self.config, model, encoded(self.config, model, x, self.net, found=found))
        if lines := list(found.in_words("x")):
            warnings.warn("\n".join(lines), stacklevel=2)
        cells = {name: values.tolist() for name, values in columns.items()}
        for target in model.schema.targets if model.schema else ():
            if target.name in cells and target.classes:
                values = dict(zip(target.classes, target.values, strict=True))
                cells[target.name] = [values[name] for name in cells[target.name]]
        return list(columns), [list(row) for row in zip(*cells.values(), strict=True)]

    def _one_model(self) -> Model:
        if self.model is None:
            kind = self.config.several[0] if self.config.several else "run"
            raise InputError(f"this run has {len(self.seeds)} {kind}s, each a run of its own in run.seeds: take one")
        return self.model


def load(run_dir: str | Path) -> Run:
    """The run that a directory holds.

    Raises:
        InputError: there is none, or a file of it is damaged.
    """
    return _loaded(RunDirectory(Path(run_dir)))


def _loaded(directory: RunDirectory) -> Run:
    config = directory.load_config()
    require_dtype(config.network.dtype)
    children = directory.children(config)
    one = children[0].load_config() if config.several else config
    net = build_network(one.network)
    several = config.several is not None
    summary, history = directory.load_summary(several), [] if several else directory.read_metrics()
    if summary["status"] == "running":
        summary |= {"status": "running" if directory.is_held() else "killed", "epochs": len(history)}
        if config.several:
            how = "wait for it" if summary["status"] == "running" else "finish it with resume=True"
            raise InputError(f"{directory.path} has several {config.several[0]}s and is {summary['status']}: {how}")
    if summary["status"] == "finished" and (lost := [child.path for child in children if not child.holds_run()]):
        raise InputError(f"{lost[0]} holds no run any more: train it again with resume=True")
    seeds = tuple(_loaded(child) for child in children if child.holds_run())
    model = None if config.several else load_weights(directory.weights, net, configuration.fingerprint(config))
    if model and model.class_weights:  # balanced ones are those of the training examples
        net = build_network(config.network.model_copy(update={"class_weights": model.class_weights}))
    return Run(config, net, model, summary.get("results", {}), history, summary, seeds)


def require_dtype(dtype: str) -> None:
    """Raise an InputError if this process does not compute in it."""
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f'network.dtype: {dtype} is off in this process; jax.config.update("jax_enable_x64", True) turns it on'
        )
