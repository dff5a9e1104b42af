"""Tables through the command line beside scripts of scikit-learn and onnxruntime: new ones, and rows to predict."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.commands import process
from benchmarks.timing import Table, compare

CONFIG = """
data: {{path: {name}.csv, target: label, split: {{validation: 0, test: 0.3}}}}
network: {{hidden_widths: [32]}}
training: {{epochs: {epochs}, batch_size: 32}}
"""
SKLEARN = """
import pickle, sys, warnings
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
warnings.simplefilter("ignore")
table, epochs = pd.read_csv(sys.argv[1]), int(sys.argv[2])
x, x_test, y, y_test = train_test_split(table, table.pop("label"), test_size=0.3, random_state=0)
columns = make_column_transformer(
    (StandardScaler(), make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
)
network = MLPClassifier((32,), batch_size=32, max_iter=epochs, n_iter_no_change=epochs, random_state=0)
model = make_pipeline(columns, network).fit(x, y)
print(model.score(x_test, y_test))
pickle.dump(model, open(sys.argv[3], "wb"))
"""
SKLEARN_PREDICTS = """
import pickle, sys
import pandas as pd
new, out = sys.argv[2:]
model = pickle.load(open(sys.argv[1], "rb"))
p = model.predict_proba(pd.read_parquet(new))
found = pd.DataFrame(p, columns=[f"p({name})" for name in model.classes_])
found.insert(0, "label", model.classes_[p.argmax(1)])
found.to_csv(out, index=False) if out.endswith(".csv") else found.to_parquet(out)
"""
ONNXRUNTIME_PREDICTS = """
import sys
import numpy as np, onnxruntime, pyarrow as pa, pyarrow.csv, pyarrow.parquet
new, out = sys.argv[2:]
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
table = pa.parquet.read_table(new)
found = session.run(None, {i.name: table[i.name].to_numpy().astype(np.float64) for i in session.get_inputs()})
found = pa.table(dict(zip([o.name for o in session.get_outputs()], found)))
pa.csv.write_csv(found, out) if out.endswith(".csv") else pa.parquet.write_table(found, out)
"""


def _write(path: Path, rows: int, numbers: int, words: int = 0) -> None:
    """A table whose label follows from its numbers and words."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, numbers), np.float32)
    codes = rng.integers(0, 4, (words, rows))
    columns = {f"x{k}": x[:, k] for k in range(numbers)}
    columns |= {f"c{k}": np.array(["red", "green", "blue", "grey"])[code] for k, code in enumerate(codes)}
    score = x[:, 0] * x[:, 1] + x[:, 2] + (codes == 1).sum(axis=0)
    table = pa.table({**columns, "label": np.array(["no", "maybe", "yes"])[np.digitize(score, [0.0, 1.0])]})
    parquet.write_table(table, path) if path.suffix == ".parquet" else csv.write_csv(table, path)


@contextmanager
def _trained(
    rows: int, epochs: int, numbers: int, words: int = 0
) -> Iterator[tuple[str, dict[str, Callable[[], float]]]]:
    """A folder with a table, and what trains on it there: whole processes."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "table.csv"), rows, numbers, words)
        Path(folder, "table.yaml").write_text(CONFIG.format(name="table", epochs=epochs))
        command = ["-m", "mlp_jax", "train", f"{folder}/table.yaml", "--run-dir", f"{folder}/run", "--overwrite"]
        yield (
            folder,
            {
                "mlp-jax train, cold": partial(process, *command),
                "mlp-jax train, warm compilation cache": partial(process, *command, cache=folder),
                "scikit-learn script": partial(
                    process, "-c", SKLEARN, f"{folder}/table.csv", str(epochs), f"{folder}/pickle"
                ),
            },
        )


def new_tables() -> Iterator[Table]:
    """Training on tables that nothing has been compiled for."""
    for rows, numbers, words in ((200, 6, 3), (1_000, 12, 4), (5_000, 20, 6)):
        with _trained(rows, 50, numbers, words) as (_, training):
            title = f"seconds, whole process, a table of {rows:,} × {numbers + words}, 50 epochs"
            yield compare(title, 1.0, training, rounds=5)


def predictions(rows: int = 10**6) -> Iterator[Table]:
    """Predicting the rows of a Parquet file, 64 numbers each, in three classes, to Parquet and to CSV."""
    with _trained(5_000, 1, 64) as (folder, training):
        for train in training.values():
            train()
        process("-m", "mlp_jax", "export", f"{folder}/run", f"{folder}/model.onnx")
        new = f"{folder}/new.parquet"
        _write(Path(new), rows, 64)
        for suffix in ("parquet", "csv"):
            out = f"{folder}/predictions.{suffix}"
            predict = ["-m", "mlp_jax", "predict", f"{folder}/run", new, "--output", out]
            runs: dict[str, Callable[[], float]] = {
                "mlp-jax predict": partial(process, *predict, cache=folder),
                "scikit-learn script": partial(process, "-c", SKLEARN_PREDICTS, f"{folder}/pickle", new, out),
                "onnxruntime script": partial(process, "-c", ONNXRUNTIME_PREDICTS, f"{folder}/model.onnx", new, out),
            }
            yield compare(f"seconds, whole process, {rows:,} rows × 64 to {suffix}", 1.0, runs, rounds=5)


def tables() -> list[Table]:
    """All of them."""
    return [*new_tables(), *predictions()]
