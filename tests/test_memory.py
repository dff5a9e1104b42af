"""Training on a table from a cache, `data.cache`: the same bits as in memory, and in bounded memory."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
from test_tables_commands import run  # noqa: F401

from mlp_jax.commands.reproduce import reproduce
from mlp_jax.errors import InputError, TrainingDiverged
from mlp_jax.tables import cache as caching
from mlp_jax.tables import files, stored
from mlp_jax.tables.arrow import pa, parquet
from mlp_jax.tables.text import Dialect
from mlp_jax.training import config as configuration
from mlp_jax.training import fit, load, streamed
from mlp_jax.training.build import prepare
from mlp_jax.training.progress import LiveBar, PlainLines, Reporter

pytestmark = pytest.mark.usefixtures("usual_promotion")


def frame(n=700, seed=0):
    """Columns of all kinds, with missing cells, and targets of all kinds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    holes = rng.random((4, n)) < 0.1
    return pd.DataFrame(
        {
            "x": np.where(holes[0], np.nan, x),
            "whole": pd.array(rng.integers(-3, 300, n), dtype="Int64"),
            "color": np.where(holes[1], None, rng.choice(["red", "green", "blue"], n)),
            "city": rng.choice([f"city {k}" for k in range(40)], n),
            "rare": np.where(np.arange(n) < 2, "once", rng.choice(["a", "b"], n)),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "yes": rng.random(n) < 0.3,
            "constant": 1,
            "weight": rng.integers(0, 3, n) + 0.5,
            "group": rng.integers(0, 50, n),
            "part": rng.choice(["train", "train", "validation", "test"], n),
            "amount": np.where(holes[2], np.nan, 3 * x + rng.normal(size=n)),
            "kind": rng.choice(["first", "second", "third"], n),
            "is": rng.choice(["no", "yes"], n),
        }
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    whole = frame()
    whole.to_csv(folder / "table.csv", index=False)
    whole.to_parquet(folder / "table.parquet", row_group_size=150)
    whole[:300].to_csv(folder / "part-0.csv.gz", index=False)
    whole[300:].to_csv(folder / "part-1.csv.gz", index=False)
    frame(90, seed=1).to_parquet(folder / "more.parquet")
    whole.to_feather(folder / "table.feather")
    return folder


@pytest.fixture
def small_blocks(monkeypatch):
    """So that few rows are many blocks, pieces and windows."""
    monkeypatch.setattr("mlp_jax.tables.packed._ROWS", 128)
    monkeypatch.setattr("mlp_jax.tables.packed._PIECE", 32)
    monkeypatch.setattr(streamed, "_NUMBERS", 3000)


def settings(tables, path="table.parquet", target="amount", **changes):
    values = {
        "data": {"path": str(tables / path), "target": target, "drop": ["weight", "group", "part"]},
        "network": {"hidden_widths": [8, 5]},
        "training": {"epochs": 3, "batch_size": 32},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section] = {**values[section], name: value} if name else value
    return values


def trained(values, cache=None, **options):
    data = {**values["data"], "cache": str(cache)} if cache else values["data"]
    return fit({**values, "data": data}, **options)


def bits(of):
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((of.params, of.state)))


def assert_same(one, other):
    assert bits(one) == bits(other)
    assert one.trained_on == other.trained_on
    assert one.summary.get("said") == other.summary.get("said")
    for key in ("examples", "best_epoch", "early_stopping"):
        assert one.summary.get(key) == other.summary.get(key)
    assert [record["loss"] for record in one.history] == [record["loss"] for record in other.history]
    parts = zip(
        [one.results, *map(of_validation, one.history)],
        [other.results, *map(of_validation, other.history)],
        strict=True,
    )
    for before, after in parts:
        for part, found in before.items():
            np.testing.assert_allclose(
                list(found.values()), list(after[part].values()), rtol=1e-5, atol=1e-6, err_msg=part
            )


def of_validation(record):
    return {"validation": record["validation"]}


WAYS = {
    "parquet, a file as a part": {
        "data__split": {"test": "more.parquet"},
        "training__shuffle": False, "training__microbatches": 2, "training__ema": 0.9,
    },
    "csv, several files": {"path": "part-*.csv.gz"},
    "feather, two classes by auc": {
        "path": "table.feather", "target": "is", "training__early_stopping": {"patience": 2, "metric": "auc"},
    },
    "weights, groups": {
        "data__weights": "weight", "data__drop": ["part"], "data__split": {"groups": "group"},
        "training__early_stopping": {"patience": 1, "on": "training", "min_delta": 10.0},
    },
    "a column, classes, watched": {
        "target": "kind", "data__split": {"column": "part"}, "data__drop": ["weight", "group"],
        "training__watch": True, "network__class_weights": "balanced",
    },
    "robust, several targets, all at once": {
        "data__standardize_inputs": "robust", "data__missing": ["blue", 7], "target": ["amount", "x"],
        "training__batch_size": "all",
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] * way.startswith(("csv", "feather"))) for way in WAYS]
)
def test_the_bits_are_those_of_training_in_memory(way, tables, small_blocks, tmp_path):
    values = settings(tables, **WAYS[way])
    if (split := values["data"].get("split", {})).get("test"):
        values["data"]["split"] = {"test": str(tables / split["test"])}
    assert_same(trained(values), trained(values, tmp_path / "cache"))


def test_seeds_share_a_cache(tables, small_blocks, tmp_path):
    values = settings(tables, seeds=[3, 4])
    pairs = zip(trained(values).seeds, trained(values, tmp_path / "cache").seeds, strict=True)
    assert all(bits(one) == bits(other) for one, other in pairs)


def test_a_run_goes_on_to_the_same_bits_in_memory_or_not(tables, small_blocks, tmp_path):
    values, more = (settings(tables, training__epochs=epochs) for epochs in (2, 4))
    whole = trained(more)
    trained(values, tmp_path / "cache", run_dir=tmp_path / "run")
    on_disk = trained(more, tmp_path / "cache", run_dir=tmp_path / "run", resume=True)
    trained(values, run_dir=tmp_path / "other")
    moved = trained(more, tmp_path / "cache", run_dir=tmp_path / "other", resume=True)
    assert bits(whole) == bits(on_disk) == bits(moved)
    assert reproduce(tmp_path / "run")[0]


def test_a_kill_loses_nothing(tables, tmp_path):
    network = "network: {hidden_widths: [8]}\ntraining: {epochs: 4000, batch_size: 32, checkpoint_seconds: 0}\n"
    data = f"data: {{path: {tables / 'table.parquet'}, target: is, cache: {tmp_path / 'cache'}}}\n"
    (tmp_path / "run.yaml").write_text(data + network)
    command = [sys.executable, "-m", "mlp_jax", "train", str(tmp_path / "run.yaml"), "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as training:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size > 1000) and training.poll() is None:
            time.sleep(0.01)
        training.send_signal(signal.SIGKILL)
    found = load(tmp_path / "run")
    assert 0 < found.summary["epochs"] < 4000
    values = settings(tables, target="is", network__hidden_widths=[8])
    values = {**values, "data": {"path": values["data"]["path"], "target": "is"}}
    epochs = found.summary["epochs"] + 2
    values["training"] = {"epochs": epochs, "batch_size": 32}
    gone_on = trained(values, tmp_path / "cache", run_dir=tmp_path / "run", resume=True)
    assert bits(gone_on) == bits(trained(values))


def test_commands_work_on_a_run_with_a_cache(run, tables, tmp_path):  # noqa: F811
    text = f"data: {{path: {tables / 'table.csv'}, target: is, cache: kept}}\nnetwork: {{hidden_widths: [4]}}\n"
    (tmp_path / "run.yaml").write_text(f"{text}training: {{epochs: 2}}\n")
    status, trained_to, _ = run("train", "run.yaml")
    assert status == 0
    assert (tmp_path / "kept" / "manifest.json").exists()  # beside the configuration
    status, found, _ = run("evaluate", "runs/run")
    assert status == 0
    assert found.splitlines() == trained_to.splitlines()[: len(found.splitlines())]
    found_in_cache = found
    status, found, _ = run("inspect", "run.yaml")
    assert status == 0
    assert " of data in a file, " in found
    assert run("report", "runs/run")[0] == 0
    assert "the test part" in (tmp_path / "runs" / "run" / "report.html").read_text()
    assert run("reproduce", "runs/run")[0] == 0
    (tmp_path / "kept" / "manifest.json").unlink()
    status, again, _ = run("evaluate", "runs/run")
    assert (status, again) == (0, found_in_cache)
    assert not (tmp_path / "kept" / "manifest.json").exists()  # only a training writes it


def test_a_diverged_step_is_explained(tables, small_blocks, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step \d+ of 14: layer"):
        trained(settings(tables, optimizer={"name": "sgd", "learning_rate": 1e30}), tmp_path / "cache")


class Told(Reporter):
    """What is said and read."""

    lines: list[str] = []  # noqa: RUF012

    def say(self, message):
        self.lines.append(message)

    def reading(self, what, share):
        assert 0 <= share <= 1


def prepared(values, cache):
    """The examples, and what was said of the cache."""
    told = Told(0)
    told.lines = []
    data = {**values["data"], "cache": str(cache)}
    return prepare(configuration.from_values({**values, "data": data}), progress=told), told.lines


def test_reading_is_reported(tables, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlp_jax.training.progress._SECONDS_OF_SILENCE", 0)
    values = settings(tables)
    values["data"] = {**values["data"], "cache": str(tmp_path / "cache")}
    prepare(configuration.from_values(values), progress=PlainLines(1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading table.parquet: 0%"
    assert lines[-1] == "reading the rows: 100%"
    with LiveBar(1) as bar:
        bar.reading("the rows", 0.5)


def spoil(name):
    def cut(cache):
        file = next(cache.glob(name))
        file.write_bytes(file.read_bytes()[:-1])

    return cut


def as_pipe(name):
    def laid(cache):
        (cache / name).unlink()
        os.mkfifo(cache / name)

    return laid


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("inputs.npy", np.zeros(600, [("0", "O"), ("1", "<f4", (1,))])),
        ("inputs.npy", np.zeros(3, [("0", "u1")])),
        ("y-train.npy", np.array(["a", "b"])),
        ("rows-train.npy", np.full(99, 2**31, np.uint32)),
        ("rows-train.npy", np.zeros(9)),
        ("table-0.npy", np.zeros((3, 3, 3), np.float32)),
        ("table-0.npy", np.zeros((0, 3), np.float32)),
        ("y-train.npy", lambda y: np.stack([y, y], axis=1)),
        ("y-train.npy", lambda y: y * np.nan),
    ],
)
def test_what_another_put_into_a_cache_is_no_address(name, array, tables, tmp_path):
    cache = tmp_path / "cache"
    prepared(settings(tables), cache)
    file = cache / name
    array = array(np.load(file)) if callable(array) else array
    with file.open("wb") as stream:
        np.lib.format.write_array_header_2_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.tobytes())
    manifest = json.loads((cache / "manifest.json").read_text())
    manifest["sizes"][name] = file.stat().st_size
    (cache / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"cache is damaged, remove it"):
        prepared(settings(tables), cache)


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        (lambda cache: (cache / "manifest.json").write_text("{}"), "it was cut short"),
        (lambda cache: (cache / "inputs.npy").unlink(), "inputs.npy is damaged"),
        (spoil("y-train.npy"), "y-train.npy is damaged"),
        (spoil("manifest.json"), "its manifest.json is damaged"),
        (lambda cache: (cache / "manifest.json").write_text('{"a":' * 90_000), "its manifest.json is damaged"),
        (as_pipe("y-train.npy"), "y-train.npy is damaged"),
    ],
)
def test_a_cut_cache_is_written_anew(spoiled, why, tables, tmp_path):
    first, said = prepared(settings(tables), tmp_path / "cache")
    assert not said
    identifier = first.fingerprint
    del first
    spoiled(tmp_path / "cache")
    again, said = prepared(settings(tables), tmp_path / "cache")
    assert again.fingerprint == identifier
    assert said == [f"data.cache: {tmp_path / 'cache'} is written anew: {why}"]
    assert prepared(settings(tables), tmp_path / "cache")[1] == []


def test_a_cache_of_other_data_is_named_and_written_anew(tables, tmp_path):
    path, cache = tmp_path / "table.parquet", tmp_path / "cache"
    frame(200).to_parquet(path)
    values = settings(tables)
    values["data"]["path"] = str(path)
    old, size = prepared(values, cache)[0].fingerprint, path.stat().st_size
    frame(200, seed=3).to_parquet(path)
    new, said = prepared(values, cache)
    assert new.fingerprint != old
    assert [line.split(" bytes")[0] for line in said] == [
        f"data.cache: {cache} is written anew: table.parquet was {size}"
    ]
    values["data"]["min_count"] = 7
    with pytest.raises(InputError, match="another training is using .* data.min_count was 3, is 7: name another"):
        prepared(values, cache)  # `new` is open
    del new
    assert prepared(values, cache)[1] == [f"data.cache: {cache} is written anew: data.min_count was 3, is 7"]


def test_a_file_that_changes_while_it_is_read_is_refused(tables, tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    frame(200).to_parquet(path)
    values = settings(tables)
    values["data"]["path"] = str(path)
    pack = caching.pack

    def packed(*arguments):
        os.utime(path, (1, 1))
        return pack(*arguments)

    monkeypatch.setattr(caching, "pack", packed)
    with pytest.raises(InputError, match="a file has changed while it was read: table.parquet was"):
        prepared(values, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_another_writes_is_not_read(tables, tmp_path):
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    (tmp_path / "cache").mkdir(mode=0o700)
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "cache"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="another training is writing"):
            prepared(settings(tables), tmp_path / "cache")
        other.communicate(b"\n")
    prepared(settings(tables), tmp_path / "cache")


def test_too_small_a_disk_is_said_before_writing(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"needs [\d,]{5,} bytes, and 1,000 are free: name another folder"):
        prepared(settings(tables), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_of_others_is_refused(tables, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mine" / "thesis.txt").write_text("…")
    with pytest.raises(InputError, match=r"holds other files \(thesis.txt\)"):
        prepared(settings(tables), tmp_path / "mine")
    prepared(settings(tables), tmp_path / "cut")
    (tmp_path / "cut" / "manifest.json").unlink()
    with pytest.raises(InputError, match="holds other files"):  # which may be somebody's, of the same names
        prepared(settings(tables), tmp_path / "cut")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(InputError, match="nobody else can write to"):
        prepared(settings(tables), tmp_path / "open")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be used"):
        prepared(settings(tables), tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__split": {"folds": 3}}, "cache holds the parts of one split"),
        ({"path": "table.json"}, "JSON is not: write it as Parquet or CSV"),
        ({"path": "nothing.parquet"}, "cannot read .*nothing.parquet: No such file"),
        ({"target": "nothing"}, "has no column 'nothing'"),
    ],
)
def test_what_cannot_be_cached_is_refused(change, message, tables, tmp_path):
    with pytest.raises(InputError, match=message):
        prepared(settings(tables, **change), tmp_path / "cache")


def test_a_bad_cell_is_named_with_its_line(tables, small_blocks, tmp_path):
    lines = ["x,y", *(f"{k}.5,{k % 7}" for k in range(400)), "inf,1"]
    (tmp_path / "bad.csv").write_text("\n".join(lines) + "\n")
    values = {**settings(tables), "data": {"path": str(tmp_path / "bad.csv"), "target": "y"}}
    with pytest.raises(InputError, match=r"bad.csv:402: column 'x': .*inf.* is not a finite number"):
        prepared(values, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_types_are_found_in_blocks_as_in_one(tmp_path, monkeypatch):
    from mlp_jax.tables import files, text
    from mlp_jax.tables.sources import TableData

    kinds = {
        "whole": ("1", "2"), "fraction": ("1", "2.5"), "word": ("1", "two"), "late": ("", "3"), "none": ("", "NA"),
        "truth": ("true", "false"), "one or true": ("1", "true"), "code": ("12", "0012"), "day": ("2020-01-02", ""),
        "time": ("2020-01-02", "2020-01-02 10:00:00"), "day or word": ("2020-01-02", "never"),
        "zone": ("2020-01-02T00:00:00Z", "2020-01-02T00:00:00.5Z"), "truth or word": ("true", "perhaps"),
    }  # fmt: skip
    rows = [",".join(kinds), *[",".join(first for first, _ in kinds.values())] * 60]
    (tmp_path / "t.csv").write_text("\n".join([*rows, ",".join(last for _, last in kinds.values())]) + "\n")
    dialect = TableData(source="csv", path="t.csv", target="y").dialect
    (whole,) = files.read_blocks(tmp_path / "t.csv", dialect, {})
    monkeypatch.setattr(text, "_BLOCK", 1 << 10)
    found = text.types_in_blocks(tmp_path / "t.csv", dialect, {})
    assert found == {field.name: field.type for field in whole.schema}


def test_pages_of_the_file_do_not_add_up(tmp_path):
    """Decoding a file of 400 MB at random takes less than 64 MB: a page cache is nobody's memory."""
    code = """
import sys
from pathlib import Path
import numpy as np
from mlp_jax.tables.packed import Mapped, Packed

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

file, record, n = Path(sys.argv[1]), np.dtype([(str(k), "u8") for k in range(5)]), 10_000_000
with file.open("wb") as stream:
    header = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_2_0(stream, header)
    stream.truncate(stream.tell() + n * record.itemsize)
x = Packed(Mapped(file), [np.zeros((3, 1), np.float32)] * 5, "float32")
rows = np.random.default_rng(0).integers(0, n, 1 << 16)
before, most = resident(), 0
for _ in range(4):
    _, chosen = x.in_order(rows)
    assert np.asarray(chosen).shape == (len(rows), 5)
    most = max(most, resident())
print(most - before)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the memory of a process is read from /proc")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64e6


def test_a_parquet_file_that_is_read_in_blocks_does_not_stay_in_memory(tmp_path):
    path = tmp_path / "rows.parquet"
    columns = {name: np.random.default_rng(0).standard_normal(400_000) for name in "ab"}
    parquet.write_table(pa.table(columns), path, row_group_size=40_000)
    blocks = files.read_blocks(path, Dialect(), {}, ["a", "b"], whole=False)
    tracemalloc.start()
    rows = sum(block.num_rows for block in blocks if tracemalloc.get_traced_memory()[0] < path.stat().st_size / 3)
    tracemalloc.stop()
    assert rows == 400_000
