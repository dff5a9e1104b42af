"""`mlp-jax export RUN_DIR FILE`: a trained network as ONNX, StableHLO, or a Python file that needs NumPy alone."""

from argparse import Namespace

from mlp_jax.commands.predict import one_run
from mlp_jax.exchange.models import export
from mlp_jax.terminal import put
from mlp_jax.training.config import Config


def run(config: Config, options: Namespace) -> None:
    """Write the model and its card, and say where they are."""
    for path in export(one_run(config, options.run_dir), options.model, options.overwrite):
        put(path)
