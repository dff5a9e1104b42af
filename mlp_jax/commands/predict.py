"""`mlp-jax predict RUN_DIR FILE`: predictions of a trained network for new inputs, as CSV or Parquet."""

import csv
import io
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TextIO

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.files import is_stream, written_where_told
from mlp_jax.tables import files, npy
from mlp_jax.tables.arrow import pa, parquet
from mlp_jax.tables.schema import Surprises
from mlp_jax.tables.text import BadCells, Dialect
from mlp_jax.tables.written import no_formula
from mlp_jax.terminal import escaped, is_gone, say
from mlp_jax.training.config import Config
from mlp_jax.training.environment import processors
from mlp_jax.training.prediction import encoded, predictions
from mlp_jax.training.run import Run, load
from mlp_jax.training.standing import of_summary

_ROWS, _AT_ONCE = 1 << 14, 8  # of a block, which is compiled once; how many there are: they bound the memory
_Predicted = tuple[dict[str, Any], Surprises]


def run(config: Config, options: Namespace) -> None:
    """Write a row for each input, in their order: to standard output, or to the file that --output names."""
    run = one_run(config, options.run_dir)
    model: Any = run.model
    keep = list(options.keep)
    if options.output and options.output.exists() and options.output.samefile(options.file):
        raise InputError(f"--output {options.output} is the file that is read: name another one")
    if options.file.suffix.lower() in (".npy", ".npz"):
        if keep:
            raise InputError("--keep is for tables with names, not for .npy")
        x = encoded(config, model, npy.load(options.file), run.net, str(options.file))
        with _writer(options.output) as write:
            write(predictions(config, model, x))
        return
    found = Surprises()

    def predicted(block: _Block) -> _Predicted:
        surprises = Surprises()
        x = encoded(config, model, block.table, run.net, str(options.file), block.first_row, surprises)
        columns = predictions(config, model, x)
        if twice := [name for name in keep if name in columns]:
            raise InputError(f"--keep {twice[0]}: a column of this name is predicted")
        return {name: block.kept.column(name) for name in keep} | columns, surprises

    try:
        with _writer(options.output) as write:
            for columns, surprises in _in_order(predicted, _blocks(run, options.file, keep)):
                write(columns)
                found.add(surprises)
                if not options.output and is_gone(sys.stdout):  # as in `mlp-jax predict … | head`
                    break
    except BadCells as error:
        raise files.located(error, [options.file], _dialect(config)) from None
    for line in found.in_words(str(options.file)):
        say(line)


def one_run(config: Config, run_dir: Path) -> Run:
    """The run of a directory, which must not be several."""
    run = load(run_dir)
    if run.model is None:
        kind, numbers = config.several or ("", (0,))
        best = [name for row in of_summary(run.summary)[:1] for name in row.runs]
        one = run_dir / next(iter(best), f"{kind}-{min(numbers)}")
        raise InputError(f"{run_dir} holds several {kind}s, each a run of its own; name one, as {one}")
    return run


def _dialect(config: Config) -> Dialect:
    return getattr(config.data, "dialect", Dialect())


class _Block(NamedTuple):
    """So many rows: the columns that are needed, and those to keep as they stand."""

    first_row: int
    table: Any
    kept: Any


def _in_order(function: Callable[[_Block], _Predicted], blocks: Iterator[_Block]) -> Iterator[_Predicted]:
    """What the function gives of each block, in their order, several at once; an error of reading is after them."""
    at_once, waiting, error = min(processors(), _AT_ONCE), deque[Future[_Predicted]](), None
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            try:
                block = next(blocks, None)
            except InputError as failed:
                block, error = None, failed
            if block:
                waiting.append(pool.submit(function, block))
            while waiting and (block is None or len(waiting) > at_once):
                yield waiting.popleft().result()
            if block is None:
                break
    if error:
        raise error


def _blocks(run: Run, path: Path, keep: list[str]) -> Iterator[_Block]:
    model: Any = run.model
    if model.schema and model.schema.columns:
        types = model.schema.types
    else:
        types = {name: pa.float64() for name in model.input_names}
    if not types:
        raise InputError(f"this run was trained on arrays without names: give a .npy file of (n, {run.net.widths[0]})")
    dialect = _dialect(run.config)

    def read(types: dict[str, Any], names: list[str]) -> Iterator[Any]:
        return _of_rows(files.read_blocks(path, dialect, types, names, whole=False), path)

    texts = dict.fromkeys(keep, pa.string())
    pairs: Iterator[tuple[Any, Any]]
    if not set(keep) & set(types):
        pairs = ((table, table) for table in read(types | texts, [*types, *keep]))
    elif path.is_file():
        pairs = zip(read(types, list(types)), read(texts, keep), strict=True)
    else:
        raise InputError(
            f"--keep {keep[0]}: {path} can be read once only, and inputs are kept: write it to a file first"
        )
    for k, (table, kept) in enumerate(pairs):
        yield _Block(k * _ROWS, files.clean(path, dialect, table), kept)


def _of_rows(blocks: Iterator[Any], path: Path) -> Iterator[Any]:
    """The same rows in tables of _ROWS."""
    waiting: list[Any] = []
    count = 0
    for block in blocks:
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
    """A function that writes columns by name behind those before them; a file is there once all are written."""
    if path is None:
        yield from _csv_writer(sys.stdout)
        return
    is_csv = path.suffix == ".csv" or is_stream(path)  # which has no name that says it
    if not is_csv and path.suffix != ".parquet":
        raise InputError(f"--output must end in .csv or .parquet; got {path}")
    with written_where_told(path) as file:
        if is_csv:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            yield from _csv_writer(text)
            text.detach()
            return
        with ExitStack() as opened:
            writers: list[Any] = []

            def write(columns: dict[str, Any]) -> None:
                table = pa.table(columns)
                if not writers:
                    writers.append(opened.enter_context(parquet.ParquetWriter(file, table.schema)))
                writers[0].write_table(table)

            yield write


def _csv_writer(stream: TextIO) -> Iterator[Callable[[dict[str, Any]], None]]:
    # a person sees what would be orders to a terminal; a program gets the words as they are
    seen: Any = SimpleNamespace(write=lambda text: stream.write(escaped(text))) if stream.isatty() else stream
    writer = csv.writer(seen, lineterminator="\n")
    has_header: list[bool] = []
    changed = 0

    def cells(values: Any) -> list[Any]:
        """Numbers have as many digits as read back to the same bits of their type; words are no formulas."""
        nonlocal changed
        if isinstance(values, np.ndarray) and values.dtype != object:
            return list((values.astype(str) if values.dtype == np.float32 else values).tolist())
        words = values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
        found = [*map(no_formula, words)]
        changed += sum(one is not other for one, other in zip(words, found, strict=True))
        return found

    def write(columns: dict[str, Any]) -> None:
        if not has_header:
            writer.writerow(cells(np.array([*columns], object)))
            has_header.append(True)
        writer.writerows(zip(*map(cells, columns.values()), strict=True))

    yield write
    if changed:
        say(f"cells that a spreadsheet would take for formulas got an apostrophe, {changed:,}; Parquet needs none")
