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
from sklearn.datasets import load_digits

from mlp_jax import __version__
from mlp_jax.training import progress

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
DIGITS, XOR = (str(CONFIGS / name) for name in ("digits.yaml", "xor.yaml"))


def run(*arguments, cwd):
    """A command in a process of its own, for what only that shows."""
    command = [sys.executable, "-m", "mlp_jax", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def fails(command):
    """The message of a command that fails."""

    def run(*arguments, status=2):
        done = command(*arguments)
        assert (done.status, done.out) == (status, ""), done.err
        return done.err

    return run


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder in which digits.yaml was trained for a few epochs."""
    folder = tmp_path_factory.mktemp("work")
    done = run("train", DIGITS, "--set", "training.epochs=5", cwd=folder)
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


@pytest.fixture
def in_digits(digits, command, monkeypatch):
    """Commands in that folder."""
    monkeypatch.chdir(digits[0])
    return command


def test_evaluate_gives_the_same_results_again(digits, in_digits):
    assert in_digits("evaluate", "runs/digits").out.splitlines() == digits[1].stdout.splitlines()[:4]


def test_draw_shows_the_graph_of_the_cost_and_of_its_gradient(command, fails, tmp_path):
    config = CONFIGS / "section_6_5_7.yaml"
    text = command("draw", config).out
    assert text.startswith("graph: 4 inputs, 12 operations, 1 output\n")
    assert "h1: float32[32,32] = relu(a1)" in text
    for name in ("graph.svg", "graph.dot", "graph.mmd", "graph.txt"):
        assert command("draw", config, "--gradient", "--output", name).out == f"{name}: 44 variables\n"
        assert "∂J/∂a1" in (tmp_path / name).read_text(encoding="utf-8")
    message = fails("draw", config, "--output", "graph.png")
    assert "--output must end in one of .svg, .dot, .mmd, .txt; got graph.png" in message


def test_predict_writes_a_row_per_input_whatever_the_order_of_columns(in_digits, monkeypatch):
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(64)
    names = ",".join(np.array(bunch.feature_names)[order])
    np.savetxt("new.csv", bunch.data[:50][:, order], delimiter=",", header=names, comments="")
    out = in_digits("predict", "runs/digits", "new.csv").out
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["class", *(f"p({digit})" for digit in range(10))]
    probabilities = np.array(rows[1:], float)
    assert probabilities.shape == (50, 11)
    np.testing.assert_allclose(probabilities[:, 1:].sum(1), 1, rtol=1e-6)
    assert (probabilities[:, 0] == bunch.target[:50]).mean() > 0.8
    np.save("new.npy", bunch.data[:50])
    monkeypatch.setattr("mlp_jax.commands.predict.pa", None)  # arrays need no pyarrow
    assert in_digits("predict", "runs/digits", "new.npy").out == out


def test_predictions_of_a_regression_are_in_the_original_units(command, tmp_path):
    changes = ["--set", "training.epochs=5", "seed=1", "--set", "training.batch_size=64", "--run-dir", "here"]
    assert command("train", CONFIGS / "diabetes.yaml", *changes).status == 0
    assert "seed: 1\n" in (tmp_path / "here" / "config.yaml").read_text()
    assert "batch_size: 64\n" in (tmp_path / "here" / "config.yaml").read_text()
    np.save(tmp_path / "x.npy", np.zeros((3, 10)))
    values = np.array(command("predict", "here", "x.npy").out.split()[1:], float)
    assert values.shape == (3,)
    assert (abs(values - 150) < 60).all()  # the mean target is 152


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "none.yaml"), "mlp-jax: cannot read the configuration none.yaml: No such file or directory"),
        (("train", DIGITS, "--set", "training.batch_size=0"), "--set training.batch_size: must be"),
        (("train", DIGITS, "--set", "training.batch_size=5000"), "more than the 1257 training"),
        (("train", DIGITS, "--set", "network.widths=[63, 10]"), "has 64 inputs; let it start with 64"),
        (("train", DIGITS, "--run-dir", "/dev/null/run"), "cannot write the run directory"),
        (("train", DIGITS, "--set", "network.widths=[64, 2000000000, 10]"), "more memory than there is"),
        (("evaluate", "nowhere"), "mlp-jax: nowhere holds no run: it has no config.yaml"),
        (("predict", "nowhere", "new.csv"), "mlp-jax: nowhere holds no run"),
        (("evaluate", "x" * 300), "x" * 300),
        (("frobnicate",), "invalid choice: 'frobnicate'"),
        ((), "the following arguments are required: COMMAND"),
        (("--verbose", "evaluate", "nowhere"), "--verbose goes with --version"),
        (("verify", XOR, "--transforms"), "--transforms is not for the check of a configuration"),
        (("verify", XOR, "--seed", "3"), "--seed is not for the check of a configuration"),
        (("verify", "json:loads", "--set", "seed=1"), "--set is not for the check of a function"),
        (
            ("verify", "json:loads", "--grad", "json:dumps", "--transforms"),
            "--transforms is not for the check of a function w",
        ),
    ],
)
def test_bad_input_exits_2_with_one_clear_message(arguments, message, fails, tmp_path):
    assert message in fails(*arguments)
    assert not (tmp_path / "runs").exists()


def test_predicting_from_bad_files(in_digits, fails):
    Path("few.csv").write_text("pixel_0_0\n1\n")
    assert "has no column pixel_0_1, pixel_0_2" in fails("predict", "runs/digits", "few.csv")
    assert "cannot read none.csv" in fails("predict", "runs/digits", "none.csv")
    np.save("huge.npy", np.full((1, 64), 1e200))
    assert "outside the range of float32" in fails("predict", "runs/digits", "huge.npy")


def test_a_run_is_not_overwritten_unasked(in_digits, fails):
    assert "runs/digits holds a run" in fails("train", DIGITS)


def test_evaluating_on_data_that_have_changed_is_refused(command, fails, tmp_path):
    for file in ("xor.yaml", "xor.csv"):
        (tmp_path / file).write_text((CONFIGS / file).read_text())
    assert command("train", "xor.yaml", "--set", "training.epochs=2").status == 0
    (tmp_path / "xor.csv").write_text((CONFIGS / "xor.csv").read_text().replace("0,1,1", "0,2,1"))
    assert "xor.csv has changed since this run was trained" in fails("evaluate", "runs/xor")


def test_a_verbose_version_has_what_a_report_of_a_fault_needs(command, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    lines = command("--version", "--verbose").out.splitlines()
    assert lines[0] == command("--version").out.strip() == f"mlp-jax {__version__}"
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


def test_a_configuration_error_and_help_come_before_jax():
    code = """
import sys
from mlp_jax.cli import main
for arguments in (["--help"], ["train", sys.argv[1], "--set", "sed=1"], ["evaluate", "nowhere"]):
    try:
        main(arguments)
    except SystemExit:
        pass
    assert "jax" not in sys.modules, arguments
"""
    subprocess.run([sys.executable, "-c", code, DIGITS], check=True, capture_output=True)


def test_a_cost_that_becomes_nan_exits_1_and_names_the_place(fails, tmp_path):
    changes = ["--set", "optimizer={name: sgd, learning_rate: 1e30}", "--set", "network.hidden=linear"]
    message = fails("train", CONFIGS / "diabetes.yaml", *changes, status=1).splitlines()[-1]
    # in which order XLA adds what overflows, and so what comes out, depends on the processor
    assert re.match(
        r"mlp-jax: epoch 1, step 2 of 10: layer 2, the pre-activations a2: \d+ (infinite|NaN) of 32", message
    )
    assert "of h1 from -" in message
    assert "The report is runs/diabetes/crash/report.txt, the weights are those before that step; a sm" in message
    report = (tmp_path / "runs" / "diabetes" / "crash" / "report.txt").read_text()
    assert report.splitlines()[0] in message


def start_a_long_run(folder):
    changes = ["--set", "training.epochs=100000"]
    command = [sys.executable, "-m", "mlp_jax", "train", DIGITS, *changes]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(command, tmp_path):
    process = start_a_long_run(tmp_path)
    assert process.stderr.readline().startswith("epoch 1/")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert "of 100000 epochs" in last
    again = ["mlp-jax", "train", DIGITS, "--set", "training.epochs=100000", "--resume"]
    assert last.endswith(f"To go on: {shlex.join(again)}")
    done = int(last.split("stopped after ")[1].split()[0])
    assert 0 < done < 100000
    resumed = command("train", DIGITS, "--set", f"training.epochs={done + 1}", "--resume")
    assert f"epoch {done + 1}/{done + 1}" in resumed.err


@pytest.mark.parametrize("delay", [0.1, 1.0])
def test_ctrl_c_while_starting_stops_at_once(delay, tmp_path):
    process = start_a_long_run(tmp_path)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 or delay == 0.1  # Python itself may not have started by then
    assert "Traceback" not in errors or delay == 0.1
    assert not (tmp_path / "runs").exists() or "of 100000 epochs" in errors


def test_a_configuration_is_not_replaced_by_its_own_run(fails, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text((CONFIGS / "reference.yaml").read_text())
    for option in ("--overwrite", "--resume"):
        fails("train", "config.yaml", "--run-dir", ".", option)
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


def test_inspect_tells_what_a_run_would_do(command, fails):
    out = command("inspect", DIGITS).out
    for line in (
        "data        digits: 1,797 examples (train 1,257, validation 270, test 270)",
        "constant    3 inputs have one value only: pixel_0_0, pixel_4_0, pixel_4_7",
        "parameters  2,410 of float32",
        "steps       40 an epoch, 2,400 in all, of 32 examples",
    ):
        assert line in out.splitlines()
    out = command("inspect", CONFIGS / "diabetes.yaml", "--set", "network.output=mixture").out
    assert "targets     1, from 31 to 346" in out
    message = fails("inspect", CONFIGS / "diabetes.yaml", "--set", "network.widths=[9, 1]")
    assert "network.widths starts with 9, but diabetes has 10 inputs" in message


def test_usage_lines_name_arguments_first(command):
    said = " ".join(command("train", "--help").out.split())
    assert said.startswith("usage: mlp-jax train CONFIG [--set KEY=VALUE ...]")
