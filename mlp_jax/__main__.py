"""`python -m mlp_jax` is the command `mlp-jax`."""

from mlp_jax.cli import run

run()
