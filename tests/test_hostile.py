"""A part of what `scripts/hostile.py` tries: faults of disks, damaged files, forged fields."""

import json
import subprocess
import sys
from pathlib import Path

import hostile
import numpy as np
import pytest
from runs import iris, train

from mlp_jax.errors import InputError
from mlp_jax.tables import files, npy
from mlp_jax.tables.text import Dialect
from mlp_jax.training import config
from mlp_jax.training.run import load


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder of its own, in which commands keep nothing of JAX's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_jax.cli._set_up_jax", lambda dtype: None)
        folder = tmp_path_factory.mktemp("hostile")
        patch.chdir(folder)
        yield folder


def test_damaged_files_are_refused_or_mean_what_they_say(work):
    counts, bad = hostile.try_fuzz(work, 200)
    assert not bad
    assert counts["array, accepted"]
    assert counts["run, accepted"]


def test_a_file_operation_that_fails_loses_nothing(work):
    counts, bad = hostile.try_faults(work, every=29)
    assert not bad
    assert counts["train, killed"] > 2


def test_a_folder_that_becomes_a_link_is_not_followed(work):
    counts, bad = hostile.try_links(work, every=17)
    assert not bad
    assert min(counts.values()) > 2
    assert len(counts) == 6


@pytest.mark.slow
def test_little_is_left_of_a_shape():
    script = Path(hostile.__file__)
    done = subprocess.run([sys.executable, script, "shapes", "120"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- each door -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that a test may change, and must put back."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train(iris(training__epochs=2), folder)
    return folder


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        ("metrics.jsonl", '"loss": ', '"loss": "low", "x": ', r"metrics.jsonl:1: loss: Input should be a valid number"),
        ("metrics.jsonl", '"loss": ', f'"loss": {"[" * 90_000}', r"metrics.jsonl:1: Invalid JSON: recursion limit"),
        ("metrics.jsonl", '"loss": ', f'"loss": {"9" * 5000}', r"metrics.jsonl:1: Invalid JSON: number out of range"),
        ("metrics.jsonl", '"accuracy"', '"another"', r"metrics.jsonl:2 is damaged: it is not the record of epoch 2"),
        ("summary.json", '"epochs": 2', '"epochs": "2"', r"summary.json: epochs: Input should be a valid integer"),
        (
            "summary.json",
            '"accuracy"',
            '"another"',
            r"summary.json: Value error, each part and each class has the same",
        ),
        (
            "summary.json",
            '"status": "finished"',
            '"status": "done"',
            r"summary.json: status: Input should be 'running'",
        ),
    ],
)
def test_a_file_of_a_run_has_its_form(run, file, before, after, message):
    content = (run / file).read_text()
    (run / file).write_text(content.replace(before, after, 1))
    try:
        with pytest.raises(InputError, match=f"{message}.*") as refused:
            load(run)
        assert len(str(refused.value)) < 700
    finally:
        (run / file).write_text(content)


def npy_file(path, header, content=b"", version=1):
    text = header.encode()
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + content)
    return path


F8 = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{[]: 1}", "damaged, or no numpy file"),
        (F8.replace("(2,)", "(1000000000000, 2)"), "it needs more memory than there is"),
        (F8.replace("(2,)", "(3,)"), "damaged, or no numpy file"),
        (F8.replace("(2,)", "(2"), "damaged, or no numpy file"),
        (F8.replace("(2,)", f"({'(' * 9000}"), "damaged, or no numpy file"),
        (F8.replace("False", "__import__('os')"), "damaged, or no numpy file"),
        (F8.replace("<f8", "|O"), "Object arrays cannot be"),
        (F8.replace("<f8", "<f99"), "damaged, or no numpy file"),
    ],
)
def test_a_header_that_says_no_array_is_refused(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        npy.load(npy_file(tmp_path / "x.npy", header, bytes(16)))


@pytest.mark.parametrize(
    "x",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3, dtype=">i2")),
        np.array("word"),
        np.zeros((0, 4), bool),
        np.array([["a", "bc"]]),
    ],
)
def test_arrays_are_read_as_numpy_does(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    for found in (npy.load(tmp_path / "x.npy"), npy.load(tmp_path / "x.npz")["x"]):
        assert (found.dtype, found.shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"seed: 0x{'f' * 20_000}", "cannot be read as int"),
        (f"seed: 0o{'7' * 20_000}", "cannot be read as int"),
        (f"seed: {'[' * 20_000}", "nested too deeply|not YAML"),
        (f"{'k' * 2**20}: 1", "it has more than 524,288 letters"),
        (json.dumps({"network": {"widths": "w" * 100_000}}), "wwww…"),
        (json.dumps({"network": {"widths": [1] * 2000}}), "at most 1002 items"),
        ('data: {path: "a\\0.csv"}', r"x.yaml:1: data.path: must be text without '.x00'"),
        ('data: {target: "\\uD800"}', "must be text without"),
    ],
)
def test_a_configuration_has_limits(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        config.load(tmp_path / "x.yaml")
    assert len(str(refused.value)) < 5000


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, '{"a": [], "b": ' * 100_000])
def test_a_deep_table_of_json_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"cannot read .*x.json: (it is nested too deeply|maximum recursion)"):
        files.read([tmp_path / "x.json"], Dialect(), {})


@pytest.mark.parametrize("name", [b"\xf9", b"a"])
def test_a_table_of_json_is_text(tmp_path, name):
    (tmp_path / "x.json").write_bytes(b'{"%s": "\xff"}' % name)
    with pytest.raises(InputError, match=r"cannot read .*x.json: .*(utf-8|UTF8)"):
        files.read([tmp_path / "x.json"], Dialect(), {})


def test_a_number_of_thousands_of_digits_from_python():
    with pytest.raises(InputError, match="seed: must be less than 4294967296; got an integer of thousands of digits"):
        config.from_values({"seed": 10**5000})
