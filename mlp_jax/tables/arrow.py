"""pyarrow, imported when it is first used: what needs no table starts without it, and works where it is missing."""

from importlib import import_module
from typing import Any

from mlp_jax.errors import InputError


class _Module:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        try:
            found = getattr(import_module(self._name), attribute)
        except ImportError:
            raise InputError(
                "tables from files and frames are read by pyarrow, which is not installed: "
                "pip install 'mlp_jax[tables]'; .npz and .npy files, arrays and scikit-learn's sets need none"
            ) from None
        setattr(self, attribute, found)  # a table of many columns asks for it as often
        return found


pa: Any = _Module("pyarrow")
pc: Any = _Module("pyarrow.compute")
csv: Any = _Module("pyarrow.csv")
parquet: Any = _Module("pyarrow.parquet")
json: Any = _Module("pyarrow.json")
