"""The whole command, from the shell, beside a script that trains the same network with scikit-learn."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.timing import Table, compare

CONFIG = Path(__file__).parents[2] / "configs" / "digits.yaml"
EPOCHS = 60
SKLEARN_SCRIPT = f"""
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
import warnings
warnings.simplefilter("ignore")
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, test_size=540, random_state=0)
scaler = StandardScaler().fit(x)
network = MLPClassifier((32,), batch_size=32, max_iter={EPOCHS}, n_iter_no_change={EPOCHS}, random_state=0)
network.fit(scaler.transform(x), y)
print(network.score(scaler.transform(x_test), y_test))
"""


def process(*command: str, cache: str | None = None, status: int = 0) -> float:
    """Seconds of a Python process; with a fresh folder for compiled programs, or the one given."""
    with tempfile.TemporaryDirectory() as fresh:
        environment = {**os.environ, "XDG_CACHE_HOME": cache or fresh}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or all that is not installed is compiled each time
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *command], capture_output=True, env=environment)
        taken = time.perf_counter() - started
    assert done.returncode == status, done.stderr.decode()
    return taken


def tables() -> list[Table]:
    """Training, warm and cold, and what needs no JAX."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "mlp_jax", "train", str(CONFIG), "--run-dir", f"{folder}/run", "--overwrite"]
        training: dict[str, Callable[[], float]] = {
            "mlp-jax train, warm compilation cache": partial(process, *command, cache=folder),
            "mlp-jax train, cold": partial(process, *command),
            "scikit-learn script": partial(process, "-c", SKLEARN_SCRIPT),
        }
        wrong = ["-m", "mlp_jax", "train", str(CONFIG), "--set", "training.epochs=0"]
        return [
            compare("seconds, whole process, configs/digits.yaml", 1.0, training, rounds=5),
            compare(
                "ms, whole process",
                1e-3,
                {
                    "mlp-jax --help": partial(process, "-m", "mlp_jax", "--help"),
                    "a mistake in the configuration": partial(process, *wrong, status=2),
                },
            ),
        ]
