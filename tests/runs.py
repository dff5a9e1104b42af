"""Small runs that several test files train."""

import json
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from mlp_jax.training.config import Config
from mlp_jax.training.fitting import fit
from mlp_jax.training.program import Program

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


# optax multiplies its step count, an integer, with decay rates: it needs JAX's usual promotion
@pytest.fixture(autouse=True)
def usual_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def iris(**changes):
    values = {
        "data": {"source": "iris"},
        "network": {"widths": (4, 8, 3), "output": "softmax", "penalty": {"l2": 1e-3}},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "training": {"epochs": 4, "batch_size": 16},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section] = {**values[section], name: value} if name else value
    return Config.model_validate(values)


def own_optimizer(monkeypatch, init, update):
    """Let trainings have this one."""
    optimizer = optax.with_extra_args_support(optax.GradientTransformation(init, update))
    monkeypatch.setattr("mlp_jax.training.trainer.build_program", lambda config, net: Program(net, optimizer))


def read_metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def train(config, run_dir, **options):
    return fit(config, run_dir=run_dir, **options).summary


def one_epoch(trainer, moment):
    """The moment after an epoch, and its record; as many calls as it takes."""
    records = []
    while not records:
        trainer._steps_per_call = min(trainer._steps_per_call, trainer.steps)
        moment, records = trainer.advance(moment)
    return moment, records


def points(tmp_path, x, y, **network):
    np.savez(tmp_path / "points.npz", x=x, y=y)
    source = {"source": "npz", "path": tmp_path / "points.npz"}
    return iris(data=source, network={"widths": (x.shape[1], y.shape[-1]), **network})
