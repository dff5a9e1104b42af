"""Arrays of numbers or words in .npy and .npz files: a header says all of an array, and nothing in it is evaluated."""

import re
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 2**16
_DESCR = re.compile(r"'descr': *'([<>|=]?[biufcSUmM?]\d{0,9}(?:\[\d{0,9}\w{1,2}\])?)'")
_ORDER = re.compile(r"'fortran_order': *(True|False)")
_SHAPE = re.compile(r"'shape': *\(((?:\d{1,19}L?, *)*(?:\d{1,19}L?)?)\)")
_HEADER = re.compile(rf"\{{(?:(?:{_DESCR.pattern}|{_ORDER.pattern}|{_SHAPE.pattern})(?:, *)?){{3}}\}}\s*")


def load(path: Path) -> Any:
    """The array of a .npy file, or a dict of those of a .npz file; pickled objects are refused.

    Raises:
        InputError: it cannot be read, is damaged, or is another kind of file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            if head == _MAGIC:
                return _array(head + file.read())
            return _archive(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'not a numpy file'}") from None
    except MemoryError:
        raise InputError(f"cannot read {path}: it needs more memory than there is") from None
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # a NotImplementedError, which is a RuntimeError, of a zip file of another kind
        raise InputError(f"cannot read {path}: damaged, or not a numpy file of plain arrays ({error})") from None


def _archive(file: BinaryIO) -> dict[str, NDArray[Any]]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r} is packed in another way than numpy does")
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"{member.filename!r} is there twice")
            arrays[name] = _array(archive.read(member))
    return arrays


def _array(content: bytes) -> NDArray[Any]:
    """The array that a file holds.

    Raises:
        ValueError: it is none of plain numbers or words, or not whole.
    """
    if content[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it does not begin as a .npy file does")
    digits = {1: 2, 2: 4, 3: 4}.get(content[6] if len(content) > 6 else 0)
    if not digits:
        raise ValueError("it is of an unknown version")
    start = 8 + digits
    length = int.from_bytes(content[8:start], "little")
    header = content[start : start + min(length, _LONGEST_HEADER)].decode("latin-1")
    fields = [pattern.findall(header) for pattern in (_DESCR, _ORDER, _SHAPE)]
    if not _HEADER.fullmatch(header) or [len(found) for found in fields] != [1, 1, 1]:
        objects = "Object arrays cannot be read; " if re.search(r"'descr': *(\[|'[<>|=]?[OV])", header) else ""
        raise ValueError(f"{objects}its header is {header.strip()[:80]!r}")
    (descr,), (order,), (lengths,) = fields
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise ValueError(f"there is no type of numbers {descr!r}: {error}") from None
    shape: Any = tuple(int(n.rstrip("L")) for n in re.split(r", *", lengths) if n)
    if not dtype.itemsize and prod(shape):
        raise ValueError(f"{shape} words of no letter are nothing")
    needed, there = prod(shape) * dtype.itemsize, len(content) - start - length
    if needed != there:
        raise ValueError(f"{dtype} {shape} takes {needed:,} bytes, and there are {there:,}")
    if not needed:  # numpy reads nothing from nothing
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype, offset=start + length).reshape(shape, order="F" if order == "True" else "C")
