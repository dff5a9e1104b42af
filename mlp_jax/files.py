"""Files: read as what they are, and written so that a crash, a full disk or a link that somebody laid loses nothing."""

import contextlib
import errno
import operator
import os
import secrets
import stat
import weakref
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

NO_FILE = "it is no regular file"
_LARGEST_TEXT = 2**28  # bytes: records of a million epochs


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or, after a crash or on a full disk, as it was before."""
    with replaced(path) as file:
        file.write(content)


@contextlib.contextmanager
def replaced(path: Path, keep_mode: bool = False) -> Iterator[BinaryIO]:
    """A stream into a file that takes its name when all is written; of a link there, the place and not the target.

    Until then it has a name that nobody can foretell, and is none that was there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            if keep_mode and path.exists() and os.chmod in os.supports_fd:
                os.chmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _keep_name(path.parent)


@contextlib.contextmanager
def written_where_told(path: Path) -> Iterator[BinaryIO]:
    """A stream into the file that a person named, as by `>`: through links, and into a pipe or a device as it is.

    A regular file is replaced whole, and keeps its mode.
    """
    if is_stream(path):
        with path.open("wb") as file:
            yield file
        return
    with replaced(path.resolve(), keep_mode=True) as file:
        yield file


class Lock:
    """A lock on a folder, to read what is in it together with others, or to write it alone; even kill -9 ends it."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY) if fcntl else -1
        self.release = weakref.finalize(self, _closed, self._descriptor)

    def taken(self, alone: bool) -> bool:
        """Whether nobody stands against it, as always on Windows and on a file system without locks."""
        if not fcntl:
            return True
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True


def _closed(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def unfinished(folder: Path, name: str) -> list[Path]:
    """What kills have left of a file, or of those of a pattern, that was being written."""
    return list(folder.glob(f".{name}.{'[0-9a-f]' * 16}.part"))


def require_regular(path: Path) -> None:
    """Raise an OSError where something stands that is no regular file: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, NO_FILE, str(path))


@contextlib.contextmanager
def opened_own(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """The descriptor of a regular file of a run: no link is followed, no pipe waited for, however it came there.

    Raises:
        OSError: there is none; it is a link, or no file; or it is to be written to, and has another name elsewhere.
    """
    guards = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    try:
        descriptor = os.open(path, reduce(operator.or_, guards, flags), 0o666)
    except OSError as error:
        raise OSError(error.errno, "it is a link", str(path)) if error.errno == errno.ELOOP else error from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, NO_FILE, str(path))
        if flags != os.O_RDONLY and status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a file elsewhere, too (a hard link)", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_own(path: Path) -> bytes:
    """The content of a file of a run that is text, `opened_own`.

    Raises:
        OSError: as there; or it is larger than any that a run writes.
    """
    with opened_own(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content = file.read(_LARGEST_TEXT + 1)
    if len(content) > _LARGEST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST_TEXT:,} bytes", str(path))
    return content


def is_stream(path: Path) -> bool:
    """Whether this is no regular file, or one that is open already, as what /dev/stdout leads to."""
    return path.exists() and (not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",)))


def _keep_name(folder: Path) -> None:
    """Write the folder, too, so that the new name outlives a loss of power; not all systems can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
