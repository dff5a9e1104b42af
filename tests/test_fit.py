"""The Python door: `mlp_jax.training.fit` and `load`."""

import numpy as np
import pytest
from runs import iris
from sklearn.datasets import load_iris

from mlp_jax.training import fit, load
from mlp_jax.training.errors import InputError

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


def test_numpy_numbers_in_the_settings_are_numbers():
    settings = {**SETTINGS, "seed": np.int64(3), "optimizer": {"name": "adam", "learning_rate": np.float32(0.5)}}
    assert fit(settings, load_iris(return_X_y=True)).config.seed == 3


@pytest.mark.parametrize(
    ("config", "examples", "message"),
    [
        ({**SETTINGS, "optimizer": {"nam": "adam"}}, "iris", r"1 problem\n  optimizer.name: this key is missing"),
        (
            {**SETTINGS, "training": {"epochs": 0, "batch_size": 1}},
            "iris",
            "training.epochs: must be greater than or equal",
        ),
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
    ],
    ids=range(10),
)
def test_wrong_calls_are_explained(config, examples, message):
    examples = load_iris(return_X_y=True) if isinstance(examples, str) else examples
    with pytest.raises(InputError, match=message):
        fit(config, examples)


def test_a_configuration_that_was_read_is_taken_as_it_is():
    assert fit(iris()).config == iris()
