"""A sweep: each run is as it would be alone, the table is in order, and what cannot be is said before training."""

import json
import re
import signal
from pathlib import Path

import chex
import numpy as np
import pytest
from runs import CONFIGS, Hears, iris, train

from mlp_jax.cli import main
from mlp_jax.commands.comparison import write_comparison
from mlp_jax.commands.report import write_report
from mlp_jax.commands.reproduce import reproduce
from mlp_jax.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training import config as configuration
from mlp_jax.training import fit, load
from mlp_jax.training.progress import Reporter
from mlp_jax.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("usual_promotion")

DIGITS = CONFIGS[0].parent / "digits.yaml"
VALUES = {"optimizer.learning_rate": (0.01, 0.1), "network.penalty.l2": (1e-4, 1e-3), "seed": (3, 0)}
FILES = ("config.yaml", "metrics.jsonl", "weights.safetensors")


def bytes_of(run):
    """What a run leaves, but for its checkpoints, and the times and the state of the code in its summary."""
    summary = json.loads((run / "summary.json").read_text())
    return {name: (run / name).read_bytes() for name in FILES}, {**summary, "seconds": None, "git": None}


def test_each_run_of_a_sweep_has_the_bits_that_it_has_alone(tmp_path):
    config = iris(sweep=VALUES)
    sweep = fit(config, run_dir=tmp_path / "sweep")
    for k, (varied, one) in enumerate(
        zip(configuration.choices(config.axes), configuration.members(config), strict=True)
    ):
        assert one == iris(
            seed=varied["seed"],
            optimizer__learning_rate=varied["optimizer.learning_rate"],
            network__penalty={"l2": varied["network.penalty.l2"]},
        )
        alone = fit(one, run_dir=tmp_path / f"alone-{k}")
        chex.assert_trees_all_equal(sweep.seeds[k].params, alone.params)
        assert bytes_of(tmp_path / "sweep" / f"run-{k}") == bytes_of(tmp_path / f"alone-{k}")


def trainers_of(monkeypatch, **changes):
    """The trainers that a sweep makes, and how many programs it compiles."""
    made = []

    class Noted(Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("mlp_jax.training.streamed.Trainer", Noted)
    fit(iris(training__epochs=1, **changes), reporter=Hears)
    return len(made), len(made[0]._compiled), Hears.heard[0]


def test_values_share_a_program_and_what_is_no_value_is_said(monkeypatch):
    values = {**VALUES, "training.epochs": (1, 2)}
    assert trainers_of(monkeypatch, sweep=values)[1:] == (1, "16 runs of 1 compiled program")
    widths = {"network.widths": ((4, 8, 3), (4, 3)), "seed": (0, 1)}
    assert trainers_of(monkeypatch, sweep=widths)[1:] == (2, "4 runs of 2 compiled programs")
    without = {"network.penalty.l2": (0.0, 1e-3, 1e-4), "network.penalty.l1": (0.0, 1e-3)}
    assert trainers_of(monkeypatch, sweep=without)[2] == "6 runs of 4 compiled programs"  # a term is there, or is not
    assert trainers_of(monkeypatch, sweep={"data.split.seed": (0, 1, 2)})[1] == 1  # other examples, as many


def test_the_table_has_the_best_mean_over_the_seeds_first(tmp_path):
    run = fit(iris(sweep={"optimizer.learning_rate": (1e-4, 0.1, 0.01), "seed": (0, 1)}), run_dir=tmp_path / "run")
    table = run.summary["table"]
    assert run.summary["judged_by"] == ["validation", "accuracy"]
    assert [row["varied"]["optimizer.learning_rate"] for row in table] == [0.1, 0.01, 1e-4]
    assert table[0]["runs"] == ["run-2", "run-3"]
    found = table[0]["results"]["validation"]["accuracy"]
    assert found["seeds"] == [one.results["validation"]["accuracy"] for one in run.seeds[2:4]]
    assert found["mean"] == pytest.approx(np.mean(found["seeds"]))
    assert run.results == table[0]["results"]
    assert load(tmp_path / "run").results == run.results
    assert "6 runs, results of the best over 2 runs" in repr(run)


def test_lower_is_better_where_it_is(tmp_path):
    data = {"source": "diabetes"}
    network = {"widths": (10, 1)}
    run = fit(iris(data=data, network=network, sweep={"optimizer.learning_rate": (1e-4, 0.1)}))
    assert run.summary["judged_by"] == ["validation", "rmse"]
    errors = [row["results"]["validation"]["rmse"]["mean"] for row in run.summary["table"]]
    assert errors == sorted(errors)
    watched = {"patience": 3, "metric": "mae"}
    run = fit(
        iris(
            data=data, network=network, sweep={"optimizer.learning_rate": (1e-4, 0.1)}, training__early_stopping=watched
        )
    )
    assert run.summary["judged_by"] == ["validation", "mae"]


def test_a_sweep_of_several_programs_stopped_in_the_middle_goes_on_to_the_same_bits(tmp_path):
    class StopAfterTwo(Reporter):
        def advanced(self, done, records):
            if [record["run"] for record in records] == [2]:
                signal.raise_signal(signal.SIGTERM)

    config = iris(sweep={"network.hidden": ("relu", "tanh"), "seed": (0, 1)}, training__epochs=30)
    with pytest.raises(TrainingInterrupted, match="stopped after [23] of 4 runs"):
        train(config, tmp_path / "run", reporter=StopAfterTwo)
    assert load(tmp_path / "run").summary["status"] == "interrupted"
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    for k in range(4):
        assert bytes_of(tmp_path / "run" / f"run-{k}") == bytes_of(tmp_path / "whole" / f"run-{k}")
    assert load(tmp_path / "run").summary["table"] == load(tmp_path / "whole").summary["table"]
    assert reproduce(tmp_path / "run") == (True, "equal bit for bit: weights, names, records and results")


def test_another_sweep_is_not_gone_on_with(tmp_path):
    train(iris(sweep={"optimizer.learning_rate": (0.1, 0.01)}), tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    other = iris(sweep={"optimizer.learning_rate": (0.1, 0.02)})
    with pytest.raises(InputError, match="holds a run; go on with it"):
        train(other, tmp_path / "run")
    with pytest.raises(InputError, match=r"sweep.optimizer.learning_rate was \[0.1, 0.01\], is \[0.1, 0.02\]"):
        train(other, tmp_path / "run", resume=True)
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    train(iris(), tmp_path / "run", overwrite=True)
    assert not list((tmp_path / "run").rglob("run-*/*"))


def test_a_run_that_diverges_is_last_and_the_others_finish(tmp_path, capsys):
    where = ["--run-dir", str(tmp_path / "run")]
    changes = ["--set", "training.epochs=3", "optimizer={name: sgd, learning_rate: 1}"]
    assert main(["train", str(DIGITS), *changes, "--sweep", "optimizer.learning_rate=0.1,1e30,0.01", *where]) == 1
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()[1:4]]
    assert [line[0] for line in lines] == ["run-0", "run-2", "run-1"]
    assert lines[2][-3:] == ["0", "of", "1"]
    assert re.search(r"^run 1 diverged: epoch 1, step \d of \d+: layer ", out, re.MULTILINE)
    assert (tmp_path / "run" / "run-1" / "crash" / "report.txt").exists()
    with pytest.raises(TrainingDiverged, match="all 2 runs diverged; run 0: epoch 1"):
        fit(iris(optimizer={"name": "sgd", "learning_rate": 1.0}, sweep={"optimizer.learning_rate": (1e30, 1e31)}))


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (["optimizer.lr=1,2"], r"1 problem\n  --sweep optimizer.lr: unknown key; did you mean learning_rate\?"),
        (["seed="], r"--sweep seed: must be a list of different values, or a range such as 0..9; got \(\)"),
        (["seed"], "--sweep takes KEY=VALUE,VALUE, as in seed=0..9; got 'seed'"),
        (["seed=9..0"], "--sweep seed: must be a range FIRST..LAST, upwards, of at most 1000 values; got 9..0"),
        (["seed=1,1"], "--sweep seed: must be a list of different values; 1 is given twice"),
        (["optimizer.learning_rate=1,1.0"], "sweep: two of the runs are the same"),
        (["seed=0..1", "seed=2..3"], "--sweep seed is given twice"),
        (["seed=3"], "a sweep makes 2 to 1000 runs; got 1"),
        (["seed=0..99", "training.batch_size=1..11"], "a sweep makes 2 to 1000 runs; got 100 · 11 = 1100"),
        (["seed=0..100000000000"], "at most 1000 values; got 0..100000000000"),
        (
            ["optimizer.learning_rate=1,-1,x"],
            r"2 problems\n  --sweep optimizer.learning_rate: must be greater than 0; got -1\n"
            r"  --sweep optimizer.learning_rate: must be a valid number; got 'x'",
        ),
        (["seed=1,2", "optimizer.learning_rate.x=1,2"], "--sweep optimizer.learning_rate.x: learning_rate is a value"),
        (["network.cost=squared_error,absolute_error"], "--sweep network.cost: a softmax output unit has the cost"),
        (["network.output=softmax,linear", "network.cost=cross_entropy,squared_error"], "a linear output unit has"),
        (["network.dtype=float32,float64"], "--sweep network.dtype: one process trains in one dtype"),
        (["optimizer.learning_rate=[1,2"], "--sweep optimizer.learning_rate: not YAML"),
        (["seeds=0..3,1..2"], "--sweep seeds"),
    ],
)
def test_what_cannot_be_swept_is_said_with_its_place(sweep, message):
    with pytest.raises(InputError, match=message):
        configuration.load(DIGITS, (), sweep)


def test_what_the_data_do_not_allow_is_said_before_training_and_of_which_run(tmp_path):
    with pytest.raises(InputError, match=r"training.batch_size=500: training.batch_size is 500, more than the 106"):
        train(iris(sweep={"training.batch_size": (16, 500)}), tmp_path / "run")
    config = iris(sweep={"training.early_stopping": (None, {"patience": 1, "metric": "rmse"})})
    with pytest.raises(InputError, match=r"training.early_stopping=.*: training.early_stopping.metric: rmse is none"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_says_what_varies_and_its_paths_are_of_its_folder(tmp_path, monkeypatch):
    for name in ("a", "b"):
        rows = "\n".join(f"{k % 7},{k % 2}" for k in range(40))
        (tmp_path / f"{name}.csv").write_text(f"x,y\n{rows}\n")
    (tmp_path / "many.yaml").write_text(
        "data: {path: a.csv, target: y}\nnetwork: {hidden_widths: [4]}\ntraining: {epochs: 1}\n"
        "seeds: 0..1\nsweep:\n  data.path: [a.csv, b.csv]\n  optimizer.name: [adam, adamw]\n  seed: 5\n"
    )
    with pytest.raises(InputError, match=r"many.yaml:8: sweep.seed: must be a list"):
        configuration.load(tmp_path / "many.yaml")
    text = (tmp_path / "many.yaml").read_text()
    (tmp_path / "many.yaml").write_text(text.replace("  seed: 5\n", ""))
    config = configuration.load(tmp_path / "many.yaml")
    monkeypatch.chdir("/")
    paths = [(Path(one.data.path), one.optimizer.name, one.seed) for one in configuration.members(config)]
    assert paths == [
        (tmp_path / f"{file}.csv", optimizer, seed)
        for file in "ab"
        for optimizer in ("adam", "adamw")
        for seed in (0, 1)
    ]
    train(config, tmp_path / "run")
    assert configuration.members(load(tmp_path / "run").config) == configuration.members(config)


def test_each_value_is_cross_validated(tmp_path):
    rows = "\n".join(f"{k % 9},{k % 3}" for k in range(60))
    (tmp_path / "data.csv").write_text(f"x,y\n{rows}\n")
    data = {"source": "csv", "path": tmp_path / "data.csv", "target": "y", "split": {"folds": 3}}
    network, sweep = {"hidden_widths": (4,), "output": "softmax"}, {"optimizer.learning_rate": (0.1, 0.01)}
    run = fit(iris(data=data, network=network, sweep=sweep), run_dir=tmp_path / "run")
    assert [(row["finished"], len(row["results"]["test"]["accuracy"]["seeds"])) for row in run.summary["table"]] == [
        (3, 3)
    ] * 2
    assert {tuple(row["varied"]) for row in run.summary["table"]} == {("optimizer.learning_rate",)}


def test_the_page_of_a_sweep_and_of_any_runs(tmp_path, capsys):
    sweep = {"optimizer.learning_rate": (0.1, 0.001), "network.hidden": ("relu", "tanh"), "seed": (0, 1)}
    train(iris(sweep=sweep), tmp_path / "sweep")
    assert main(["report", str(tmp_path / "sweep")]) == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "sweep: 8 runs" in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["Results", "Curves", "Each key", "The same in all"]
    assert page.count("<svg") == 2
    best = load(tmp_path / "sweep").summary["table"][0]["runs"][0]
    assert re.search(r"<tr><th></th>.*?</tr><tr><th>(\S+) ", page)[1] == best

    train(iris(seed=5), tmp_path / "alone")
    summary = json.loads((tmp_path / "alone" / "summary.json").read_text())
    summary["versions"]["jax"] = "0.0"
    (tmp_path / "alone" / "summary.json").write_text(json.dumps(summary))
    runs = [str(tmp_path / "alone"), str(tmp_path / "sweep" / "run-0")]
    assert main(["report", *runs, "--output", str(tmp_path / "both.html")]) == 0
    page = (tmp_path / "both.html").read_text()
    rows = dict(re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", page.partition("What differs")[2]))
    assert rows["seed"] == "<td>5</td><td>0</td>"
    assert rows["optimizer.learning_rate"] == "<td>0.01</td><td>0.1</td>"
    assert rows["versions.jax"].startswith("<td>0.0</td>")
    assert "network.widths" not in rows
    assert main(["report", *runs, str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} holds no run" in capsys.readouterr().err


def test_a_page_of_runs_of_other_problems_and_of_one_that_failed(tmp_path):
    train(iris(), tmp_path / "classes")
    train(iris(data={"source": "diabetes"}, network={"widths": (10, 1)}), tmp_path / "quantities")
    with pytest.raises(TrainingDiverged):
        train(iris(optimizer={"name": "sgd", "learning_rate": 1e30}), tmp_path / "failed")
    write_comparison([tmp_path / name for name in ("classes", "quantities", "failed")], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h2>Not finished</h2>" in page
    assert "none" in page
    write_report(tmp_path / "failed", tmp_path / "one.html")


def test_commands_that_take_one_run_name_the_best(tmp_path, capsys):
    train(iris(sweep={"optimizer.learning_rate": (1e-4, 0.1)}), tmp_path / "run")
    for command in (["predict", str(tmp_path / "run"), "x.csv"], ["evaluate", str(tmp_path / "run")]):
        assert main(command) == 2
        assert f"several runs, each a run of its own; name one, as {tmp_path / 'run' / 'run-1'}" in (
            capsys.readouterr().err
        )
