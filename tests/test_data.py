"""Examples are read, checked, split and standardised; whatever is wrong names file and place."""

import re
import sys

import numpy as np
import pytest

from mlp_jax.errors import InputError
from mlp_jax.tables import bundled, reading
from mlp_jax.training.build import prepare
from mlp_jax.training.config import Config


def config(source, widths=(2, 1), output="linear", batch_size=1, **network):
    source = {"split": {"validation": 0, "test": 0}, **source}
    return Config.model_validate(
        {
            "data": source,
            "network": {"widths": widths, "output": output, **network},
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
            "training": {"epochs": 1, "batch_size": batch_size},
        }
    )


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "points.npz", **arrays)
    return {"source": "npz", "path": tmp_path / "points.npz"}


def npy(tmp_path, x, y):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return {"source": "npy", "x": tmp_path / "x.npy", "y": tmp_path / "y.npy"}


X, Y = np.arange(6.0).reshape(3, 2), np.arange(3.0)


def test_npz_and_npy_give_the_same_examples(tmp_path):
    for source in (npz(tmp_path, x=X, y=Y[:, None]), npy(tmp_path, X, Y[:, None])):
        table = reading.checked(config(source).data.read())
        np.testing.assert_array_equal(table.x, X)
        np.testing.assert_array_equal(table.y, Y[:, None])


def test_files_that_are_missing_or_of_another_kind(tmp_path):
    for source in (
        {"source": "npz", "path": tmp_path / "none.npz"},
        {"source": "npy", "x": tmp_path / "none.npy", "y": tmp_path / "none.npy"},
    ):
        with pytest.raises(InputError, match=r"cannot read .*none\.(npz|npy): No such file"):
            reading.checked(config(source).data.read())
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "folder").mkdir()
    np.savez_compressed(tmp_path / "whole.npz", x=np.ones((99, 9)), y=np.ones(99))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:60] + bytes(99 - b for b in whole[60:90] if b < 99) + whole[90:])
    for name, source, message in (
        ("text.npz", {"source": "npz"}, "no numpy file of plain arrays"),
        ("half.npz", {"source": "npz"}, "damaged, or no numpy file of plain arrays"),
        ("flipped.npz", {"source": "npz"}, "cannot read"),
        ("a\0b", {"source": "npz"}, "cannot read"),
        ("folder", {"source": "npz"}, "Is a directory"),
    ):
        with pytest.raises(InputError, match=message):
            reading.checked(config({**source, "path": tmp_path / name}).data.read())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "has no array 'y'; it has x"),
        ({"x": X, "y": np.array([None, 1, 2])}, "no numpy file of plain arrays (Object arrays cannot be"),
        ({"x": X, "y": np.array([["a"], ["b"], ["c"]])}, "the targets of {path} must be an array of real numbers"),
        ({"x": X + 1j, "y": Y}, "the inputs of {path} must be an array of real numbers"),
        ({"x": Y, "y": Y}, "have shape (3,); they must be (n, d); save x[:, None]"),
        ({"x": X, "y": Y[:2]}, "have shape (3, 2), its targets (2,): they must have the same number of rows"),
        ({"x": X, "y": Y[0]}, "they must have the same number of rows"),
        ({"x": X, "y": np.array([1, np.nan, 2])}, "the target at (1,) (row first, counted from 0) is nan"),
        ({"x": np.where(X == 0, np.nan, X), "y": Y}, "the input at (0, 0) (row first, counted from 0) is nan"),
    ],
)
def test_arrays_that_cannot_be_used(arrays, message, tmp_path):
    source = npz(tmp_path, **arrays)
    with pytest.raises(InputError, match=re.escape(message.format(path=source["path"]))):
        reading.checked(config(source).data.read())


@pytest.mark.parametrize(
    ("y", "widths", "output", "message"),
    [
        (Y, (3, 1), "linear", "network.widths starts with 3, but {path} has 2 inputs; let it start with 2"),
        (Y, (2, 1), "linear", "have shape (3,); a network with 1 linear output needs (3, 1); save y[:, None]"),
        (Y[:, None], (2, 2), "linear", "have shape (3, 1); a network with 2 linear outputs needs (3, 2)"),
        (
            Y[:, None],
            (2, 1),
            "sigmoid",
            "target 2.0 of example 2 (counted from 0) is not possible: a sigmoid output needs numbers in [0, 1]",
        ),
        (Y + 0.5, (2, 3), "softmax", "target 0.5 of example 0 (counted from 0) is not a class number; a softmax"),
        (Y + 1, (2, 3), "softmax", "class number 3 of example 2 (counted from 0) is not in 0..2; network.widths"),
        (Y - 1, (2, 3), "softmax", "class number -1 of example 0 (counted from 0) is not in 0..2"),
        (np.ones((3, 2)), (2, 3), "softmax", "have shape (3, 2); a network with 3 softmax outputs needs (3, 3)"),
        (
            np.eye(3) / 2,
            (2, 3),
            "softmax",
            "the targets of example 0 (counted from 0) sum to 0.5; softmax outputs need",
        ),
        (Y[:, None] * 1e200, (2, 1), "linear", "target column 0 (counted from 0) has a value or a spread outside"),
        (
            np.eye(3) * 2,
            (2, 3),
            "softmax",
            "target 2.0 of example 0 (counted from 0) is not possible: a softmax output needs",
        ),
    ],
)
def test_data_that_do_not_fit_the_network(y, widths, output, message, tmp_path):
    source = npz(tmp_path, x=X, y=y)
    with pytest.raises(InputError, match=re.escape(message.format(path=source["path"]))):
        prepare(config(source, widths, output))


def test_a_batch_larger_than_the_training_part(tmp_path):
    source = {**npz(tmp_path, x=X, y=Y[:, None]), "split": {"validation": 0, "test": 0.3}}
    with pytest.raises(InputError, match="training.batch_size is 3, more than the 2 training examples"):
        prepare(config(source, batch_size=3))


def test_too_few_examples_for_the_parts(tmp_path):
    source = {**npz(tmp_path, x=X[:2], y=Y[:2, None]), "split": {"validation": 0.1, "test": 0.1}}
    with pytest.raises(InputError, match="has 2 examples, too few for a split into train, validation, test"):
        prepare(config(source))


def test_the_split_is_a_partition_and_a_function_of_its_seed():
    def rows(seed):
        split = {"validation": 0.2, "test": 0.1, "seed": seed}
        source = {"source": "iris", "split": split, "standardize_inputs": False}
        return prepare(config(source, (4, 3), "softmax")).parts

    parts = rows(0)
    assert [len(part.x) for part in parts.values()] == [105, 30, 15]
    together = np.concatenate([np.column_stack(part) for part in parts.values()])
    iris = reading.checked(config({"source": "iris"}).data.read())
    assert sorted(map(tuple, together)) == sorted(map(tuple, np.column_stack([iris.x, iris.y])))
    np.testing.assert_array_equal(rows(0)["test"].x, parts["test"].x)
    assert (rows(1)["test"].x != parts["test"].x).any()


def test_standardisation_uses_the_training_part_alone_and_can_be_undone(tmp_path):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(5, 3, 200), np.full(200, 0.1)])
    y = rng.normal(100, 20, (200, 1))
    source = {**npz(tmp_path, x=x, y=y), "split": {"validation": 0, "test": 0.5}, "standardize_targets": True}
    prepared = prepare(config(source))
    train, test = prepared.parts["train"], prepared.parts["test"]
    np.testing.assert_allclose(train.x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(train.x.std(0), [1, 0], atol=1e-12)
    np.testing.assert_allclose(train.y.std(0), 1)
    assert abs(test.x[:, 0].mean()) > 1e-3
    np.testing.assert_allclose(
        sorted(prepared.targets.undo(np.concatenate([train.y, test.y])).ravel()), sorted(y.ravel())
    )


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"])
def test_a_bundled_set_is_kept_and_read_without_scikit_learn(name, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "_folder", None)
    expected = bundled.read_bundled(name)
    bundled.keep_in(tmp_path)
    bundled.read_bundled(name)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # importing it fails from here on
    kept = bundled.read_bundled(name)
    for mine, its in zip((kept.x, kept.y), (expected.x, expected.y), strict=True):
        assert mine.dtype == its.dtype
        assert np.array_equal(mine, its)
    assert kept._replace(x=None, y=None) == expected._replace(x=None, y=None)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])  # damaged: read from scikit-learn again, which is not there
    with pytest.raises(InputError, match=f"data.source: {name} comes with scikit-learn, which is not installed"):
        bundled.read_bundled(name)


def test_no_damage_to_a_kept_set_is_more_than_a_set_to_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "_folder", tmp_path)
    expected = bundled.read_bundled("iris")
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for place in np.random.default_rng(0).choice(8 * len(content), 1000, replace=False):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        found = bundled._read(file)
        assert found is None or all(np.array_equal(found[key], getattr(expected, key)) for key in bundled.KEPT)


def test_a_bundled_set_is_read_though_it_cannot_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "_folder", tmp_path / "file" / "folder")
    (tmp_path / "file").touch()
    assert bundled.read_bundled("iris").x.shape == (150, 4)
