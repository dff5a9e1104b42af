"""What the files, folders and processes of others can do: forged runs, links, caches, repositories, closed streams."""

import json
import shutil

import numpy as np
import pytest
from runs import iris, train

from mlp_jax.commands.reproduce import reproduce
from mlp_jax.training.store import tensors

# --- reproduce: all that a directory claims ---------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one seed and one of two, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    train(iris(training__epochs=2), folder / "one")
    train(iris(training__epochs=2, seeds=(0, 1)), folder / "two")
    return folder


def changed_weights(file, change):
    """Other weights and notes, with the right checksum."""
    arrays, notes = tensors.read(file)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    change(arrays, notes)
    tensors.write(file, arrays, notes)


def nan_in_a_weight(arrays, _):
    arrays["layers.0.W"][0, 0] = np.nan


def another_leaf(arrays, _):
    arrays["layers.9.W"] = np.ones(2, np.float32)


def wider_numbers(arrays, _):
    arrays["layers.0.b"] = arrays["layers.0.b"].astype(np.float64)


def classes_reversed(_, notes):
    notes["target_names"].reverse()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (nan_in_a_weight, "layers.0.W (float32 (4, 8), 1 of 32 not finite, now float32 (4, 8))"),
        (another_leaf, "layers.9.W (float32 (2,), now absent)"),
        (wider_numbers, "layers.0.b (float64 (8,), now float32 (8,))"),
        (classes_reversed, "notes.target_names.0 ('virginica', now 'setosa')"),
    ],
)
def test_weights_that_do_not_come_out_are_named(trained, tmp_path, change, named):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    changed_weights(run / "weights.safetensors", change)
    same, finding = reproduce(run)
    assert not same
    assert f"weights.safetensors, {named}" in finding


@pytest.mark.parametrize(
    ("run", "file", "part", "named"),
    [
        ("one", "summary.json", "test", "summary.json, results.test (0.123, now absent)"),
        ("two", "summary.json", "test", "summary.json, results.test (0.123, now absent)"),
        ("two", "seed-1/summary.json", "train", "seed-1/summary.json, results.train (0.123, now absent)"),
    ],
)
def test_results_that_do_not_come_out_are_named(trained, tmp_path, run, file, part, named):
    run = shutil.copytree(trained / run, tmp_path / "run")
    summary = json.loads((run / file).read_text())
    summary["results"][part] = 0.123
    (run / file).write_text(json.dumps(summary))
    same, finding = reproduce(run)
    assert not same
    assert named in finding


def test_minus_zero_is_not_zero(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")

    def minus_zero(arrays, _):
        arrays["targets.mean"] = -arrays["targets.mean"]

    changed_weights(run / "weights.safetensors", minus_zero)
    same, finding = reproduce(run)
    assert same
    assert finding.startswith("equal within rounding, not bit for bit: weights.safetensors, targets.mean by 0.0e+00")


def test_another_environment_is_named_though_all_comes_out(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"device": "tpu: v9"}))
    same, finding = reproduce(run)
    assert same
    assert finding.startswith("equal bit for bit: weights, names, records and results; different are device (tpu: v9,")
