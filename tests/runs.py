"""Small runs that several test files train."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import optax

from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config
from mlp_jax.training.fitting import fit
from mlp_jax.training.progress import Reporter
from mlp_jax.training.step import Program
from mlp_jax.training.step.values import Values
from mlp_jax.training.trainer import Trainer

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


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
    optimizer = optax.GradientTransformation(init, update)

    def program(config, net):
        return Program(net, optimizer)

    def left_open(program, config):
        return program._replace(optimizer=lambda: optimizer), Values({})

    monkeypatch.setattr("mlp_jax.training.trainer.build_program", program)
    monkeypatch.setattr("mlp_jax.training.trainer.leave_open", left_open)


def read_metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def train(config, run_dir, **options):
    return fit(config, run_dir=run_dir, **options).summary


class ByHand:
    """A training whose calls a test makes itself."""

    def __init__(self, config):
        self.trainer = Trainer(config, prepare(config))
        self.batches = self.trainer.batches(config.seed)
        self.moment = self.trainer.start(config.seed)

    @property
    def params(self):
        return self.moment.state.params

    @params.setter
    def params(self, params):
        self.moment = self.moment._replace(state=self.moment.state._replace(params=params))

    def advance(self, steps):
        """A call of at most so many steps."""
        self.trainer.steps_per_call = steps
        self.moment, records = self.trainer.advance(self.moment, self.batches)
        return records

    def epoch(self):
        """The record of an epoch."""
        (record,) = self.advance(self.trainer.steps)
        return record

    def examples_of(self, epoch):
        """The examples of each step of an epoch, x and y."""
        x, y = self.trainer.parts["train"]
        for step in range(self.trainer.steps):
            rows = self.batches.of_step(epoch, step)
            yield x[rows], y[rows]


class Hears(Reporter):
    """Remembers what it was told."""

    heard: list[str] = []  # noqa: RUF012

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard.clear()

    def say(self, message):
        self.heard.append(message)


def points(tmp_path, x, y, **network):
    np.savez(tmp_path / "points.npz", x=x, y=y)
    source = {"source": "npz", "path": tmp_path / "points.npz"}
    return iris(data=source, network={"widths": (x.shape[1], y.shape[-1]), **network})


def digest(run, of_records=True):
    """Of the weights of a run, or of each of several; and of what is measured, which the first process has of them."""
    runs = run.seeds or [run]
    weights = b"".join(np.asarray(leaf).tobytes() for one in runs for leaf in jax.tree.leaves(one.params))
    measures = [(one.history, one.results) for one in runs] if of_records else []
    return hashlib.sha256(weights + repr(measures).encode()).hexdigest()
