"""What a result depends on besides the configuration and the data: versions, device, flags, the state of the code."""

import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import mlp_jax
from mlp_jax.guest import settings

KEYS = ("device", "processors", "versions", "x64", "settings", "flags", "git")  # of what `environment` gives
_OF_COMPILERS = ("JAX_", "XLA_", "LIBTPU_", "NVIDIA_TF32", "CUBLAS_")  # variables, by how they begin
# Neither to list what changed, nor after it, nor to fetch objects that a partial clone lacks.
_NO_PROGRAMS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}")
_NO_FETCH = {"GIT_ALLOW_PROTOCOL": ""}  # stronger than a protocol.ext.allow of the repository


def environment() -> dict[str, Any]:
    """Device, versions, settings and flags of XLA and JAX, and the commit of the folder in which it runs."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processors": processors(),
        "versions": _versions(),
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "settings": settings(),
        "flags": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_OF_COMPILERS)},
        "git": git_state(Path.cwd()),
    }


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _versions() -> dict[str, str]:
    ours = {"python": platform.python_version(), "mlp_jax": mlp_jax.__version__}  # it may run from a folder
    return {**ours, **{name: version(name) for name in ("jax", "jaxlib", "optax", "numpy")}}


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether files differ from it; None outside a repository.

    The folder may be a stranger's, whose `.git/config` names programs: none is run, and nothing is written.
    """
    listed = _git(folder, (), "config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    names = [name for name in (listed or "").split("\0") if name]
    if any("=" in name for name in names):  # such a filter cannot be switched off
        return None
    no_filters = [f"{name}={'false' if name.endswith('.required') else ''}" for name in names]
    status = "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty"
    lines = (_git(folder, no_filters, *status) or "").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if commit == "(initial)":
        return None
    return {"commit": commit, "changed": any(not line.startswith("#") for line in lines)}


def _git(folder: Path, settings: Iterable[str], *arguments: str) -> str | None:
    """What git says, under settings that go before those of the repository."""
    before = [word for setting in (*_NO_PROGRAMS, *settings) for word in ("-c", setting)]
    command = ["git", "--no-optional-locks", *before, *arguments]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 5}
    try:
        done = subprocess.run(command, cwd=folder, env=os.environ | _NO_FETCH, text=True, errors="replace", **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
