"""Files: read as what they are, and written so that a crash, a full disk or a link that somebody laid loses nothing."""

import contextlib
import errno
import os
import secrets
import stat
import weakref
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mlp_jax.errors import InputError

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_LARGEST_TEXT = 2**28  # bytes: records of a million epochs
_BY_DESCRIPTOR = os.open in os.supports_dir_fd  # not on Windows, where paths are followed


_NO_LINK, _FOLDER, _ENTER, _NO_WAIT, _BINARY = (
    getattr(os, f"O_{name}", 0) for name in ("NOFOLLOW", "DIRECTORY", "PATH", "NONBLOCK", "BINARY")
)


class Place:
    """A file or a folder in a directory that may be somebody else's, of which only the directory itself may be a link.

    Each folder from there on is opened within the one before it, and a file within its folder, so that no link is
    followed, whoever lays one and when.

    Raises:
        InputError: of each method: there is a link in the way.
    """

    def __init__(self, name: str | Path, parent: "Place | None" = None) -> None:
        """A directory by its path; or what has a name in a folder, its `parent`."""
        self.name, self.parent = str(name), parent

    @staticmethod
    def of(path: "Path | Place") -> "Place":
        """A file that a person named, in whatever folder; or the place itself."""
        return path if isinstance(path, Place) else Place(path.name, Place(path.parent))

    def __fspath__(self) -> str:
        return os.path.join(self.parent, self.name) if self.parent else self.name

    __str__ = __fspath__

    def __truediv__(self, name: str) -> "Place":
        return Place(name, self)

    def beside(self, name: str) -> "Place":
        """Another one in the same folder."""
        return Place(name, self.parent)

    @contextlib.contextmanager
    def _in_folder(self) -> Iterator[tuple[str, int | None]]:
        """Its name in the folder that it is in, and the descriptor of that."""
        if _BY_DESCRIPTOR and self.parent:
            with contextlib.ExitStack() as opened:
                try:
                    folder = opened.enter_context(self.parent.as_folder())
                except PermissionError:  # it may be entered, if it may not be listed
                    folder = opened.enter_context(self.parent.as_folder(_ENTER))
                yield self.name, folder
        else:
            yield str(self), None

    @contextlib.contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        with self._in_folder() as (name, folder):
            try:
                descriptor = os.open(name, flags, 0o666, dir_fd=folder)
            except OSError as error:
                if flags & _NO_LINK and (status := self.status()) and stat.S_ISLNK(status.st_mode):
                    raise InputError(f"{self} is a link, which is not followed: put there what it leads to") from None
                raise OSError(error.errno, error.strerror, str(self)) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def as_folder(self, more: int = 0) -> contextlib.AbstractContextManager[int]:
        """The descriptor of the folder that it is."""
        return self._opened(_FOLDER | more | (_NO_LINK if self.parent else 0))

    @contextlib.contextmanager
    def open(self, mode: Literal["rb", "ab"] = "rb") -> Iterator[BinaryIO]:
        """The regular file that it is, to read, or to write at its end: no pipe is waited for.

        Raises:
            OSError: there is none; or it is to be written to, and has another name elsewhere.
        """
        flags = os.O_WRONLY | os.O_APPEND if mode == "ab" else os.O_RDONLY
        with self._opened(flags | _NO_LINK | _NO_WAIT | _BINARY) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", str(self))
            if mode == "ab" and status.st_nlink > 1:
                raise OSError(errno.EMLINK, "it is a file elsewhere, too (a hard link)", str(self))
            with open(descriptor, mode, closefd=False) as file:
                yield file

    @contextlib.contextmanager
    def named(self, is_folder: bool = False) -> Iterator[str]:
        """A name for who takes one: on Linux that of the open file or folder, whatever comes to stand in its place."""
        if is_folder and not _BY_DESCRIPTOR:
            yield str(self)
            return
        with self.as_folder() if is_folder else self.open() as opened:
            name = f"/proc/self/fd/{opened if isinstance(opened, int) else opened.fileno()}"
            yield name if os.path.exists(name) else str(self)

    def read(self) -> bytes:
        """The content of a file of text.

        Raises:
            OSError: as of `open`; or it is larger than any that a run writes.
        """
        with self.open() as file:
            content = file.read(_LARGEST_TEXT + 1)
        if len(content) > _LARGEST_TEXT:
            raise OSError(errno.EFBIG, f"it has more than {_LARGEST_TEXT:,} bytes", str(self))
        return content

    @contextlib.contextmanager
    def replaced(self, keeps: bool = False) -> Iterator[BinaryIO]:
        """A stream into a file that takes its name when all is written; of a link there, the place and not the target.

        Until then nobody can foretell its name. It `keeps` the mode of what was there, and if it may the owner.
        """
        with self._in_folder() as (name, folder):
            temporary = os.path.join(os.path.dirname(name), f".{self.name}.{secrets.token_hex(8)}.part")
            _being_written[temporary] = folder
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666, dir_fd=folder)
            except OSError as error:
                del _being_written[temporary]
                raise OSError(error.errno, error.strerror, str(self)) from None
            try:
                with open(descriptor, "wb") as file:
                    if keeps and os.chmod in os.supports_fd and (before := self.status()):
                        for owner in ((-1, before.st_gid), (before.st_uid, -1)):
                            with contextlib.suppress(OSError):
                                os.chown(file.fileno(), *owner)
                        os.chmod(file.fileno(), before.st_mode & 0o777)  # it runs as nobody else, as after a write
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            finally:
                del _being_written[temporary]
            with contextlib.suppress(OSError):  # so that the new name outlives a loss of power; not all systems can
                os.fsync(-1 if folder is None else folder)

    def status(self) -> os.stat_result | None:
        """What stands there, a link as such; None if nothing does."""
        try:
            with self._in_folder() as (name, folder):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self) -> bool:
        """Whether anything stands there."""
        return self.status() is not None

    def found(self, pattern: str) -> "list[Place]":
        """What is in the folder that it is under names of a pattern, in their order."""
        try:
            with self.as_folder() if _BY_DESCRIPTOR else contextlib.nullcontext(self) as folder:
                names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self / name for name in sorted(names) if fnmatchcase(name, pattern)]

    def unfinished(self) -> "list[Place]":
        """What kills have left of the file, or of those of its name, a pattern, that were being written."""
        return self.parent.found(f".{self.name}.{'[0-9a-f]' * 16}.part") if self.parent else []

    def make_folder(self) -> None:
        """Make the folder, unless it is there."""
        if not self.parent:
            return Path(self).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), self._in_folder() as (name, folder):
            os.mkdir(name, dir_fd=folder)

    def remove(self) -> None:
        """Remove the file, if it is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._in_folder() as (name, folder):
            os.unlink(name, dir_fd=folder)

    def remove_if_empty(self) -> None:
        """Remove the folder, if it is there."""
        with contextlib.suppress(OSError), self._in_folder() as (name, folder):
            os.rmdir(name, dir_fd=folder)


_being_written: dict[str, int | None] = {}  # temporary names, and the descriptor of their folder


def remove_what_is_being_written() -> None:
    """Where the process ends at once, and no block of a `with` is left in order."""
    for temporary, folder in _being_written.items():
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)


def write_atomically(path: Path | Place, content: bytes) -> None:
    """Write a file that is there whole or, after a crash or on a full disk, as it was before."""
    with Place.of(path).replaced() as file:
        file.write(content)


@contextlib.contextmanager
def written_where_told(path: Path | Place) -> Iterator[BinaryIO]:
    """A stream into the file that a person named, as by `>`: through links, and into a pipe or a device as it is.

    A regular file is replaced whole, and keeps its mode. In a `Place`, which nobody named, no link is followed.
    """
    if isinstance(path, Place):
        file: contextlib.AbstractContextManager[BinaryIO] = path.replaced()
    else:
        file = path.open("wb") if is_stream(path) else Place.of(Path(os.path.realpath(path))).replaced(keeps=True)
    with file as stream:
        yield stream


class Lock:
    """A lock on a folder, to read what is in it together with others, or to write it alone; even kill -9 ends it."""

    def __init__(self, folder: Place) -> None:
        with folder.as_folder() if fcntl else contextlib.nullcontext(0) as descriptor:
            self._descriptor = os.dup(descriptor)
        self.release = weakref.finalize(self, os.close, self._descriptor)

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


def is_stream(path: Path) -> bool:
    """Whether this is no regular file, or one that is open already, as what /dev/stdout leads to."""
    return path.exists() and (not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",)))
