"""A folder in which nobody else can have put anything: what is kept in it is run and learned without a look."""

import os
import platform
import re
import stat
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
        others = 0o022 if folder.stat().st_mode & 0o077 else 0  # where they cannot enter, it matters not what they may
        within = (os.path.join(place, name) for place, *both in os.walk(folder) for found in both for name in found)
        above = folder.resolve().parents[:-1]
        return all(map(_is_kept, above)) and all(_is_own(path, others) for path in (folder, *within))
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


def _is_kept(folder: Path) -> bool:
    """Whether nobody but this user and the administrator can put another in the place of what is in a folder."""
    status = folder.stat()
    others = 0o002 if status.st_gid == os.getegid() else 0o022  # a group of one's own is oneself
    return status.st_uid in (0, os.geteuid()) and bool(status.st_mode & stat.S_ISVTX or not status.st_mode & others)


def _is_own(path: Any, others: int) -> bool:
    status = os.stat(path)
    return status.st_uid == os.geteuid() and not status.st_mode & others
