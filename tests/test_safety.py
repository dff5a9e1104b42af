"""What the files, folders and processes of others can do: forged runs, links, caches, repositories, closed streams."""

import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import pytest
from compilation import compiled
from runs import CONFIGS, iris, train

from mlp_jax.caches import is_private
from mlp_jax.cli import main
from mlp_jax.commands.report import write_report
from mlp_jax.commands.reproduce import reproduce
from mlp_jax.errors import InputError
from mlp_jax.exchange import card
from mlp_jax.files import write_atomically, written_where_told
from mlp_jax.tables import bundled
from mlp_jax.training.environment import git_state
from mlp_jax.training.fitting import fit
from mlp_jax.training.run import load
from mlp_jax.training.store import tensors
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.xla import jitted

# --- reproduce: all that a directory claims ---------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one seed and one of two, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    train(iris(training__epochs=2), folder / "one")
    train(iris(training__epochs=2, seeds=(0, 1)), folder / "two")
    return folder


def changed_weights(file, change):
    """Other weights and notes, with the right checksum."""
    arrays, notes = tensors.read(file)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    change(arrays, notes)
    tensors.write(file, arrays, notes)


def nan_in_a_weight(arrays, _):
    arrays["layers.0.W"][0, 0] = np.nan


def another_leaf(arrays, _):
    arrays["layers.9.W"] = np.ones(2, np.float32)


def wider_numbers(arrays, _):
    arrays["layers.0.b"] = arrays["layers.0.b"].astype(np.float64)


def classes_reversed(_, notes):
    notes["target_names"].reverse()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (nan_in_a_weight, "layers.0.W (float32 (4, 8), 1 of 32 not finite, now float32 (4, 8))"),
        (another_leaf, "layers.9.W (float32 (2,), now absent)"),
        (wider_numbers, "layers.0.b (float64 (8,), now float32 (8,))"),
        (classes_reversed, "notes.target_names.0 ('virginica', now 'setosa')"),
    ],
)
def test_weights_that_do_not_come_out_are_named(trained, tmp_path, change, named):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    changed_weights(run / "weights.safetensors", change)
    same, finding = reproduce(run)
    assert not same
    assert f"weights.safetensors, {named}" in finding


@pytest.mark.parametrize(
    ("run", "file", "part", "named"),
    [
        ("one", "summary.json", "test", "summary.json, results.test.loss by"),
        ("two", "summary.json", "test", "summary.json, results.test.loss.mean by"),
        ("two", "seed-1/summary.json", "train", "seed-1/summary.json, results.train.loss by"),
    ],
)
def test_results_that_do_not_come_out_are_named(trained, tmp_path, run, file, part, named):
    run = shutil.copytree(trained / run, tmp_path / "run")
    summary = json.loads((run / file).read_text())
    loss = summary["results"][part]["loss"]
    loss = {**loss, "mean": 0.123} if isinstance(loss, dict) else 0.123
    summary["results"][part]["loss"] = loss
    (run / file).write_text(json.dumps(summary))
    same, finding = reproduce(run)
    assert not same
    assert named in finding


def test_epochs_of_a_seed_and_a_checkpoint_that_do_not_come_out_are_named(trained, tmp_path):
    run = shutil.copytree(trained / "two", tmp_path / "run")
    config = run / "seed-1" / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 3"))
    (newest,) = sorted((run / "seed-0" / "checkpoints").iterdir())[-1:]

    def next_step(_, notes):
        notes["step"] += 1

    changed_weights(newest, next_step)
    same, finding = reproduce(run)
    assert not same
    assert "seed-1/config.yaml, training.epochs (3, now 2)" in finding
    assert "seed-0/the newest checkpoint, notes.step" in finding


def test_predictions_of_folds_that_do_not_come_out_are_named(tmp_path):
    rows = "".join(f"{k % 7}.5,{k % 5}.25\n" for k in range(80))
    (tmp_path / "data.csv").write_text(f"a,y\n{rows}")
    data = {"source": "csv", "path": tmp_path / "data.csv", "target": "y", "split": {"folds": 2}}
    train(iris(data=data, network={"hidden_widths": (2,)}, training__epochs=1), tmp_path / "run")
    assert reproduce(tmp_path / "run")[0]
    file = tmp_path / "run" / "predictions.csv"
    file.write_text(file.read_text().replace(".25,", ".75,", 1))
    same, finding = reproduce(tmp_path / "run")
    assert not same
    assert "predictions.csv, " in finding
    file.write_text("9" * 200_000)
    with pytest.raises(InputError, match=r"predictions\.csv is damaged"):
        reproduce(tmp_path / "run")
    file.unlink()
    assert not reproduce(tmp_path / "run")[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [("__init__", r"\_\_init\_\_"), ("bill_mm", "bill_mm"), ("http://x", r"http\://x"), ("www.x @n", r"www\.x \@n")],
)
def test_a_name_in_a_card_is_no_markup_and_no_link(name, text):
    assert card._MARKUP.sub(r"\\\g<0>", name) == text


def test_minus_zero_is_not_zero(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")

    def minus_zero(arrays, _):
        arrays["targets.mean"] = -arrays["targets.mean"]

    changed_weights(run / "weights.safetensors", minus_zero)
    same, finding = reproduce(run)
    assert same
    assert finding.startswith("equal within rounding, not bit for bit: weights.safetensors, targets.mean by 0.0e+00")


def test_another_environment_is_named_though_all_comes_out(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"device": "tpu: v9"}))
    same, finding = reproduce(run)
    assert same
    assert finding.startswith("equal bit for bit: weights, names, records and results; different are device (tpu: v9,")


# --- a directory from somebody else -------------------------------------------------------------------


USES = {
    "load": load,
    "resume": lambda run: train(iris(training__epochs=3), run, resume=True),
    "overwrite": lambda run: train(iris(), run, overwrite=True),
}


@pytest.mark.parametrize(
    ("run", "place", "target", "refused"),
    [
        ("one", "weights.safetensors", "one/weights.safetensors", ["load"]),
        ("one", "checkpoints", "one/checkpoints", ["resume", "overwrite"]),
        ("two", "seed-1", "one", ["load", "resume", "overwrite"]),
        ("two", "seed-0/checkpoints", "one/checkpoints", ["overwrite"]),
    ],
)
def test_nothing_behind_a_link_in_a_run_is_read_or_removed(trained, tmp_path, run, place, target, refused):
    run = shutil.copytree(trained / run, tmp_path / "run")
    other = shutil.copytree(trained / "one", tmp_path / "one")
    before = contents(other)
    if (run / place).is_dir():
        shutil.rmtree(run / place)
    (run / place).unlink(missing_ok=True)
    (run / place).symlink_to(tmp_path / target)
    for name, use in USES.items():
        refuses = pytest.raises(InputError, match=rf"{place} is a link, which is not followed")
        with refuses if name in refused else suppress(InputError):
            use(run)
    assert contents(other) == before


def test_a_link_in_the_place_of_a_page_or_of_events_is_not_followed(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "other").mkdir()
    (run / "report.html").symlink_to(tmp_path / "mine")
    (run / "tensorboard").symlink_to(tmp_path / "other")
    write_report(run, RunDirectory(run).report)
    assert (tmp_path / "mine").read_text() == "mine"
    assert "</html>" in (run / "report.html").read_text()
    assert not (run / "report.html").is_symlink()
    with pytest.raises(InputError, match="tensorboard is a link, which is not followed"):
        train(iris(training__tensorboard=True, training__epochs=2), run, resume=True)
    assert not list((tmp_path / "other").iterdir())


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_run_directory_that_is_a_link_works(trained, tmp_path):
    (tmp_path / "link").symlink_to(trained / "two")
    assert len(load(tmp_path / "link").seeds) == 2


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "summary.json", "weights.safetensors"])
def test_a_pipe_in_a_run_is_not_waited_for(trained, tmp_path, name):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(InputError, match=rf"{name}.*: it is no regular file"):
        load(run)


def test_no_name_that_others_can_foretell_is_written_to(tmp_path, monkeypatch):
    names = set()
    monkeypatch.setattr("os.fsync", lambda _: names.update(file.name for file in tmp_path.glob(".*")))
    for _ in range(2):
        write_atomically(tmp_path / "config.yaml", b"seed: 1")
    assert len(names) == 2
    assert all(re.fullmatch(r"\.config\.yaml\.[0-9a-f]{16}\.part", name) for name in names)


def test_what_kills_left_goes_with_the_next_training(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    left = [run / f".summary.json.{'0' * 16}.part", run / "checkpoints" / f".step-1.safetensors.{'a' * 16}.part"]
    of_others = [run / ".summary.json.part", run / "checkpoints" / ".step-mine.part"]
    for file in (*left, *of_others):
        file.touch()
    train(iris(training__epochs=3), run, resume=True)
    assert [file.exists() for file in (*left, *of_others)] == [False, False, True, True]


@pytest.mark.parametrize("name", ["report.html", "crash/report.txt", "predictions.csv", "schema.json"])
def test_a_file_of_a_person_stays_without_overwrite(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there"):
        train(iris(), tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_the_data_of_a_run_are_never_replaced(tmp_path):
    (tmp_path / "report.html").write_text("x,y\n" + "".join(f"{k},{k % 7}\n" for k in range(40)))
    config = iris(
        data={"source": "csv", "path": tmp_path / "report.html", "target": "y"}, network={"hidden_widths": (2,)}
    )
    with pytest.raises(InputError, match=r"report.html is data, which the run would replace"):
        train(config, tmp_path, overwrite=True)
    assert (tmp_path / "report.html").read_text().startswith("x,y")


def test_links_in_a_circle_are_no_traceback(trained, tmp_path):
    run = shutil.copytree(trained / "one", tmp_path / "run")
    for link in (run / "report.html", tmp_path / "loop"):
        link.symlink_to(link.name)
    xor = str(CONFIGS[0].parent / "xor.yaml")
    assert main(["train", xor, "--run-dir", str(tmp_path / "loop")]) == 2
    train(iris(), run, overwrite=True)
    with written_where_told(tmp_path / "loop") as stream:
        stream.write(b"new")
    assert (tmp_path / "loop").read_text() == "new"


def test_a_run_of_a_path_that_is_no_text_is_read_again(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "data.csv").write_text("a,y\n" + "".join(f"{k % 7}.5,{k % 5}.25\n" for k in range(40)))
    data = {"source": "csv", "path": folder / "data.csv", "target": "y"}
    train(iris(data=data, network={"hidden_widths": (2,)}), tmp_path / "run")
    assert load(tmp_path / "run").config.data.path == folder / "data.csv"


# --- where an output goes -----------------------------------------------------------------------------


def test_an_output_goes_through_a_link_and_keeps_the_mode(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "link").symlink_to("file")
    with written_where_told(tmp_path / "link") as stream:
        stream.write(b"new")
        assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_an_output_that_fails_leaves_what_was_there(tmp_path):
    def stopped():
        with written_where_told(tmp_path / "file") as stream:
            stream.write(b"new")
            raise KeyboardInterrupt

    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_a_pipe_is_written_into(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        with written_where_told(tmp_path / "pipe") as stream:
            stream.write(b"new")
        assert reader.stdout.read() == b"new"
    assert (tmp_path / "pipe").is_fifo()


# --- caches -----------------------------------------------------------------------------------------


def test_a_cache_is_made_for_its_user_alone(tmp_path):
    assert is_private(tmp_path / "new" / "mlp_jax")
    assert (tmp_path / "new" / "mlp_jax").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["", "programs", "programs/one"])
def test_what_others_can_write_to_is_no_cache(tmp_path, place):
    folder = tmp_path / "mlp_jax"
    (folder / "programs").mkdir(parents=True)
    (folder / "programs" / "one").touch()
    folder.chmod(0o755)
    assert is_private(folder)
    (folder / place).chmod(0o777)
    assert not is_private(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a file of another user")
@pytest.mark.parametrize("place", ["", "programs", "programs/one"])
def test_what_is_of_another_user_is_no_cache(tmp_path, place):
    folder = tmp_path / "mlp_jax"
    assert is_private(folder)
    (folder / "programs").mkdir()
    (folder / "programs" / "one").touch()
    os.chown(folder / place, 65534, -1)
    assert not is_private(folder)


def test_a_command_says_that_it_keeps_nothing(tmp_path, monkeypatch, capsys):
    kept_in = jax.config.jax_compilation_cache_dir, bundled._folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "mlp_jax").mkdir()
    (tmp_path / "mlp_jax").chmod(0o777)
    assert main(["inspect", str(CONFIGS[0])]) == 0
    assert capsys.readouterr().err.startswith(f"mlp-jax: nothing is kept in {tmp_path / 'mlp_jax'}, which is not")
    assert (jax.config.jax_compilation_cache_dir, bundled._folder) == kept_in


# --- the repository that one stands in ---------------------------------------------------------------


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """One with a commit of a file, whose attribute names the filter x."""
    git(tmp_path, "init", "-q", ".")
    (tmp_path / "file").write_text("one")
    (tmp_path / ".gitattributes").write_text("file filter=x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


@pytest.mark.parametrize("setting", ["core.fsmonitor", "filter.x.clean", "filter.x.process", "core.hooksPath"])
def test_a_repository_runs_no_program_to_say_its_state(repository, setting):
    program = repository / ".git" / "post-index-change"
    program.write_text(f"#!/bin/sh\ntouch '{repository}/ran'\ncat\n")
    program.chmod(0o755)
    git(repository, "config", setting, program.parent if setting == "core.hooksPath" else program)
    git(repository, "config", "filter.x.required", "true")
    os.utime(repository / "file", (1, 1))
    index = (repository / ".git" / "index").read_bytes()
    assert git_state(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "changed": False}
    assert not (repository / "ran").exists()
    assert (repository / ".git" / "index").read_bytes() == index


def test_a_repository_that_lacks_objects_fetches_none(repository):
    settings = {"core.repositoryformatversion": "1", "extensions.partialClone": "o", "remote.o.promisor": "true",
                "remote.o.url": f"ext::sh -c touch% {repository}/ran", "protocol.ext.allow": "always"}  # fmt: skip
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    (repository / ".git" / "index").unlink()
    for key, value in settings.items():
        git(repository, "config", key, value)
    assert git_state(repository) is None
    assert not (repository / "ran").exists()


def test_the_state_of_a_repository_is_asked_anew(repository, tmp_path_factory):
    (repository / "file").write_text("two")
    first = git_state(repository)
    git(repository, "commit", "-qam", "second")
    second = git_state(repository)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["commit"] != second["commit"] == git(repository, "rev-parse", "HEAD")
    assert git_state(tmp_path_factory.mktemp("no repository")) is None


# --- terminals and pipes ------------------------------------------------------------------------------


def command(streams, *arguments, cwd, **environment):
    """A command with its streams as a shell says: its status."""
    line = f'"{sys.executable}" -m mlp_jax "$@" {streams}'
    return subprocess.run(["sh", "-c", line, "sh", *arguments], cwd=cwd, env=os.environ | environment).returncode


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_training_needs_no_streams(tmp_path, streams):
    arguments = "train", str(CONFIGS[0].parent / "xor.yaml"), "--set", "training.epochs=4", "--run-dir", "run"
    assert command(streams, *arguments, cwd=tmp_path) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_that_cannot_be_written_is_no_success(words, tmp_path):
    assert command(">/dev/full", *words, cwd=tmp_path) == 2


def test_a_slow_reader_gets_all_of_the_predictions(trained, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9000, 4)))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    arguments = [sys.executable, "-m", "mlp_jax", "predict", trained / "one", tmp_path / "x.npy"]
    with subprocess.Popen(arguments, stdout=writer) as process:
        os.close(writer)
        with open(reader, "rb") as stream:
            first = stream.read(1)
            time.sleep(2)  # in which more is written than a pipe holds
            found = first + stream.read()
    assert (process.returncode, found.count(b"\n")) == (0, 9001)


def test_too_little_memory_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlp_jax.cli._config_of", lambda options: np.empty(2**50))
    assert main(["inspect", "x.yaml"]) == 2
    assert re.fullmatch(r"mlp-jax: Unable to allocate 8.* PiB .*\n", capsys.readouterr().err)


def test_text_from_files_gives_a_terminal_no_orders(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text('"\\e]0;title\\a\\e[31mred\\u202E": 1\n')
    assert main(["inspect", str(tmp_path / "x.yaml")]) == 2
    said = capsys.readouterr().err
    assert "\\x1b[31mred\\u202e" in said
    assert said.replace("\n", "").isprintable()


def test_text_from_a_table_is_no_markup_and_no_line_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mlp_jax.cli._set_up_jax", lambda dtype: None)
    monkeypatch.chdir(tmp_path)
    with Path("data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["<script>", "![x](http://x)", "y"])
        words = ["<img src=x>", "a\x1b[31m|`b", "u\u202ev\\|w"]
        writer.writerows([k % 7, words[k % 3], ["yes\nmlp-jax: ok", "no"][k * 5 % 7 > 3]] for k in range(60))
    Path("x.yaml").write_text("data: {path: data.csv, target: y}\nnetwork: {hidden_widths: [3]}\n"
                              "training: {epochs: 2, batch_size: 16}\n")  # fmt: skip
    commands = ["inspect x.yaml", "train x.yaml --run-dir run", "evaluate run", "report run", "export run model.py"]
    assert [main(command.split()) for command in commands] == [0] * 5
    said = capsys.readouterr()
    assert not re.search(r"^mlp-jax: ok", said.out + said.err, re.MULTILINE)
    page, card = (Path(name).read_text(encoding="utf-8") for name in ("run/report.html", "model.py.md"))
    assert page.replace("\n", "").isprintable()
    assert card.replace("\n", "").isprintable()
    assert "<script" not in page
    of_names = "\n".join(line for line in card.splitlines() if line.startswith("|"))
    assert not re.search(r"(?<!\\)[<`\[]", of_names)


def test_signs_that_a_terminal_lacks_are_plain():
    assert "1 ± 2 · ∂ é".encode("ascii", "mlp_jax.plain") == b"1 +- 2 * d \\xe9"


def test_a_module_that_exits_is_not_checked(tmp_path, monkeypatch, capsys):
    (tmp_path / "script_that_ends.py").write_text("import sys\n\ndef f(x):\n    return x\n\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["verify", "script_that_ends:f"]) == 2
    assert "called sys.exit(0)" in capsys.readouterr().err


def test_a_training_whose_terminal_closes_keeps_its_steps(tmp_path):
    changes = "--set", "training.epochs=500000", "training.checkpoint_seconds=1000"
    arguments = [sys.executable, "-m", "mlp_jax", "train", str(CONFIGS[0].parent / "xor.yaml"), "--run-dir", "run"]
    process = subprocess.Popen([*arguments, *changes], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("epoch 1/")
    process.send_signal(signal.SIGHUP)
    said = process.communicate()[1]
    assert process.returncode == 129
    assert said.splitlines()[-1].startswith("mlp-jax: stopped after ")
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize(("verb", "more"), [("predict", [str(CONFIGS[0].parent / "xor.csv")]), ("draw", [])])
def test_an_output_that_is_a_stream_needs_no_suffix(tmp_path, verb, more, monkeypatch):
    monkeypatch.setattr("mlp_jax.cli._set_up_jax", lambda dtype: None)
    xor = CONFIGS[0].parent / "xor.yaml"
    assert main(["train", str(xor), "--set", "training.epochs=2", "--run-dir", str(tmp_path / "run")]) == 0
    of = tmp_path / "run" if verb == "predict" else xor
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert main([verb, str(of), *more, "--output", str(tmp_path / "pipe")]) == 0
        assert reader.stdout.read().count(b"\n") > 4


# --- what a process or the environment sets ---------------------------------------------------------


X = np.linspace(-1, 1, 30)[:, None]
LINE = {
    "network": {"widths": [1, 3, 1]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {"epochs": 2, "batch_size": 8},
}


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.default_prng_impl("rbg"),
        lambda: jax.threefry_partitionable(not jax.config.jax_threefry_partitionable),
        lambda: jax.numpy_dtype_promotion("strict"),
        lambda: jax.numpy_rank_promotion("raise"),
        lambda: jax.debug_infs(True),
        lambda: jax.transfer_guard("disallow"),
        lambda: jax.enable_x64(True),
    ],
)
def test_a_setting_changes_no_number(setting):
    plain = fit(LINE, (X, X))
    with setting():
        found = fit(LINE, (X, X))
        predicted = found.predict(X)
    assert found.results == plain.results
    assert predicted == plain.predict(X)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(plain.params), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_a_setting_that_may_change_numbers_is_recorded_and_named(tmp_path):
    with jax.default_matmul_precision("highest"):
        train(iris(training__epochs=1), tmp_path / "run")
    assert (
        json.loads((tmp_path / "run" / "summary.json").read_text())["settings"]["default_matmul_precision"] == "highest"
    )
    assert "settings.default_matmul_precision (highest, now None)" in reproduce(tmp_path / "run")[1]


def test_a_picture_does_not_depend_on_the_folder_or_the_process(trained, tmp_path):
    import matplotlib

    write_report(trained / "one", tmp_path / "one.html")
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9, "svg.hashsalt": None}):
        write_report(trained / "one", tmp_path / "other.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "other.html").read_bytes()


IN_A_PLACE = """
import locale, os, sys
from mlp_jax.cli import main
from mlp_jax.terminal import open_streams
open_streams()
umask, config, run, out = sys.argv[1:]
locale.setlocale(locale.LC_ALL, "")
os.umask(int(umask, 8))
for command in (["train", config, "--run-dir", out], ["report", run or out, "--output", out + "/page"],
                ["predict", run or out, os.path.dirname(config) + "/data.csv", "--output", out + "/table.csv"]):
    assert main(command) == 0
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a training, a report and predictions write, under a mask of modes, in a folder, with variables."""
    folder = tmp_path_factory.mktemp("told")
    rows = "".join(f"{k % 7}.5,{'Iıİi'[k % 4]},{'größer' if k % 3 else 'kleiner'}\n" for k in range(60))
    (folder / "data.csv").write_text(f"Länge,İl,y\n{rows}", encoding="utf-8")
    (folder / "x.yaml").write_text("data: {path: data.csv, target: y}\nnetwork: {hidden_widths: [3]}\n"
                                   "training: {epochs: 3, batch_size: 16}\n")  # fmt: skip

    def written(name, umask="022", run="", **variables):
        (folder / name).mkdir()
        (folder / name / "matplotlibrc").write_text("lines.linewidth: 9\n" if run else "")
        arguments = [sys.executable, "-c", IN_A_PLACE, umask, folder / "x.yaml", run, folder / name / "run"]
        done = subprocess.run(arguments, cwd=folder / name, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        names = ("weights.safetensors", "metrics.jsonl", "schema.json", "page", "table.csv")
        return folder / name / "run", {each: (folder / name / "run" / each).read_bytes() for each in names}

    return written


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("umask", "language"),
    [("000", None), pytest.param("077", "tr_TR", marks=pytest.mark.slow),
     pytest.param("077", "de_DE", marks=pytest.mark.slow)],
)  # fmt: skip
def test_language_mask_of_modes_and_folder_change_no_number_and_no_picture(told, tmp_path, umask, language):
    run, usual = told(f"usual {umask} {language}")
    variables = PLAIN
    if language:
        name = f"{language}.UTF-8"
        if subprocess.run(
            ["localedef", "-i", language, "-f", "UTF-8", tmp_path / name], capture_output=True
        ).returncode:
            pytest.skip(f"the system cannot make {name}")
        variables = {"LOCPATH": str(tmp_path), "LC_ALL": name}
    assert told(f"other {umask} {language}", umask, run, **variables)[1] == usual


@pytest.mark.parametrize(("verb", "platforms"), [("inspect", "cuda"), ("inspect", "nonsense"), ("train", "nonsense")])
def test_a_device_that_is_not_there_is_one_line(tmp_path, verb, platforms):
    arguments = [sys.executable, "-m", "mlp_jax", verb, str(CONFIGS[0].parent / "xor.yaml")]
    done = subprocess.run(arguments, env=os.environ | {"JAX_PLATFORMS": platforms}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("mlp-jax: JAX has no device: ")
    assert done.stderr.count("\n") == 1
    assert platforms in done.stderr


# --- a guest in a process ---------------------------------------------------------------------------


def test_fit_within_jit_is_refused():
    with pytest.raises(InputError, match="call them outside of jit"):
        jax.jit(lambda x: fit(LINE, (X, X)).results["test"]["loss"] * x)(1.0)


FORKED = """
import os, sys, warnings
import numpy as np
from mlp_jax import verify
from mlp_jax.training import fit
warnings.simplefilter("ignore")
x = np.linspace(-1, 1, 30)[:, None]
run = fit({"network": {"widths": [1, 2, 1]}, "optimizer": {"name": "sgd", "learning_rate": 0.1},
           "training": {"epochs": 1, "batch_size": 8}}, (x, x))
for use in (lambda: run.predict(x), lambda: fit(run.config, (x, x)), lambda: verify.check_vjp(np.sin, x)):
    if not os.fork():
        try:
            use()
        except RuntimeError as error:
            os._exit(7 if "spawn" in str(error) else 8)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_process_is_told(tmp_path):
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["7", "7", "7"]


@pytest.mark.parametrize("output", ["linear", "gaussian"])
def test_predictions_for_other_numbers_of_rows_compile_nothing(output):
    run = fit({**LINE, "network": {"widths": [1, 3, 1], "output": output}}, (X, X))
    run.predict(X[:20])
    with compiled() as programs:
        assert [len(run.predict(X[:n])[1]) for n in range(17, 21)] == [*range(17, 21)]
    assert not programs


def test_programs_of_many_networks_are_not_kept():
    before = weakref.ref(jitted(len, (), "a network"))
    for k in range(jitted.cache_parameters()["maxsize"]):
        jitted(len, (), k)
    gc.collect()
    assert before() is None


def test_a_cut_program_is_compiled_anew_in_silence(tmp_path):
    command = [sys.executable, "-m", "mlp_jax", "inspect", str(CONFIGS[0].parent / "xor.yaml")]
    said = []
    for _ in range(3):
        variables = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": ""}
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        said.append((done.returncode, done.stderr))
        programs = sorted(tmp_path.rglob("*-cache"))
        sizes = [file.stat().st_size for file in programs]
        for file in programs if len(said) == 1 else ():
            os.truncate(file, 40)
    assert said == [(0, "")] * 3
    assert min(sizes) > 1000


def test_programs_of_others_are_not_run(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs").chmod(0o777)
    command = [sys.executable, "-m", "mlp_jax", "inspect", str(CONFIGS[0].parent / "xor.yaml")]
    variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs"), "XDG_CACHE_HOME": str(tmp_path / "own")}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"nothing is kept in {tmp_path / 'programs'}, which is not this user's alone" in done.stderr
    assert not list((tmp_path / "programs").iterdir())
