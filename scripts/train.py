#!/usr/bin/env python
"""`mlp-jax train` as a script: python scripts/train.py configs/digits.yaml --set seed=1."""

import sys

from mlp_jax.cli import run

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    run()
