"""One training on several devices: the same result within rounding, and where asked for the same bits."""

import json
import os
import subprocess
import sys

import jax
import pytest
from runs import iris

from mlp_jax.errors import InputError
from mlp_jax.training import fit

# In a process of its own, for JAX counts its devices once.
SCRIPT = """
import ast, json, sys
from runs import digest, iris
from mlp_jax.training import fit

found = {}
for name, changes, options in ast.literal_eval(sys.argv[1]):
    run = fit(iris(**changes), **options)
    found[name] = digest(run), float(run.params[0].W[0, 0])
print(json.dumps(found))
"""
WAYS = {
    "plain": {},
    "all": {
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "network": {"widths": (4, 8, 8, 3), "hidden": "tanh", "skip": True, "output": "softmax",
                    "penalty": {"l2": 1e-3}, "class_weights": "balanced", "label_smoothing": 0.1},
        "training__watch": True, "training__ema": 0.9, "training__clip_norm": 1.0, "training__microbatches": 2,
        "training__batch_size": 20, "training__early_stopping": {"patience": 3},
    },
}  # fmt: skip


def trained(runs):
    """Digest of weights, records and results, and one weight, of each (name, changes, options), on four devices."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, "-c", SCRIPT, repr(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.path.dirname(__file__), env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", [pytest.param("plain", marks=pytest.mark.slow), "all"])
def test_the_bits_are_the_same_on_each_number_of_devices_where_asked_for(way):
    changes = {"training__epochs": 3, **WAYS[way]}

    def on(devices, over):
        return {**changes, "training__devices": devices, **({"training__reproducible_over": over} if over else {})}

    found = trained([[f"{n} {over}", on(n, over), {}] for n, over in ((1, 4), ("all", 4), (1, 0), (4, 0))])
    assert found["1 4"] == found["all 4"]
    assert found["1 0"][1] == pytest.approx(found["4 0"][1], rel=1e-4)
    assert found["1 0"][1] == pytest.approx(found["1 4"][1], rel=1e-4)


def test_a_run_goes_on_with_another_number_of_devices(tmp_path):
    def on(devices, epochs):
        return {"training__epochs": epochs, "training__devices": devices, "training__reproducible_over": 4}

    parts = {"run_dir": str(tmp_path / "parts")}
    found = trained([
        ["whole", on(1, 4), {}],
        ["first", on(4, 2), parts],
        ["parts", on(2, 4), {**parts, "resume": True}],
    ])  # fmt: skip
    assert found["parts"] == found["whole"] != found["first"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 64}, "training.devices is 64, and there is 1 .*xla_force_host_platform_device_count"),
        ({"reproducible_over": 64}, "reproducible_over is 64, more than the 16 examples of a minibatch"),
    ],
)
@pytest.mark.skipif(jax.device_count() > 1, reason="of a machine with one device")
def test_devices_that_there_are_not_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fit(iris(**{f"training__{key}": value for key, value in changes.items()}))


def test_devices_that_cannot_share_equally_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(InputError, match="reproducible_over is 4, which 3 devices cannot share equally"):
        fit(iris(training__devices="all", training__reproducible_over=4))
