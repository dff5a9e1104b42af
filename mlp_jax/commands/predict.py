"""`mlp-jax predict RUN_DIR FILE`: predictions of a trained network for new inputs, as CSV."""

import csv
import sys
from argparse import Namespace

from mlp_jax.errors import InputError
from mlp_jax.tables.reading import read_inputs
from mlp_jax.training.config import Config
from mlp_jax.training.run import load


def run(config: Config, options: Namespace) -> None:
    """Write a row for each input to standard output."""
    run = load(options.run_dir)
    if run.model is None:
        raise InputError(
            f"{options.run_dir} holds several seeds, each a run of its own; name one, as "
            f"{options.run_dir / f'seed-{min(config.seeds or ())}'}"
        )
    header, rows = run.predict(read_inputs(options.file, run.model.input_names, run.net.widths[0]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
