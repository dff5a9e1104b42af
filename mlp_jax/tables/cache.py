"""Examples that are trained on from a folder, `data.cache`: a table is read and encoded once, and opened from then on.

The folder has `manifest.json`, which says what it holds, and of which files, and is empty until all is written.
It has `schema.json`; `inputs.npy`, a record for each row of the table (`packed`); in `table-K.npy` what the codes of
column K stand for; and for each part `rows-PART.npy`, which of the rows it has, `y-PART.npy` and `weights-PART.npy`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from mlp_jax.caches import is_private
from mlp_jax.errors import InputError
from mlp_jax.files import Lock, Place, write_atomically
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.tables import files
from mlp_jax.tables.arrow import pa
from mlp_jax.tables.packed import Mapped, Packed, pack
from mlp_jax.tables.preparation import Ends, Examples, Prepared, Scaling, Wanted
from mlp_jax.tables.schema import Schema
from mlp_jax.tables.sources import TableData
from mlp_jax.tables.stored import Progress, StoredTable, as_parquet
from mlp_jax.tables.table import prepare_table

_FORMAT = 2
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
    identity, lock = _identity(source, wanted), Lock(Place(folder))
    _share(folder, lock)
    if (why := _why_not(folder, identity)) is None:
        return _opened(folder, lock)
    there = sorted(
        {file.name for file in folder.iterdir()} - {file.name for file in (Place(folder) / "*").unfinished()}
    )
    if others := [name for name in there if "manifest.json" not in there or not any(map(Path(name).match, _OURS))]:
        raise InputError(f"data.cache: {folder} holds other files ({others[0]}): name a folder for the cache alone")
    if not lock.taken(alone=True):
        raise InputError(f"data.cache: another training is using {folder}, and {why}: name another")
    if there:
        progress.say(f"data.cache: {folder} is written anew: {why}")
    try:
        _empty(folder)
        write_atomically(folder / "manifest.json", b"{}")  # from now on the files are ours to remove
        prepared = prepare_table(source, wanted, place=_OnDisk(folder, progress))
        _save(folder, prepared, [identity, _identity(*_resolved(source, wanted, prepared.ends))])
        if changed := _difference(identity, _identity(source, wanted)):
            raise InputError(f"a file has changed while it was read: {changed}; train again")
    except BaseException as error:
        _empty(folder)
        if isinstance(error, OSError):
            raise InputError(f"data.cache: cannot write {folder}: {error.strerror or error}") from None
        raise
    pa.default_memory_pool().release_unused()
    _share(folder, lock)
    return _opened(folder, lock)


def is_whole(source: TableData, wanted: Wanted) -> bool:
    """Whether the cache of a table is there, so that it is read and not written."""
    folder = Path(source.cache or "")
    return folder.is_dir() and is_private(folder) and _why_not(folder, _identity(source, wanted)) is None


def _share(folder: Path, lock: Lock) -> None:
    if not lock.taken(alone=False):
        raise InputError(f"data.cache: another training is writing {folder}; wait for it, or name another folder")


class _OnDisk:
    """Where rows and inputs are, for `prepare_table`."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress

    def read(
        self, patterns: Sequence[Path], dialect: Any, types: dict[str, Any], noted: dict[str, Counter[str]]
    ) -> StoredTable:
        def one(path: Path, types: dict[str, Any]) -> StoredTable:
            return as_parquet(path, dialect, types, noted, self._folder, self._progress)

        return self.together(files.read_each(patterns, types, one), "")

    def together(self, tables: list[StoredTable], name: str) -> StoredTable:
        return tables[0].followed_by(tables[1:])

    def encode(self, schema: Schema, table: StoredTable, dtype: str, where: str) -> Packed:
        return pack(schema, table, dtype, where, self._folder / "inputs.npy", self._progress)


def _identity(source: TableData, wanted: Wanted) -> dict[str, str]:
    """What a cache depends on: the files by name, size and time, and what a configuration says of them."""
    of_files: dict[str, str] = {}
    for path in (*files.found(source.paths), *source.split.files.values()):
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        of_files[path.name] = of_files.get(path.name, "") + f"{status.st_size} bytes of {status.st_mtime_ns} ns "
    values = source.model_dump(mode="json", exclude={*source.where})
    values["split"] |= {part: path.name for part, path in source.split.files.items()}
    said = {f"data.{key}": str(value) for key, value in values.items()}
    return {"format": str(_FORMAT), **of_files, **said, "network": str(wanted)}


def _resolved(source: TableData, wanted: Wanted, ends: Ends) -> tuple[TableData, Wanted]:
    """The same as the configuration of a run says it, where what the data say is filled in."""
    unit = wanted.unit or OUTPUT_UNITS[ends.output]()
    filled_in = Wanted(unit, wanted.inputs or ends.inputs, wanted.outputs or ends.outputs, wanted.dtype)
    return source.model_copy(update={"standardize_targets": ends.standardize_targets}), filled_in


def _why_not(folder: Path, identity: dict[str, Any]) -> str | None:
    """Why the folder does not hold the examples of these data, if so."""
    try:
        manifest = json.loads((Place(folder) / "manifest.json").read())
        if not manifest:
            return "it was cut short"
        for name, size in manifest["sizes"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:  # a pipe would be waited for
                return f"{name} is damaged"
        identities = manifest["identities"]
        return None if identity in identities else _difference(identities[0], identity)
    except FileNotFoundError:
        return "it is empty"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "its manifest.json is damaged"


def _difference(before: dict[str, str], now: dict[str, str]) -> str | None:
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            return f"{name} was {before.get(name)}, is {now.get(name)}"
    return None


def _empty(folder: Path) -> None:
    """Remove what a cache has, the manifest last: without it files are somebody else's."""
    for pattern in (*_OURS[1:], _OURS[0]):
        for file in (*Place(folder).found(pattern), *(Place(folder) / pattern).unfinished()):
            file.remove()


def _save(folder: Path, prepared: Prepared, identities: list[dict[str, str]]) -> None:
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
        with Place.of(folder / f"{name}.npy").replaced() as file:
            np.save(file, values)
    for file_of_text in folder.glob("text-*.parquet"):
        file_of_text.unlink()
    write_atomically(folder / "schema.json", prepared.schema.as_json().encode())
    manifest = {
        "identities": identities,
        "sizes": {file.name: file.stat().st_size for file in folder.iterdir() if file.name != "manifest.json"},
        "name": prepared.name,
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


def _opened(folder: Path, lock: Lock) -> Prepared:
    """What a whole cache holds; the arrays stay in their files."""
    try:
        return _examples(folder, lock)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"data.cache: {folder} is damaged, remove it: {str(error)[:200]}") from None


def _examples(folder: Path, lock: Lock) -> Prepared:
    manifest = json.loads((folder / "manifest.json").read_bytes())

    def found(name: str) -> Path:
        if not (folder / name).is_file():  # a pipe would be waited for
            raise ValueError(f"{name} is no file")
        return folder / name

    def array(name: str, mode: Any = "r") -> Any:
        return np.asarray(np.load(found(f"{name}.npy"), mmap_mode=mode))

    schema = Schema.of_json(found("schema.json").read_bytes(), str(folder / "schema.json"))
    inputs = Mapped(found("inputs.npy"), lock)
    tables = [
        array(f"table-{k}", None) if (folder / f"table-{k}.npy").exists() else None
        for k in range(len(inputs.records.dtype.names or ()))
    ]
    x = {part: Packed(inputs, tables, manifest["dtype"], array(f"rows-{part}")) for part in manifest["parts"]}
    parts = {part: Examples(of, array(f"y-{part}")) for part, of in x.items()}
    weights = {part: array(f"weights-{part}") for part in parts} if manifest["weighted"] else None
    d = x["train"].shape[1]
    targets = [np.asarray(values, np.float64) for values in manifest["targets"]]
    ends = TypeAdapter(Ends).validate_python(manifest["ends"])
    fit = d == sum(map(schema.width, schema.used)) and manifest["dtype"] in ("float32", "float64")
    fit = fit and all(table is None or (table.ndim == 2 and table.size and table.dtype.kind == "f") for table in tables)
    are_classes = parts["train"].y.ndim == 1
    for part, (of, y) in parts.items():
        fit = fit and len(of) == len(y) == len(weights[part] if weights else y)
        fit = fit and y.ndim == 2 - are_classes and y.dtype.kind in ("iu" if are_classes else "f")
        fit = fit and bool(np.isin(y, range(ends.outputs)).all() if are_classes else np.isfinite(y).all())
        fit = fit and of.rows.dtype.kind == "u" and of.rows.max(initial=0) < len(inputs.records)
    if not fit:
        raise ValueError("its files do not go together")
    return Prepared(
        str(manifest["name"]), parts, Scaling(np.zeros(d), np.ones(d)), Scaling(*targets),
        tuple(schema.inputs), tuple(map(str, manifest["target_names"])), manifest["fingerprint"], ends, schema,
        weights, said=tuple(map(str, manifest["said"])),
    )  # fmt: skip
