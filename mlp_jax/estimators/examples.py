"""Examples of an estimator, split and encoded, as `mlp_jax.training.fit` takes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from mlp_jax.estimators.inputs import Inputs
from mlp_jax.tables.preparation import Ends, Examples, Prepared, Scaling, fingerprint
from mlp_jax.tables.schema import Schema

Array = NDArray[Any]


def split(
    y: Array, weights: Array | None, held_out: float | None, is_classifier: bool, random: Any
) -> dict[str, Array]:
    """The rows of each part; those of weight 0 are in none. `held_out` is the share of a validation part, if any.

    Raises:
        ValueError: a part is too small, or no row counts.
    """
    rows = np.arange(len(y)) if weights is None else np.flatnonzero(weights)
    if not len(rows):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if held_out is None:
        return {"train": rows}
    of_two_classes = is_classifier and y.ndim == 2 and y.shape[1] == 1  # others are not stratified, as in scikit-learn
    strata = y[rows].astype(bool) if of_two_classes else None
    train, validation = train_test_split(rows, test_size=held_out, stratify=strata, random_state=random)
    if len(validation) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return {"train": train, "validation": validation}


def prepare(
    inputs: Inputs, schema: Schema | None, y: Array, outputs: int, output: Any, rows: dict[str, Array],
    weights: Array | None,
) -> Prepared:  # fmt: skip
    """The parts of the examples, neither inputs nor targets standardised: coefficients are those of the data.

    `outputs` is the number of targets or classes, `output` their unit as a configuration gives it.
    """
    x = inputs.encoded(schema)
    parts = {part: Examples(x[chosen], y[chosen]) for part, chosen in rows.items()}
    of_rows = None if weights is None else {part: weights[chosen] for part, chosen in rows.items()}
    looked_up = tuple(len(column.inputs) for column in schema.looked_up) if schema else ()
    name = output["name"] if isinstance(output, dict) else output
    width = len(schema.inputs) if schema else x.shape[1]
    return Prepared(
        "the examples", parts, _identity(x.shape[1:]), _identity(y.shape[1:]), (), (), fingerprint([x, y]),
        Ends(width, outputs, name, False, looked_up), weights=of_rows,
    )  # fmt: skip


def _identity(shape: tuple[int, ...]) -> Scaling:
    return Scaling(np.zeros(shape), np.ones(shape))
