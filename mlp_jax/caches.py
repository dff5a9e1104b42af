"""A folder in which nobody else can have put anything: what is kept in it is run and learned without a look."""

import os
import platform
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any


def of_user() -> Path | None:
    """The folder of this user, in which each kind of cache has its own; None of a user without a home."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "mlp_jax"
    return own if own.parts[0] != "~" else None


def file_of_user(name: str) -> Path | None:
    """The file of this name in that folder, if nobody else can have put it there; by machine."""
    own = of_user()
    return own / f"{platform.node()}-{name}" if own and is_private(own) else None


def is_private(folder: Path) -> bool:
    """Make the folder for this user alone, if it is not there; whether it and all in it are the user's own."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not hasattr(os, "geteuid"):  # Windows, where a home is its user's
            return True
        status = folder.stat()
        return _is_own(status, writable_by_others=False) and _are_own(folder, _is_closed(status))
    except OSError:
        return False


@cache  # once for each: it stays
def heal(folder: Path) -> None:
    """From now on, remove a compiled program that cannot be read, as one that a full disk cut: JAX would keep it."""
    show = warnings.showwarning

    def heal_or_show(message: Any, *where: Any, **more: Any) -> None:
        damaged = re.match(r"Error reading persistent compilation cache entry for '(\w+)'", str(message))
        if not damaged:
            show(message, *where, **more)
        for file in folder.glob(f"{damaged[1]}-*") if damaged else ():
            file.unlink(missing_ok=True)

    warnings.showwarning = heal_or_show


def _are_own(folder: Path | str, is_closed: bool) -> bool:
    """Whether all within a folder is the user's own; where others cannot enter, it does not matter what they may."""
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat()
            if not _is_own(status, writable_by_others=is_closed):
                return False
            if entry.is_dir() and not _are_own(entry.path, is_closed or _is_closed(status)):
                return False
    return True


def _is_own(status: os.stat_result, writable_by_others: bool) -> bool:
    return status.st_uid == os.geteuid() and (writable_by_others or not status.st_mode & 0o022)


def _is_closed(status: os.stat_result) -> bool:
    return not status.st_mode & 0o077
