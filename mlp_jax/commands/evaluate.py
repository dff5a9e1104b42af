"""`mlp-jax evaluate RUN_DIR [FILE]`: cost and metrics of a trained network on its data, or on a new table."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.commands.predict import one_run
from mlp_jax.errors import InputError
from mlp_jax.exchange.weights.files import from_safetensors
from mlp_jax.tables import files
from mlp_jax.tables.arrow import pa
from mlp_jax.tables.preparation import Ends, Examples, Prepared
from mlp_jax.tables.schema import Surprises
from mlp_jax.tables.table import weights_of
from mlp_jax.tables.targets import encode_again, rows_with_all
from mlp_jax.tables.text import BadCells, Dialect, require_columns
from mlp_jax.terminal import put, say
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config
from mlp_jax.training.devices import alone
from mlp_jax.training.prediction import encoded
from mlp_jax.training.run import Run, load
from mlp_jax.training.shown import how_many_seeds, in_columns, results_in_rows
from mlp_jax.training.standing import over_seeds
from mlp_jax.training.store.checkpoint import require_same_data
from mlp_jax.training.streamed import trainer_of
from mlp_jax.training.trainer import Trainer


def run(config: Config, options: Namespace) -> None:
    """Evaluate the saved weights, of several seeds those that finished; or those of --weights."""
    kind = config.several and config.several[0]
    run = one_run(config, options.run_dir) if kind == "run" else load(options.run_dir)
    given = from_safetensors(options.weights, run.net, config.network.dtype) if options.weights else None
    if given is not None and run.model is None:
        raise InputError(f"{options.run_dir} is several runs: --weights is for one of them")
    if given is not None and run.model is not None:
        _require_same_names(run, options.weights)
        run = run._replace(model=run.model._replace(params=given))
    if options.labelled:
        return print_results({options.labelled.name: _on_file(run, options.labelled)})
    if kind == "fold":
        print_results(run.results)
        return put(f"\n{how_many_seeds(config, run.results)}")
    config = alone(config)
    prepared = prepare(config)
    trainer = trainer_of(config, prepared)
    results = []
    finished = [seed for seed in run.seeds if seed.summary["status"] == "finished"]
    if kind and not finished:
        raise InputError(f"{options.run_dir} is {run.summary['status']}: none of its seeds has finished")
    for one in finished or [run]:
        require_same_data(one.trained_on, prepared)
        results.append(trainer.evaluate(one.params))
    if not kind:
        return print_results(results[0])
    print_results(over_seeds(results))
    put(f"\n{how_many_seeds(config, over_seeds(results))}")
    for one in run.seeds:
        if one.summary["status"] != "finished":
            put(f"seed {one.config.seed} {one.summary['status']}")
    return None


def _require_same_names(run: Run, weights: Path) -> None:
    """Raise an InputError if weights are those of a run whose inputs or classes are others, or in another order."""
    if not weights.is_dir() or not run.model:
        return
    other = load(weights).model
    for what in ("input_names", "target_names"):
        mine, theirs = getattr(run.model, what), getattr(other, what, None)
        if mine != theirs:
            raise InputError(f"--weights {weights} has the {what.replace('_', ' ')} {theirs}, the run has {mine}")


def _on_file(run: Run, path: Path) -> dict[str, float]:
    """The metrics on a table that has the targets, too."""
    model = run.model
    if model is None or model.schema is None or not model.schema.columns:
        raise InputError("a new file is evaluated by a run that was trained on a table, of one seed")
    data: Any = run.config.data
    dialect = getattr(data, "dialect", Dialect())
    targets, types = model.schema.targets, model.schema.types
    types |= {target.name: target.type for target in targets if target.type}
    table = files.read([path], dialect, types)
    require_columns(str(path), [target.name for target in targets], table.column_names)
    weighted = [data.weights] if data.weights in table.column_names else []
    there = rows_with_all([table.column(name) for name in (*(target.name for target in targets), *weighted)])
    said = [f"{(~there).sum():,} of {len(there):,} rows have no target and are left out"] if not there.all() else []
    if data.weights and not weighted:
        said.append(f"it has no column {data.weights!r} (data.weights): each row counts once")
    if not there.any():
        raise InputError(f"{path} has no row with a target")
    number, table = np.flatnonzero(there) + 1, table.filter(pa.array(there))
    y = encode_again(targets, [table.column(target.name) for target in targets], run.net.output_unit, str(path))
    if y.dtype == np.float64 and data.standardize_targets:
        y = model.targets.apply(y)
    found = Surprises()
    try:
        x = encoded(run.config, model, table, run.net, str(path), found=found)
    except BadCells as error:
        raise files.located(error, [path], dialect) from None
    for line in (*(f"{path}: {finding}" for finding in said), *found.in_words(str(path))):
        say(line)
    weights = weights_of(table, data, str(path), number) if weighted else None
    part = Examples(x, y)
    prepared = Prepared(str(path), {"train": part}, model.inputs, model.targets, model.input_names, model.target_names,
                        model.data, Ends(run.net.widths[0], run.net.widths[-1], "", False),
                        weights=None if weights is None else {"train": weights})  # fmt: skip
    one_step = run.config.model_copy(update={"training": run.config.training.model_copy(update={"batch_size": "all"})})
    return Trainer(alone(one_step), prepared).evaluate(model.params)["train"]


def print_results(
    results: dict[str, dict[str, Any]], heading: str = "", baseline: dict[str, Any] | None = None
) -> None:
    """A table of parts and metrics, and of a constant prediction; of several seeds, mean ± standard deviation."""
    rows = results_in_rows(results, 6, baseline)
    rows[0][0] = heading
    put("\n".join(in_columns(rows)))
