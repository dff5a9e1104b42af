"""A run whose numbers leave their range says in which step, layer and quantity, and why."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import ByHand, iris, own_optimizer, points, read_metrics, train
from safetensors.numpy import load_file

from mlp_jax.errors import TrainingDiverged
from mlp_jax.tables.preparation import Examples
from mlp_jax.training import load
from mlp_jax.training.batches import shuffled_batches
from mlp_jax.training.fitting import fit

pytestmark = pytest.mark.usefixtures("usual_promotion")

# From the third epoch on, steps of 1e17.
EXPLODING = {
    "network": {"widths": (4, 8, 3), "output": "softmax", "hidden": "linear"},
    "optimizer": {"name": "sgd", "learning_rate": {"schedule": "exponential_decay", "init_value": 0.1,
                  "transition_steps": 14, "decay_rate": 1e18, "staircase": True}},
    "training__epochs": 50,
}  # fmt: skip


def diagnosis(run):
    return run.trainer.diagnosis(run.moment, run.batches)


def test_a_divergence_is_located_and_kept(tmp_path):
    config, run = iris(**EXPLODING), tmp_path / "run"
    with pytest.raises(TrainingDiverged) as caught:
        train(config, run)
    found = str(caught.value).partition(f". The report is {run}/crash/report.txt, the weights are those before")[0]
    assert found.startswith("epoch 3, step ")
    assert "layer 2, the pre-activations a2: " in found
    assert "of 48 entries; affine overflowed, of h1 from " in found
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["reason"], summary["epochs"]) == ("diverged", found, 2)
    assert len(read_metrics(run)) == 2
    assert all(np.isfinite(value).all() for value in load_file(run / "weights.safetensors").values())
    report = (run / "crash" / "report.txt").read_text().splitlines()
    assert report[0] == found
    step = int(found.split("step ")[1].split()[0])
    rows = shuffled_batches(0, 2, summary["examples"]["train"], 16)[step - 1].tolist()
    assert report[1] == f"The examples of that step, counted from 0 in the training part: {rows}"


def test_an_input_that_is_not_finite():
    run = ByHand(iris())
    x, y = run.trainer.parts["train"]
    run.trainer.parts["train"] = Examples(x.at[run.batches.of_step(0, 4)[0]].set(jnp.nan), y)
    assert run.advance(1000) == []
    assert run.moment.step == 4  # keeps the steps before
    before = run.moment
    run.advance(1000)
    assert run.moment is before
    assert diagnosis(run) == "epoch 1, step 5 of 7: the inputs x: 4 NaN of 64 entries"


def test_an_update_that_is_infinite_while_the_cost_is_finite(monkeypatch):
    def update(grads, count, params=None):  # from step 18 on, the first bias is −inf: its relu is dead
        bias = jnp.where(count >= 17, -jnp.inf, 0.0)
        zeros = jax.tree.map(jnp.zeros_like, grads)
        return (zeros[0]._replace(b=zeros[0].b.at[0].set(bias)), *zeros[1:]), count + 1

    own_optimizer(monkeypatch, lambda params: jnp.zeros((), int), update)
    run = ByHand(iris(training__epochs=9, network={"widths": (4, 8, 3), "output": "softmax"}))
    assert [record["epoch"] for record in run.advance(1000)] == [1, 2]
    assert run.moment.step == 17
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.params))
    assert diagnosis(run).startswith("epoch 3, step 4 of 7: layer 1, the update of b: 1 infinite of 8 entries")


@pytest.mark.parametrize(
    ("network", "scale", "message"),
    [
        (
            {"output": "poisson"},
            1e3,
            r"step 1 of 1: the cost of each example L: \d+ infinite of 20 entries; poisson_error overflowed",
        ),
        (
            {"hidden": "linear", "output": "linear"},
            1e25,
            "the cost of each example L: 20 infinite of 20 entries; squared_error",
        ),
    ],
    ids=["poisson", "squares"],
)
def test_the_cause_is_the_operation_that_left_the_range(network, scale, message, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 2)) * scale, np.ones((20, 1))
    config = points(tmp_path, x, y, **network).model_copy(deep=True)
    values = config.model_dump()
    values["data"] |= {"split": {"validation": 0.0, "test": 0.0}, "standardize_inputs": False}
    values["training"] |= {"batch_size": "all"}
    with pytest.raises(TrainingDiverged, match=message):
        train(type(config).model_validate(values), tmp_path / "run")


def test_an_optimizer_state_that_overflows_is_a_failure_though_training_would_go_on(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.ones((20, 1))
    config = points(tmp_path, x, y, output="poisson", initial_bias=60.0)
    config = type(config).model_validate(config.model_dump() | {"training": {"epochs": 4, "batch_size": "all"}})
    with pytest.raises(
        TrainingDiverged, match=r"the optimizer's state \S*nu\.0\.W: \d+ infinite of \d+ entries; squares of"
    ):
        fit(config)


def test_a_seed_that_diverges_is_reported_while_the_others_finish(tmp_path, monkeypatch):
    def update(grads, count, params=None):  # of seed 7 the first weight drawn is the larger one
        return jax.tree.map(
            lambda g: jnp.where((count >= 16) & (params[0].W[0, 0] > bound), jnp.inf, -0.1 * g), grads
        ), count + 1

    firsts = {seed: float(ByHand(iris(seed=seed)).params[0].W[0, 0]) for seed in (4, 7, 9)}
    worst = max(firsts, key=firsts.get)
    bound = sorted(firsts.values())[1]
    bound = (bound + firsts[worst]) / 2
    own_optimizer(monkeypatch, lambda params: jnp.zeros((), int), update)
    run = fit(iris(seeds=(4, 7, 9)), run_dir=tmp_path / "run")
    good = [seed for seed in (4, 7, 9) if seed != worst]
    assert {one.config.seed: one.summary["status"] for one in run.seeds} == {worst: "diverged"} | dict.fromkeys(
        good, "finished"
    )
    assert list(run.summary["diverged"]) == [str(worst)]
    assert run.summary["diverged"][str(worst)].startswith("epoch 3, step 3 of 7: layer 1, the update of W: 32 infinite")
    assert len(run.results["test"]["accuracy"]["seeds"]) == 2
    assert (tmp_path / "run" / f"seed-{worst}" / "crash" / "report.txt").exists()
    assert load(tmp_path / "run").summary == run.summary


def test_deep_networks_that_compute_as_one_loop_are_located_by_layer():
    run = ByHand(
        iris(
            network={
                "widths": (4, *[6] * 70, 3), "output": "softmax", "hidden": "linear", "initializer": "unit_normal"
            },
            optimizer={"name": "sgd", "learning_rate": 0.1},
        )
    )  # fmt: skip
    assert len(run.params) == 3
    run.params = jax.tree.map(lambda leaf: leaf * 10, run.params)
    assert run.advance(1) == []
    assert diagnosis(run).startswith("epoch 1, step 1 of 7: layer ")


def test_if_all_seeds_diverge_so_does_the_run(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"all 2 seeds diverged; seed 4: epoch 3, step \d of 7: layer \d"):
        train(iris(**EXPLODING, seeds=(4, 7)), tmp_path / "run")
    assert load(tmp_path / "run").summary["status"] == "diverged"
