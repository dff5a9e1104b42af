"""What a result depends on besides the configuration and the data: versions, device, flags, the state of the code."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax


def environment() -> dict[str, Any]:
    """Device, versions, flags of XLA and JAX, and the commit of the folder in which the command was given."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processors": processors(),
        "versions": _versions(),
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "flags": {name: value for name, value in sorted(os.environ.items()) if name.startswith(("XLA_", "JAX_"))},
        "git": git_state(Path.cwd()),
    }


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _versions() -> dict[str, str]:
    names = ("mlp_jax", "jax", "jaxlib", "optax", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@cache
def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether files differ from it; None outside a repository."""
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None or changes is None else {"commit": commit, "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
