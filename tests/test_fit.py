"""The Python door: `mlp_jax.training.fit` and `load`."""

import pickle
import subprocess
import sys
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from runs import CONFIGS, iris
from sklearn.datasets import load_iris

from mlp_jax.errors import InputError
from mlp_jax.training import config as configuration
from mlp_jax.training import fit, load

pytestmark = pytest.mark.usefixtures("usual_promotion")

SETTINGS = {
    "network": {"widths": [4, 8, 3], "output": "softmax"},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "training": {"epochs": 20, "batch_size": 16},
}


def test_arrays_give_what_the_file_of_the_same_data_gives():
    data = load_iris(return_X_y=True)
    of_arrays = fit(SETTINGS, data)
    of_source = fit({**SETTINGS, "data": {"source": "iris"}})
    assert of_arrays.results == of_source.results
    assert of_arrays.history == of_source.history
    names, rows = of_arrays.predict(data[0])
    assert names == ["class", "p(0)", "p(1)", "p(2)"]
    assert np.mean(np.array(rows)[:, 0] == data[1]) > 0.9
    assert of_source.predict(data[0])[0] == ["class", "p(setosa)", "p(versicolor)", "p(virginica)"]


def test_a_run_is_loaded_as_it_was(tmp_path):
    run = fit(SETTINGS, load_iris(return_X_y=True), run_dir=tmp_path / "run")
    loaded = load(tmp_path / "run")
    assert (loaded.config, loaded.net, loaded.results, loaded.history) == (
        run.config,
        run.net,
        run.results,
        run.history,
    )
    for mine, its in zip(loaded.params, run.params, strict=True):
        assert np.array_equal(mine.W, its.W)
    assert loaded.predict(np.ones((1, 4))) == run.predict(np.ones((1, 4)))


def test_a_loaded_network_has_the_balanced_class_weights_of_its_training(tmp_path):
    x, y = load_iris(return_X_y=True)
    settings = {**SETTINGS, "network": {**SETTINGS["network"], "class_weights": "balanced"}}
    run = fit(settings, (x[:120], y[:120]), run_dir=tmp_path / "run")
    assert load(tmp_path / "run").net == run.net
    assert run.net.class_weights[2] > 1.5


def test_each_run_says_the_settings_that_it_was_made_with():
    assert fit(SETTINGS, load_iris(return_X_y=True)).summary["x64"] is False
    with jax.enable_x64(True):
        assert fit(SETTINGS, load_iris(return_X_y=True)).summary["x64"] is True


def test_numpy_numbers_in_the_settings_are_numbers():
    settings = {**SETTINGS, "seed": np.int64(3), "optimizer": {"name": "adam", "learning_rate": np.float32(0.5)}}
    assert fit(settings, load_iris(return_X_y=True)).config.seed == 3


@pytest.mark.parametrize(
    ("config", "examples", "message"),
    [
        ({**SETTINGS, "optimizer": {"nam": "adam"}}, "iris", r"1 problem\n  optimizer.name: this key is missing"),
        ("digits.yaml", None, r"config must be a dict or a Config that config.load read, got str"),
        ({**SETTINGS, "data": {"source": "iris"}}, "iris", "give examples, or a data section with a source: not both"),
        (SETTINGS, None, "data: this key is missing"),
        (SETTINGS, 3, r"data must be a pair of arrays \(x, y\), got int"),
        (
            SETTINGS,
            (np.ones((9, 4)), np.ones((8,))),
            r"the inputs of the arrays have shape \(9, 4\), its targets \(8,\)",
        ),
        (SETTINGS, (np.ones((9, 4)), np.full(9, 7)), "the arrays: class number 7 of example 0"),
        (SETTINGS, (np.full((9, 4), np.nan), np.ones(9)), r"the arrays: the input at \(0, 0\) .* is nan"),
        ({**SETTINGS, "data": {"source": "arrays"}}, None, "data.source is arrays: they were given in Python, by"),
        (iris(), "iris", "give examples, or a configuration with data.source iris: not both"),
        (SETTINGS, ([[1.0], [1.0, 2.0]], [0, 1]), "the inputs x are no array: "),
        ({**SETTINGS, "training": {"batch_size": 16, "microbatches": 17}}, "iris", "more than the 16 examples"),
        ({**SETTINGS, "seed": 3, "seeds": "0..3"}, "iris", "give seed or seeds, not both; got seed 3"),
        ({**SETTINGS, "training": {"epochs": 10**10}}, "iris", "training.epochs: must be less than or equal"),
    ],
    ids=range(14),
)
def test_wrong_calls_are_explained(config, examples, message):
    examples = load_iris(return_X_y=True) if isinstance(examples, str) else examples
    with pytest.raises(InputError, match=message):
        fit(config, examples)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 1)), r"x has shape \(5, 1\); the network needs \(n, 4\)"),
        (np.zeros(4), r"x has shape \(4,\); the network needs \(n, 4\)"),
        (np.full((1, 4), np.nan), r"x: the input in row 0, column 0 \(counted from 0\) is nan"),
        ([["a"] * 4], "the inputs of x"),
        (np.zeros((2, 4)) + 1j, "the inputs of x"),
    ],
    ids=range(5),
)
def test_inputs_that_do_not_fit_are_explained(x, message):
    with pytest.raises(InputError, match=message):
        fit(SETTINGS, load_iris(return_X_y=True)).predict(x)


def test_relative_paths_in_a_dict_start_at_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = load_iris(return_X_y=True)
    np.savez("iris.npz", x=x, y=y)
    run = fit({**SETTINGS, "data": {"source": "npz", "path": "iris.npz"}}, run_dir="runs/iris")
    assert load("runs/iris").config == run.config
    assert run.config.data.path == tmp_path / "iris.npz"


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="resume goes on with a run, overwrite replaces it: give one of them"):
        fit(SETTINGS, load_iris(return_X_y=True), run_dir=tmp_path / "run", resume=True, overwrite=True)


def test_a_configuration_that_was_read_is_taken_as_it_is():
    assert fit(iris()).config == iris()


def test_a_run_pickles_small_and_predicts_the_same_in_a_fresh_process(tmp_path):
    x, y = load_iris(return_X_y=True)
    run = fit({**SETTINGS, "optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.1}}, (x, y))
    file = tmp_path / "run.pickle"
    file.write_bytes(pickle.dumps(run))
    assert file.stat().st_size < 12_000  # of which the records of 20 epochs have half
    code = (
        "import pickle, sys; run = pickle.load(open(sys.argv[1], 'rb')); print(run.predict([[5.1, 3.5, 1.4, 0.2]])[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{run.predict([[5.1, 3.5, 1.4, 0.2]])[1]}\n", "")
    assert pickle.loads(pickle.dumps(run)).config == run.config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_configuration_pickles(path):
    config = configuration.load(path)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_run_is_shown_by_its_results():
    run = fit({**SETTINGS, "training": {"epochs": 3, "batch_size": 16}}, load_iris(return_X_y=True))
    text, page = repr(run), run._repr_html_()
    assert text.startswith("Run: 4-8-3, 67 parameters; finished after 3 epochs\n")
    assert f"{run.results['test']['accuracy']:.4g}" in text
    assert len(text) < 600
    assert ElementTree.fromstring(page).findall(".//polyline")  # is well-formed, with the curve


def test_training_goes_on_from_a_run_or_begins_with_its_parameters():
    def settings(epochs):
        return {**SETTINGS, "training": {"epochs": epochs, "batch_size": 16, "shuffle": False}}

    data = load_iris(return_X_y=True)
    whole, half = fit(settings(6), data), fit(settings(3), data)
    for mine, theirs in zip(
        jax.tree.leaves(fit(settings(3), data, start_from=half).params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    anew = fit(settings(1), data, start_from=half.params)
    assert anew.history[0]["loss"] < whole.history[0]["loss"]
    assert anew.params[0].W[0, 0] != whole.params[0].W[0, 0]
    with pytest.raises(ValueError, match=r"params\[0\].W must have shape \(4, 9\), got \(4, 8\)"):
        fit({**settings(1), "network": {"widths": [4, 9, 3], "output": "softmax"}}, data, start_from=half)
    with pytest.raises(InputError, match="start_from is a run of another optimizer"):
        fit({**settings(1), "optimizer": {"name": "sgd", "learning_rate": 0.1}}, data, start_from=half)
    for config, run_dir in ((settings(1), "runs/kept"), ({**settings(1), "seeds": [0, 1]}, None)):
        with pytest.raises(InputError, match="start_from is for one training that is kept nowhere"):
            fit(config, data, start_from=half.params, run_dir=run_dir)


def test_the_cost_of_the_training_part_can_stop_it_and_the_last_weights_are_kept():
    stopping = {"on": "training", "patience": 3, "min_delta": 0.01}
    run = fit({**SETTINGS, "training": {"epochs": 500, "early_stopping": stopping}}, load_iris(return_X_y=True))
    losses = np.array([record["loss"] for record in run.history], np.float32)
    stalled = losses[1:] >= np.minimum.accumulate(losses)[:-1] - np.float32(0.01)
    assert stalled[-3:].all()
    assert not any(stalled[k : k + 3].all() for k in range(len(stalled) - 3))
    assert run.summary["early_stopping"] == (
        f"stopped early, after epoch {len(losses)} of 500; the last weights are kept"
    )
    on_all = fit({**SETTINGS, "training": {"epochs": len(losses), "batch_size": 32}}, load_iris(return_X_y=True))
    np.testing.assert_array_equal(on_all.params[0].W, run.params[0].W)
