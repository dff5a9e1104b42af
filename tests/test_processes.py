"""One training in several processes: to the bits of one process where asked for; and what becomes of one that ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import kill_runs
import numpy as np
import pytest
from runs import digest

from mlp_jax import cli
from mlp_jax.errors import InputError
from mlp_jax.training import fit
from mlp_jax.training.config import loading

# What each of the processes runs: trainings, of which the first tells the weights that all of them have.
SCRIPT = """
import ast, json, sys
from runs import digest
from mlp_jax.processes.joining import joined
from mlp_jax.processes.together import everyone_says
from mlp_jax.training import fit

found = {}
with joined(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):
    for name, config, options in ast.literal_eval(sys.argv[4]):
        run = fit(config, **options)
        assert len(set(everyone_says(digest(run, of_records=False)))) == 1
        found[name] = digest(run)
    print(json.dumps(found))
"""
COMMAND = """
import sys
from mlp_jax.processes import joining
joining.SECONDS_TO_MEET, joining.SECONDS_TO_NOTICE = map(int, sys.argv[1:3])
sys.argv[1:] = sys.argv[3:]
from mlp_jax.cli import run
run()
"""


@pytest.fixture
def config(tmp_path):
    """A small training, as `fit` takes it, and in a file."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype("float32")
    np.savez(tmp_path / "points.npz", x=x, y=np.tanh(x[:, :1]) + 0.1 * rng.normal(size=(60, 1)))
    values = {
        "data": {"source": "npz", "path": str(tmp_path / "points.npz")},
        "network": {"widths": [3, 4, 1], "hidden": "tanh"},
        "training": {"epochs": 3, "batch_size": 8, "reproducible_over": 4},
    }
    (tmp_path / "points.yaml").write_text(json.dumps(values))
    return values


def changed(config, **changes):
    return {**config, **{key: value for key, value in changes.items() if key != "training"},
            "training": {**config["training"], **changes.get("training", {})}}  # fmt: skip


def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def started(code, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parent, **pipes)


def trained(count, runs):
    """Digest of the weights of each (name, config, options), in so many processes."""
    where = address()
    processes = [started(SCRIPT, where, count, index, repr(runs)) for index in range(count)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, said
    assert [out for out, _ in said[1:]] == [""] * (count - 1)
    return json.loads(said[0][0])


def commands(config_file, *ways, to_meet=60, to_notice=20):
    """`mlp-jax train` in as many processes as there are ways, lists of further arguments."""
    where = ["--processes", len(ways), "--coordinator", address()]
    return [
        started(COMMAND, to_meet, to_notice, "train", config_file, *where, "--process-id", index, *way)
        for index, way in enumerate(ways)
    ]


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_bits_are_the_same_in_each_number_of_processes_where_asked_for(config, tmp_path, count):
    kept = {"run_dir": str(tmp_path / "kept")}
    seeds = changed(config, seeds=[0, 1], training={"epochs": 1})
    found = trained(count, [
        ("whole", config, {}),
        ("seeds", seeds, {"run_dir": str(tmp_path / "seeds")}),
        ("begun", changed(config, training={"epochs": 2}), kept),
    ])  # fmt: skip
    assert found["whole"] == digest(fit(config)) != found["begun"]
    assert found["seeds"] == digest(fit(seeds))
    # and on in one
    longer = changed(config, training={"epochs": 4})
    assert digest(fit(longer, **kept, resume=True)) == digest(fit(longer))
    assert len((tmp_path / "kept" / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_process_that_is_killed_ends_all_and_is_named(config, tmp_path):
    changes = [f"training.epochs={10**6}", "training.checkpoint_seconds=0.2"]
    command = [sys.executable, "-m", "mlp_jax", "train", tmp_path / "points.yaml", "--run-dir", tmp_path / "run",
               "--processes", "2", "--set", *changes]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: kill_runs.newest_step(tmp_path / "run") > 0 or process.poll() is not None)
    victim = kill_runs.children_of(process)[1]
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert f"process 1 of 2 (number {victim} of this machine) was ended by SIGKILL" in err.splitlines()[-1]
    assert err.rstrip().endswith("--processes 2 --resume")
    assert out == ""
    done = kill_runs.newest_step(tmp_path / "run") // 6 + 2
    longer = changed(config, training={"epochs": done})
    assert digest(fit(longer, run_dir=tmp_path / "run", resume=True)) == digest(fit(longer))


def test_without_a_parent_the_others_name_the_one_that_is_gone(config, tmp_path):
    ways = ["--run-dir", tmp_path / "run", "--set", f"training.epochs={10**6}", "training.checkpoint_seconds=0.2"]
    first, second = commands(tmp_path / "points.yaml", ways, ways, to_notice=3)
    until(lambda: kill_runs.newest_step(tmp_path / "run") > 0 or first.poll() is not None)
    second.kill()
    second.communicate()
    err = first.communicate(timeout=60)[1]
    assert first.returncode == 1
    assert re.search(rf"mlp-jax: process 1 \(.*, process {second.pid}\) of 2 has ended or does not answer", err), err
    assert "Traceback" not in err


@pytest.mark.parametrize("what", ["configuration", "data"])
def test_processes_with_something_else_are_refused(config, tmp_path, what):
    other = ["--set", "seed=1"]
    if what == "data":
        np.savez(tmp_path / "others.npz", x=np.ones((60, 3)), y=np.arange(60.0)[:, None])
        other = ["--set", f"data.path={tmp_path / 'others.npz'}"]
    own = ["--run-dir", tmp_path / "run"]
    processes = commands(tmp_path / "points.yaml", own, [*own, *other])
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert f"mlp-jax: process 1 of 2 has another {what} than process 0: " in said[0]
    assert processes[0].returncode == 2
    assert not (tmp_path / "run").exists()


def test_an_error_of_one_process_is_one_of_all(config, tmp_path):
    own = ["--run-dir", tmp_path / "run"]
    processes = commands(tmp_path / "points.yaml", own, [*own, "--set", "data.path=nowhere.npz"])
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert re.search("mlp-jax: process 1 of 2: .*nowhere.npz", said[0])
    assert processes[0].returncode == 2


def test_a_coordinator_that_does_not_answer_is_said(config, tmp_path):
    where = ["--processes", 2, "--process-id", 1, "--coordinator", address()]
    process = started(COMMAND, 2, 20, "train", tmp_path / "points.yaml", "--run-dir", tmp_path / "run", *where)
    assert "2 processes did not meet at 127.0.0.1:" in process.communicate(timeout=60)[1]
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0"], "--processes must be 1 or more, got 0"),
        (["--processes", "0", "--coordinator", "127.0.0.1:1", "--process-id", "0"], "--processes must be 1 or more"),
        (["--process-id", "0"], "need each other"),
        (["--processes", "2", "--coordinator", "127.0.0.1:1"], "need each other"),
        (["--processes", "2", "--coordinator", "127.0.0.1:1", "--process-id", "2"], "must be from 0 to 1, got 2"),
        (["--processes", "2", "--coordinator", "nix", "--process-id", "1"], "must be HOST:PORT"),
        (["--processes", "2", "--coordinator", "TAKEN", "--process-id", "0"], "process 0 cannot answer at 127.0.0.1"),
    ],
)
def test_places_that_there_are_not_are_refused(config, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        words = [taken if word == "TAKEN" else word for word in arguments]
        assert cli.main(["train", str(tmp_path / "points.yaml"), "--run-dir", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_several_processes_is_not_trained_by_one_in_silence(config):
    with pytest.raises(InputError, match="training.processes is 2, and this is 1: `mlp-jax train` starts them"):
        fit(changed(config, training={"processes": 2}))
    settings = loading.from_values(changed(config, training={"processes": "auto"}))
    assert "processes" in loading.free_to_change(settings)
    free = loading.from_values(changed(config, training={"reproducible_over": None}))
    assert "processes" not in loading.free_to_change(free)


@pytest.mark.slow
def test_ten_processes_killed_change_no_bit(config, tmp_path):
    trainings = kill_runs.Trainings(tmp_path / "points.yaml", processes=4, epochs=20_000)
    assert kill_runs.same_after(trainings, 10, tmp_path)
