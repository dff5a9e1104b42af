#!/usr/bin/env python
"""What disks, strangers and forgers can do, tried by the thousand; the test suite tries a few hundred of each.

    scripts/run python scripts/hostile.py faults [N]   # each file operation of commands, or one of N, fails in 5 ways
    scripts/run python scripts/hostile.py links [N]    # before each operation, a folder of a run becomes a link
    scripts/run python scripts/hostile.py fuzz [CASES] # damaged files through each door (default 100,000)
    scripts/run python scripts/hostile.py forgery      # each field of each file of finished runs, changed in turn
    scripts/run python scripts/hostile.py shapes [N]   # networks of so many shapes in one process: its memory

Each prints its counts, and what it found: exit status 1 if that is anything.
"""

import builtins
import contextlib
import errno
import gzip
import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pyarrow import csv as pa_csv
from pyarrow import feather, parquet

from mlp_jax import cli
from mlp_jax.commands.claims import differences
from mlp_jax.commands.reproduce import EQUAL, judged, reproduce
from mlp_jax.errors import InputError
from mlp_jax.tables import npy
from mlp_jax.training import config as configuration
from mlp_jax.training.build import prepare
from mlp_jax.training.environment import environment
from mlp_jax.training.fitting import fit
from mlp_jax.training.run import load
from mlp_jax.training.store import tensors
from mlp_jax.training.store.directory import RunDirectory

XOR = Path(__file__).parent.parent / "configs" / "xor.yaml"
TABLE = "a,b,c,y\n" + "".join(f"{k},{k * k % 7 or 'NA'},{'red' if k % 3 else 'blue'},{k % 2}\n" for k in range(40))
OF_TABLE = """
data: {path: data.csv, target: y}
network: {hidden_widths: [3]}
optimizer: {name: adam, learning_rate: 0.01}
training: {epochs: 2, batch_size: 8, watch: true}
"""


def command(*arguments: Any) -> tuple[int, str]:
    """A command in this process: its exit status, and its words."""
    err = io.StringIO()
    # a stream of the system, which the command closes if it cannot be written
    with tempfile.TemporaryFile("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(list(map(str, arguments)))
    return status, err.getvalue()


# --- faults: each file operation of a command ---------------------------------------------------------


class Killed(BaseException):
    """The process ends here: no file operation after it happens either."""


KINDS = ("killed", "EIO", "ENOSPC", "read-only", "short")
_CHANGING = ("mkdir", "unlink", "rmdir", "replace", "fsync")


class Faults:
    """Lets the operation of this number, counted from 0, fail in one way: once, or from there on."""

    looks = False  # whether reading is an operation, too

    def __init__(self, kind: str = "", number: int = -1) -> None:
        self.kind, self.number, self.count = kind, number, 0

    def met(self, writes: bool) -> bool:
        """Count an operation, and fail if it is its turn; whether it is to be done by half."""
        k, self.count = self.count, self.count + 1
        if not self.kind or k < self.number or (k > self.number and self.kind in ("EIO", "short")):
            return False
        if self.kind == "killed" and k > self.number:
            raise Killed
        if writes and self.kind in ("killed", "ENOSPC", "short"):
            return True
        if self.kind == "killed":
            raise Killed
        if self.kind != "short":
            number = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "read-only": errno.EROFS}[self.kind]
            raise OSError(number, os.strerror(number))
        return False

    def by_half(self, write: Callable[[Any], int], content: Any) -> int:
        """Write the content, or half of it."""
        half = self.met(writes=True)
        done = write(content[: max(len(content) // 2, 1)] if half else content)
        if half and self.kind == "killed":
            raise Killed
        if half and self.kind == "ENOSPC":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return done


class Swap(Faults):
    """Puts a link in the place of a folder before the operation of this number, as whoever may write there can."""

    looks = True

    def __init__(self, folder: Path, target: Path, number: int) -> None:
        super().__init__("linked", number)
        self.folder, self.target = folder, target

    def met(self, writes: bool) -> bool:
        """Count an operation."""
        if self.count == self.number and self.folder.exists():
            self.folder.rename(f"{self.folder} of before")
            self.folder.symlink_to(self.target)
        self.count += 1
        return False


class _File(io.FileIO):
    """A file whose writes are operations."""

    faults: Faults

    def write(self, content: Any) -> int:
        return self.faults.by_half(super().write, bytes(content))


@contextlib.contextmanager
def failing(folder: Path, faults: Faults) -> Iterator[None]:
    """Operations on what is in a folder, and on descriptors, pass through `faults`."""
    plain = {name: getattr(os, name) for name in (*_CHANGING, "write", "open")}
    plain_open = builtins.open

    def counted(name: str) -> Callable[..., Any]:
        def operation(path: Any, *more: Any, **named: Any) -> Any:
            in_folder = named.get("dir_fd") or named.get("src_dir_fd") or isinstance(path, int)
            changes = name != "open" or faults.looks or more[0] & (os.O_WRONLY | os.O_RDWR)
            if changes and (in_folder or str(path).startswith(str(folder))):
                faults.met(writes=False)
            return plain[name](path, *more, **named)

        return operation

    def write(descriptor: int, content: bytes) -> int:
        return faults.by_half(lambda part: plain["write"](descriptor, part), content)

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode in ("wb", "ab") and isinstance(file, int):
            raw = _File(file, mode, **named)
            raw.faults = faults
            return io.BufferedWriter(raw, 64)  # so that a file is several writes
        return plain_open(file, mode, *more, **named)

    with contextlib.ExitStack() as patches:
        for name in (*_CHANGING, "open"):
            patches.enter_context(patch.object(os, name, counted(name)))
        patches.enter_context(patch.object(os, "write", write))
        patches.enter_context(patch.object(builtins, "open", opened))
        yield


def contents(folder: Path) -> dict[str, bytes]:
    """What has a final name in a folder, without times."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.name.endswith(".part"):
            content = file.read_bytes()
            if file.name == "summary.json":
                summary = json.loads(content)
                content = json.dumps({key: value for key, value in summary.items() if key != "seconds"}).encode()
            found[str(file.relative_to(folder))] = content
    older = sorted(name for name in found if "checkpoints" in name)[:-1]  # their steps depend on the time they took
    return {name: content for name, content in found.items() if name not in older}


def try_faults(work: Path, every: int = 1) -> tuple[Counter[str], list[str]]:
    """Each operation, or one of so many, of four commands fails in each way; then the command is given again."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    changes = "--set", "training.epochs=4", "training.checkpoint_seconds=0"
    run = work / "good"
    assert command("train", XOR, "--run-dir", run, *changes)[0] == 0
    jobs: dict[str, Callable[[Path], tuple[Any, ...]]] = {
        "train": lambda to: ("train", XOR, "--run-dir", to / "run", *changes),
        "predict": lambda to: ("predict", run, XOR.with_suffix(".csv"), "--output", to / "out.csv"),
        "report": lambda to: ("report", run, "--output", to / "page.html"),
        "export": lambda to: ("export", run, to / "model.py", "--overwrite"),
    }
    for name, job in jobs.items():
        whole = _work_folder(work / "whole")
        dry = Faults()
        with failing(whole, dry):
            assert command(*job(whole))[0] == 0
        wanted = contents(whole)
        for kind in KINDS:
            for number in range(0, dry.count, every):
                folder = _work_folder(work / "tried")
                counts[f"{name}, {kind}"] += 1
                bad += [f"{name}, {kind} at {number} of {dry.count}: {why}" for why in _tried(
                    folder, job(folder), Faults(kind, number), wanted, ("--resume",) * (name == "train"))]  # fmt: skip
    return counts, bad


def try_links(work: Path, every: int = 1) -> tuple[Counter[str], list[str]]:
    """Before each operation, or one of so many, of commands on a run a folder in it becomes a link to another run's."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    changes = "--set", "training.epochs=4", "training.checkpoint_seconds=0"
    for name, more in (("alone", ()), ("seeds", ("seeds=0..1",))):
        assert command("train", XOR, "--run-dir", work / name, *changes, *more)[0] == 0
    longer = "--set", "training.epochs=6", "training.checkpoint_seconds=0"
    jobs: dict[str, tuple[str, Callable[[Path], tuple[Any, ...]]]] = {
        "overwrite": ("checkpoints", lambda run: ("train", XOR, "--run-dir", run, *changes, "--overwrite")),
        "resume": ("checkpoints", lambda run: ("train", XOR, "--run-dir", run, *longer, "--resume")),
        "resume of seeds": ("seed-1", lambda run: ("train", XOR, "--run-dir", run, *longer, "seeds=0..1", "--resume")),
        "overwrite of seeds": ("seed-1", lambda run: ("train", XOR, "--run-dir", run, *changes, "--overwrite")),
        "evaluate": ("seed-1", lambda run: ("evaluate", run)),
        "report": ("seed-1", lambda run: ("report", run)),
    }
    for name, (folder, job) in jobs.items():
        source, number, before = work / ("seeds" if folder == "seed-1" else "alone"), 0, _all_in(work / "alone")
        target = work / "alone" if folder == "seed-1" else work / "alone" / folder
        while True:
            run = _work_folder(work / "tried") / "run"
            shutil.copytree(source, run)
            swap = Swap(run / folder, target, number)
            try:
                with failing(run, swap):
                    status, said = command(*job(run))
            except Exception as error:  # what is looked for
                status, said = -1, f"{type(error).__name__}: {error}"
            if swap.count <= number:
                break
            counts[name] += 1
            if _all_in(work / "alone") != before or status not in (0, 2):
                bad.append(f"{name}, {folder} a link from {number} on: exit {status}, {said!r}, or written behind it")
            number += every
    return counts, bad


def _all_in(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _work_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def _tried(folder: Path, job: Any, faults: Faults, wanted: dict[str, bytes], again: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with how a command meets a fault."""
    status, said = -9, ""
    try:
        with failing(folder, faults):
            status, said = command(*job)
    except Killed:
        pass
    except Exception as error:  # what is looked for: all that is no exit status
        yield f"{type(error).__name__}: {error}"
    lines = [line for line in said.splitlines() if not line.startswith("epoch")]
    if status not in (0, 2, -9) or (status == 2 and len(lines) > 2):
        yield f"exit {status}, {said!r}"
    there = contents(folder)
    if status == 0 and there != wanted:
        yield "exit 0 without the work"
    for name, content in there.items():
        if not _is_whole(folder / name, content, wanted.get(name)):
            yield f"half a file under the name {name}"
    status, said = command(*job, *again)
    if status != 0 or contents(folder) != wanted:
        yield f"given again, it is exit {status} {said!r} and other files"
    if (left := list(folder.rglob(".*.part"))) and again:
        yield f"{left[0].name} stays for ever"


def _is_whole(file: Path, content: bytes, wanted: bytes | None) -> bool:
    """Whether it is as it will be, or of a moment before."""
    try:
        if file.suffix == ".safetensors":
            tensors.read(file)
        elif file.suffix == ".json":
            json.loads(content)
        return content == wanted or file.suffix in (".safetensors", ".json", ".jsonl")
    except ValueError:
        return False


# --- fuzzing: each door -------------------------------------------------------------------------------

_HOSTILE: tuple[Any, ...] = (None, True, -1, 0, 1, 2**63, 10**30, 1.5, -0.0, 1e308, "", "x", "$\\foo{$", "\x1b[31m",
                             [], [1, "a"], {}, {"a": None}, [[[[]]]], "a" * 3000)  # fmt: skip
_TOKENS = (b"nan", b'"', b",", b"\n", b"\r", b"1e999", b"\0", b"[" * 500, b"{" * 500, b"9" * 5000, b"0x" + b"f" * 5000,
           b"\xff\xfe", b"- ", b": ", b"!!python/name:os.system", b"&a ", b"*a", b"{[]: 1}",
           b"(1000000000000,)")  # fmt: skip


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes cut out, put in or turned over; or of JSON a value replaced, removed or added."""
    if content[:1] in (b"{", b"[") and rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            return _damaged_json(rng, content)
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        k = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0 if k < len(found):
                found[k] ^= 1 << rng.randrange(8)
            case 1:
                del found[k : k + rng.randint(1, 40)]
            case 2:
                found[k:k] = rng.choice(_TOKENS)
            case 3 if rng.random() < 0.2:
                del found[k:]
    return bytes(found)


def _damaged_json(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n") if b"\n{" in content else [content]
    at = rng.randrange(max(len(lines) - 1, 1))
    tree = json.loads(lines[at])
    section: Any = tree
    key: Any = None
    while isinstance(section, dict | list) and section and (key is None or rng.random() < 0.8):
        parent, key = section, rng.choice(list(section) if isinstance(section, dict) else range(len(section)))
        section = parent[key]
    if rng.random() < 0.2:
        del parent[key]
    elif rng.random() < 0.2 and isinstance(parent, dict):
        parent[rng.choice(("x", "loss", "baseline", "results", ""))] = rng.choice(_HOSTILE)
    else:
        parent[key] = rng.choice(_HOSTILE)
    lines[at] = json.dumps(tree).encode()
    return b"\n".join(lines)


def try_fuzz(work: Path, cases: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Damage files of good runs, configurations, tables and arrays, and open them; each case is told by its number."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    runs = _runs(work)
    files = [file for run in runs for file in run.rglob("*") if file.suffix in (".json", ".jsonl", ".yaml")]
    weights = [file for run in runs for file in run.rglob("*.safetensors") if "checkpoints" not in file.parts]
    arrays = {name: _saved(name) for name in (".npy", ".npz")}
    tables = _tables()
    for number in range(first, first + cases):
        rng = random.Random(number)
        door = rng.choices(("run", "weights", "array", "table", "configuration"), (40, 10, 20, 20, 10))[0]
        started = time.process_time()
        try:
            if door in ("run", "weights"):
                _open_run(work, rng, rng.choice(weights if door == "weights" else files), bool(number % 200))
            elif door == "array":
                _open_array(work / f"x{(kind := rng.choice(list(arrays)))}", damaged(rng, arrays[kind]))
            elif door == "table":
                name = rng.choice(list(tables))
                (work / name).write_bytes(damaged(rng, tables[name]))
                (work / "x.yaml").write_text(OF_TABLE.replace("data.csv", name))
                prepare(configuration.load(work / "x.yaml"))
            else:
                text = rng.choice((OF_TABLE, XOR.read_text(encoding="utf-8")))
                (work / "x.yaml").write_bytes(damaged(rng, text.encode()))
                configuration.load(work / "x.yaml")
            counts[f"{door}, accepted"] += 1
        except InputError as error:
            counts[f"{door}, refused"] += 1
            if len(str(error)) > 20_000:
                bad.append(f"case {number}, {door}: a message of {len(str(error)):,} letters")
        except Exception as error:  # what is looked for
            bad.append(f"case {number}, {door}: {type(error).__name__}: {str(error)[:200]}")
        if (took := time.process_time() - started) > 10:
            bad.append(f"case {number}, {door}: {took:.0f} s")
    return counts, bad


def _runs(work: Path) -> list[Path]:
    """A run of a table, and one of two seeds."""
    (work / "data.csv").write_text(TABLE)
    (work / "table.yaml").write_text(OF_TABLE)
    for name, more in (("one", ()), ("two", ("--set", "seeds=0..1"))):
        assert command("train", work / "table.yaml", "--run-dir", work / name, *more)[0] == 0
    return [work / "one", work / "two"]


def _tables() -> dict[str, bytes]:
    """The table in each form."""
    table, found = pa_csv.read_csv(io.BytesIO(TABLE.encode())), {"fuzzed.csv": TABLE.encode()}
    for suffix, write in ((".parquet", parquet.write_table), (".feather", feather.write_feather)):
        stream = io.BytesIO()
        write(table, stream)
        found[f"fuzzed{suffix}"] = stream.getvalue()
    found["fuzzed.json"] = "\n".join(map(json.dumps, table.to_pylist())).encode()
    return found | {"fuzzed.csv.gz": gzip.compress(TABLE.encode())}


def _saved(suffix: str) -> bytes:
    stream = io.BytesIO()
    x = np.arange(12.0).reshape(3, 4)
    np.save(stream, x) if suffix == ".npy" else np.savez_compressed(stream, x=x, y=np.array(["a", "b"]))
    return stream.getvalue()


def _open_run(work: Path, rng: random.Random, file: Path, by_load_alone: bool) -> None:
    """Damage a file of a run, open the run, and leave it as it was."""
    content = file.read_bytes()
    run = next(folder for folder in (work / "one", work / "two") if file.is_relative_to(folder))
    try:
        file.write_bytes(damaged(rng, content))
        found = load(run)
        if file.name == "summary.json" and file.parent == run:
            raw = json.loads(file.read_bytes(), parse_int=float)  # as a measure is read
            read = json.loads(json.dumps({key: found.summary[key] for key in raw}), parse_int=float)
            assert read == raw, "the summary means something else"
        str(found), found._repr_html_()
        if not by_load_alone:
            for words in (("report", run, "--output", work / "page"), ("evaluate", run), ("predict", run, "data.csv")):
                status, said = command(*words)
                assert status in (0, 2), f"{words[0]}: exit {status}, {said[:200]}"
    finally:
        file.write_bytes(content)


def _open_array(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    found: Any = npy.load(file)
    try:
        plain = np.load(file, allow_pickle=False)
        wanted: Any = plain if isinstance(plain, np.ndarray) else dict(plain)
    except Exception:  # numpy raises what it meets
        return
    pairs = [(found, wanted)] if isinstance(found, np.ndarray) else [(found[name], wanted[name]) for name in found]
    for one, other in pairs:
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), "another array"


# --- forgery: each field of finished runs -------------------------------------------------------------


def try_forgery(work: Path) -> tuple[Counter[str], list[str]]:
    """Change each field in turn, with right checksums; count what is named, and list what is not."""
    counts: Counter[str] = Counter()
    untold: list[str] = []
    now = environment()
    for run in _runs(work):
        config = RunDirectory(run).load_config()
        again = work / f"{run.name} again"
        fit(config, run_dir=again)
        for file in sorted(run.rglob("*")):
            for place, forged in _forged(file):
                counts[file.name if "step-" not in file.name else "checkpoint"] += 1
                content = file.read_bytes()
                file.write_bytes(forged)
                try:
                    if not _is_named(run, again, now, file.name == "config.yaml"):
                        untold.append(f"{file.relative_to(work)}: {place}")
                finally:
                    file.write_bytes(content)
    return counts, untold


def _is_named(run: Path, again: Path, now: dict[str, Any], trains: bool) -> bool:
    """Whether a door or `reproduce` names what was forged; the training anew is the same but for a configuration's."""
    try:
        found = load(run)
        if trains:
            same, finding = reproduce(run)
            return not same or finding != EQUAL
        one, other = RunDirectory(run), RunDirectory(again)
        pairs = [(one, other, bool(found.seeds))]
        config = found.config
        pairs += [(*of_seed, False) for of_seed in zip(one.children(config), other.children(config), strict=True)]
        differ = [each for before, now, several in pairs for each in differences(before, now, several)]
        _, finding = judged(differ, [before.load_summary(several) for before, _, several in pairs], now)
        return finding != EQUAL
    except InputError:
        return True


def _forged(file: Path) -> Iterator[tuple[str, bytes]]:
    """Each field of a file, and the file with another value in its place."""
    if file.suffix in (".json", ".jsonl"):
        lines = [json.loads(line) for line in ([file.read_bytes()] if file.suffix == ".json" else
                                               file.read_bytes().splitlines())]  # fmt: skip
        end, indent = ("\n", None) if file.suffix == ".jsonl" else ("", 2)
        for k, line in enumerate(lines):
            for place, changed in _changed(line):
                tree = [*lines[:k], changed, *lines[k + 1 :]]
                yield f"{k}{place}", "".join(json.dumps(each, indent=indent) + end for each in tree).encode()
    elif file.name == "config.yaml":
        values = configuration.yaml.read(file).values
        for place, changed in _changed(json.loads(json.dumps(values))):
            yield place, configuration.yaml.as_text(changed).encode()
    elif file.suffix == ".safetensors":
        arrays, notes = tensors.read(file)
        copy = file.with_name("forged")
        for name, array in arrays.items():
            other = np.array(array).reshape(-1)
            other.view(np.uint8)[0] ^= 1
            yield from _rewritten(copy, f" {name}", {**arrays, name: other.reshape(array.shape)}, notes)
            yield from _rewritten(copy, f" no {name}", {k: v for k, v in arrays.items() if k != name}, notes)
        for place, changed in _changed(notes):
            yield from _rewritten(copy, f" notes{place}", arrays, changed)


def _rewritten(copy: Path, place: str, arrays: Any, notes: Any) -> Iterator[tuple[str, bytes]]:
    tensors.write(copy, arrays, notes)
    content = copy.read_bytes()
    copy.unlink()
    yield place, content


def _changed(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The tree with each of its leaves changed to another of its type, or taken away, in turn."""
    if isinstance(tree, dict | list) and tree:
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            for inner, value in _changed(tree[key], f"{place}.{key}"):
                copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
                copy[key] = value
                yield inner, copy
    elif isinstance(tree, bool):
        yield place, not tree
    elif isinstance(tree, int | float):
        yield place, tree + 1
    else:
        yield place, "forged" if isinstance(tree, str) else 1


# --- shapes: a thousand networks in one process ---------------------------------------------------------


_MIB_A_SHAPE = 4  # what JAX's own caches may keep; a program that stays takes 16


def try_shapes(shapes: int = 1000) -> tuple[Counter[str], list[str]]:
    """Train and use so many networks of different shapes; those of the second half are to leave less than a program."""
    counts: Counter[str] = Counter()
    x = np.linspace(-1, 1, 30)[:, None]
    plan = {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "training": {"epochs": 1, "batch_size": 8}}
    for k in range(1, shapes + 1):
        fit({"network": {"widths": [1, 1 + k % 40, 1 + k // 40, 1]}, **plan}, (x, x)).predict(x)
        if k % (shapes // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            counts[f"{k:6,} shapes, MiB"] = pages * resource.getpagesize() // 2**20
    before, after = counts[f"{shapes // 2:6,} shapes, MiB"], counts[f"{shapes:6,} shapes, MiB"]
    more = (after - before) / (shapes / 2)
    return counts, [f"{more:.1f} MiB a shape in the second half"] if more > _MIB_A_SHAPE else []


def main() -> int:
    """Run one of them in a folder of its own."""
    what, *more = sys.argv[1:] or ["fuzz"]
    kinds: dict[str, Callable[[Path], tuple[Counter[str], list[str]]]] = {
        "faults": lambda work: try_faults(work, int(more[0]) if more else 1),
        "links": lambda work: try_links(work, int(more[0]) if more else 1),
        "fuzz": lambda work: try_fuzz(work, int(more[0]) if more else 100_000, int(more[1]) if more[1:] else 0),
        "forgery": try_forgery,
        "shapes": lambda work: try_shapes(int(more[0]) if more else 1000),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        started = time.perf_counter()
        counts, bad = kinds[what](Path(folder))
    for name, count in sorted(counts.items()):
        print(f"{name}: {count:,}")
    print("\n".join(bad))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{counts.total():,} cases, {len(bad)} findings, {time.perf_counter() - started:.0f} s, {memory:.0f} MiB")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
