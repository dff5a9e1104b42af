"""A table as it comes off somebody's disk: read, understood, encoded, split, trained on, predicted with by name."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import feather, parquet
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlp_jax.errors import InputError
from mlp_jax.tables.numbers import _quartiles
from mlp_jax.tables.sources import TableData
from mlp_jax.training import fit, load
from mlp_jax.training.build import prepare
from mlp_jax.training.config import from_values

pytestmark = pytest.mark.usefixtures("usual_promotion")
ALL = {"validation": 0, "test": 0}


def frame(n=90, seed=0):
    """Three kinds of fruit; a tells them with b; cells are missing; f is a truth value, day a date."""
    rng = np.random.default_rng(seed)
    fruit = np.arange(n) % 3
    a, b = rng.normal(size=n), fruit + 0.2 * rng.normal(size=n)
    city = rng.choice(["Bern", "Oslo", "Rome"], n)
    table = pd.DataFrame(
        {
            "a": np.where(np.arange(n) % 9 == 4, np.nan, a),
            "b": b,
            "city": np.where(np.arange(n) % 8 == 3, None, city),
            "f": rng.integers(0, 2, n).astype(bool),
            "day": pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"),
            "fruit": np.array(["apple", "pear", "quince"])[fruit],
        }
    )
    table.loc[0, "city"] = "Ulm"
    return table


def write(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def config(path, target="y", split=ALL, epochs=2, network=None, **data):
    return from_values(
        {
            "data": {"path": str(path), "target": target, "split": split, **data},
            "network": network or {"hidden_widths": [4]},
            "training": {"epochs": epochs, "batch_size": 1},
        }
    )


def of(path, target="y", **data):
    return prepare(config(path, target, **data))


def refused(path, message, target="y", **data):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        of(path, target, **data)
    assert path.name in str(caught.value)


# --- files ------------------------------------------------------------------------------------------


def test_all_kinds_of_files_give_the_same_examples(tmp_path):
    table = pa.Table.from_pandas(frame())
    comma, semicolon = (tmp_path / name for name in ("a.csv", "b.csv"))
    arrow_csv.write_csv(table, comma)
    frame().to_csv(semicolon, sep=";", decimal=",", index=False)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(comma.read_bytes()))
    (tmp_path / "d.tsv").write_bytes(comma.read_bytes().replace(b",", b"\t"))
    (tmp_path / "e.csv").write_bytes("\ufeff".encode() + comma.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "f.csv").write_bytes(comma.read_text().encode("utf-16"))
    parquet.write_table(table, tmp_path / "g.parquet")
    feather.write_feather(table, tmp_path / "h.feather")
    (tmp_path / "i.jsonl").write_text(frame().to_json(orient="records", lines=True))
    (tmp_path / "j.json").write_text(frame().to_json(orient="records", double_precision=15))
    expected = of(comma, "fruit")
    for path in sorted(tmp_path.iterdir()):
        found = of(path, "fruit", split=ALL)
        assert found.input_names == expected.input_names, path
        np.testing.assert_allclose(found.parts["train"].x, expected.parts["train"].x, rtol=1e-4, err_msg=path.name)


def test_several_files_and_a_pattern_are_one_table(tmp_path):
    frame()[:40].to_csv(tmp_path / "part-1.csv", index=False)
    frame()[40:].to_csv(tmp_path / "part-2.csv", index=False)
    assert len(of(tmp_path / "part-*.csv", "fruit").parts["train"].x) == 90
    with pytest.raises(InputError, match="no file fits"):
        of(tmp_path / "week-*.csv")
    write(tmp_path, "a,c,fruit\n1,2,pear\n", "part-3.csv")
    refused(tmp_path / "part-3.csv", "has 1 example(s) with a target", "fruit")
    with pytest.raises(InputError, match=r"part-3.csv and .*part-1.csv do not have the same columns"):
        of(tmp_path / "part-*.csv", "fruit")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty: a table needs a header with names, and rows"),
        (b"\n\n", "is empty"),
        (b"a,b,y\n", "has a header but no rows"),
        (b"a,b,y\n1,2,3\n", "has 1 example(s) with a target; training needs at least 2"),
        (b"a,a,y\n1,2,3\n3,4,5\n", "the header names 'a' more than once"),
        (b"a,b,y\n1,2,3\n4,five,6\n", ":3: column 'b': 'five' is not a number; if it means missing, add it to"),
        (b"a,b,y\n1,2,3\n4,inf,6\n", ":3: column 'b': inf is not a finite number"),
        (b"a,b,y\n1,2,3\n4,5\n", ":3: 2 cells; the header has 3"),
        (b"a,b,y\n1,2,3,4\n5,6,7,8\n", ":2: 4 cells; the header has 3"),
        (b"a,b,y\n1,2,3\n\n4,5,6,7\n", ":4: 4 cells; the header has 3"),
        (b"a,b,y\n1,1_000,3\n2,1,4\n", ":2: column 'b': '1_000' is not a number"),
        (b'a,b,y\n1,"0,5",3\n2,"0,7",4\n', ":2: column 'b': '0,5' is not a number"),
        (b"a,b,y\n1,8 %,3\n2,9 %,4\n", ":2: column 'b': '8 %' is not a number"),
        (b"a,b,y\n1,$2008,3\n2,$1999,4\n", ":2: column 'b': '$2008' is not a number"),
        (b"a,b,z\n1,2,3\n3,4,5\n", "has no column 'y' (data.target); it has a, b, z"),
        (b"1,2,3\n4,5,6\n1,1,1\n", "has no column 'y' (data.target); it has 1, 2, 3"),
        (b"y\n1\n2\n", "has no column besides the target y: nothing to learn from"),
        (b"a,y\n1,2\n\xe9,3\n", "points.csv: not text in UTF-8; is it Latin-1? then data.encoding: latin-1"),
        (b"a,y\n" + b"1,2\n" * 20000 + b"\xe9,3\n", "points.csv:20002: not text in UTF-8"),
        (b"a,y\n1,\x002\n", "it has bytes 0"),
        (b'a,b,y\n1,2,3\n1,2,"3\n' + b"1,2,3\n" * 99, ":3: a quote is opened here, and closed nowhere"),
        (b"PAR1" + bytes(99), "cannot read"),
        (b"d,y\n1/2/2020,1\n2/2/2020,2\n3/2/2020,1\n", "which may be %m/%d/%Y or %d/%m/%Y: say which"),
    ],
)
def test_text_files_that_cannot_be_used(text, message, tmp_path):
    refused(write(tmp_path, text), message)


def test_a_date_that_cannot_be_read_is_shown(tmp_path):
    path = write(tmp_path, "d,y\n2020-01-02,1.5\n2020-13-45,2.5\n2020-01-03,3.5\n")
    refused(path, ":3: column 'd': '2020-13-45' is no date as ISO 8601; if it means missing", columns={"d": "date"})
    lines = "".join(f"{k % 28 + 1:02}.03.2020,train,{k}.5\n" for k in range(60))
    path = write(tmp_path, f"d,part,y\n{lines}31.02.2020,test,1.5\n")
    refused(path, ":62: column 'd': '31.02.2020' is no date as %d.%m.%Y", split={"column": "part"})
    refused(write(tmp_path, "a b y\n1 2 3\n4 5 6\n"), "are its columns separated by blanks? data.delimiter: ' '")


def test_a_row_of_a_gigabyte_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_jax.tables.text._BLOCK", 1000)
    path = write(tmp_path, b"a,y\n" + b"1" * 5000 + b",2\n1,2\n")
    refused(path, "a row of more than 1,000 bytes; is a quote left open?")


def test_files_of_other_kinds(tmp_path):
    whole = tmp_path / "whole.parquet"
    parquet.write_table(pa.Table.from_pandas(frame()), whole)
    refused(write(tmp_path, whole.read_bytes()[:900], "cut.parquet"), "cannot read")
    refused(write(tmp_path, b"PK", "a.xlsx"), "save the sheet as CSV or Parquet first")
    refused(write(tmp_path, b"PK", "a.zip"), "unpack it first")
    refused(write(tmp_path, b"[1, 2]", "a.json"), "changed from object to number in record 1")
    refused(write(tmp_path, b"no gzip", "a.csv.gz"), "cannot read")
    refused(tmp_path / "none.csv", "No such file")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "Is a directory")
    parquet.write_table(pa.table({"x": [[1, 2], [3]], "y": [1.5, 2]}), tmp_path / "nested.parquet")
    refused(tmp_path / "nested.parquet", "column 'x' holds cells within cells")
    write(tmp_path, '[{"a": 1, "y": 1.5}, {"a": 2, "y": 2.5}]', "records.json")
    assert of(tmp_path / "records.json").input_names == ("a",)


def test_what_stands_for_missing_and_how_numbers_are_written_can_be_said(tmp_path):
    path = write(tmp_path, "a|b|y\n1,5|-|1,5\n2,5|3|2\n-9|4|3\n")
    found = of(path, missing=["-", "-9"], decimal=",", standardize_inputs=False)
    np.testing.assert_allclose(found.parts["train"].x[np.argsort(found.parts["train"].y[:, 0])],
                               [[1.5, 0, 3.5, 1], [2.5, 0, 3, 0], [2, 1, 4, 0]])  # fmt: skip
    path = write(tmp_path, "na\xefve,y\n1,2\n2,3\n".encode("latin-1"))
    assert of(path, encoding="latin-1").input_names == ("naïve",)
    assert of(write(tmp_path, "'a','y'\n'1','2'\n'2','3'\n"), quote="'").input_names == ("a",)


# --- columns ----------------------------------------------------------------------------------------


def columns(tmp_path, text, n=24, **data):
    """The schema of a table whose lines are made of the number of the row; y is a number."""
    header, row = text
    path = write(tmp_path, "\n".join([f"{header},y", *(f"{row(k)},{k * 0.37 % 1}" for k in range(n))]) + "\n")
    found = of(path, **data)
    return {column.name: column for column in found.schema.columns}, found.said


def test_an_index_and_identifiers_are_left_out_and_said(tmp_path):
    found, said = columns(
        tmp_path,
        (",n,from_1,name,customer_id,one,empty,x",
         lambda k: f"{k},{k},{k + 1},n{k}x,{100000 + 7 * (k * 5 % 24)},1,,{k * 7 % 5}"),
    )  # fmt: skip
    assert [name for name, column in found.items() if column.kind != "dropped"] == ["x"]
    assert len(said) == 7
    assert "column 'name' is left out: all its values are different, as of an identifier" in " ".join(said)
    found, said = columns(tmp_path, ("k,x", lambda k: f"{k},{k * 7 % 5}"), columns={"k": "number"})
    assert found["k"].kind == "number"
    assert not said


def test_columns_can_be_chosen_dropped_and_said(tmp_path):
    text = ("zip,note,x,w", lambda k: f"0123{k % 3},some {k % 3},{k * 7 % 5},{k % 2}")
    found, _ = columns(tmp_path, text, columns={"zip": "category", "note": "drop"}, drop=["w"])
    assert [column.kind for column in found.values()] == ["category", "dropped", "number", "dropped"]
    assert list(found["zip"].categories) == ["01230", "01231", "01232"]  # and no numbers
    found, _ = columns(tmp_path, text, inputs=["x", "note"])
    assert list(found) == ["note", "x"]
    for key in ("inputs", "drop"):
        with pytest.raises(InputError, match=f"data.{key}: has no column z"):
            columns(tmp_path, text, **{key: ["z"]})
    with pytest.raises(InputError, match="column 'note': 'some 0' is not a number"):
        columns(tmp_path, text, columns={"note": "number"})


def test_dates_are_a_number_and_places_in_cycles(tmp_path):
    days = pd.date_range("2020-01-01", periods=24, freq="17D")
    for format in ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y"):
        found, _ = columns(tmp_path, ("d,x", lambda k, f=format: f"{days[k].strftime(f)},{k % 2}"))
        assert found["d"].kind == "date"
        assert found["d"].inputs == ["d", "d:sine of year", "d:cosine of year", "d:sine of week", "d:cosine of week"]
    x = found["d"].encode(pa.array(["31.12.2019", None]))
    assert x[0][0] < -1.5
    np.testing.assert_allclose([x[2][0], x[2][1]], [1, 0], atol=1e-2)
    found, _ = columns(tmp_path, ("d,x", lambda k: f"{k % 12 + 1}/{k % 9 + 1}/2020,{k % 2}"), columns={"d": "%m/%d/%Y"})
    assert found["d"].format == "%m/%d/%Y"
    found, _ = columns(tmp_path, ("d,x", lambda k: f"2024-03-05T{k:02}:12:00Z,{k % 2}"))
    assert found["d"].cycles == ("day",)


def test_encoding_is_that_of_scikit_learn(tmp_path):
    data = frame(200)
    data.to_csv(tmp_path / "a.csv", index=False)
    network = {"hidden_widths": [4], "dtype": "float64"}
    split = {"validation": 0.2, "test": 0.2}
    found = of(tmp_path / "a.csv", "fruit", split=split, network=network, min_count=1)
    train, test = (data.iloc[found.rows[part]] for part in ("train", "test"))
    numbers, words = ["a", "b"], ["city"]
    imputer = SimpleImputer(strategy="median", add_indicator=False).fit(train[numbers])
    scaler = StandardScaler().fit(imputer.transform(train[numbers]))
    indicator = MissingIndicator(features="missing-only").fit(train[numbers])
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[words])
    for part, rows in (("train", train), ("test", test)):
        x = dict(zip(found.input_names, found.parts[part].x.T, strict=True))
        scaled = scaler.transform(imputer.transform(rows[numbers]))
        np.testing.assert_allclose(np.stack([x["a"], x["b"]], axis=1), scaled, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(x["a:missing"], indicator.transform(rows[numbers])[:, 0])
        cities = [name for name in x if name.startswith("city")]
        np.testing.assert_array_equal(np.stack([x[name] for name in cities], axis=1), one_hot.transform(rows[words]))
    rare = of(tmp_path / "a.csv", "fruit", split=split, network=network, min_count=5)
    expected = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False)
    assert rare.schema.columns[2].rare == ({"Ulm": 1} if (train["city"] == "Ulm").any() else {})
    known = expected.fit(train[words].fillna("missing")).transform(pd.DataFrame({"city": ["Bern", "Ulm", "Nowhere"]}))
    mine = np.stack(rare.schema.columns[2].encode(pa.array(["Bern", "Ulm", "Nowhere"])), axis=1)
    assert mine.sum(axis=1).tolist() == known.sum(axis=1).tolist()


def test_robust_scaling_clips_smoothly(tmp_path):
    path = write(tmp_path, "x,y\n" + "".join(f"{k},{k % 7}.5\n" for k in [*range(7, 107), 10**9]))
    x = of(path, standardize_inputs="robust").parts["train"].x
    assert abs(np.median(x)) < 0.03
    assert 2.99 < np.abs(x).max() <= 3


# --- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "output", "classes"),
    [
        (["apple", "pear", "quince"], "softmax", ("apple", "pear", "quince")),
        (["no", "yes"], "sigmoid", ("no", "yes")),
        (["true", "false"], "sigmoid", ("false", "true")),
        ([3, 4, 5, 8], "softmax", ("3", "4", "5", "8")),
        ([10, 9], "sigmoid", ("9", "10")),
        ([1.5, 2, 3], "linear", None),
        (range(60), "linear", None),
        (range(100, 130), "linear", None),
    ],
)
def test_the_output_follows_from_the_target(y, output, classes, tmp_path):
    path = write(tmp_path, "x,y\n" + "".join(f"{k * 7 % 5},{list(y)[k % len(y)]}\n" for k in range(60)))
    found = of(path)
    assert (found.ends.output, found.schema.targets[0].classes) == (output, classes)
    assert found.ends.standardize_targets == (output == "linear")


def test_rows_without_a_target_are_left_out_and_said(tmp_path):
    found = of(write(tmp_path, "x,y\n1,2.5\n2,NA\n3,1.5\n4,\n"))
    assert len(found.parts["train"].x) == 2
    assert "2 of 4 rows have no target and are left out" in found.said


@pytest.mark.parametrize(
    ("y", "network", "message"),
    [
        (
            ["a", "b", "c"],
            {"widths": [1, 2], "output": "softmax"},
            "has 3 different values, a, b, c; network.widths end",
        ),
        (["a", "b", "c"], {"widths": [1, 1], "output": "sigmoid"}, "a sigmoid output tells two apart: for several cla"),
        (["a", "b", "c"], {"widths": [1, 1], "output": "linear"}, "holds a, b, c; a linear output needs numbers"),
        (["a"], {"hidden_widths": []}, "is a everywhere: nothing to learn"),
        ([-1, 2, 3], {"hidden_widths": [], "output": "poisson"}, "a poisson output needs counts"),
    ],
)
def test_targets_that_an_output_cannot_have(y, network, message, tmp_path):
    path = write(tmp_path, "x,y\n" + "".join(f"{k * 7 % 5},{y[k % len(y)]}\n" for k in range(60)))
    refused(path, message, network=network)


def test_soft_labels_and_several_targets(tmp_path):
    rows = "".join(f"{k * 7 % 5},{k % 2},{k % 3 > 1},0.25,0.75\n" for k in range(30))
    path = write(tmp_path, "x,a,b,p,q\n" + rows)
    found = of(path, ["p", "q"], network={"hidden_widths": [2], "output": "softmax"}, drop=["a", "b"])
    np.testing.assert_array_equal(found.parts["train"].y, [[0.25, 0.75]] * 30)
    found = of(path, ["a", "b"], drop=["p", "q"])
    assert found.ends.output == "sigmoid"
    assert [target.classes for target in found.schema.targets] == [("0", "1"), ("False", "True")]
    with pytest.raises(InputError, match="holds words, the others numbers"):
        of(write(tmp_path, "x,a,b\n" + "1,u,1.5\n2,v,2.5\n3,w,1.5\n"), ["a", "b"])


# --- frames, by name --------------------------------------------------------------------------------

SETTINGS = {
    "data": {"target": "fruit"},
    "network": {"hidden_widths": [16]},
    "optimizer": {"name": "adam", "learning_rate": 0.02},
    "training": {"epochs": 30, "batch_size": 16},
}


def test_anybodys_frames_give_the_same_run():
    data = frame()
    expected = fit(SETTINGS, data).results
    assert expected["test"]["accuracy"] > 0.8
    for other in (pl.from_pandas(data), pa.Table.from_pandas(data, preserve_index=False)):
        assert fit(SETTINGS, other).results == expected
    pair = fit({**SETTINGS, "data": {}}, (data.drop(columns="fruit"), data["fruit"]))
    assert pair.results == expected


def test_predictions_are_by_name_whatever_the_order(tmp_path):
    data = frame()
    run = fit(SETTINGS, data, run_dir=tmp_path / "run")
    names, rows = run.predict(data)
    assert names == ["fruit", "p(apple)", "p(pear)", "p(quince)"]
    assert np.mean([row[0] == fruit for row, fruit in zip(rows, data["fruit"], strict=True)]) > 0.9
    assert run.predict(data[data.columns[::-1]].assign(more=1))[1] == rows
    assert load(tmp_path / "run").predict(pl.from_pandas(data))[1] == rows
    with pytest.raises(InputError, match="x has no column a, city; it has b, f, day, fruit"):
        run.predict(data.drop(columns=["a", "city"]))
    with pytest.raises(InputError, match="x has no names: give a data frame, or a file, with the columns a, b, city"):
        run.predict(data.to_numpy())
    schema = json.loads((tmp_path / "run" / "schema.json").read_text())
    schema["targets"][0]["classes"][1] = "Birne"  # as a person would
    (tmp_path / "run" / "schema.json").write_text(json.dumps(schema))
    assert "Birne" in {row[0] for row in load(tmp_path / "run").predict(data)[1]}
    del schema["columns"][1]["median"]
    (tmp_path / "run" / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(InputError, match=r"schema.json: columns.1.number.median: Field required"):
        load(tmp_path / "run")


def test_names_of_bundled_sets_hold_for_frames():
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True).data
    network = {"widths": [4, 8, 3], "output": "softmax"}
    run = fit({**SETTINGS, "data": {"source": "iris"}, "network": network})
    assert run.predict(data[data.columns[::-1]]) == run.predict(data.to_numpy())
    with pytest.raises(InputError, match="has no column sepal length"):
        run.predict(data[data.columns[1:]])


def test_words_as_targets_of_arrays():
    x, y = frame()["b"].to_numpy()[:, None], frame()["fruit"].tolist()
    run = fit({**SETTINGS, "data": {}}, (x, y))
    assert run.predict(x[:3])[0] == ["class", "p(apple)", "p(pear)", "p(quince)"]
    assert {row[0] for row in run.predict(x)[1]} <= {"apple", "pear", "quince"}
    assert fit({**SETTINGS, "data": {}}, (x, np.arange(90) % 3 + 3)).predict(x[:1])[0][1:] == ["p(3)", "p(4)", "p(5)"]


def test_the_kind_of_a_source_is_found_from_its_name():
    for name, source in (("a.csv.gz", "csv"), ("b.parquet", "parquet"), ("c.npz", "npz"), ("d", "csv")):
        data = {"path": name} if source == "npz" else {"path": name, "target": "y"}
        assert from_values({"data": data, "network": {"hidden_widths": []}}).data.source == source
    both = {"data": {"path": ["a.csv", "b.csv"], "target": "y"}, "network": {"hidden_widths": []}}
    assert isinstance(from_values(both).data, TableData)


@pytest.mark.parametrize("scale", [1.0, 1e308, 5e-323])
def test_quartiles_are_those_of_numpy_to_the_bit(scale):
    rng = np.random.default_rng(0)
    for n in (*range(1, 30), 1000, 1001, 1002, 1003):
        with np.errstate(over="ignore", invalid="ignore"):
            for values in (scale * rng.normal(size=n).clip(-1, 1), scale * rng.integers(-1, 2, n)):
                expected = np.median(values), *np.quantile(values, [0.25, 0.75])
                assert np.array(_quartiles(values)).tobytes() == np.array(expected).tobytes()
