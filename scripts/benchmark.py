#!/usr/bin/env python
"""Time the library beside its peers; print tables, and write docs/benchmark.json and docs/benchmark.svg.

    scripts/run python scripts/benchmark.py [steps] [backward] [autodiff] [tape] [commands] [tabular]

steps: a training step of the trainer, with shuffling, records and progress, beside those of plain JAX, equinox,
flax.nnx, PyTorch, scikit-learn and NumPy (the extra `benchmark`; what is not installed is left out), and beside the
matrix products alone; ten seeds and 64 networks beside one. backward: Algorithm 6.4 beside jax.grad, by depth.
autodiff: the tracer beside jax.grad, autograd and torch. tape: what the backward pass knows of each example beside vmap
of jax.grad, folx and jax-privacy. commands: whole processes. tabular: those on new tables, and predictions of a million
rows.

Runs are interleaved; each figure is a median, each ratio the median over rounds with its range. Peers of `steps` run
each in a process of its own, with as many threads as there are cores (MLP_JAX_THREADS to change that).
"""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

THREADS = os.environ.get("MLP_JAX_THREADS", str(len(os.sched_getaffinity(0))))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS  # before numpy is imported, here and in the workers

import jax  # noqa: E402
from benchmarks import backward, commands, differentiation, tabular, tape, training  # noqa: E402
from benchmarks.timing import Table  # noqa: E402

DOCS = Path(__file__).parent.parent / "docs"
PACKAGES = (
    "jax", "numpy", "optax", "equinox", "flax", "torch", "scikit-learn", "autograd", "folx", "jax-privacy",
    "onnxruntime", "pyarrow", "pandas",
)  # fmt: skip
PARTS = {
    "steps": lambda: [
        *map(training.steps_of, (training.SMALL, training.MIDDLE, training.LARGE)),
        training.several_together(),
    ],
    "backward": backward.tables,
    "autodiff": differentiation.tables,
    "tape": tape.tables,
    "commands": commands.tables,
    "tabular": tabular.tables,
}


def machine() -> dict[str, Any]:
    """Where it ran, with what."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": int(THREADS),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """The model, and those of its instructions that matter for matrix products."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in found.get("flags", "").split()]
    return f"{found.get('model name', platform.machine())} ({', '.join(flags)})"


def draw(tables: list[Table], title: str) -> None:
    """The training steps as bars, to docs/benchmark.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for ax, table in zip(figure.subplots(1, len(tables)), tables, strict=True):
        rows = table.rows[::-1]
        ours = ["C1" if row.name.startswith("mlp_jax") else "0.6" if "alone" in row.name else "C0" for row in rows]
        ax.barh([row.name for row in rows], [row.median for row in rows], color=ours)
        ax.set(xlabel="µs a step")
        ax.set_title(table.title.partition(", ")[2], fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", labelsize=7)
    figure.suptitle(title, fontsize=9)
    figure.savefig(DOCS / "benchmark.svg")


def main() -> None:
    """Run the parts that were asked for, or all."""
    asked = sys.argv[1:] or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        sys.exit(f"benchmark.py: the parts are {', '.join(PARTS)}; got {', '.join(unknown)}")
    where = machine()
    print(json.dumps(where))
    file = DOCS / "benchmark.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for part in asked:
        tables = PARTS[part]()
        results[part] = {
            "machine": where,
            "tables": [{"title": table.title, "rows": [row._asdict() for row in table.rows]} for table in tables],
        }
        file.write_text(json.dumps(results, indent=1) + "\n")
        if part == "steps":
            draw(tables[:3], f"{where['processor']}, {where['cores']} cores, jax {where['versions']['jax']}")


if __name__ == "__main__":
    main()
