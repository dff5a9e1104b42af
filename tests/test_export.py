"""A run leaves the house: as ONNX, StableHLO or a NumPy file it predicts what `run.predict` does."""

import csv
import io
import json
import subprocess
import sys
from datetime import date, timedelta
from itertools import cycle, product
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlp_jax import cli
from mlp_jax.errors import InputError
from mlp_jax.exchange import export
from mlp_jax.exchange.onnx import as_onnx
from mlp_jax.exchange.program import program_of
from mlp_jax.exchange.stablehlo import as_stablehlo
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.mlp.params import init
from mlp_jax.training import config as configuration
from mlp_jax.training.build import build_network, prepare, resolve
from mlp_jax.training.run import Run, load
from mlp_jax.training.store.weights import model_of

CONFIGS = Path(__file__).parent.parent / "configs"


def untrained(network, data, examples, seed=0):
    """A run of random weights, with all that is learned from data but these."""
    config = configuration.from_values({"network": network, "data": data})
    prepared = prepare(config, examples)
    config = resolve(config, prepared)
    net = build_network(config.network, prepared)
    leaves, tree = jax.tree.flatten(init(net, jax.random.key(seed)))
    rng = np.random.default_rng(seed)
    leaves = [leaf / 2 + rng.normal(size=leaf.shape, scale=0.1).astype(np.float32) for leaf in leaves]
    model = model_of(jax.tree.unflatten(tree, leaves), net, prepared)
    return Run(config, net, model, {}, [], {"status": "finished"})


def predicted_by_run(run, x):
    names, rows = run.predict(x)
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def program(run):
    return program_of(run.net, run.model, ("", "NA"), "model")


def predicted_by_onnx(run, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(as_onnx(program(run), "model"))
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def predicted_by_source(run, inputs):
    space = {"__name__": "model"}
    exec(program(run).source, space)
    return space["predict"](inputs)


def predicted_by_stablehlo(run, inputs):
    pytest.importorskip("flatbuffers")
    return of_stablehlo(as_stablehlo(program(run), "model"), run, inputs)


def of_stablehlo(model, run, inputs):
    found = jax.export.deserialize(bytearray(model)).call(inputs)
    return {name: found[name] for name in program(run).outputs}  # JAX sorts the keys of a dict


def assert_same(got, want):
    assert list(got) == list(want)
    for name in want:
        if isinstance(want[name][0], float):
            largest = max(1, np.abs(want[name]).max())
            np.testing.assert_allclose(np.asarray(got[name]), want[name], rtol=0, atol=1e-6 * largest, err_msg=name)
        else:
            assert np.asarray(got[name]).tolist() == want[name]


# --- networks -------------------------------------------------------------------------------------

HIDDEN = [*HIDDEN_UNITS, {"name": "gelu", "approximate": False}, {"name": "maxout", "pieces": 3}]
X = np.random.default_rng(1).normal(3, 2, (40, 4))
TARGETS = {
    "quantities": np.random.default_rng(2).poisson(3.0, (40, 2)).astype(float),
    "probabilities": np.eye(2)[np.arange(40) % 2],
    "margins": np.eye(2)[np.arange(40) % 2],
    "classes": np.arange(40) % 2,
}
TARGETS["quantiles"] = TARGETS["quantities"]


def on_arrays(hidden, output):
    network = {"widths": [4, 6, 6, 2], "hidden": hidden, "output": output, "skip": [False, True]}
    standardize = output in ("linear", "mixture", "quantiles")
    data = {"source": "arrays", "standardize_inputs": True, "standardize_targets": standardize}
    return untrained(network, data, (X, TARGETS[OUTPUT_UNITS[output].kind]))


@pytest.mark.parametrize(("hidden", "output"), list(zip(HIDDEN, cycle(OUTPUT_UNITS))), ids=str)
def test_each_unit_is_the_same_as_onnx_and_in_numpy(hidden, output):
    run = on_arrays(hidden, output)
    want = predicted_by_run(run, X)
    assert_same(predicted_by_source(run, X), want)
    assert_same(predicted_by_onnx(run, {"x": X}), want)


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "output"), list(product(HIDDEN, OUTPUT_UNITS)), ids=str)
def test_all_units_with_all_outputs(hidden, output):
    test_each_unit_is_the_same_as_onnx_and_in_numpy(hidden, output)


def test_stablehlo_takes_any_number_of_rows():
    run = on_arrays("tanh", "quantiles")
    pytest.importorskip("flatbuffers")
    model = as_stablehlo(program(run), "model")
    for n in (1, 40):
        x = X[:n].astype(np.float32)
        assert_same(of_stablehlo(model, run, {"x": x}), predicted_by_run(run, x))


def test_what_numpy_has_not_is_refused():
    network = {"widths": [4, 6, 2], "products": "bfloat16"}
    run = untrained(network, {"source": "arrays"}, (X, TARGETS["quantities"]))
    with pytest.raises(InputError, match="affine.* has no formula in NumPy"):
        program(run)


# --- tables ---------------------------------------------------------------------------------------


def table(n, seed=0, unseen=False):
    rng = np.random.default_rng(seed)

    def with_gaps(values):
        return [None if rng.random() < 0.15 else value for value in values]

    return pa.table(
        {
            "size": with_gaps(rng.lognormal(2, 1, n).tolist()),
            "is new": with_gaps((rng.random(n) < 0.5).tolist()),
            "colour": with_gaps(rng.choice(["red", "green", "1", *["blue"] * unseen], n).tolist()),
            "shop": [f"shop {k}" for k in rng.integers(0, 20 + 5 * unseen, n)],
            "day": with_gaps([date(2020, 1, 1) + timedelta(int(k)) for k in rng.integers(0, 900, n)]),
            "b1": rng.integers(0, 9, n).tolist(),
            "bought": rng.choice(["no", "yes"], n).tolist(),
        }
    )


@pytest.fixture(scope="module")
def shop():
    data = {"source": "frame", "target": "bought", "min_count": 3, "standardize_inputs": "robust"}
    return untrained({"hidden_widths": [8]}, data, table(300))


@pytest.fixture(scope="module")
def new():
    return table(50, seed=1, unseen=True)


def cells_of(column, of):
    """As ONNX takes them."""
    if of.kind == "category":
        return np.array([cell or "" for cell in column.to_pylist()], object)
    days = column.cast(pa.int32()).cast(pa.float64()) if of.kind == "date" else column.cast(pa.float64())
    return days.to_numpy().astype(float)


@pytest.mark.filterwarnings("ignore:x.* column")  # unseen categories
def test_a_table_goes_in_as_it_is(shop, new):
    assert {of.kind for of in program(shop).inputs.values()} == {"number", "category", "date"}
    assert shop.net.categories
    want = predicted_by_run(shop, new)
    assert list(want) == ["bought", "p(no)", "p(yes)"]
    assert_same(predicted_by_source(shop, new.to_pylist()), want)
    assert_same(predicted_by_source(shop, new.to_pandas(types_mapper=pd.ArrowDtype)), want)  # which has pandas.NA
    inputs = {name: cells_of(new.column(name), of) for name, of in program(shop).inputs.items()}
    codes = {
        name: np.array([of.codes.get(cell, of.other) for cell in inputs[name]], np.int32)
        if of.codes
        else inputs[name].astype(np.float32)
        for name, of in program(shop).inputs.items()
    }
    found = predicted_by_stablehlo(shop, codes)
    assert_same(found | {"bought": np.array(["no", "yes"])[found["bought"]]}, want)
    assert_same(predicted_by_onnx(shop, inputs), want)


def test_an_output_with_the_name_of_an_input_is_refused(shop):
    pytest.importorskip("onnx")
    twice = program(shop)._replace(outputs=("size",))
    with pytest.raises(InputError, match="'size' is the name of an input and of an output.*rename the column"):
        as_onnx(twice, "model")


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "penguins"
    set_ = ["--set", "training.epochs=1", "network.hidden_widths=[4]"]
    assert cli.main(["train", str(CONFIGS / "penguins.yaml"), "--run-dir", str(run_dir), *set_]) == 0
    return run_dir


def test_the_file_needs_numpy_alone(penguins, tmp_path, command):
    model, alone = tmp_path / "penguins.py", tmp_path / "alone"
    assert command("export", penguins, model).status == 0
    alone.mkdir()
    for package in Path(np.__file__).parent.parent.glob("numpy*"):
        (alone / package.name).symlink_to(package)
    code = f"import sys, runpy; sys.path.append({str(alone)!r}); sys.argv = sys.argv[1:]; " + (
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    apart = [sys.executable, "-I", "-S", "-c", code, model, CONFIGS / "penguins.csv"]
    out = subprocess.run(apart, capture_output=True, text=True, check=True).stdout
    wanted = command("predict", penguins, CONFIGS / "penguins.csv").out
    got, want = (list(csv.reader(io.StringIO(text))) for text in (out, wanted))
    assert got[0] == want[0]
    assert [row[0] for row in got] == [row[0] for row in want]
    numbers = [np.array([row[1:] for row in rows[1:]], float) for rows in (got, want)]
    np.testing.assert_allclose(*numbers, atol=1e-6)


def test_the_card_says_what_goes_in_and_out_and_where_it_comes_from(penguins, tmp_path, command):
    done = command("export", penguins, tmp_path / "p.py")
    assert (done.status, done.out.split()) == (0, [str(tmp_path / "p.py"), str(tmp_path / "p.py.md")])
    card, summary = (tmp_path / "p.py.md").read_text(), json.loads((penguins / "summary.json").read_text())
    assert "| sex | string (n,) | female, male; empty where it is missing | 8 |" in card
    assert "| species | the class: 0 = Adelie, 1 = Chinstrap, 2 = Gentoo |" in card
    assert f"penguins.csv, SHA-256 {summary['data']}" in card
    assert str(CONFIGS) not in card  # no path of this machine
    assert f"{summary['results']['test']['accuracy']:.4g}" in card
    assert f"jax {jax.__version__}" in card


def test_the_same_run_gives_the_same_file(penguins, tmp_path):
    first, second = (
        export(load(penguins), tmp_path / str(k) / "p.py")[0] for k in (0, 1) if not (tmp_path / str(k)).mkdir()
    )
    assert first.read_bytes() == second.read_bytes()


def test_bad_targets_are_refused(penguins, tmp_path, command, monkeypatch):
    there = tmp_path / "p.py"
    there.write_text("mine")
    done = command("export", penguins, there)
    assert done.status == 2
    assert f"{there} exists; replace it (--overwrite)" in done.err
    assert there.read_text() == "mine"
    assert command("export", penguins, there, "--overwrite").status == 0
    assert "ends in .onnx, .stablehlo, .py; got" in command("export", penguins, tmp_path / "p.pt").err
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("p.onnx", "p.stablehlo"):
        assert 'pip install "mlp_jax[export]"' in command("export", penguins, tmp_path / name).err
        assert not (tmp_path / name).exists()


def test_a_run_that_did_not_finish_is_refused(penguins, tmp_path):
    run = load(penguins)
    with pytest.raises(InputError, match="only a run that has finished is exported; this one is diverged"):
        export(run._replace(summary=run.summary | {"status": "diverged"}), tmp_path / "p.py")
    with pytest.raises(InputError, match="2 seeds or folds, each a run of its own"):
        export(run._replace(model=None, seeds=(run, run)), tmp_path / "p.py")
