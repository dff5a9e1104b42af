"""The command line as a person uses it: output, exit status, and no traceback whatever the input."""

import csv
import io
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from mlp_jax import __version__, cli
from mlp_jax.training import progress

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def run(*arguments, cwd):
    command = [sys.executable, "-m", "mlp_jax", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def fails(*arguments, cwd, status=2):
    done = run(*arguments, cwd=cwd)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def fails_here(tmp_path, monkeypatch, capsys):
    """A command that fails, in this process: sooner than in one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)

    def run(*arguments):
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as end:  # of argparse
            status = end.code
        out, message = capsys.readouterr()
        assert (status, out) == (2, ""), message
        return message

    return run


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder in which digits.yaml was trained for a few epochs."""
    folder = tmp_path_factory.mktemp("work")
    done = run("train", CONFIGS / "digits.yaml", "--set", "training.epochs=5", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_train_shows_progress_and_results_and_names_the_run(digits):
    folder, done = digits
    assert done.stderr.startswith("epoch 1/5  loss ")
    assert "examples/s" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["loss", "accuracy", "macro_f1", "log_loss", "calibration_error"]
    assert [line.split()[0] for line in lines[1:4]] == ["train", "validation", "test"]
    assert lines[-1] == f"run: {Path('runs') / 'digits'}"
    assert json.loads((folder / "runs" / "digits" / "summary.json").read_text())["epochs"] == 5


def test_evaluate_gives_the_same_results_again(digits):
    folder, trained = digits
    done = run("evaluate", "runs/digits", cwd=folder)
    assert done.stdout.splitlines() == trained.stdout.splitlines()[:4]


def test_draw_shows_the_graph_of_the_cost_and_of_its_gradient(tmp_path):
    config = CONFIGS / "section_6_5_7.yaml"
    text = run("draw", config, cwd=tmp_path).stdout
    assert text.startswith("graph: 4 inputs, 12 operations, 1 output\n")
    assert "h1: float32[32,32] = relu(a1)" in text
    for name in ("graph.svg", "graph.dot", "graph.mmd", "graph.txt"):
        done = run("draw", config, "--gradient", "--output", name, cwd=tmp_path)
        assert done.stdout == f"{name}: 44 variables\n"
        assert "∂J/∂a1" in (tmp_path / name).read_text(encoding="utf-8")
    message = fails("draw", config, "--output", "graph.png", cwd=tmp_path)
    assert "--output must end in one of .svg, .dot, .mmd, .txt; got graph.png" in message


def test_predict_writes_a_row_per_input_whatever_the_order_of_columns(digits):
    from sklearn.datasets import load_digits

    folder, _ = digits
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(64)
    new = folder / "new.csv"
    names = ",".join(np.array(bunch.feature_names)[order])
    np.savetxt(new, bunch.data[:50][:, order], delimiter=",", header=names, comments="")
    done = run("predict", "runs/digits", new, cwd=folder)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["class", *(f"p({digit})" for digit in range(10))]
    probabilities = np.array(rows[1:], float)
    assert probabilities.shape == (50, 11)
    np.testing.assert_allclose(probabilities[:, 1:].sum(1), 1, rtol=1e-6)
    assert (probabilities[:, 0] == bunch.target[:50]).mean() > 0.8
    np.save(folder / "new.npy", bunch.data[:50])
    assert run("predict", "runs/digits", "new.npy", cwd=folder).stdout == done.stdout


def test_predictions_of_a_regression_are_in_the_original_units(tmp_path):
    changes = ["--set", "training.epochs=5", "seed=1", "--set", "training.batch_size=64", "--run-dir", "here"]
    assert run("train", CONFIGS / "diabetes.yaml", *changes, cwd=tmp_path).returncode == 0
    assert "seed: 1\n" in (tmp_path / "here" / "config.yaml").read_text()
    assert "batch_size: 64\n" in (tmp_path / "here" / "config.yaml").read_text()
    np.save(tmp_path / "x.npy", np.zeros((3, 10)))
    values = np.array(run("predict", "here", "x.npy", cwd=tmp_path).stdout.split()[1:], float)
    assert values.shape == (3,)
    assert (abs(values - 150) < 60).all()  # the mean target is 152


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("train", "none.yaml"),
            "mlp-jax: cannot read the configuration none.yaml: No such file or directory",
        ),
        (
            ("train", CONFIGS / "digits.yaml", "--set", "training.batch_size=0"),
            "--set training.batch_size: must be",
        ),
        (
            ("train", CONFIGS / "digits.yaml", "--set", "training.batch_size=5000"),
            "more than the 1257 training",
        ),
        (
            ("train", CONFIGS / "digits.yaml", "--set", "network.widths=[63, 10]"),
            "has 64 inputs; let it start with 64",
        ),
        (("train", CONFIGS / "digits.yaml", "--run-dir", "/dev/null/run"), "cannot write the run directory"),
        (
            ("train", CONFIGS / "digits.yaml", "--set", "network.widths=[64, 2000000000, 10]"),
            "more memory than there is",
        ),
        (("evaluate", "nowhere"), "mlp-jax: nowhere holds no run: it has no config.yaml"),
        (("predict", "nowhere", "new.csv"), "mlp-jax: nowhere holds no run"),
        (("evaluate", "x" * 300), "x" * 300),
        (("frobnicate",), "invalid choice: 'frobnicate'"),
        ((), "the following arguments are required: COMMAND"),
        (("--verbose", "evaluate", "nowhere"), "--verbose goes with --version"),
    ],
)
def test_bad_input_exits_2_with_one_clear_message(arguments, message, fails_here, tmp_path):
    assert message in fails_here(*arguments)
    assert not (tmp_path / "runs").exists()


def test_predicting_from_bad_files(digits):
    folder, _ = digits
    (folder / "few.csv").write_text("pixel_0_0\n1\n")
    assert "has no column pixel_0_1, pixel_0_2" in fails("predict", "runs/digits", "few.csv", cwd=folder)
    assert "cannot read none.csv" in fails("predict", "runs/digits", "none.csv", cwd=folder)


def test_an_input_out_of_range_is_no_prediction(digits):
    folder, _ = digits
    np.save(folder / "huge.npy", np.full((1, 64), 1e200))
    assert "outside the range of float32" in fails("predict", "runs/digits", "huge.npy", cwd=folder)


def test_evaluating_on_data_that_have_changed_is_refused(tmp_path):
    for file in ("xor.yaml", "xor.csv"):
        (tmp_path / file).write_text((CONFIGS / file).read_text())
    assert run("train", "xor.yaml", "--set", "training.epochs=2", cwd=tmp_path).returncode == 0
    (tmp_path / "xor.csv").write_text((CONFIGS / "xor.csv").read_text().replace("0,1,1", "0,2,1"))
    assert "xor.csv has changed since this run was trained" in fails("evaluate", "runs/xor", cwd=tmp_path)


def test_a_run_is_not_overwritten_unasked(digits):
    folder, _ = digits
    assert "runs/digits holds a run" in fails("train", CONFIGS / "digits.yaml", cwd=folder)


def test_a_verbose_version_has_what_a_report_of_a_fault_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    lines = run("--version", "--verbose", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == run("--version", cwd=tmp_path).stdout.strip() == f"mlp-jax {__version__}"
    assert lines[1].startswith(f"python {platform.python_version()}, ")
    assert {f"jax {jax.__version__}", f"numpy {np.__version__}"} <= set(
        lines[2].removeprefix("installed: ").split(", ")
    )
    assert re.fullmatch(r"device: \d+ × cpu: .+, float64 off", lines[3])
    assert "XLA_FLAGS=--xla_cpu_enable_fast_math=false" in lines[4]


def test_a_verbose_version_of_a_machine_without_its_device(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    assert "device: none, RuntimeError: Unable to initialize" in run("--version", "--verbose", cwd=tmp_path).stdout


def test_a_cell_of_a_notebook_gets_lines_and_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert progress.reporter_for_terminal() is progress.LiveBar
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # which Jupyter gives to its kernels, and they to what they start
    assert progress.reporter_for_terminal() is progress.PlainLines


def test_a_configuration_error_and_help_come_before_jax(tmp_path):
    code = "import sys; from mlp_jax.cli import main\ntry: main(sys.argv[1:])\nfinally: print('jax' in sys.modules)"
    for arguments in (
        ["--help"],
        ["train", str(CONFIGS / "digits.yaml"), "--set", "sed=1"],
        ["evaluate", "nowhere"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == "False"


def test_a_cost_that_becomes_nan_exits_1_and_names_the_place(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # which change the order of a sum, and so in what it overflows
    changes = ["--set", "optimizer={name: sgd, learning_rate: 1e30}", "--set", "network.hidden=linear"]
    message = fails("train", CONFIGS / "diabetes.yaml", *changes, cwd=tmp_path, status=1)
    assert message.startswith(
        "mlp-jax: epoch 1, step 2 of 10: layer 2, the pre-activations a2: 32 infinite of 32 entri"
    )
    assert "affine overflowed, of h1 from -" in message
    assert "The report is runs/diabetes/crash/report.txt, the weights are those before that step; a sm" in message
    report = (tmp_path / "runs" / "diabetes" / "crash" / "report.txt").read_text()
    assert report.splitlines()[0] in message


def start_a_long_run(folder):
    changes = ["--set", "training.epochs=100000"]
    command = [sys.executable, "-m", "mlp_jax", "train", str(CONFIGS / "digits.yaml"), *changes]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(tmp_path):
    process = start_a_long_run(tmp_path)
    assert process.stderr.readline().startswith("epoch 1/")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert "of 100000 epochs" in last
    again = ["mlp-jax", "train", str(CONFIGS / "digits.yaml"), "--set", "training.epochs=100000", "--resume"]
    assert last.endswith(f"To go on: {shlex.join(again)}")
    done = int(last.split("stopped after ")[1].split()[0])
    assert 0 < done < 100000
    resumed = run("train", CONFIGS / "digits.yaml", "--set", f"training.epochs={done + 1}", "--resume", cwd=tmp_path)
    assert f"epoch {done + 1}/{done + 1}" in resumed.stderr


@pytest.mark.parametrize("delay", [0.1, 0.3, 1.0])
def test_ctrl_c_while_starting_stops_at_once(delay, tmp_path):
    process = start_a_long_run(tmp_path)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 or delay == 0.1  # Python itself may not have started by then
    assert "Traceback" not in errors or delay == 0.1
    assert not (tmp_path / "runs").exists() or "of 100000 epochs" in errors


def test_a_disk_that_fills_up_during_training(tmp_path):
    command = [sys.executable, "-m", "mlp_jax", "train", str(CONFIGS / "xor.yaml"), "--set", "training.epochs=3000"]
    small_files_only = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *command]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(small_files_only, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("mlp-jax: cannot write the run directory runs/xor: File too large")
    assert "Traceback" not in done.stderr


def test_a_configuration_is_not_replaced_by_its_own_run(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text((CONFIGS / "reference.yaml").read_text())
    for option in ("--overwrite", "--resume"):
        fails("train", "config.yaml", "--run-dir", ".", option, cwd=tmp_path)
    assert config.read_text() == (CONFIGS / "reference.yaml").read_text()


def test_output_into_a_closed_pipe(digits):
    folder, _ = digits
    np.save(folder / "many.npy", np.zeros((20000, 64)))
    command = f"{shlex.quote(sys.executable)} -m mlp_jax predict runs/digits many.npy | head -1"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.stdout.startswith("class,")
    assert "Error" not in done.stderr


def test_output_onto_a_full_disk(digits):
    folder, _ = digits
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "mlp_jax", "evaluate", "runs/digits"]
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "mlp-jax: cannot write the output: No space left on device\n"
    assert done.returncode == 2


def test_the_training_script(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text((CONFIGS / "digits.yaml").read_text().replace("epochs: 60", "epochs: 2"))
    script = [sys.executable, str(ROOT / "scripts" / "train.py"), str(config)]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"run: {Path('runs') / 'short'}"


def test_the_set_up_script_refuses_an_unusable_python(tmp_path):
    environment = {**os.environ, "PYTHON": "/bin/false", "MLP_JAX_VENV": str(tmp_path / "venv")}
    script = ROOT / "scripts" / "run"
    done = subprocess.run([script, "true"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "PYTHON=/bin/false is not a Python of 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "thesis.txt").write_text("mine")
    done = subprocess.run(
        [script, "true"], env={**environment, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "was not made by scripts/run: remove it, or name another folder" in done.stderr
    assert (tmp_path / "venv" / "thesis.txt").read_text() == "mine"
    usage = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert usage.returncode == 2
    assert "scripts/run pytest" in usage.stdout


def test_inspect_tells_what_a_run_would_do(tmp_path):
    done = run("inspect", CONFIGS / "digits.yaml", cwd=tmp_path)
    assert done.returncode == 0
    for line in (
        "data        digits: 1,797 examples (train 1,257, validation 270, test 270)",
        "constant    3 inputs have one value only: pixel_0_0, pixel_4_0, pixel_4_7",
        "parameters  2,410 of float32",
        "steps       40 an epoch, 2,400 in all, of 32 examples",
    ):
        assert line in done.stdout.splitlines()
    done = run("inspect", CONFIGS / "diabetes.yaml", "--set", "network.output=mixture", cwd=tmp_path)
    assert "targets     1, from 31 to 346" in done.stdout
    message = fails("inspect", CONFIGS / "diabetes.yaml", "--set", "network.widths=[9, 1]", cwd=tmp_path)
    assert "network.widths starts with 9, but diabetes has 10 inputs" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CONFIGS / "xor.yaml", "--transforms"), "--transforms is not for the check of a configuration"),
        ((CONFIGS / "xor.yaml", "--seed", "3"), "--seed is not for the check of a configuration"),
        (("json:loads", "--set", "seed=1"), "--set is not for the check of a function"),
        (
            ("json:loads", "--grad", "json:dumps", "--transforms"),
            "--transforms is not for the check of a function w",
        ),
    ],
)
def test_an_option_that_a_check_does_not_heed_is_refused(arguments, message, fails_here):
    assert message in fails_here("verify", *arguments)
