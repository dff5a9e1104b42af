"""Inputs of an estimator: arrays as scikit-learn checks them, frames with words or missing cells read by `tables`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_y, check_consistent_length, validate_data

from mlp_jax.tables.frames import as_table, is_frame
from mlp_jax.tables.schema import Schema, learn
from mlp_jax.tables.sources import FrameData

Array = NDArray[Any]
_ARRAYS: dict[str, Any] = {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32)}


class Inputs(NamedTuple):
    """Rows of a table, or of an array; a schema, where there is one, makes an array of a table."""

    cells: Any
    is_table: bool

    def learned(self, rows: Array) -> Schema | None:
        """What the columns of a table are, as these rows show it; None of an array."""
        if not self.is_table:
            return None
        nothing = "_".join(["target", *self.cells.column_names])  # a name that no column has
        return learn(self.cells, rows, FrameData(source="frame", target=nothing), (), "X").schema

    def encoded(self, schema: Schema | None) -> Array:
        """The array x (n, d) that a network takes."""
        if schema is not None:
            return schema.encode(self.cells, "float32", "X")
        return np.asarray(self.cells.toarray() if hasattr(self.cells, "toarray") else self.cells)


def read(estimator: Any, X: Any, y: Any, schema: Schema | None, reset: bool) -> tuple[Inputs, Array]:
    """Inputs and targets to train on, checked.

    `reset` makes the number and the names of the columns those of X; else they are read as before, by the schema.

    Raises:
        ValueError: as scikit-learn's estimators do.
    """
    if needs_tables(X) if reset else schema is not None:
        inputs = _table(X, schema)
        validate_data(estimator, X, y, reset=reset, skip_check_array=True)
        check_consistent_length(X, y)
        return inputs, _check_y(y, multi_output=True, estimator=estimator)
    X, y = validate_data(estimator, X, y, multi_output=True, reset=reset, **_ARRAYS)
    return Inputs(X, False), y


def read_again(estimator: Any, X: Any, schema: Schema | None) -> Array:
    """The array x (n, d) of inputs of which a fitted estimator is to predict.

    Raises:
        ValueError: as scikit-learn's estimators do, or a column is missing.
    """
    if schema is not None:
        return _table(X, schema).encoded(schema)
    return Inputs(validate_data(estimator, X, reset=False, **_ARRAYS), False).encoded(None)


def needs_tables(X: Any) -> bool:
    """Whether it is a frame with words, dates or missing cells, which scikit-learn would refuse."""
    if not is_frame(X):
        return False
    cells = np.asarray(X)
    return cells.dtype.kind not in "fiub" or (cells.dtype.kind == "f" and bool(np.isnan(cells).any()))


def _table(X: Any, schema: Schema | None) -> Inputs:
    if schema is not None and not is_frame(X):
        raise ValueError(f"X must be a frame with the columns {', '.join(column.name for column in schema.used)}")
    return Inputs(as_table(X, "X"), True)
