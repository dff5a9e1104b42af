"""A folder in which nobody else can have put anything: what is kept in it is run and learned without a look."""

import os
import re
import stat
import warnings
from functools import cache
from pathlib import Path
from typing import Any


def is_private(folder: Path) -> bool:
    """Make the folder for this user alone, if it is not there; whether it and all in it are the user's own."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not hasattr(os, "geteuid"):  # Windows, where a home is its user's
            return True
        status = folder.stat()
        above = folder.resolve().parents[:-1]  # in which others could put another folder in its place
        return all(map(_is_kept, above)) and _is_own(status, False) and _are_own(folder, _is_closed(status))
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


def _is_kept(folder: Path) -> bool:
    """Whether only this user and the administrator decide what is in a folder; a group of one's own is oneself."""
    status = folder.stat()
    others = 0o002 if status.st_gid == os.getegid() else 0o022
    return status.st_uid in (0, os.geteuid()) and (not status.st_mode & others or bool(status.st_mode & stat.S_ISVTX))


def _is_own(status: os.stat_result, writable_by_others: bool) -> bool:
    return status.st_uid == os.geteuid() and (writable_by_others or not status.st_mode & 0o022)


def _is_closed(status: os.stat_result) -> bool:
    return not status.st_mode & 0o077
