#!/usr/bin/env python
"""Train by a configuration from Python, and look at the run: python scripts/train.py configs/digits.yaml."""

import sys
from pathlib import Path

from mlp_jax.training import config as configuration
from mlp_jax.training.loop import train
from mlp_jax.training.progress import reporter_for_terminal


def main(config_file: str) -> None:
    """Train, into the directory that the command line would use."""
    config = configuration.load(config_file)
    run_dir = Path("runs") / Path(config_file).stem
    summary = train(config, run_dir, overwrite=True, reporter=reporter_for_terminal())
    for part, results in summary["results"].items():
        print(part, results)


if __name__ == "__main__":
    main(sys.argv[1])
