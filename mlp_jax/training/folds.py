"""Cross-validation: what each example was predicted as in the run that held it out."""

import csv
import io
from typing import Any

import numpy as np

from mlp_jax.tables.preparation import Prepared
from mlp_jax.tables.written import no_formula
from mlp_jax.training.prediction import predictions
from mlp_jax.training.run import Run


def as_table(rows: list[list[Any]]) -> str:
    """The rows of `held_out` of several folds as CSV, in the order of the examples."""
    text = io.StringIO()
    header, *others = rows
    written = [header, *sorted(row for row in others if row != header)]
    csv.writer(text, lineterminator="\n").writerows(map(no_formula, row) for row in written)
    return text.getvalue()


def held_out(run: Run, prepared: Prepared, k: int) -> list[list[Any]]:
    """The predictions for a fold, names first: the number of the row in its file, from 1, the fold and the targets."""
    assert run.model is not None
    assert prepared.rows is not None
    columns = predictions(run.config, run.model, prepared.parts["test"].x)
    numbers = (prepared.rows["test"] + 1).tolist()
    targets = prepared.schema.targets if prepared.schema else ()
    y = np.asarray(prepared.parts["test"].y)
    y = prepared.targets.undo(y) if y.ndim == 2 else y[:, None]
    true = {f"true {target.name}": target.cells(of) for target, of in zip(targets, y.T, strict=False)}
    cells = (*true.values(), *(values.tolist() for values in columns.values()))
    rows = zip(numbers, [k] * len(numbers), *cells, strict=True)
    return [["row", "fold", *true, *columns], *map(list, rows)]
