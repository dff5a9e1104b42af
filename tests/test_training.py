"""A run from its configuration: it learns, compiles once, and repeats."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from runs import CONFIGS, ByHand, iris, own_optimizer, points, read_metrics, train
from safetensors.numpy import load_file

import mlp_jax
from mlp_jax.errors import InputError
from mlp_jax.tables import reading
from mlp_jax.training import config as configuration
from mlp_jax.training import load
from mlp_jax.training.build import build_network, build_optimizer, prepare
from mlp_jax.training.config.optimizers import OPTIMIZERS
from mlp_jax.training.moment import Moment
from mlp_jax.training.step import State
from mlp_jax.training.store import checkpoint
from mlp_jax.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("usual_promotion")


def test_configs_are_found():
    names = {path.name for path in CONFIGS}
    assert names >= {"digits.yaml", "xor.yaml", "section_6_5_7.yaml", "diabetes.yaml", "breast_cancer.yaml"}


# An ordinary run leaves out that of twenty hidden layers, a long program; test_ways_of_training.py watches seventy.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem == "relu")) for path in CONFIGS],
    ids=lambda path: path.stem,
)
def test_every_configuration_learns(path, tmp_path):
    assert f"scripts/run mlp-jax train {path.relative_to(CONFIGS[0].parent.parent)}" in path.read_text()
    train(configuration.load(path, ["training.epochs=3"]), tmp_path / "run")
    losses = [record["loss"] for record in read_metrics(tmp_path / "run")]
    assert len(losses) == 3
    assert losses[2] < losses[0]


@pytest.mark.parametrize(("name", "accuracy"), [("digits", 0.97), ("breast_cancer", 0.96), ("xor", 1)])
def test_configurations_reach_their_accuracy(name, accuracy, tmp_path):
    results = train(configuration.load(CONFIGS[0].parent / f"{name}.yaml"), tmp_path / "run")["results"]
    assert results.get("test", results["train"])["accuracy"] >= accuracy


def test_section_6_5_7_is_exactly_its_network():
    net = build_network(configuration.load(CONFIGS[0].parent / "section_6_5_7.yaml").network)
    assert len(net.widths) == 3
    assert (net.hidden, net.output, net.cost) == (("relu",), "softmax", "cross_entropy")
    assert net.bias == (False, False)
    assert net.penalty == mlp_jax.L2(1e-3)


def test_a_run_leaves_all_that_is_needed_to_use_it(tmp_path):
    config = iris()
    summary = train(config, tmp_path / "run")
    run = tmp_path / "run"
    assert sorted(file.name for file in run.iterdir()) == [
        "checkpoints", "config.yaml", "metrics.jsonl", "summary.json", "weights.safetensors",
    ]  # fmt: skip
    assert configuration.load(run / "config.yaml") == config
    assert json.loads((run / "summary.json").read_text()) == summary
    assert summary["status"] == "finished"
    assert summary["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert summary["versions"]["jax"] == jax.__version__
    assert [record["epoch"] for record in read_metrics(run)] == [1, 2, 3, 4]
    # within the training program and in one of its own, XLA may sum in another order
    assert read_metrics(run)[-1]["validation"] == pytest.approx(summary["results"]["validation"], rel=1e-6)

    weights = load_file(run / "weights.safetensors")  # numpy alone can use it
    table = reading.checked(config.data.read())
    h = (table.x - weights["inputs.mean"]) / weights["inputs.scale"]
    h = np.maximum(h @ weights["layers.0.W"] + weights["layers.0.b"], 0)
    z = h @ weights["layers.1.W"] + weights["layers.1.b"]
    right = (z.argmax(1) == table.y).mean()
    sizes, results = summary["examples"], summary["results"]
    assert_allclose(right, sum(sizes[p] * results[p]["accuracy"] for p in sizes) / 150, rtol=1e-6)


def test_an_epoch_is_minibatch_sgd_written_out():
    run = ByHand(iris(optimizer={"name": "sgd", "learning_rate": 0.1}, training__epochs=2))
    params = run.params
    gradient = jax.jit(jax.grad(mlp_jax.loss, argnums=1), static_argnums=0)
    for epoch in range(2):
        run.epoch()
        for x, y in run.examples_of(epoch):
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient(run.trainer.net, params, x, y))
        seen = np.concatenate([run.batches.of_step(epoch, step) for step in range(run.trainer.steps)])
        assert sorted(seen) == list(range(run.trainer.size))
    chex.assert_trees_all_close(run.params, params, rtol=1e-4, atol=1e-6)


def test_the_epoch_loss_is_the_mean_over_examples_with_a_ragged_last_batch():
    run = ByHand(iris(optimizer={"name": "sgd", "learning_rate": 1e-30}))  # weights stay: J is that of the whole part
    assert run.trainer.size % 16
    J = mlp_jax.loss(run.trainer.net, run.params, *run.trainer.prepared.parts["train"])
    assert_allclose(run.epoch()["loss"], J, rtol=1e-6)


def test_the_whole_training_is_compiled_once(monkeypatch):
    traced = []

    def update(grads, state, params=None):
        traced.append(1)
        return jax.tree.map(lambda g: -0.01 * g, grads), state

    own_optimizer(monkeypatch, lambda params: optax.EmptyState(), update)
    run = ByHand(iris(training__epochs=5))
    assert traced
    traced.clear()
    for steps in (1, 2, 7, 30):  # any number of steps a call
        run.advance(steps)
    assert not traced


@pytest.mark.parametrize("validation", [0, 0.2])
def test_however_the_steps_are_cut_into_calls_the_result_is_the_same(validation):
    run = ByHand(iris(data={"source": "iris", "split": {"validation": validation}}, training__epochs=7))
    start, steps = run.moment, run.trainer.steps

    def trained(steps_per_call):
        run.moment, records = start, []
        while not run.trainer.has_ended(run.moment):
            records += run.advance(steps_per_call)
        return run.moment, records

    whole = trained(1000)
    assert [record["epoch"] for record in whole[1]] == list(range(1, 8))
    for steps_per_call in (1, 3, steps, 2 * steps + 1):
        chex.assert_trees_all_equal(whole, trained(steps_per_call))


def test_the_first_call_takes_what_any_processor_has_time_for():
    def first(**network):
        return Trainer(config := iris(**network), prepare(config)).steps_per_call

    assert first() >= 28  # all of this training
    assert first(training__batch_size=1) >= first()  # which has more steps
    assert first(network__widths=(4, 3000, 3000, 3)) == 1


def test_a_run_is_a_function_of_its_seed(tmp_path):
    def weights(name, seed):
        train(iris(seed=seed), tmp_path / name)
        return (tmp_path / name / "weights.safetensors").read_bytes()

    assert weights("a", 3) == weights("b", 3) != weights("c", 2**32 - 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_kept(name, tmp_path):
    rate = {"schedule": "warmup_cosine_decay_schedule", "init_value": 1e-4, "peak_value": 1e-3, "warmup_steps": 5,
            "decay_steps": 40}  # fmt: skip
    config = iris(optimizer={"name": name, "learning_rate": rate})
    optimizer, params = build_optimizer(config.optimizer), {"W": jnp.ones((4, 3)), "b": jnp.zeros(3)}
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = jax.jit(optimizer.update)(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
    moment = Moment(State(params, state), None, 2, {})
    prepared = prepare(config)
    checkpoint.save(tmp_path / "state", moment, config, prepared)
    chex.assert_trees_all_equal(checkpoint.load(tmp_path / "state", moment, config, prepared), moment)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_dtypes(dtype, tmp_path):
    with jax.enable_x64(dtype == "float64"):
        summary = train(iris(network__dtype=dtype, training__epochs=30), tmp_path / "run")
        assert summary["results"]["train"]["accuracy"] > 0.9
        model = load(tmp_path / "run").model
        assert model.params[0].W.dtype == dtype


def test_float64_is_refused_where_it_is_off(tmp_path):
    with pytest.raises(InputError, match="network.dtype: float64 is off in this process"):
        train(iris(network__dtype="float64"), tmp_path / "run")


@pytest.mark.parametrize("dtype", ["int64", ">i4", "uint64", "float64"])
def test_whole_numbers_as_targets_of_a_regression(dtype, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.full((50, 1), 2_000_000_000)
    config = points(tmp_path, x, y.astype(dtype) * (1 if dtype == ">i4" else 2))
    trainer = Trainer(config, prepare(config))
    values = trainer.parts["train"].y[: trainer.size]
    assert values.dtype == jnp.float32
    assert (values == (2e9 if dtype == ">i4" else 4e9)).all()


def test_regression_metrics_are_in_the_original_units(tmp_path):
    config = configuration.load(CONFIGS[0].parent / "diabetes.yaml", ["training.epochs=5"])
    summary = train(config, tmp_path / "run")
    prepared = prepare(config)
    net = build_network(config.network)
    model = load(tmp_path / "run").model
    test = prepared.parts["test"]
    y_hat = prepared.targets.undo(np.asarray(mlp_jax.predict(net, model.params, test.x)))
    y = prepared.targets.undo(test.y)
    assert_allclose(summary["results"]["test"]["rmse"], np.sqrt(np.mean((y - y_hat) ** 2)), rtol=1e-5)
    r2 = 1 - np.sum((y - y_hat) ** 2) / np.sum((y - y.mean()) ** 2)
    assert_allclose(summary["results"]["test"]["r2"], r2, rtol=1e-4)


def test_schedules_are_built():
    config = iris(optimizer={"name": "sgd", "learning_rate": {"schedule": "linear_schedule", "init_value": 1.0,
                             "end_value": 0.0, "transition_steps": 2}})  # fmt: skip
    optimizer = build_optimizer(config.optimizer)
    params, state, taken = jnp.zeros(()), optimizer.init(jnp.zeros(())), []
    for _ in range(3):
        update, state = optimizer.update(jnp.ones(()), state, params)
        taken.append(float(update))
    assert taken == [-1.0, -0.5, 0.0]
