"""Nothing of a table is lost or changed in silence: cells, labels, rows, files."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_tables import config, of, refused, write
from test_tables_commands import run  # noqa: F401

from mlp_jax.errors import InputError
from mlp_jax.tables.dates import as_days, format_of
from mlp_jax.tables.numbers import Number
from mlp_jax.training import fit

pytestmark = pytest.mark.usefixtures("usual_promotion")
SETTINGS = {"network": {"hidden_widths": [4]}, "training": {"epochs": 1}}


def table(path, row, header="x,y", n=60):
    return write(path, "\n".join([header, *(row(k) for k in range(n))]) + "\n")


def kinds(found):
    return {column.name: column.kind for column in found.schema.columns}


def text(words, n=60):
    return lambda k: f"{words[k % len(words)]},{k % 7}.5"


@pytest.mark.parametrize(
    ("words", "format"),
    [
        (["2020-01-02", "2021-12-31"], "ISO 8601"),
        (["13/01/00", "14/02/01"], "%d/%m/%y"),
        (["13-01-2000", "02-03-2000"], "%d-%m-%Y"),
        (["1 Mar 2020", "2 March 2021"], "%d %b %Y"),
        (["2020-01", "2020-12"], "%Y-%m"),
        (["10:00", "23:59:30"], "hours:minutes"),
        (["1.2.10", "3.4.11"], None),
        (["12", "34"], None),
    ],
)
def test_dates_are_known_by_their_shape(words, format):
    column = pa.chunked_array([pa.array(words)])
    found = format_of(column)
    assert (found and found.format) == format
    if format:
        assert np.isfinite(as_days(column, format)).all()
        assert format.endswith("minutes") or as_days(column, format).min() > 10_000  # and no year 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2020-01-01", "2020-01-02", "unknown"], ":4: column 'x': 'unknown' is no date as ISO 8601"),
        (["01.02.2020", "02.02.2020", "1 Mar 2020"], ":4: column 'x': '1 Mar 2020' is no date as %d.%m.%Y"),
        (["1.5", "2.5", "n.a."], ":4: column 'x': 'n.a.' is not a number"),
        (
            ['"0,5"', "1.5", "2.5"],
            ":2: column 'x': '0,5' is not a number; if it means missing, add it to data.missing; if c",
        ),
        ([f"{k}.5 kg" for k in range(30)], ":2: column 'x': '0.5 kg' is not a number"),
    ],
)
def test_an_odd_cell_among_dates_or_numbers_is_an_error(words, message, tmp_path):
    refused(table(tmp_path, text(words)), message)
    if len(words) == 3:  # also where only a part that is held out has it
        rows = [f"{words[k % 2 if k < 59 else 2]},{'train' if k < 40 else 'test'},{k % 7}.5" for k in range(60)]
        path = table(tmp_path, rows.__getitem__, "x,part,y")
        refused(path, ":61: column 'x':" if '"' not in words[0] else ":2:", split={"column": "part"})


def test_bad_cells_of_all_columns_are_named_at_once(tmp_path):
    path = write(tmp_path, "a,b,y\n1,2,1\n'x,3,2\n4,oops,1\n5,6,2\n")
    refused(path, ":3: column 'a': \"'x\" is not a number")
    refused(path, ":4: column 'b': 'oops' is not a number")
    path = write(tmp_path, 'note,a,y\n"two\nlines",1,1\n"and\ntwo",x,2\nu,2,1\n')
    refused(path, ":4: column 'a': 'x' is not a number")  # where its row begins


def test_leading_zeros_are_kept(tmp_path):
    found = of(table(tmp_path, lambda k: f"0{k % 3}000,0{k % 2 + 1}"))
    assert found.schema.columns[0].categories == {"00000": 20, "01000": 20, "02000": 20}
    assert found.schema.columns[0].why == "whole numbers with leading zeros"
    assert found.schema.targets[0].classes == ("01", "02")
    assert kinds(of(table(tmp_path, lambda k: f"{k % 3 + 1}000,{k % 7}.5"))) == {"x": "number"}
    assert kinds(of(table(tmp_path, lambda k: f"{k:05},{k % 3},{k % 7}.5", "x,z,y"))) == {"x": "dropped", "z": "number"}


@pytest.mark.parametrize("code", [999999, "999999", 999999.0])
def test_missing_codes_are_compared_as_numbers_in_all_files(code, tmp_path):
    rows = pd.DataFrame({"x": [999999.0, 1.5, 2.5, np.nan, 3.5], "y": [1.5, 2, 3, 4, 5]})
    rows.to_csv(tmp_path / "a.csv", index=False, na_rep="NA")
    rows.to_parquet(tmp_path / "a.parquet")
    rows.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet", tmp_path / "a.jsonl"):
        found = of(path, missing=[code]).schema.columns[0]
        assert (found.missing, found.largest) == (2, 3.5)
    settings = {**SETTINGS, "data": {"target": "y", "missing": [code]}}
    assert fit(settings, rows).model.schema.columns[0].largest == 3.5


def test_codes_do_not_hide_themselves(tmp_path):
    values = np.random.default_rng(0).normal(size=400)
    values[[5, 6]] = 999999
    assert list(np.flatnonzero(learned(values).are_far((values - values.mean()) / values.std()))) == [5, 6]
    rare = np.where(np.arange(400) % 10 == 0, values, 0)  # the quartiles are equal
    rare[0] = 999999
    assert learned(rare).are_far((rare - rare.mean()) / rare.std()).sum() == 1


def learned(values):
    return Number.learn("x", "number", "", pa.chunked_array([pa.array(values)]), True)


def test_words_that_are_taken_for_missing_are_named(tmp_path):
    path = table(tmp_path, lambda k: f"{k * 7 % 9},{['None', 'Mild', 'Severe'][k % 3]}")
    assert (
        "column 'y': 20 cells are 'None', taken for missing; if it is a category or a class, data.not_missing"
        in " ".join(of(path).said)
    )
    assert of(path, not_missing=["None"]).schema.targets[0].classes == ("Mild", "None", "Severe")


def test_records_may_lack_keys_and_faults_have_their_line(tmp_path):
    rows = [{"x": k % 5, "z": k % 3, "y": k % 7 + 0.5} for k in range(30)]
    del rows[0]["z"]
    lines = list(map(json.dumps, rows))
    for content in ("\n".join(lines), json.dumps(rows)):
        assert kinds(of(write(tmp_path, content, "a.json"))) == {"x": "number", "z": "number"}
    refused(write(tmp_path, "\n".join([*lines[:9], '{"x" 3}']), "a.jsonl"), "in record 10")
    refused(
        write(tmp_path, "\n".join([*lines, '{"x": "a"}']), "a.jsonl"),
        "Column(/x) changed from number to string in record 31",
    )
    for content in ("[]", "{}\n{}", ""):
        refused(write(tmp_path, content, "a.jsonl"), "is empty")


def test_a_category_has_one_spelling(tmp_path):
    rows = pd.DataFrame({"c": [1.0, 2.0, 2.5] * 10, "y": np.arange(30) % 7 + 0.5})
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        column = of(tmp_path / name, columns={"c": "category"}).schema.columns[0]
        assert list(column.categories) == ["1", "2", "2.5"]
        assert not column.unseen(pa.chunked_array([pa.array(["1.0", "2", "2.5"])]))
        assert not column.unseen(pa.chunked_array([pa.array([1, 2])]))


def test_truth_values_and_categories_are_what_they_are_said_to_be(tmp_path):
    refused(table(tmp_path, lambda k: f"{k % 3}.5,{k % 7}.5"), "'0.5' is no truth value", columns={"x": "boolean"})
    rows = pd.DataFrame({"k": pd.Categorical(np.arange(30) % 3), "y": np.arange(30) % 7 + 0.5})
    assert fit({**SETTINGS, "data": {"target": "y"}}, rows).model.schema.columns[0].kind == "category"


@pytest.mark.parametrize(
    ("y", "kind"), [(["a", "b"], str), ([1, 2], int), ([True, False], bool), (["true", "no"], str)]
)
def test_labels_come_back_as_they_were(y, kind):
    rows = pd.DataFrame({"x": np.arange(40.0) * 7 % 9, "y": y * 20})
    found = {row[0] for row in fit({**SETTINGS, "data": {"target": "y"}}, rows).predict(rows)[1]}
    assert found <= set(y)
    assert {type(value) for value in found} == {kind}


def test_targets_beside_a_frame_take_no_column_away():
    x = pd.DataFrame({"target": np.arange(40.0) * 7 % 9, "z": np.arange(40.0) % 5})
    y = np.arange(40) % 2
    for targets in (y, y[:, None], y.tolist()):
        assert fit(SETTINGS, (x, targets)).model.input_names == ("target", "z")
    with pytest.raises(InputError, match="the frame has a column 'z', and so have the targets"):
        fit(SETTINGS, (x, pd.Series(y, name="z")))


def test_python_says_what_is_new_as_the_command_does():
    rows = pd.DataFrame({"x": np.arange(60.0) % 9, "c": ["a", "b", "c"] * 20, "y": np.arange(60) % 7 + 0.5})
    trained = fit({**SETTINGS, "data": {"target": "y"}}, rows)
    trained.predict(rows)
    for change, message in (
        ({"c": "d"}, "unseen in training: 'd'"),
        ({"x": np.nan}, "60 cells are missing, and none of"),
    ):
        with pytest.warns(UserWarning, match=message):
            trained.predict(rows.assign(**change))


# --- commands ---------------------------------------------------------------------------------------


def test_a_prediction_never_destroys_a_file(run, tmp_path):  # noqa: F811
    run("train", "fruit.yaml", "--set", "training.epochs=1", "data.drop=[day]")
    before = (tmp_path / "fruit.csv").read_bytes()
    status, _, said = run("predict", "runs/fruit", "fruit.csv", "--output", "fruit.csv")
    assert (status, "is the file that is read" in said) == (2, True)
    assert (tmp_path / "fruit.csv").read_bytes() == before
    write(tmp_path, "older", "found.csv")
    write(tmp_path, before.decode().replace(",True,", ",maybe,", 1), "bad.csv")
    assert run("predict", "runs/fruit", "bad.csv", "--output", "found.csv")[0] == 2
    assert (tmp_path / "found.csv").read_text() == "older"
    assert not list(tmp_path.glob(".*.part"))


def test_kept_columns_are_carried_as_they_stand(run, tmp_path, monkeypatch):  # noqa: F811
    run("train", "fruit.yaml", "--set", "training.epochs=1", "data.inputs=[b, city]")
    write(tmp_path, "id,b,city\nNA,1.50, Bern\n 7,NA,NA\n" + "8,2,Oslo\n" * 20, "new.csv")
    out = run("predict", "runs/fruit", "new.csv", "--keep", "id", "b", "city")[1]
    assert [line.split(",")[:3] for line in out.splitlines()[1:3]] == [["NA", "1.50", " Bern"], [" 7", "NA", "NA"]]
    monkeypatch.setattr("mlp_jax.commands.predict._ROWS", 2)
    assert run("predict", "runs/fruit", "new.csv", "--keep", "id", "--output", "new.parquet")[0] == 0
    assert parquet.read_table("new.parquet").column("id").to_pylist()[:3] == ["NA", " 7", "8"]


def test_a_labelled_file_is_weighted_and_may_have_fewer_classes(run, tmp_path):  # noqa: F811
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"x": rng.normal(size=90), "w": 1 + np.arange(90) // 3 % 3, "y": ["true", "false", "unknown"] * 30}
    )
    rows.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.yaml").write_text("data: {path: a.csv, target: y, weights: w}\nnetwork: {hidden_widths: [4]}\n"
                                     "training: {epochs: 3}\n")  # fmt: skip
    assert run("train", "a.yaml")[0] == 0
    rows[rows.y != "unknown"].to_csv(tmp_path / "two.csv", index=False)
    rows[rows.y != "unknown"].loc[lambda r: r.index.repeat(r.w)].assign(w=1).to_csv(
        tmp_path / "copies.csv", index=False
    )
    rows.assign(y=rows.y.replace("true", "")).drop(columns="w").to_csv(tmp_path / "less.csv", index=False)
    weighted, copied = (run("evaluate", "runs/a", name)[1].split()[-7:] for name in ("two.csv", "copies.csv"))
    assert weighted[2:] == pytest.approx(copied[2:]) or weighted[-1] == copied[-1]
    said = run("evaluate", "runs/a", "less.csv")[2]
    assert "30 of 90 rows have no target and are left out" in said
    assert "no column 'w' (data.weights): each row counts once" in said


def test_times_of_day_and_files_of_parts_are_read_alike(run, tmp_path):  # noqa: F811
    rows = "".join(f"{k % 24:02}:30,{k % 7},{'ab'[k % 2]}\n" for k in range(60))
    write(tmp_path, "at,z,y\n" + rows, "a.csv")
    (tmp_path / "a.yaml").write_text("data: {path: a.csv, target: y}\nnetwork: {hidden_widths: [4]}\n"
                                     "training: {epochs: 1}\n")  # fmt: skip
    assert run("train", "a.yaml")[0] == 0
    assert run("predict", "runs/a", "a.csv")[0] == 0
    write(tmp_path, "at,z,y\n10:30,x,a\n", "bad.csv")
    said = run("train", "a.yaml", "--set", "data.split.test=bad.csv", "--overwrite")[2]
    assert "bad.csv:2: column 'z': 'x' is no number" in said
    write(tmp_path, "at,z,y\n10:30,1,a\nnoon,2,b\n", "bad.csv")
    assert re.search(r"bad.csv:3: column 'at': 'noon' is no date", run("predict", "runs/a", "bad.csv")[2])


def test_what_is_said_of_columns_is_grouped(tmp_path):
    names = [f"c{k}" for k in range(9)]
    path = table(tmp_path, lambda k: f"{k * 7 % 9},{','.join('1' * 9)},{k % 7}.5", f"x,{','.join(names)},y")
    assert of(path).said == ("columns 'c0', 'c1', 'c2' and 6 more are left out: it has one value in the training part",)
    found = of(table(tmp_path, lambda k: f"{k % 7},{['train', 'test'][k % 2]},{k % 5}.5", "x,part,y"))
    assert found.said == ("column 'part' says test and train: data.split.column: part",)
    found = of(table(tmp_path, lambda k: f"{5000 - k},{k % 7},{k % 5}.5", "no,z,y"))
    assert found.said == ("column 'no' has another number in each row: if it names them, data.drop: [no]",)


def test_semicolons_are_found_where_headers_hold_commas(tmp_path):
    path = write(tmp_path, '"x, in m, or so";first, z;y\n' + "".join(f"{k % 7};{k % 3};{k % 5}.5\n" for k in range(30)))
    assert list(kinds(of(path))) == ["x, in m, or so", "first, z"]
    with pytest.raises(InputError, match="holds dates: make numbers of them"):
        of(table(tmp_path, lambda k: f"{k % 7},2020-{k % 12 + 1:02}-{k % 28 + 1:02}"))
    assert config(path, 3, split={}).data.target == "3"


def test_several_labels_have_a_baseline(tmp_path):
    rows = table(tmp_path, lambda k: f"{k * 7 % 9},{k % 2},{int(k % 3 > 0)}", "x,a,b")
    found = fit(config(rows, ["a", "b"], split={"validation": 0, "test": 0.5})).summary["baseline"]
    assert 0.4 < found["test"]["accuracy"] < 0.8
