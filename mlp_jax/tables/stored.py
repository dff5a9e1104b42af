"""A table that need not fit into memory: columns of Parquet files, one at a time, or rows in blocks.

It has what `tables.table` asks of a pyarrow.Table. Text and Feather files are written as Parquet first.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.tables import files
from mlp_jax.tables.arrow import pa, parquet
from mlp_jax.tables.text import Arrow, Dialect, types_in_blocks


class Progress(Protocol):
    """Who is told what a person should know, and which share of something has been read."""

    def say(self, message: str) -> None: ...
    def reading(self, what: str, share: float) -> None: ...


class _File(NamedTuple):
    """A Parquet file: how many rows it has, and its names, as written and in the table."""

    path: Path
    dialect: Dialect  # how a missing cell is written, if its cells are not cleaned yet
    rows: int
    names: dict[str, str]
    empty: Arrow

    @classmethod
    def of(cls, path: Path, dialect: Dialect) -> "_File":
        with path.open("rb") as stream:
            file = parquet.ParquetFile(stream)
            schema, rows = file.schema_arrow, file.metadata.num_rows
        empty = files.plain(schema.empty_table(), str(path))
        return cls(path, dialect, rows, dict(zip(empty.column_names, schema.names, strict=True)), empty)

    def blocks(self, names: Sequence[str]) -> Iterator[Arrow]:
        written = [self.names[name] for name in names]
        for block in files.read_blocks(self.path, self.dialect, {}, written, whole=False):
            yield files.clean(self.path, self.dialect, block.select(list(names)))


class StoredTable:
    """Rows of files, one after the other, without those that were filtered out.

    Attributes:
        schema: names and types of the columns.
        num_rows: how many rows it has.
    """

    def __init__(self, parts: Sequence[_File], there: NDArray[Any] | None = None) -> None:
        self._parts = tuple(parts)
        self._there = there
        self.schema = files.together([part.empty for part in parts], str(parts[0].path)).schema
        self.num_rows = sum(part.rows for part in parts) if there is None else int(there.sum())
        self._last: tuple[str, Any] = "", None

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    def column(self, name: str) -> Any:
        """The cells of a column; the last one that was asked for is kept."""
        if self._last[0] != name:
            self._last = "", None  # before the next one is read
            blocks = [block for part in self._parts for block in part.blocks([name])]
            whole = files.together([self.schema.empty_table().select([name]), *blocks], str(self._parts[0].path))
            cells = whole.column(0) if self._there is None else whole.column(0).filter(pa.array(self._there))
            self._last = name, cells.unify_dictionaries()
        return self._last[1]

    def blocks(self, names: Sequence[str]) -> Iterator[Arrow]:
        """The rows of some columns, so many at a time."""
        kinds = pa.schema([self.schema.field(name) for name in names])
        start = 0
        for part in self._parts:
            for block in part.blocks(names):
                there = self._there if self._there is None else self._there[start : start + block.num_rows]
                start += block.num_rows
                block = block.cast(kinds)
                yield block if there is None else block.filter(pa.array(there))

    def filter(self, there: Any) -> "StoredTable":
        """The rows for which `there` is true, of a table that has all of its rows."""
        return StoredTable(self._parts, there.to_numpy(zero_copy_only=False))

    def select(self, names: Sequence[str]) -> "StoredTable":
        """The table itself: columns are found by name."""
        return self

    def equals(self, other: "StoredTable") -> bool:
        """Whether rows and cells are the same."""
        return self.num_rows == other.num_rows and all(
            self.column(name).equals(other.column(name)) for name in self.column_names
        )

    def followed_by(self, others: Sequence["StoredTable"]) -> "StoredTable":
        """The table with the rows of others behind its own."""
        return StoredTable([part for table in (self, *others) for part in table._parts])


def as_parquet(
    path: Path, dialect: Dialect, types: dict[str, Any], noted: dict[str, Counter[str]], folder: Path,
    progress: Progress,
) -> StoredTable:  # fmt: skip
    """The rows of a file, as `files.read` gives them; of another one than Parquet a copy is written into the folder.

    Raises:
        InputError: the file is missing or malformed, or the disk is too small.
    """
    progress.reading(path.name, 0.0)
    if files.kind_of(path) == "parquet":
        next(files.read_blocks(path, dialect, {}, [], whole=False), None)  # which says what is wrong with it
        return StoredTable([_File.of(path, dialect)])
    if not path.is_file():
        raise InputError(f"cannot read {path} into data.cache: it must be a file, for it is read more than once")
    size = path.stat().st_size
    require_room(folder, size)
    if files.is_text(path):
        types = types_in_blocks(path, dialect, types)
    target, writer, done = folder / f"text-{len(list(folder.glob('text-*')))}.parquet", None, 0
    with target.open("wb") as stream:
        for block in files.read_blocks(path, dialect, types, whole=False):
            done += block.nbytes
            progress.reading(path.name, min(1.0, done / size))
            block = files.clean(path, dialect, block, noted)
            writer = writer or parquet.ParquetWriter(stream, block.schema)
            writer.write_table(block)
        if writer is None:
            raise InputError(f"{path} has a header but no rows")
        writer.close()
    return StoredTable([_File.of(target, Dialect())])


def require_room(folder: Path, needed: int) -> None:
    """Raise an InputError if the disk of a folder has not so many bytes free."""
    if needed > (free := shutil.disk_usage(folder).free):
        raise InputError(f"data.cache: {folder} needs {needed:,} bytes, and {free:,} are free: name another folder")
