"""The estimators beside scikit-learn's, with the same arguments, on the same rows: scores and seconds over five seeds.

It needs pandas, scikit-learn, and for the tables the packages whose files it reads, found on the path, which need not
be importable; a table that is not there is left out:

    pip install --no-deps --target packages ISLP palmerpenguins
    PYTHONPATH=packages scripts/run python scripts/compare_estimators.py
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from compare_tables import TABLES, Table, where
from sklearn import datasets, neural_network
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlp_jax import estimators

BUNDLED = {"digits": True, "iris": True, "wine": True, "breast_cancer": True, "diabetes": False}
FILES = {"penguins.csv": True, "Default.csv": True, "OJ.csv": True, "Auto.csv": False, "Credit.csv": False}
GRID = {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": [1e-3, 1e-2]}
FOLDS = 4


class Set(NamedTuple):
    """Encoded inputs and targets of the training and the test part."""

    name: str
    has_classes: bool
    parts: tuple[Any, Any, Any, Any]


def sets() -> Iterator[Set]:
    """The bundled sets, and the tables that are there."""
    for name, has_classes in BUNDLED.items():
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield _split(name, has_classes, x, y, StandardScaler())
    with tempfile.TemporaryDirectory() as folder:
        for table in TABLES:
            name = Path(table.file).name
            if name in FILES and (path := where(table, Path(folder))):
                yield _of_file(table, path, FILES[name])


def _of_file(table: Table, path: Path, has_classes: bool) -> Set:
    frame = pd.read_csv(path).dropna(subset=[table.target])
    frame = frame.drop(columns=["name"], errors="ignore")
    y = frame.pop(table.target)
    numbers = frame.select_dtypes("number").columns
    encoder = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(numbers)),
        ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [c for c in frame if c not in numbers]),
    ])  # fmt: skip
    return _split(path.stem, has_classes, frame, y.astype(str) if has_classes else y, encoder)


def _split(name: str, has_classes: bool, x: Any, y: Any, encoder: Any) -> Set:
    y = np.asarray(y, object if has_classes and np.asarray(y).dtype.kind in "OU" else None)
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=0.3, random_state=0, stratify=y if has_classes else None
    )
    if not has_classes:
        mean, deviation = train_y.mean(), train_y.std()
        train_y, test_y = (train_y - mean) / deviation, (test_y - mean) / deviation
    return Set(name, has_classes, (encoder.fit_transform(train_x), encoder.transform(test_x), train_y, test_y))


def fits(module: Any, of: Set, seeds: int) -> tuple[list[float], list[float]]:
    """Scores on the test part and seconds of each seed, all other arguments the defaults."""
    kind = module.MLPClassifier if of.has_classes else module.MLPRegressor
    x, test_x, y, test_y = of.parts
    scores, seconds = [], []
    for seed in range(seeds):
        started = time.perf_counter()
        model = kind(random_state=seed).fit(x, y)
        seconds.append(time.perf_counter() - started)
        scores.append(float(model.score(test_x, test_y)))
    return scores, seconds


def search(module: Any) -> tuple[float, float]:
    """Seconds of a search of 24 fits on the digits, and its best score."""
    x, y = datasets.load_digits(return_X_y=True)
    started = time.perf_counter()
    found = GridSearchCV(module.MLPClassifier(random_state=0), GRID, cv=FOLDS, refit=False).fit(x / 16, y)
    return time.perf_counter() - started, found.best_score_


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    modules = {"scikit-learn": neural_network, "mlp_jax": estimators}
    print("| data | score: scikit-learn | score: mlp_jax | seconds: scikit-learn | mlp_jax, first fit | next fits |")
    print("| --- | --- | --- | --- | --- | --- |")
    for of in sets():
        (theirs, seconds), (ours, our_seconds) = (fits(module, of, seeds) for module in modules.values())
        of_scores = (f"{np.mean(scores):.3f} ± {np.std(scores):.3f}" for scores in (theirs, ours))
        of_times = (f"{s:.2f}" for s in (np.median(seconds), our_seconds[0], np.median(our_seconds[1:])))
        print(f"| {of.name} | {' | '.join((*of_scores, *of_times))} |", flush=True)
    for name, module in modules.items():
        took, score = search(module)
        print(f"\n24 fits of a grid search on the digits, {name}: {took:.1f} s, best score {score:.4f}")


if __name__ == "__main__":
    main()
