"""A run whose numbers leave their range says in which step, layer and quantity, and why; and shows it again."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import iris, one_epoch, own_optimizer, points, read_metrics, train, usual_promotion  # noqa: F401
from safetensors.numpy import load_file

from mlp_jax.training import data
from mlp_jax.training.errors import InputError, TrainingDiverged
from mlp_jax.training.fitting import fit, replay
from mlp_jax.training.step import shuffled_batches
from mlp_jax.training.trainer import Trainer

# From the third epoch on, steps of 1e17.
EXPLODING = {
    "network": {"widths": (4, 8, 3), "output": "softmax", "hidden": "linear"},
    "optimizer": {"name": "sgd", "learning_rate": {"schedule": "exponential_decay", "init_value": 0.1,
                  "transition_steps": 14, "decay_rate": 1e18, "staircase": True}},
    "training__epochs": 50,
}  # fmt: skip


def test_a_divergence_is_located_kept_and_shown_again(tmp_path):
    config, run = iris(**EXPLODING), tmp_path / "run"
    with pytest.raises(TrainingDiverged) as caught:
        train(config, run)
    message = str(caught.value)
    found = message.partition(f". The moment before that step is in {run}/crash")[0]
    assert found.startswith("epoch 3, step ")
    assert "layer 2, the pre-activations a2: " in found
    assert "of 48 entries; affine overflowed, of h1 from " in found
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["reason"], summary["epochs"]) == ("diverged", found, 2)
    assert len(read_metrics(run)) == 2
    assert f"`mlp-jax replay {run}` shows it again" in message
    for file in ("weights.safetensors", "crash/state.safetensors"):
        assert all(np.isfinite(value).all() for value in load_file(run / file).values())
    assert (run / "crash" / "report.txt").read_text() == found + "\n"
    batch = json.loads((run / "crash" / "batch.json").read_text())
    epoch, k = divmod(batch["step"], 7)
    assert batch["examples_by_seed"]["0"] == shuffled_batches(0, epoch, summary["examples"]["train"], 16)[k].tolist()
    assert replay(run) == found


def test_a_run_that_did_not_diverge_has_nothing_to_replay(tmp_path):
    train(iris(), tmp_path / "run")
    with pytest.raises(InputError, match="holds no crash: its run did not diverge"):
        replay(tmp_path / "run")


def test_an_input_that_is_not_finite():
    trainer = Trainer(iris(), data.prepare(iris()))
    x, y = trainer.parts["train"]
    batches = shuffled_batches(0, 0, trainer.size, 16)
    trainer.parts["train"] = data.Examples(x.at[batches[4, 0]].set(jnp.nan), y)
    trainer._steps_per_call = 1000
    moment, records = trainer.advance(trainer.start())  # keeps the steps before
    assert (moment.step, records) == (4, [])
    with pytest.raises(TrainingDiverged, match="^epoch 1, step 5 of 7: the inputs x: 4 NaN of 64 entries$"):
        trainer.advance(moment)


def test_an_update_that_is_infinite_while_the_cost_is_finite(monkeypatch):
    def update(grads, count, params=None):  # from step 18 on, the first bias is −inf: its relu is dead
        bias = jnp.where(count >= 17, -jnp.inf, 0.0)
        zeros = jax.tree.map(jnp.zeros_like, grads)
        return (zeros[0]._replace(b=zeros[0].b.at[0].set(bias)), *zeros[1:]), count + 1

    config = iris(training__epochs=9, network={"widths": (4, 8, 3), "output": "softmax"})
    own_optimizer(monkeypatch, lambda params: jnp.zeros((), int), update)
    trainer = Trainer(config, data.prepare(config))
    trainer._steps_per_call = 1000
    moment, records = trainer.advance(trainer.start())
    assert [record["epoch"] for record in records] == [1, 2]
    assert moment.step == 17
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(moment.state.params))
    with pytest.raises(
        TrainingDiverged, match="epoch 3, step 4 of 7: layer 1, the update of b: 1 infinite of 8 entries"
    ):
        trainer.advance(moment)


@pytest.mark.parametrize(
    ("network", "scale", "message"),
    [
        (
            {"output": "poisson"},
            1e3,
            r"step 1 of 1: the quantity \S+: \d+ infinite of 20 entries; poisson_error overflowed",
        ),
        ({"hidden": "linear", "output": "linear"}, 1e25, "the quantity v\\d: 20 infinite of 20 entries; squared_error"),
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


def test_the_seed_that_diverged_is_named(tmp_path):
    config = iris(**EXPLODING, seeds=(4, 7))
    with pytest.raises(TrainingDiverged, match=r"epoch 3, step \d of 7 of seed [47]: layer \d") as caught:
        train(config, tmp_path / "run")
    assert replay(tmp_path / "run") in str(caught.value)


def test_deep_networks_that_compute_as_one_loop_are_located_by_layer():
    config = iris(
        network={"widths": (4, *[6] * 70, 3), "output": "softmax", "hidden": "linear", "initializer": "unit_normal"},
        optimizer={"name": "sgd", "learning_rate": 0.1},
    )
    trainer = Trainer(config, data.prepare(config))
    moment = trainer.start()
    assert len(moment.state.params) == 3
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 1 of 7: layer \d+, the "):
        one_epoch(trainer, moment._replace(states=(moment.state._replace(
            params=jax.tree.map(lambda leaf: leaf * 10, moment.state.params)),)))  # fmt: skip
