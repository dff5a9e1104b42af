"""Writing files so that a crash or a full disk loses nothing."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or, after a crash or on a full disk, as it was before."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
