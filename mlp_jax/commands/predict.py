"""`mlp-jax predict RUN_DIR FILE`: predictions of a trained network for new inputs, as CSV or Parquet."""

import csv
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.tables import files
from mlp_jax.tables.arrow import pa, parquet
from mlp_jax.tables.reading import load_numpy
from mlp_jax.tables.schema import Surprises
from mlp_jax.tables.text import Dialect
from mlp_jax.training.config import Config
from mlp_jax.training.prediction import encoded, predictions
from mlp_jax.training.run import Run, load

_ROWS = 1 << 14  # of a block: bounds the memory, and is compiled once


def run(config: Config, options: Namespace) -> None:
    """Write a row for each input, in their order: to standard output, or to the file that --output names."""
    run = load(options.run_dir)
    if run.model is None:
        kind, numbers = config.several or ("", (0,))
        one = options.run_dir / f"{kind}-{min(numbers)}"
        raise InputError(f"{options.run_dir} holds several {kind}s, each a run of its own; name one, as {one}")
    keep = list(options.keep)
    if options.file.suffix.lower() in (".npy", ".npz"):
        if keep:
            raise InputError("--keep is for tables with names, not for .npy")
        x = encoded(run.model, load_numpy(options.file), run.net, config.network.dtype, str(options.file))
        with _writer(options.output) as write:
            write(predictions(config, run.model, x))
        return
    found, row = Surprises(), 0
    with _writer(options.output) as write:
        for table in _blocks(run, options.file, keep):
            x = encoded(run.model, table, run.net, config.network.dtype, str(options.file), row)
            columns = predictions(config, run.model, x)
            if twice := [name for name in keep if name in columns]:
                raise InputError(f"--keep {twice[0]}: a column of this name is predicted")
            if run.model.schema and run.model.schema.columns:
                found.add(run.model.schema.surprises(table, x))
            write({name: table.column(name).to_pylist() for name in keep} | columns)
            row += table.num_rows
    for line in found.in_words(str(options.file)):
        print(f"mlp-jax: {line}", file=sys.stderr)


def _blocks(run: Run, path: Path, keep: list[str]) -> Iterator[Any]:
    """The columns that are needed or kept, so many rows at a time."""
    model: Any = run.model
    dialect = getattr(run.config.data, "dialect", Dialect())
    if model.schema and model.schema.columns:
        types = model.schema.types
    else:
        types = {name: pa.float64() for name in model.input_names}
    if not types:
        raise InputError(f"this run was trained on arrays without names: give a .npy file of (n, {run.net.widths[0]})")
    names = list(dict.fromkeys([*types, *keep]))
    types = {**dict.fromkeys(keep, pa.string()), **types}
    waiting: list[Any] = []
    count = 0
    for block in files.read_blocks(path, dialect, types, names, whole=False):
        waiting.append(block)
        count += block.num_rows
        while count >= _ROWS:
            table = pa.concat_tables(waiting)
            yield table.slice(0, _ROWS)
            waiting, count = [table.slice(_ROWS)], count - _ROWS
    if not waiting:
        raise InputError(f"{path} has a header but no rows")
    if count:
        yield pa.concat_tables(waiting)


@contextmanager
def _writer(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes columns by name behind those before them."""
    if path is None:
        yield _csv_writer(sys.stdout)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            yield _csv_writer(stream)
    elif path.suffix == ".parquet":
        with ExitStack() as opened:
            writers: list[Any] = []

            def write(columns: dict[str, Any]) -> None:
                table = pa.table({name: pa.array(values) for name, values in columns.items()})
                if not writers:
                    writers.append(opened.enter_context(parquet.ParquetWriter(path, table.schema)))
                writers[0].write_table(table)

            yield write
    else:
        raise InputError(f"--output must end in .csv or .parquet; got {path}")


def _csv_writer(stream: TextIO) -> Callable[[dict[str, Any]], None]:
    """Numbers have as many digits as read back to the same bits of their type, float32 or float64."""
    writer = csv.writer(stream, lineterminator="\n")
    has_header: list[bool] = []

    def write(columns: dict[str, Any]) -> None:
        if not has_header:
            writer.writerow(columns)
            has_header.append(True)
        texts = (
            values.astype(str).tolist() if getattr(values, "dtype", None) == np.float32 else list(values)
            for values in columns.values()
        )
        writer.writerows(zip(*texts, strict=True))

    return write
