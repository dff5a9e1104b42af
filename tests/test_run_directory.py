"""What the directory of a run survives: an end at any moment, damage, full disks, other runs."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from runs import Hears, iris, points, read_metrics, train

from mlp_jax.errors import InputError, TrainingInterrupted
from mlp_jax.training import load
from mlp_jax.training.build import build_network, prepare
from mlp_jax.training.config import fingerprint
from mlp_jax.training.progress import Reporter
from mlp_jax.training.store import checkpoint, weights
from mlp_jax.training.store.directory import CHECKPOINTS, RunDirectory
from mlp_jax.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("usual_promotion")


def files_of(run):
    return {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}


def newest_first(checkpoints):
    return sorted(checkpoints.glob(CHECKPOINTS), reverse=True)


def same_but_for_records(one, other):
    """Whether two runs left the same files; the summary has times in it."""
    contents = [{name: content for name, content in files_of(run).items() if name.name != "summary.json"} for run in
                (one, other)]  # fmt: skip
    newest = [max(content) for content in contents]
    return newest[0] == newest[1] and all(
        contents[0][name] == contents[1][name] for name in contents[0] if "checkpoints" not in name.parts
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and one of two seeds, which no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    with jax.numpy_dtype_promotion("standard"):
        train(iris(), folder / "run")
        train(iris(seeds=(0, 1)), folder / "seeds")
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of four epochs."""
    return shutil.copytree(finished / "run", tmp_path / "run")


@pytest.fixture
def seeds(finished, tmp_path):
    """A finished run of two seeds."""
    return shutil.copytree(finished / "seeds", tmp_path / "seeds")


@pytest.fixture
def one_step_first(monkeypatch):
    """A training whose first call takes one step, so that there are several."""
    monkeypatch.setattr(Trainer, "_first_pace", lambda self: 1)


def test_training_goes_on_where_it_ended(run, tmp_path):
    train(iris(training__epochs=6), tmp_path / "whole")
    train(iris(training__epochs=6), run, resume=True)
    assert same_but_for_records(tmp_path / "whole", run)


EVERYTHING = {
    "training__early_stopping": {"patience": 3},
    "training__ema": 0.9,
    "training__microbatches": 3,
    "training__watch": True,
    "training__clip_norm": 1.0,
}


@pytest.mark.usefixtures("one_step_first")
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "all"])
def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(changes, tmp_path):
    class StopInEpoch(Reporter):
        """Asks for the end, as a cluster does, after the first step of the second call."""

        def advanced(self, done, records):
            if done % 1:
                signal.raise_signal(signal.SIGTERM)

    config = iris(**changes)
    with pytest.raises(
        TrainingInterrupted, match="stopped after 0 of 4 epochs and [1-6] of 7 steps of the next"
    ) as stop:
        train(config, tmp_path / "run", reporter=StopInEpoch)
    assert stop.value.signal == signal.SIGTERM
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    train(config, tmp_path / "whole")
    train(config, tmp_path / "run", resume=True)
    assert same_but_for_records(tmp_path / "whole", tmp_path / "run")


def test_a_sweep_stopped_in_the_middle_goes_on_to_the_same_bits(tmp_path):
    class StopAfterASeed(Reporter):
        def advanced(self, done, records):
            if [record["seed"] for record in records] == [1]:  # once: a second request would end the process
                signal.raise_signal(signal.SIGTERM)

    config = iris(seeds=(3, 1, 2), training__epochs=40)
    with pytest.raises(TrainingInterrupted, match="stopped after [12] of 3 seeds"):
        train(config, tmp_path / "run", reporter=StopAfterASeed)
    assert load(tmp_path / "run").summary["status"] == "interrupted"
    train(config, tmp_path / "whole")
    train(config, tmp_path / "run", resume=True)
    assert load(tmp_path / "run").results == load(tmp_path / "whole").results
    for seed in (3, 1, 2):
        assert same_but_for_records(tmp_path / "whole" / f"seed-{seed}", tmp_path / "run" / f"seed-{seed}")


def test_a_run_killed_before_its_first_checkpoint_starts_again(run):
    for file in (*newest_first(run / "checkpoints"), run / "weights.safetensors"):
        file.unlink()
    train(iris(), run, resume=True, reporter=Hears)
    assert "has no checkpoint yet: starting from the beginning" in Hears.heard[0]
    assert [record["epoch"] for record in read_metrics(run)] == [1, 2, 3, 4]


def test_a_run_killed_before_its_first_line_starts_again(run):
    for file in files_of(run):
        if file.name != "config.yaml":
            (run / file).unlink()
    (run / "metrics.jsonl").touch()
    train(iris(), run, resume=True)
    assert load(run).summary["status"] == "finished"


def remove_checkpoints(run):
    for file in newest_first(run / "checkpoints"):
        file.unlink()


def damage_checkpoints(run):
    for file in newest_first(run / "checkpoints"):
        file.write_bytes(flipped(file.read_bytes()))


def with_lines(change):
    def damage(run):
        lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        (run / "metrics.jsonl").write_bytes(b"".join(change(lines)))

    return damage


GO_ON, LONGER = {"resume": True}, {"training__epochs": 9}


@pytest.mark.parametrize(
    ("damage", "changes", "options", "message"),
    [
        (None, {"seed": 1}, {}, r"holds a run; go on with it \(resume=True\), replace it \(overwrite=True\)"),
        (None, {"seed": 1}, GO_ON, r"another configuration: seed was 0, is 1\. Only training.epochs, "),
        (None, {"network__widths": (5, 3)}, {"overwrite": True}, "network.widths starts with 5"),
        (None, {"training__epochs": 2}, GO_ON, r"has 4 epochs; training.epochs is 2\. Set it to 4 or more to go on"),
        (remove_checkpoints, {}, GO_ON, "has weights, but no checkpoint to go on from: put .*checkpoints back, or tr"),
        (damage_checkpoints, LONGER, GO_ON, "the checksum .* no other checkpoint: train anew with overwrite=True"),
        (with_lines(lambda lines: lines[:2]), LONGER, GO_ON, "has the records of 2 epochs, but the run has done 4: li"),
        (with_lines(lambda lines: [lines[0], b"{oops\n", *lines[2:]]), LONGER, GO_ON, "metrics.jsonl:2: Invalid JSON"),
    ],
)
def test_what_is_refused_leaves_a_run_as_it_was(run, damage, changes, options, message):
    if damage:
        damage(run)
    before = files_of(run)
    with pytest.raises(InputError, match=message):
        train(iris(**changes), run, **options)
    assert files_of(run) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_runs_below_a_run_are_left_alone(run, overwrite, tmp_path):
    (tmp_path / "all").mkdir()
    below = run.rename(tmp_path / "all" / "seed-0")
    before = files_of(below)
    train(iris(), tmp_path / "all", overwrite=overwrite)
    train(iris(), tmp_path / "all", overwrite=True)
    assert files_of(below) == before
    with pytest.raises(InputError, match="holds a run"):
        train(iris(seeds=(0, 1)), tmp_path / "all")


def test_a_run_of_seeds_that_is_replaced_leaves_nothing(seeds):
    (seeds / "seed-0" / "notes.txt").write_text("mine")
    train(iris(), seeds, overwrite=True)
    left = [str(file) for file in files_of(seeds) if "seed" in str(file)]
    assert left == ["seed-0/notes.txt"]


def test_weights_and_configuration_must_belong_together(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("hidden: relu", "hidden: tanh"))
    with pytest.raises(InputError, match="does not belong to the config.yaml beside it: one of them was changed"):
        load(run)


def test_a_killed_run_is_shown_as_such(run):
    summary = run / "summary.json"
    summary.write_text(json.dumps({"status": "running", "epochs": 0}))
    assert {**load(run).summary} == {"status": "killed", "epochs": 4}
    with RunDirectory(run).held():
        assert load(run).summary["status"] == "running"
    summary.write_text("{}")
    with pytest.raises(InputError, match="cannot read .*summary.json: status: Field required"):
        load(run)


def test_a_killed_run_of_several_seeds_is_to_be_finished(seeds):
    (seeds / "summary.json").write_text(json.dumps({"status": "running", "epochs": 0}))
    with pytest.raises(InputError, match="has several seeds and is killed: finish it with resume=True"):
        load(seeds)


def test_a_run_that_is_replaced_leaves_what_is_not_its_own(run):
    (run / "notes.txt").write_text("mine")
    train(iris(seed=1, training__epochs=1), run, overwrite=True)
    assert len(read_metrics(run)) == 1
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.jsonl", "config.yaml"])
def test_files_of_others_with_the_names_of_ours_are_not_replaced(name, tmp_path):
    (tmp_path / name).write_text("mine: 1")
    for resume in (False, True):
        with pytest.raises(InputError, match="holds a run|holds no run|problems"):
            train(iris(), tmp_path, resume=resume)
    assert (tmp_path / name).read_text() == "mine: 1"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the run directory .*: (Not a directory|File exists)"):
        train(iris(), tmp_path / "file")


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_a_full_disk_loses_nothing(run, options, monkeypatch):
    before = files_of(run)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot write the run directory .*: No space left on device"):
        train(iris(training__epochs=6), run, **options)
    assert files_of(run) == before


def test_ctrl_c_while_compiling_leaves_an_existing_run_as_it_was(run, monkeypatch):
    before = files_of(run)

    def interrupted(trainer, seed, start_from):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(iris(seed=1), run, overwrite=True)
    assert files_of(run) == before


@pytest.mark.parametrize(
    ("lost", "epochs", "message"),
    [
        ("checkpoints", 6, "seed-1"),
        ("metrics.jsonl", 6, "seed-1"),
        (None, 2, r"has 4 epochs; training.epochs is 2\. Set it to 4 or more to go on"),
    ],
)
def test_a_sweep_that_cannot_go_on_is_left_as_it_was(seeds, lost, epochs, message):
    if lost:
        shutil.rmtree(seeds / "seed-1" / lost, ignore_errors=True)
        (seeds / "seed-1" / lost).unlink(missing_ok=True)
    before = files_of(seeds)
    with pytest.raises(InputError, match=message):
        train(iris(seeds=(0, 1), training__epochs=epochs), seeds, resume=True)
    assert files_of(seeds) == before


def test_a_seed_that_trains_by_itself_keeps_its_sweep_out(seeds):
    refused = pytest.raises(InputError, match="another training is using .*seed-1; wait for it")
    with RunDirectory(seeds / "seed-1").held(), refused:
        train(iris(seeds=(0, 1), training__epochs=6), seeds, resume=True)


def test_a_sweep_killed_before_its_summary_goes_on(seeds):
    results = load(seeds).results
    (seeds / "summary.json").unlink()
    train(iris(seeds=(0, 1)), seeds, resume=True)
    assert load(seeds).results == results


def test_a_sweep_that_has_lost_a_seed_is_not_shown_as_whole(seeds):
    shutil.rmtree(seeds / "seed-1")
    with pytest.raises(InputError, match="seed-1 holds no run any more: train it again with resume=True"):
        load(seeds)
    train(iris(seeds=(0, 1)), seeds, resume=True)
    assert len(load(seeds).seeds) == 2


def test_a_run_goes_on_with_data_that_have_moved(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.zeros((50, 1))
    (tmp_path / "other").mkdir()
    train(points(tmp_path, x, y), tmp_path / "run")
    moved = points(tmp_path / "other", x, y)
    train(moved.model_copy(update={"training": moved.training.model_copy(update={"epochs": 5})}), tmp_path / "run",
          resume=True)  # fmt: skip
    assert len(read_metrics(tmp_path / "run")) == 5


def test_a_run_does_not_go_on_with_data_that_have_changed(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.zeros((50, 1))
    train(points(tmp_path, x, y), tmp_path / "run")
    with pytest.raises(InputError, match=r"points.npz has changed since this run was trained"):
        train(points(tmp_path, x + 1, y), tmp_path / "run", resume=True)


def flipped(content):
    middle = len(content) * 2 // 3
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


DAMAGES = {"cut": lambda content: content[:100], "empty": lambda content: b"", "a bit flipped": flipped}


@pytest.mark.usefixtures("one_step_first")
@pytest.mark.parametrize("damage", [*DAMAGES.values(), None], ids=[*DAMAGES, "missing"])
def test_the_checkpoint_before_a_damaged_one_is_used_and_that_is_said(run, damage, tmp_path):
    whole, run = run, tmp_path / "two"
    train(iris(training__checkpoint_seconds=0.0), run)
    newest, before = newest_first(run / "checkpoints")
    newest.write_bytes(damage(newest.read_bytes())) if damage else newest.unlink()
    train(iris(), run, resume=True, reporter=Hears)
    if damage:
        (message,) = Hears.heard
        assert f"{newest} is damaged" in message
        assert f"going on from the checkpoint before it, of step {int(before.stem[5:])}" in message
        assert files_of(run)[newest.relative_to(run)]
    for name in ("weights.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_checkpoint_of_another_run_is_refused(run, tmp_path):
    train(iris(seed=1), tmp_path / "other")
    (mine,), (other,) = (newest_first(folder / "checkpoints") for folder in (run, tmp_path / "other"))
    mine.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="belongs to a run of another configuration; put the right file in its place"):
        train(iris(training__epochs=9), run, resume=True)


def test_damaged_weights_are_refused(run):
    file = run / "weights.safetensors"
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(InputError, match="is damaged"):
        load(run)


def test_a_line_of_metrics_that_a_kill_cut_short_is_written_again(run):
    before = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(before + b'{"epoch": 5, "lo')
    train(iris(), run, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_two_trainings_do_not_use_one_directory(tmp_path):
    with RunDirectory(tmp_path / "run").held():
        with pytest.raises(InputError, match="another training is using .*run; wait for it, or name another directory"):
            train(iris(), tmp_path / "run")
        assert not files_of(tmp_path / "run")
    train(iris(), tmp_path / "run")


def test_a_disk_that_is_full_in_the_middle_of_a_run_damages_nothing(tmp_path):
    """With a real limit of the system on the size of files, which the growing metrics reach."""
    code = """
import resource, sys
from runs import iris, train
from mlp_jax.errors import InputError

config = iris(training__checkpoint_seconds=0.0, training__epochs=100000)
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
try:
    train(config, sys.argv[1])
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=120)
    message = f"cannot write the run directory {tmp_path / 'run'}: File too large; name another with run_dir=…\n"
    assert done.stdout == message, done.stderr
    whole = newest_first(tmp_path / "run" / "checkpoints")
    config = iris(training__epochs=int(whole[0].stem[5:]) // 7 + 2)
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert same_but_for_records(tmp_path / "whole", tmp_path / "run")


def test_a_checkpoint_of_another_network_is_refused_by_name(run):
    other = iris(network__widths=(4, 9, 3))
    prepared = prepare(other)
    (path,) = newest_first(run / "checkpoints")
    with pytest.raises(InputError, match=r"mu\.0\.W is float32 \(4, 8\), needed is float32 \(4, 9\)"):
        checkpoint.load(path, Trainer(other, prepared).start(0), other, prepared)
    wider = build_network(iris(network__widths=(4, 8, 8, 3)).network)
    narrow = build_network(iris(network__widths=(4, 7, 3)).network)
    with pytest.raises(InputError, match=r"belongs to another network: params\[0\].W must have shape \(4, 7\)"):
        weights.load_weights(run / "weights.safetensors", narrow, fingerprint(iris()))
    with pytest.raises(InputError, match="has no 'layers.2.W'; it belongs to another network"):
        weights.load_weights(run / "weights.safetensors", wider, fingerprint(iris()))
