"""The commands on a table: inspect, train, predict by name, evaluate a new file, folds; and what is said of it."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_tables import config, frame, of, write

from mlp_jax.commands.report import write_report
from mlp_jax.commands.reproduce import reproduce
from mlp_jax.errors import InputError, TrainingDiverged
from mlp_jax.training import fit, load
from mlp_jax.training.config import from_values

pytestmark = pytest.mark.usefixtures("usual_promotion")
CONFIG = """
data: {path: fruit.csv, target: fruit}
network: {hidden_widths: [16]}
optimizer: {name: adam, learning_rate: 0.02}
training: {epochs: 30, batch_size: 16}
"""


@pytest.fixture
def run(command, tmp_path):
    """Commands in a folder with fruit.csv and its configuration."""
    frame().to_csv(tmp_path / "fruit.csv", index=False)
    (tmp_path / "fruit.yaml").write_text(CONFIG)
    return command


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_from_a_file_to_predictions_of_the_next_one(run, tmp_path):
    status, out, _ = run("inspect", "fruit.yaml")
    assert status == 0
    assert re.search(r"^column +city +category +[34] categories: Bern", out, re.MULTILINE)
    assert re.search(r"^network +\d+-16-3", out, re.MULTILINE)
    status, out, _ = run("train", "fruit.yaml")
    assert status == 0
    assert re.search(r"^baseline +0\.\d+", out, re.MULTILINE)
    assert re.search(r"^baseline: always \w+, on the test part$", out, re.MULTILINE)
    new = frame(20, seed=1)
    new.loc[3, "city"] = "Paris"
    new.assign(id=range(100, 120), fruit="")[["id", "day", "f", "city", "b", "a"]].to_csv("new.csv", index=False)
    status, out, said = run("predict", "runs/fruit", "new.csv", "--keep", "id", "city")
    assert status == 0
    rows = rows_of(out)
    assert list(rows[0]) == ["id", "city", "fruit", "p(apple)", "p(pear)", "p(quince)"]
    assert [row["id"] for row in rows] == list(map(str, range(100, 120)))
    assert rows[3]["city"] == "Paris"
    assert "new.csv: column 'city': 1 cells are of categories unseen in training: 'Paris'" in said
    with pytest.warns(UserWarning, match="x: column 'city': 1 cells are of categories unseen in training: 'Paris'"):
        expected = load("runs/fruit").predict(new)[1]
    for row, of_python in zip(rows, expected, strict=True):
        assert row["fruit"] == of_python[0]
        assert np.float32(row["p(pear)"]) == np.float32(of_python[2])  # to the bit
    run("predict", "runs/fruit", "new.csv", "--output", "found.parquet", "--keep", "id")
    found = parquet.read_table("found.parquet")
    assert found.column_names == ["id", "fruit", "p(apple)", "p(pear)", "p(quince)"]
    assert found.column("p(pear)").to_pylist() == [np.float32(row["p(pear)"]) for row in rows]


def test_a_prediction_file_is_read_in_blocks_that_change_nothing(run, monkeypatch):
    run("train", "fruit.yaml")
    _, whole, _ = run("predict", "runs/fruit", "fruit.csv")
    monkeypatch.setattr("mlp_jax.commands.predict._ROWS", 7)
    monkeypatch.setattr("mlp_jax.tables.text._BLOCK", 600)
    for name in ("fruit.csv", "fruit.parquet"):
        parquet.write_table(pa.Table.from_pandas(frame()), "fruit.parquet", row_group_size=11)
        _, blocks, _ = run("predict", "runs/fruit", name)
        assert [row["fruit"] for row in rows_of(blocks)] == [row["fruit"] for row in rows_of(whole)]
        for a, b in zip(rows_of(blocks), rows_of(whole), strict=True):
            assert float(a["p(pear)"]) == pytest.approx(float(b["p(pear)"]), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("a,b,city", "A,b,city"),
            "new.csv has no column a; it has A, b, city, f, day, fruit",
        ),
        (
            lambda text: text.replace("Rome", "Rome", 1).replace(",True,", ",maybe,", 1),
            ": column 'f': 'maybe' is no bool",
        ),
        (lambda text: text[:200] + "x" + text[200:], "new.csv"),
        (lambda text: text.splitlines()[0], "has a header but no rows"),
        (lambda text: "", "is empty"),
    ],
)
def test_a_prediction_file_that_does_not_fit(change, message, run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1", "data.drop=[day]")
    write(tmp_path, change((tmp_path / "fruit.csv").read_text()), "new.csv")
    status, out, said = run("predict", "runs/fruit", "new.csv")
    if status:
        assert message in said
    else:  # a word more is an unseen category, or a number
        assert out


def test_columns_that_a_prediction_does_not_need_may_hold_anything(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1", "data.drop=[day, city]")
    lines = (tmp_path / "fruit.csv").read_text().splitlines()
    header = lines[0].split(",")
    cut = [",".join("" if name in ("day", "city") else cell for name, cell in zip(header, line.split(","), strict=True))
           for line in lines[1:]]  # fmt: skip
    write(tmp_path, "\n".join([lines[0], *cut]), "new.csv")
    status, out, _ = run("predict", "runs/fruit", "new.csv")
    assert status == 0
    assert len(rows_of(out)) == 90


def test_a_pipe_is_read_once(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "fruit.csv").read_bytes()))
    writer.start()
    status, out, said = run("predict", "runs/fruit", "pipe")
    writer.join()
    assert status == 0, said
    assert len(rows_of(out)) == 90


def test_a_number_beyond_the_networks_dtype_is_a_line(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1")
    frame(3).assign(a=1e39).to_csv(tmp_path / "new.csv", index=False)
    status, _, said = run("predict", "runs/fruit", "new.csv")
    assert (status, "outside the range of float32" in said) == (2, True)


def test_a_dash_is_standard_input(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1")
    before = os.dup(0)
    with (tmp_path / "fruit.csv").open("rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        status, out, said = run("predict", "runs/fruit", "-")
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert status == 0, said
    assert len(rows_of(out)) == 90


def test_a_command_that_is_stopped_leaves_no_part_of_its_output(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1")
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "mlp_jax", "predict", "runs/fruit", "pipe", "--output", "found.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    with (tmp_path / "pipe").open("wb"):  # it waits for rows
        while not [*tmp_path.glob(".found.csv.*.part")]:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (None, b"mlp-jax: stopped\n")
    assert process.returncode == 130
    assert not [*tmp_path.glob("*found.csv*")]


def test_a_new_file_with_targets_is_evaluated(run, tmp_path):
    run("train", "fruit.yaml")
    frame(60, seed=3).to_csv(tmp_path / "later.csv", index=False)
    status, out, _ = run("evaluate", "runs/fruit", "later.csv")
    assert status == 0
    accuracy = dict(zip(*(line.split()[-5:] for line in out.splitlines()), strict=True))["accuracy"]
    found = load("runs/fruit").predict(frame(60, seed=3))[1]
    right = np.mean([row[0] == fruit for row, fruit in zip(found, frame(60, seed=3)["fruit"], strict=True)])
    assert float(accuracy) == pytest.approx(right)
    frame(60).replace({"fruit": {"pear": "plum"}}).to_csv(tmp_path / "later.csv", index=False)
    status, _, said = run("evaluate", "runs/fruit", "later.csv")
    assert (status, "has classes that training did not know: plum" in said) == (2, True)


def test_no_word_of_a_table_of_predictions_is_a_formula(run, tmp_path):
    fruit = {"apple": "=1+1", "pear": "-1", "quince": "@SUM(A1)"}
    table = frame().replace({"fruit": fruit}).rename(columns={"fruit": "=fruit"})
    table.assign(id="+A1", to="-2.5e3").to_csv(tmp_path / "fruit.csv", index=False)
    (tmp_path / "fruit.yaml").write_text(CONFIG.replace("target: fruit", "target: =fruit, drop: [id, to]"))
    assert run("train", "fruit.yaml", "--set", "training.epochs=5")[0] == 0
    status, out, said = run("predict", "runs/fruit", "fruit.csv", "--keep", "id", "to")
    assert (status, "cells that a spreadsheet would take for formulas got an apostrophe, " in said) == (0, True)
    run("export", "runs/fruit", "model.py")
    exported = subprocess.run([sys.executable, "model.py", "fruit.csv"], cwd=tmp_path, capture_output=True, text=True)
    folds = ("--run-dir", "folds", "--set", "data.split.folds=3", "training.epochs=2")
    assert run("train", "fruit.yaml", *folds)[0] == 0
    for text in (out, exported.stdout, (tmp_path / "folds" / "predictions.csv").read_text()):
        rows = rows_of(text)
        assert {row["'=fruit"] for row in rows} <= {"'=1+1", "-1", "'@SUM(A1)"}
        assert not re.search(r"(^|,)[=@]", text, re.MULTILINE)
    assert {(row["id"], row["to"]) for row in rows_of(out)} == {("'+A1", "-2.5e3")}
    run("predict", "runs/fruit", "fruit.csv", "--output", "found.parquet")
    assert {*parquet.read_table(tmp_path / "found.parquet")["=fruit"].to_pylist()} <= {"=1+1", "-1", "@SUM(A1)"}


def test_folds_hold_each_example_out_once(run, tmp_path):
    status, out, _ = run("train", "fruit.yaml", "--set", "data.split.folds=3", "training.epochs=5")
    assert status == 0
    assert "3 folds, " in out
    assert re.search(r"^test +\S+ ± ", out, re.MULTILINE)
    rows = rows_of((tmp_path / "runs" / "fruit" / "predictions.csv").read_text())
    assert [int(row["row"]) for row in rows] == list(range(1, 91))
    assert {row["fold"] for row in rows} == {"0", "1", "2"}
    assert rows[0]["fruit"] in ("apple", "pear", "quince")
    assert [row["true fruit"] for row in rows] == list(frame()["fruit"])
    fold = load("runs/fruit").seeds[int(rows[1]["fold"])]
    assert fold.predict(frame()[1:2])[1][0][0] == rows[1]["fruit"]
    assert run("evaluate", "runs/fruit")[1].splitlines()[:4] == out.splitlines()[:4]
    status, _, said = run("predict", "runs/fruit", "fruit.csv")
    assert (status, "several folds, each a run of its own; name one, as runs/fruit/fold-0" in said) == (2, True)
    write_report(tmp_path / "runs" / "fruit", tmp_path / "report.html")
    assert "mean ± standard deviation over 3 folds" in (tmp_path / "report.html").read_text()


# --- splits -----------------------------------------------------------------------------------------


def parts(tmp_path, split, rows=None, **data):
    rows = rows or [
        f"{k * 7 % 5},{k // 4},2020-01-{k % 28 + 1:02},{'rare' if k < 4 else 'often'},{['test', 'train'][k % 3 > 0]}"
        for k in range(80)
    ]
    path = write(tmp_path, "\n".join(["x,group,day,y,part", *rows]) + "\n")
    return of(path, split=split, **data)


def test_classes_have_the_same_share_in_each_part(tmp_path):
    for seed in range(20):
        found = parts(tmp_path, {"validation": 0.25, "test": 0.25, "seed": seed})
        assert [int((found.parts[part].y == 1).sum()) for part in ("train", "validation", "test")] == [2, 1, 1]
    random = [
        int((parts(tmp_path, {"test": 0.25, "validation": 0, "seed": s, "stratify": False}).parts["test"].y == 1).sum())
        for s in range(20)
    ]
    assert len(set(random)) > 2


def test_groups_are_in_one_part_and_the_last_times_are_for_the_test(tmp_path):
    found = parts(tmp_path, {"validation": 0.2, "test": 0.2, "groups": "group"})
    groups = [set(rows // 4) for rows in found.rows.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert all(abs(len(rows) - n) <= 4 for rows, n in zip(found.rows.values(), (48, 16, 16), strict=True))
    assert "group" not in found.input_names
    found = parts(tmp_path, {"validation": 0.2, "test": 0.2, "time": "day"})
    days = [rows % 28 for rows in found.rows.values()]
    assert max(days[0]) < min(days[1])
    assert max(days[1]) < min(days[2])
    with pytest.raises(InputError, match="data.split.time: 'part' holds no dates"):
        parts(tmp_path, {"time": "part"})


def test_parts_are_what_a_column_or_a_file_says(tmp_path):
    found = parts(tmp_path, {"column": "part"})
    assert list(found.rows) == ["train", "test"]
    assert set(found.rows["test"] % 3) == {0}
    with pytest.raises(InputError, match="data.split.column: 'y' of row 1 is 'rare'; it must be train, validation or"):
        parts(tmp_path, {"column": "y"}, ["1,1,2020-01-01,rare,a", "2,1,2020-01-02,often,a"] * 9)
    write(tmp_path, "y,x,group,day,part,more\nrare,1,1,2020-01-01,a,5\noften,2,1,2020-01-02,a,6\n", "later.csv")
    found = parts(tmp_path, {"validation": 0.1, "test": str(tmp_path / "later.csv")})
    assert [len(part.x) for part in found.parts.values()] == [72, 8, 2]
    with pytest.raises(InputError, match="give one of column, groups, time; got column and groups"):
        parts(tmp_path, {"column": "part", "groups": "group"})


def test_weights_are_how_often_an_example_counts(tmp_path):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=40), rng.integers(1, 4, 40)
    y = np.where(x + 0.3 * rng.normal(size=40) > 0, "yes", "no")
    once = write(tmp_path, "x,w,y\n" + "".join(f"{a},{b},{c}\n" for a, b, c in zip(x, w, y, strict=True)), "once.csv")
    repeated = write(
        tmp_path, "x,y\n" + "".join(f"{a},{c}\n" * b for a, b, c in zip(x, w, y, strict=True)), "often.csv"
    )
    settings = {
        "network": {"hidden_widths": [4], "initializer": "normal"},
        "optimizer": {"name": "sgd", "learning_rate": 0.3},
        "training": {"epochs": 20, "batch_size": "all"},
    }
    data = {"target": "y", "split": {"validation": 0, "test": 0}, "standardize_inputs": False}
    weighted = fit({**settings, "data": {"path": str(once), "weights": "w", **data}})
    copied = fit({**settings, "data": {"path": str(repeated), **data}})
    for name, value in copied.results["train"].items():
        assert weighted.results["train"][name] == pytest.approx(value, rel=1e-3), name
    for mine, its in zip(weighted.params, copied.params, strict=True):
        np.testing.assert_allclose(mine.W, its.W, atol=1e-4)
    write(tmp_path, "x,w,y\n1,-1,yes\n2,1,no\n", "once.csv")
    with pytest.raises(InputError, match="data.weights: 'w' of row 1 is -1"):
        of(once, weights="w")


# --- what is said -----------------------------------------------------------------------------------


def said(tmp_path, header, row, n=60, **data):
    path = write(tmp_path, "\n".join([header, *(row(k) for k in range(n))]) + "\n")
    return " / ".join(of(path, **data).said)


def test_what_is_said_before_training(tmp_path):
    half = {"validation": 0, "test": 0.5}
    column = {"split": {"column": "part"}, "min_count": 1}

    def part(k):
        return "train" if k < 40 else "test"

    words = said(tmp_path, "x,part,y", lambda k: f"{k * 7 % 9 if k < 59 else 999999},{part(k)},{k % 7}.5", **column)
    assert (
        "test part: column 'x': 1 cells are more than 100 times as far from the median of the training part as its "
        "quartiles are from each other, as 999999; if it means missing, data.missing: [999999]" in words
    )
    words = said(tmp_path, "x,part,y", lambda k: f"{k * 7 % 9 if k < 59 else 999999},{part(k)},{k % 7}.5",
                 standardize_inputs="robust", **column)  # fmt: skip
    assert words == ""
    rows = [f"{'new' if k == 50 else 'abc'[k % 3]},{k * 7 % 9},{part(k)},{k % 7}.5" for k in range(60)]
    words = said(tmp_path, "c,x,part,y", rows.__getitem__, **column)
    assert words == "test part: column 'c': 1 cells are of categories unseen in training: 'new'"
    words = said(tmp_path, "x,c,part,y", lambda k: f"{k * 7 % 9},{7 if k < 40 else 7000},{part(k)},{k % 7}.5", **column)
    assert words == "column 'c' is left out: it has one value in the training part"
    words = said(tmp_path, "a,b,y", lambda k: f"{k * 7 % 9},{3 * (k * 7 % 9) + 1},{k % 7}.5")
    assert words == "columns 'a' and 'b' are equal, but for their scale: name one in data.drop"
    words = said(tmp_path, "x,y", lambda k: f"{k * 7 % 9},{'rare' if k == 0 else 'ab'[k % 2]}", split=half)
    assert "classes with fewer than two training examples: rare has 1" in words
    words = said(tmp_path, "x,y", lambda k: f"{k * 7 % 9},{k % 7 * 1e5 + 0.5}", standardize_targets=False)
    assert words == "target 'y' goes up to 6e+05: data.standardize_targets: true brings it to unit size"
    words = said(tmp_path, "x,y", lambda k: f"{100100000 + k * 7 % 60},{k % 7}.5", standardize_inputs=False)
    assert re.search(r"column 'x': \d+ different numbers become equal in float32", words)
    words = said(tmp_path, "x,z,y", lambda k: f"{k * 7 % 9},{k % 7 * 2},{k % 7}.5")
    assert (
        words
        == "column 'z' alone tells 'y' without an error: is it known when a prediction is made? If not, data.drop: [z]"
    )
    words = said(tmp_path, "x,z,y", lambda k: f"{k * 7 % 9},{'uvw'[k % 3]},{'abc'[k % 3]}")
    assert words.startswith("column 'z' alone tells 'y'")


def test_dates_after_the_training_part_are_said(tmp_path):
    days = np.datetime64("2020-01-01") + np.arange(60)
    split = {"validation": 0, "test": 0.3, "time": "d"}
    words = said(tmp_path, "d,x,y", lambda k: f"{days[k]},{k * 7 % 9},{k % 7}.5", split=split)
    assert words.startswith("test part: column 'd': 18 cells are later than all of the training part")
    assert said(tmp_path, "d,x,y", lambda k: f"{days[k]},{k * 7 % 9},{k % 7}.5", split={}) == ""


def outlier(tmp_path, **changes):
    """Two missing codes in the validation part, none in the training part."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).round(3)
    y = (x @ [2, -1] > 0).astype(int)
    third = rng.integers(1, 20, 300).astype(float)
    third[[200 + y[200:250].argmax(), 200 + y[200:250].argmin()]] = 999999
    part = np.where(np.arange(300) < 200, "train", np.where(np.arange(300) < 250, "validation", "test"))
    lines = [f"{a},{b},{c},{p},{t}" for (a, b), c, p, t in zip(x, third, part, y, strict=True)]
    path = write(tmp_path, "\n".join(["a,b,lines,part,good", *lines]) + "\n")
    values = {
        "data": {"path": str(path), "target": "good", "split": {"column": "part"}},
        "network": {"hidden_widths": [16]},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "training": {"epochs": 40, "batch_size": 32, "early_stopping": {"patience": 5}},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section] = {**values[section], name: value}
    return fit(values)


def test_early_stopping_says_what_it_kept_and_may_watch_a_metric(tmp_path):
    run = outlier(tmp_path)
    assert run.summary["epochs"] < 40
    last, best = run.summary["epochs"], run.summary["best_epoch"]
    assert run.summary["early_stopping"] == (
        f"stopped early, after epoch {last} of 40; the weights of epoch {best} are kept, which has the best validation "
        "cost"
    )
    assert "999999" in " ".join(run.summary["said"])
    by_auc = outlier(tmp_path, training__early_stopping={"patience": 5, "metric": "auc"})
    values = [record["validation"]["auc"] for record in by_auc.history]
    assert by_auc.summary["best_epoch"] == int(np.argmax(values)) + 1
    assert by_auc.summary["best_epoch"] != best
    robust = outlier(tmp_path, data__standardize_inputs="robust")
    assert robust.results["test"]["accuracy"] > 0.9
    with pytest.raises(
        InputError, match=r"early_stopping.metric: aux is none of loss, accuracy, .*, average_precision"
    ):
        outlier(tmp_path, training__early_stopping={"patience": 5, "metric": "aux"})


def test_a_rare_class_is_not_hidden_by_accuracy(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=400), rng.random(400) < 0.06
    path = write(tmp_path, "x,y\n" + "".join(f"{a:.3f},{'Yes' if b else 'No'}\n" for a, b in zip(x, y, strict=True)))
    run = fit(config(path, split={"validation": 0, "test": 0.3}, epochs=1))
    assert run.summary["baseline"]["prediction"] == "always No"
    assert run.summary["baseline"]["test"]["accuracy"] == pytest.approx(run.results["test"]["accuracy"])
    assert run.summary["classes"]["Yes"]["recall"] == 0
    assert 0 < run.results["test"]["auc"] < 1


def test_quantities_of_ordinary_size_train_and_a_remedy_follows_from_the_cause(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = 3000 + 800 * np.tanh(x.sum(axis=1))
    path = write(tmp_path, "a,b,grams\n" + "".join(f"{a},{b},{c}\n" for (a, b), c in zip(x, y, strict=True)))
    values = {
        "data": {"path": str(path), "target": "grams"},
        "network": {"hidden_widths": [32]},
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "training": {"epochs": 50, "batch_size": 32},
    }
    assert fit(values).results["test"]["r2"] > 0.8
    values["data"]["standardize_targets"] = False
    with pytest.raises(
        TrainingDiverged, match="targets go up to .*: data.standardize_targets: true brings them to unit"
    ):
        fit(values, run_dir=tmp_path / "run")


def test_several_targets_have_metrics_each_in_its_unit(tmp_path):
    rows = "".join(f"{k * 7 % 9},{3000 + k % 7 * 100}.5,{k % 7 / 10}\n" for k in range(60))
    run = fit(config(write(tmp_path, "x,grams,metres\n" + rows), ["grams", "metres"], split={}))
    assert list(run.results["test"]) == [
        "loss",
        "rmse(grams)",
        "rmse(metres)",
        "mae(grams)",
        "mae(metres)",
        "r2",
        "nll",
    ]
    assert list(run.summary["baseline"]["test"]) == list(run.results["test"])[1:6]
    assert run.results["test"]["rmse(grams)"] > 100 > 1 > run.results["test"]["rmse(metres)"]
    assert list(run.history[0]["validation"]) == list(run.results["test"])


def test_changed_data_are_named_by_reproduce(run, tmp_path):
    run("train", "fruit.yaml", "--set", "training.epochs=1")
    assert reproduce(tmp_path / "runs" / "fruit")[0]
    text = (tmp_path / "fruit.csv").read_text()
    (tmp_path / "fruit.csv").write_text(text.replace("Rome", "Oslo", 1))
    with pytest.raises(InputError, match=r"fruit.csv has changed since this run was trained"):
        reproduce(tmp_path / "runs" / "fruit")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optimizer.lr", "did you mean learning_rate?"),
        ("network.dropout", "there is no dropout; penalty"),
        ("data.test", "a file for the test is data.split.test: FILE"),
        ("data.ignore", "did you mean drop?"),
    ],
)
def test_a_key_of_other_programs_is_told_what_it_is_called_here(key, hint):
    section, _, name = key.partition(".")
    values = {
        "data": {"path": "a.csv", "target": "y"},
        "network": {"hidden_widths": [4]},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
    }
    values[section][name] = 1
    with pytest.raises(InputError, match=re.escape(f"{key}: unknown key; {hint}")):
        from_values(values)


def test_names_that_look_like_formulas_and_markup(tmp_path):
    rows = "".join(f"{k * 7 % 9},{'=cmd()|<b>$x^{' if k % 2 else 'no'}\n" for k in range(60))
    path = write(tmp_path, "<i>$x^{,=1+1\n" + rows)
    fit(config(path, "=1+1", split={}, epochs=2), run_dir=tmp_path / "run")
    write_report(tmp_path / "run", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<b>$x" not in page
    assert "&lt;b&gt;" in page
    assert page.count("<svg") == 3  # curves, confusion, rankings


def test_many_categories_are_looked_up(run, tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 200, 2000)
    good = rng.integers(0, 2, 200)
    lines = [f"k{k},{rng.normal():.3f},{'yes' if good[k] else 'no'}" for k in kind]
    write(tmp_path, "\n".join(["kind,x,y", *lines]) + "\n")
    (tmp_path / "many.yaml").write_text(CONFIG.replace("fruit.csv", "points.csv").replace("target: fruit", "target: y"))
    status, out, _ = run("train", "many.yaml")
    assert status == 0
    trained = load("runs/many")
    assert trained.net.categories == (len(trained.model.schema.columns[0].inputs),)
    assert trained.results["test"]["accuracy"] > 0.95
    assert run("evaluate", "runs/many", "points.csv")[0] == 0
    status, out, _ = run("predict", "runs/many", "points.csv")
    assert np.mean([row["y"] == line.split(",")[-1] for row, line in zip(rows_of(out), lines, strict=True)]) > 0.95


def test_without_pyarrow_arrays_work_and_tables_say_what_to_install(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(20.0).reshape(10, 2), y=np.arange(10.0)[:, None])
    frame().to_csv(tmp_path / "fruit.csv", index=False)
    (tmp_path / "fruit.yaml").write_text(CONFIG)
    code = f"""
import sys; sys.modules["pyarrow"] = None
from mlp_jax import cli
from mlp_jax.training import fit
data = {{"path": {str(tmp_path / "a.npz")!r}}}
run = fit({{"data": data, "network": {{"widths": [2, 1]}}, "training": {{"epochs": 1, "batch_size": 2}}}})
run.predict([[1.0, 2.0]])
sys.exit(cli.main(["inspect", {str(tmp_path / "fruit.yaml")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pip install 'mlp_jax[tables]'" in done.stderr
    assert "Traceback" not in done.stderr
