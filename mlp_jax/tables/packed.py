"""Encoded inputs in a file, a record for each row: as few bytes as tell a column's cells apart.

A column with few different cells is a code of one or two bytes, and a table of the inputs that each becomes; another
one is its inputs as they are. What is decoded has the bits that `Schema.encode` gives.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.categories import Category
from mlp_jax.tables.schema import Schema, encoded
from mlp_jax.tables.stored import Progress, StoredTable, require_room
from mlp_jax.tables.text import BadCells, of_each

Array = NDArray[Any]
_MOST = 1 << 16  # different cells that have a code
_ROWS = 1 << 16  # that are decoded at once
_PIECE = 1 << 12  # of these, so that few pages of the file are in memory


class Mapped:
    """Records in a .npy file, of which those are in memory that are being read.

    Attributes:
        records: a field for each column, memory-mapped.
    """

    def __init__(self, file: Path, held: Any = None) -> None:
        """Of a file that nobody writes as long as `held` is there."""
        self._held = held
        with file.open("rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, kind = np.lib.format.read_array_header_2_0(stream)
            if kind.hasobject:  # bytes of the file would be taken for addresses
                raise ValueError("it holds objects")
            self._pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self.records: Array = np.ndarray(shape, kind, self._pages, stream.tell())

    def forget(self) -> None:
        """Count no page of the file as this process's memory any more."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)


class Packed:
    """Inputs x (n, d) that are in a file. Indexing gives rows as another `Packed`, np.asarray the numbers.

    Attributes:
        file: the records of the rows.
        tables: for each column the inputs (codes, inputs) of its codes; None where the inputs themselves are stored.
        shape: (n, d).
        rows: which rows of the file they are, (n,).
    """

    def __init__(self, file: Mapped, tables: Sequence[Array | None], dtype: Any, rows: Array | None = None) -> None:
        self.file = file
        self.tables = tables
        self.dtype = np.dtype(dtype)
        self.rows = np.arange(len(file.records), dtype=np.uint32) if rows is None else rows
        kinds = file.records.dtype
        widths = [table.shape[1] if table is not None else kinds[k].shape[0] for k, table in enumerate(tables)]
        self._ends = np.cumsum([0, *widths])
        self.shape = len(self.rows), int(self._ends[-1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, place: Any) -> Any:
        """Rows; or of rows an input, as in x[rows, 3]."""
        rows, *column = place if isinstance(place, tuple) else (place,)
        if not column:
            return Packed(self.file, self.tables, self.dtype, self.rows[rows])
        k = int(np.searchsorted(self._ends, column[0], side="right")) - 1
        stored = self.file.records[f"{k}"][self.rows[rows]]
        return self._decoded(k, {f"{k}": stored})[:, column[0] - self._ends[k]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.filled_up(len(self)).astype(dtype or self.dtype, copy=False)

    def filled_up(self, size: int) -> Array:
        """The numbers, with rows of 0 up to this many."""
        x = np.zeros((size, self.shape[1]), self.dtype)
        for start in range(0, len(self), _PIECE):
            piece = slice(start, min(start + _PIECE, len(self)))
            records = self.file.records[self.rows[piece]]
            for k, (first, end) in enumerate(zip(self._ends[:-1], self._ends[1:], strict=True)):
                x[piece, first:end] = self._decoded(k, records)
            self.file.forget()
        return x

    def blocks(self) -> Iterator[Array]:
        """All rows, decoded, so many at a time."""
        for start in range(0, len(self), _ROWS):
            places, chosen = self.in_order(np.arange(start, min(start + _ROWS, len(self))))
            x = np.empty(chosen.shape, self.dtype)
            x[places] = np.asarray(chosen)
            yield x

    def in_order(self, rows: Array) -> tuple[Array, "Packed"]:
        """The places of chosen rows (m,) in the order in which they lie in the file; and the rows in this order."""
        places = np.argsort(self.rows[rows])
        return places, self[rows[places]]

    def _decoded(self, k: int, records: Any) -> Array:
        table, stored = self.tables[k], records[f"{k}"]
        found: Array = stored if table is None else table.take(stored, axis=0, mode="clip")
        return found


class _Coding(NamedTuple):
    """How a column is stored: by codes of these cells, or of a `Category`; or as its inputs."""

    column: Any
    cells: Any
    table: Array | None

    @classmethod
    def of(cls, column: Any, cells: Any, dtype: Any, where: str, is_looked_up: bool) -> "_Coding":
        if isinstance(column, Category):
            k = len(column.inputs)
            of_codes = np.append(np.arange(k), -1)[:, None] if is_looked_up else np.eye(k + 1, k)
            return cls(column, None, of_codes.astype(dtype))
        try:
            different = cells.unique()
            if len(different) <= _MOST:
                return cls(column, different, np.stack(encoded(column, different, where, 0), axis=1).astype(dtype))
        except (BadCells, pa.ArrowNotImplementedError):
            pass  # a cell that cannot be used is named with its row, below
        return cls(column, None, None)

    def field(self, dtype: Any) -> Any:
        """Its type in a record."""
        if self.table is None:
            return np.dtype(dtype), (len(self.column.inputs),)
        return np.min_scalar_type(len(self.table) - 1)

    def stored(self, cells: Any, where: str, first_row: int) -> Array:
        """What is stored of cells."""
        if isinstance(self.column, Category):
            codes = self.column.codes(cells)
            return np.where(codes < 0, len(self.column.inputs), codes)
        if self.table is not None:
            found: Array = pc.index_in(cells, value_set=self.cells).to_numpy(zero_copy_only=False)
            return found
        return np.stack(encoded(self.column, cells, where, first_row), axis=1)


def pack(schema: Schema, table: StoredTable, dtype: str, where: str, file: Path, progress: Progress) -> Packed:
    """Encode all rows of a table into a file.

    Raises:
        InputError: a cell is not of its column's kind, or the disk is too small.
    """
    if table.num_rows >= 2**31:
        raise InputError(f"{where} has {table.num_rows:,} rows; data.cache holds less than 2^31")
    kind = np.dtype(np.float64 if dtype == "float64" else np.float32)
    used, looked_up = schema.used, schema.looked_up
    codings = []
    for k, column in enumerate(used):
        progress.reading("the columns", k / len(used))
        codings.append(_Coding.of(column, table.column(column.name), kind, where, column in looked_up))
    record = np.dtype([(f"{k}", coding.field(kind)) for k, coding in enumerate(codings)])
    require_room(file.parent, record.itemsize * table.num_rows)
    done = 0
    with file.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (table.num_rows,)}
        np.lib.format.write_array_header_2_0(stream, header)
        for block in table.blocks([column.name for column in used]):
            records = np.empty(block.num_rows, record)

            def store(k: int, block: Any = block, records: Array = records, first_row: int = done) -> None:
                records[f"{k}"] = codings[k].stored(block.column(codings[k].column.name), where, first_row)

            of_each(store, range(len(codings)))
            stream.write(records.view(np.uint8).data)
            done += len(records)
            progress.reading("the rows", done / table.num_rows)
        stream.flush()
        os.fsync(stream.fileno())
    return Packed(Mapped(file), [coding.table for coding in codings], kind)
