"""Arrays of numbers or words in .npy and .npz files."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import InputError


def load(path: Path) -> Any:
    """The array of a .npy file, or a dict of those of a .npz file; pickled objects are refused.

    Raises:
        InputError: it cannot be read, is damaged, or is another kind of file.
    """
    try:
        with path.open("rb") as file:
            found = np.load(file if file.seekable() else io.BytesIO(file.read()), allow_pickle=False)
            if isinstance(found, np.ndarray):
                return _plain(found)
            with found as archive:
                arrays = {name: _plain(archive[name]) for name in archive.files}
            if len(arrays) < len(archive.files):
                raise ValueError("an array is there twice")
            return arrays
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'not a numpy file'}") from None
    except MemoryError:
        raise InputError(f"cannot read {path}: it needs more memory than there is") from None
    except Exception as error:  # numpy raises whatever the parts of a damaged file meet: of tokens, types, archives
        raise InputError(f"cannot read {path}: damaged, or no numpy file of plain arrays ({error!s:.200})") from None


def _plain(found: Any) -> Any:
    if not isinstance(found, np.ndarray):
        raise ValueError("what it holds is no array")
    if found.size and not found.dtype.itemsize:
        raise ValueError(f"{found.shape} words of no letter are nothing")
    return found
