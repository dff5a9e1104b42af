"""Early stopping keeps the weights of the best epoch, stops when patience runs out, and resumes to the same bits."""

import json

import jax
import numpy as np
import optax
import pytest
from runs import CONFIGS, read_metrics, train
from safetensors.numpy import load_file

from mlp_jax.errors import InputError
from mlp_jax.training import config as configuration
from mlp_jax.training.build import build_optimizer

pytestmark = pytest.mark.usefixtures("usual_promotion")

DIABETES = CONFIGS[0].parent / "diabetes.yaml"
OVERFITS = ["network.widths=[10, 64, 1]", "optimizer={name: adam, learning_rate: 0.02}"]
STOPPING = "training.early_stopping={patience: 4, min_delta: 0.002}"


def run(folder, *changes, **options):
    summary = train(configuration.load(DIABETES, [*OVERFITS, *changes]), folder, **options)
    return summary, load_file(folder / "weights.safetensors"), read_metrics(folder)


def expected_stop(losses, patience, min_delta):
    """The best epoch and the last one, by the definition."""
    stalled = 0
    for epoch in range(1, len(losses) + 1):
        before = np.float32(min(losses[: epoch - 1], default=np.inf))
        stalled = 0 if losses[epoch - 1] < before - np.float32(min_delta) else stalled + 1
        if stalled == patience:
            break
    return int(np.argmin(losses[:epoch])) + 1, epoch


def test_the_best_weights_are_kept_and_training_ends_when_patience_does(tmp_path):
    _, _, metrics = run(tmp_path / "all", "training.epochs=60")
    losses = [record["validation"]["loss"] for record in metrics]
    best, last = expected_stop(losses, 4, 0.002)
    assert 1 < best < last < 60
    summary, weights, stopped = run(tmp_path / "stopped", "training.epochs=60", STOPPING)
    assert stopped == metrics[:last]
    assert (summary["best_epoch"], summary["epochs"]) == (best, last)
    _, until_best, _ = run(tmp_path / "best", f"training.epochs={best}")
    for name, value in until_best.items():
        assert (weights[name] == value).all()
    assert summary["results"]["validation"]["loss"] == pytest.approx(losses[best - 1], rel=1e-6)


def test_resuming_gives_the_same_bits_and_does_not_go_on_after_the_stop(tmp_path):
    summary, whole, metrics = run(tmp_path / "whole", "training.epochs=60", STOPPING)
    run(tmp_path / "parts", "training.epochs=3", STOPPING)
    _, parts, resumed = run(tmp_path / "parts", "training.epochs=60", STOPPING, resume=True)
    assert resumed == metrics
    assert all((parts[name] == value).all() for name, value in whole.items())
    again, _, same = run(tmp_path / "parts", "training.epochs=60", STOPPING, resume=True)
    assert same == metrics
    assert again["best_epoch"] == summary["best_epoch"]
    assert json.loads((tmp_path / "parts" / "summary.json").read_text())["best_epoch"] == summary["best_epoch"]


def test_early_stopping_needs_validation_examples():
    with pytest.raises(InputError, match="early_stopping watches the validation cost; it needs data.split.validation"):
        configuration.load(DIABETES, [STOPPING, "data.split={validation: 0, test: 0.2}"])


def test_gradients_are_clipped_by_their_whole_norm():
    config = configuration.load(DIABETES, ["optimizer={name: sgd, learning_rate: 1.0}", "training.clip_norm=2.0"])
    optimizer = build_optimizer(config.optimizer, config.training.clip_norm)
    grads = {"W": np.full((3, 3), 2.0, np.float32), "b": np.full(7, 2.0, np.float32)}
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    assert float(optax.tree.norm(updates)) == pytest.approx(2.0, rel=1e-6)
    assert jax.tree.leaves(updates)[0][0, 0] == pytest.approx(-0.5)
