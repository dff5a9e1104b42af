"""Examples that are trained on from a folder, `data.cache`: a table is read and encoded once, and opened from then on.

The folder has `manifest.json`, which says what it holds, and of which files, and is written last: a cut cache has none.
It has `schema.json`; `inputs.npy`, a record for each row of the table (`packed`); in `table-K.npy` what the codes of
column K stand for; and for each part `rows-PART.npy`, which of the rows it has, `y-PART.npy` and `weights-PART.npy`.
"""

import json
import os
import shutil
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.caches import is_private
from mlp_jax.errors import InputError
from mlp_jax.files import unfinished, write_atomically
from mlp_jax.tables import files
from mlp_jax.tables.packed import Mapped, Packed, pack
from mlp_jax.tables.preparation import Ends, Examples, Prepared, Scaling, Wanted
from mlp_jax.tables.schema import Schema
from mlp_jax.tables.sources import TableData
from mlp_jax.tables.stored import Progress, StoredTable, stored
from mlp_jax.tables.table import prepare_table

_FORMAT = 1
_OURS = ("manifest.json", "schema.json", "inputs.npy", "table-*.npy", "text-*.parquet", "rows-*.npy", "y-*.npy",
         "weights-*.npy")  # fmt: skip


def prepare_cached(source: TableData, wanted: Wanted, progress: Progress) -> Prepared:
    """The examples of a table by its cache, which is written where it is not there, cut short, or of other data.

    Raises:
        InputError: the table cannot be read, or the folder cannot be used.
    """
    folder = Path(source.cache or "")
    if not is_private(folder):
        raise InputError(
            f"data.cache: {folder} cannot be used: it must be a folder of yours alone that nobody else can write to "
            f"(chmod -R go-w {folder})"
        )
    identity = _identity(source, wanted)
    held = _Held(folder)
    if (why := _why_not(folder, identity)) is None:
        return _opened(folder, held)
    if others := [file.name for file in folder.iterdir() if not any(map(file.match, _OURS))]:
        raise InputError(f"data.cache: {folder} holds other files ({others[0]}): name a folder for the cache alone")
    held.alone()
    if (why := _why_not(folder, identity)) is None:  # another training wrote it meanwhile
        return _opened(held.shared(), held)
    if why:
        progress.say(f"data.cache: {folder} is written anew: {why}")
    _empty(folder)
    try:
        _save(folder, prepare_table(source, wanted, place=_OnDisk(folder, progress)), identity)
    except OSError as error:
        raise InputError(f"data.cache: cannot write {folder}: {error.strerror or error}") from None
    finally:
        if not (folder / "manifest.json").exists():
            _empty(folder)
    if changed := _difference(identity, _identity(source, wanted)):
        _empty(folder)
        raise InputError(f"{changed} while it was read: train again")
    return _opened(held.shared(), held)


class _OnDisk:
    """Where rows and inputs are, for `prepare_table`."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress

    def read(
        self, patterns: Sequence[Path], dialect: Any, types: dict[str, Any], noted: dict[str, Counter[str]]
    ) -> StoredTable:
        texts = [path for path in files.found(patterns) if files.kind_of(path) != "parquet" and path.exists()]
        self._require_room(sum(path.stat().st_size for path in texts))
        return stored(patterns, dialect, types, noted, self._folder, self._progress)

    def together(self, tables: list[StoredTable], name: str) -> StoredTable:
        return tables[0].followed_by(tables[1:])

    def encode(self, schema: Schema, table: StoredTable, dtype: str, where: str) -> Packed:
        return pack(schema, table, dtype, where, self._folder / "inputs.npy", self._require_room, self._progress)

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise InputError(
                f"data.cache: {self._folder} needs {needed:,} bytes, and {free:,} are free there: name another folder"
            )


class _Held:
    """A lock on the folder: several trainings may read it, or one write it; even kill -9 ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self.shared()

    def shared(self) -> Path:
        self._lock("LOCK_SH", "another training is writing")
        return self._folder

    def alone(self) -> None:
        self._lock("LOCK_EX", "it is of other data, and another training is using")

    def _lock(self, kind: str, who: str) -> None:
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        try:
            fcntl.flock(self._descriptor, getattr(fcntl, kind) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"data.cache: {who} {self._folder}; wait for it, or name another folder") from None
        except OSError:  # a file system without locks
            pass


def _identity(source: TableData, wanted: Wanted) -> dict[str, Any]:
    """What a cache depends on: the files by name, size and time, and what a configuration says of them."""
    paths = [*files.found(source.paths), *source.split.files.values()]
    try:
        status = [path.stat() for path in paths]
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None
    values = source.model_dump(mode="json", exclude={*source.where})
    values["split"] |= {part: path.name for part, path in source.split.files.items()}
    return {
        "format": _FORMAT,
        "files": [[path.name, of.st_size, of.st_mtime_ns] for path, of in zip(paths, status, strict=True)],
        "data": json.loads(json.dumps(values)),
        "network": [str(value) for value in wanted],
    }


def _why_not(folder: Path, identity: dict[str, Any]) -> str | None:
    """Why the folder does not hold the examples of these data; "" if nothing was there."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        before, sizes = manifest["identity"], manifest["sizes"]
        if cut := [name for name, size in sizes.items() if (folder / name).stat().st_size != size]:
            return f"{cut[0]} is damaged"
        return _difference(before, identity)
    except FileNotFoundError as error:
        name = Path(error.filename).name
        return f"{name} is missing" if name != "manifest.json" else "it was cut short" * any(folder.iterdir())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest.json is damaged"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    if before == now:
        return None
    if before["files"] != now["files"]:
        changed = [name for name, *_ in now["files"]], [name for name, *_ in before["files"]]
        same = [of[0] for of in now["files"] if of not in before["files"]] if changed[0] == changed[1] else []
        return f"{same[0]} has changed" if same else f"it was made of {', '.join(changed[1][:3])}"
    keys = [key for key, value in now["data"].items() if before["data"].get(key) != value]
    return f"data.{keys[0]} was {before['data'].get(keys[0])}" if keys else "it was made for another network"


def _empty(folder: Path) -> None:
    """Remove what a cache has, the manifest first."""
    for pattern in _OURS:
        for file in folder.glob(pattern):
            file.unlink()
    for file in unfinished(folder, "manifest.json"):
        file.unlink()


def _save(folder: Path, prepared: Prepared, identity: dict[str, Any]) -> None:
    """Write what of the examples is not there yet."""
    assert prepared.schema is not None
    assert prepared.rows is not None
    weights = prepared.weights or {}
    packed: Packed = prepared.parts["train"].x
    arrays = {f"table-{k}": table for k, table in enumerate(packed.tables) if table is not None}
    for part, (x, y) in prepared.parts.items():
        arrays |= {f"rows-{part}": x.rows.astype(np.min_scalar_type(len(packed.file.records))), f"y-{part}": y}
    arrays |= {f"weights-{part}": of for part, of in weights.items()}
    for name, values in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
    for file_of_text in folder.glob("text-*.parquet"):
        file_of_text.unlink()
    write_atomically(folder / "schema.json", prepared.schema.as_json().encode())
    manifest = {
        "identity": identity,
        "sizes": {file.name: file.stat().st_size for file in folder.iterdir()},
        "name": prepared.name,
        "columns": len(packed.tables),
        "dtype": packed.dtype.name,
        "parts": list(prepared.parts),
        "weighted": bool(weights),
        "targets": [values.tolist() for values in prepared.targets],
        "target_names": prepared.target_names,
        "fingerprint": prepared.fingerprint,
        "ends": prepared.ends._asdict(),
        "said": prepared.said,
    }
    write_atomically(folder / "manifest.json", json.dumps(manifest).encode())


def _opened(folder: Path, held: _Held) -> Prepared:
    """What a whole cache holds; the arrays stay in their files."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    schema = Schema.of_json((folder / "schema.json").read_bytes(), str(folder / "schema.json"))

    def array(name: str, mode: Any = "r") -> Any:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode=mode))

    tables = [
        array(f"table-{k}", None) if (folder / f"table-{k}.npy").exists() else None for k in range(manifest["columns"])
    ]
    whole = Packed(Mapped(folder / "inputs.npy", held), tables, manifest["dtype"])
    parts = {part: Examples(whole[array(f"rows-{part}")], array(f"y-{part}")) for part in manifest["parts"]}
    weights = {part: array(f"weights-{part}") for part in parts} if manifest["weighted"] else None
    d, inputs = whole.shape[1], tuple(schema.inputs)
    ends = manifest["ends"] | {"categories": tuple(manifest["ends"]["categories"])}
    return Prepared(
        manifest["name"], parts, Scaling(np.zeros(d), np.ones(d)), Scaling(*map(np.asarray, manifest["targets"])),
        inputs, tuple(manifest["target_names"]), manifest["fingerprint"], Ends(**ends), schema,
        weights, said=tuple(manifest["said"]),
    )  # fmt: skip
