"""Two users of one machine: what `nobody` may do with runs and caches of the first, and cannot make the first do."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from runs import CONFIGS, iris, train

from mlp_jax import cli
from mlp_jax.caches import is_private
from mlp_jax.errors import InputError
from mlp_jax.files import written_where_told
from mlp_jax.tables import bundled
from mlp_jax.training.build import prepare
from mlp_jax.training.progress import Reporter

NOBODY = 65534
pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to be another")
XOR = CONFIGS[0].parent / "xor.yaml"


@pytest.fixture
def shared():
    """A folder that all users can enter and write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def nobody(script, cwd):
    """The other user runs a script of the shell."""
    command = ["/bin/sh", "-ec", script]
    subprocess.run(
        command, cwd=cwd, user=NOBODY, group=NOBODY, extra_groups=[], check=True, env={"PATH": "/usr/bin:/bin"}
    )


def status_of(*arguments):
    return cli.main(list(map(str, arguments)))


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


LOOK = """
import os, shutil, sys
from mlp_jax.cli import main
run, data, copy = sys.argv[1:]
commands = [["evaluate", run], ["predict", run, data], ["report", run, "--output", copy + ".html"]]
own = [main(command) for command in commands]  # and all is imported, for the interpreter may be another's
os.remove(copy + ".html")
print("as nobody", flush=True)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.environ["XDG_CACHE_HOME"] = copy + ".cache"
shutil.copytree(run, copy)
others = [main(command) for command in [*commands, ["evaluate", copy]]]
forbidden = [main(["report", run]), main(["train", run + "/config.yaml", "--run-dir", run, "--resume"])]
sys.exit(str((own, others, forbidden)))
"""


def test_another_user_may_look_copy_and_evaluate_and_changes_nothing(shared):
    run = shared / "run"
    assert status_of("train", XOR, "--set", "training.epochs=4", "--run-dir", run) == 0
    shutil.copy(XOR.with_suffix(".csv"), shared / "x.csv")
    (shared / "x.csv").chmod(0o644)
    before = contents(run)
    command = [sys.executable, "-c", LOOK, run, shared / "x.csv", shared / "copy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=shared)
    assert done.stderr.splitlines()[-1] == "([0, 0, 0], [0, 0, 0, 0], [2, 2])", done.stderr
    assert "Traceback" not in done.stderr
    mine, _, others = done.stdout.partition("as nobody\n")
    assert others.startswith(mine)
    assert contents(run) == before


def test_a_file_of_another_that_is_named_stays_his_and_runs_as_nobody(shared):
    (shared / "page").write_text("old")
    os.chown(shared / "page", NOBODY, NOBODY)
    (shared / "page").chmod(0o4755)
    with written_where_told(shared / "page") as stream:
        stream.write(b"new")
    status = (shared / "page").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (NOBODY, NOBODY, 0o755)


NAMES = ("config.yaml", "metrics.jsonl", "summary.json", "weights.safetensors", "report.html", "checkpoints", "crash",
         "tensorboard", "predictions.csv", "schema.json")  # fmt: skip


@pytest.mark.parametrize("what", ["link", "hard link", "pipe"])
def test_a_run_directory_that_others_can_write_leads_nowhere(shared, what, monkeypatch):
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)
    good, mine = shared / "good", shared / "mine"
    assert status_of("train", XOR, "--set", "training.epochs=2", "--run-dir", good) == 0
    mine.mkdir(mode=0o755)
    (mine / "file").write_text("mine")
    before = contents(mine)
    for name in NAMES:
        run = shutil.copytree(good, shared / "run")
        run.chmod(0o777)
        behind = mine if name in ("checkpoints", "crash", "tensorboard") else mine / "file"
        plant = {"link": f"ln -s {behind} {name}", "hard link": f"ln {behind} {name} || true", "pipe": f"mkfifo {name}"}
        nobody(f"mv {name} old || true; {plant[what]}", run)
        commands = (
            ("evaluate", run), ("report", run), ("export", run, run / "model.py"),
            ("train", XOR, "--set", "training.epochs=3", "--run-dir", run, "--resume"),
            ("train", XOR, "--set", "training.epochs=2", "--run-dir", run, "--overwrite"),
        )  # fmt: skip
        assert {status_of(*command) for command in commands} <= {0, 2}, name
        assert contents(mine) == before, name
        shutil.rmtree(run)


def test_what_another_user_kept_is_neither_run_nor_learned(shared, monkeypatch, capsys):
    monkeypatch.setattr(bundled, "_folder", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared))
    nobody("mkdir -p mlp_jax/$(uname -n); echo planted >mlp_jax/$(uname -n)/jit_run_steps-cache", shared)
    assert status_of("inspect", XOR) == 0
    assert "nothing is kept" in capsys.readouterr().err
    assert bundled._folder is None
    assert [file.read_text() for file in shared.rglob("*") if file.is_file()] == ["planted\n"]


@pytest.mark.parametrize(("mode", "is_kept"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_cache_is_where_nobody_can_put_another_in_its_place(shared, mode, is_kept):
    shared.chmod(mode)
    assert is_private(shared / "mlp_jax") == is_kept
    (shared / "of nobody").mkdir(mode=0o755)
    os.chown(shared / "of nobody", NOBODY, NOBODY)
    assert not is_private(shared / "of nobody" / "mlp_jax")


def of_a_table(folder, **data):
    (folder / "data.csv").write_text("a,y\n" + "".join(f"{k % 7}.5,{k % 5}.25\n" for k in range(40)))
    source = {"source": "csv", "path": folder / "data.csv", "target": "y"}
    return iris(data={**source, **data}, network={"hidden_widths": (2,)})


def test_examples_are_not_kept_where_another_user_writes(shared):
    with pytest.raises(InputError, match="data.cache: .* must be a folder of yours alone"):
        prepare(of_a_table(shared, cache=shared / "cache"), progress=Reporter(0))


def test_the_cache_that_a_run_of_others_names_is_not_written(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)
    cache, run = tmp_path / "cache", shared / "run"
    train(of_a_table(shared, cache=cache), run)
    before = contents(cache)
    (shared / "data.csv").write_text((shared / "data.csv").read_text())  # of another time: the cache would be remade
    for folder, kept in ((cache, before), (tmp_path / "none", {})):
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace(str(cache), str(folder)))
        assert [status_of(verb, run) for verb in ("evaluate", "report", "reproduce")] == [0, 0, 0]
        assert contents(folder) == kept
        (run / "config.yaml").write_text(config)
