"""Strict JAX for all tests: nothing promotes ranks or dtypes in silence; float64 where a test asks for it."""

import gc
import os
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from compilation import compile_soon

from mlp_jax import cli

# Python's collector walks all that JAX has cached: less often, the suite took 582 s and not 633, in one run of each.
gc.set_threshold(100_000, 20, 50)

CACHES = Path(__file__).parent.parent / ".pytest_cache"
# What one worker of a run, or a process that a test starts, has compiled, the others and the next run need not: also in
# another folder, but for a path that JAX gives to XLA's cache of GPUs, which counts as a part of each program.
KEPT = {
    "jax_compilation_cache_dir": str(CACHES / "jax"),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",
}
for name, value in KEPT.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

os.environ["XDG_CACHE_HOME"] = str(CACHES / "commands")  # so do the commands that tests start
compile_soon()


@pytest.fixture
def usual_promotion():
    """JAX's usual promotion, for tests of training: optax multiplies its step count, an integer, with decay rates."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def x64():
    """Float64 for one test; the process is left as it was."""
    with jax.enable_x64(True):
        yield


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """`mlp-jax …` in an empty folder, in this process: sooner than in one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)

    def run(*arguments):
        capsys.readouterr()
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as end:  # of argparse
            status = end.code
        return Done(status, *capsys.readouterr())

    return run
