"""A run from its configuration: it learns, compiles once, repeats, stops on NaN, and goes on where it stopped."""

import json
import signal
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from safetensors.numpy import load_file

import mlp_jax
from mlp_jax.training import checkpoint, data, reading
from mlp_jax.training import config as configuration
from mlp_jax.training.build import build_network, build_optimizer
from mlp_jax.training.config import Config
from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.training.loop import train
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run_directory import RunDirectory
from mlp_jax.training.step import shuffled_batches
from mlp_jax.training.trainer import Trainer

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


# optax multiplies its step count, an integer, with decay rates: it needs JAX's usual promotion
@pytest.fixture(autouse=True)
def _usual_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def iris(**changes):
    values = {
        "data": {"source": "iris"},
        "network": {"widths": (4, 8, 3), "output": "softmax", "penalty": {"l2": 1e-3}},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "training": {"epochs": 4, "batch_size": 16},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section] = {**values[section], name: value} if name else value
    return Config.model_validate(values)


def read_metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def one_epoch(trainer, state, epoch):
    """The state after an epoch, and its record; as many calls as it takes."""
    step, records = epoch * trainer.steps, []
    while not records:
        trainer._steps_per_call = min(trainer._steps_per_call, trainer.steps)
        state, step, records = trainer.advance(state, step)
    return state, records


def test_configs_are_found():
    names = {path.name for path in CONFIGS}
    assert names >= {"digits.yaml", "xor.yaml", "section_6_5_7.yaml", "diabetes.yaml", "breast_cancer.yaml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
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
        "checkpoint.safetensors", "config.yaml", "metrics.jsonl", "summary.json", "weights.safetensors",
    ]  # fmt: skip
    assert configuration.load(run / "config.yaml") == config
    assert json.loads((run / "summary.json").read_text()) == summary
    assert summary["status"] == "finished"
    assert summary["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert summary["versions"]["jax"] == jax.__version__
    assert [record["epoch"] for record in read_metrics(run)] == [1, 2, 3, 4]
    assert read_metrics(run)[-1]["validation"] == summary["results"]["validation"]

    weights = load_file(run / "weights.safetensors")  # numpy alone can use it
    table = reading.read(config.data)
    h = (table.x - weights["inputs.mean"]) / weights["inputs.scale"]
    h = np.maximum(h @ weights["layers.0.W"] + weights["layers.0.b"], 0)
    z = h @ weights["layers.1.W"] + weights["layers.1.b"]
    right = (z.argmax(1) == table.y).mean()
    sizes, results = summary["examples"], summary["results"]
    assert_allclose(right, sum(sizes[p] * results[p]["accuracy"] for p in sizes) / 150, rtol=1e-6)


def test_an_epoch_is_minibatch_sgd_written_out(tmp_path):
    config = iris(optimizer={"name": "sgd", "learning_rate": 0.1}, training__epochs=2)
    trainer = Trainer(config, data.prepare(config))
    state = trainer.initial_state()
    params, (x, y) = state.params, trainer.parts["train"]
    for epoch in range(2):
        state, _ = one_epoch(trainer, state, epoch)
        seen = []
        for rows in shuffled_batches(config.seed, epoch, len(x), 16):
            rows = rows[rows >= 0]
            seen += rows.tolist()
            grads = jax.grad(mlp_jax.loss, argnums=1)(trainer.net, params, x[rows], y[rows])
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        assert sorted(seen) == list(range(len(x)))
    chex.assert_trees_all_close(state.params, params, rtol=1e-4, atol=1e-6)


def test_the_epoch_loss_is_the_mean_over_examples_with_a_ragged_last_batch():
    config = iris(optimizer={"name": "sgd", "learning_rate": 1e-30})  # weights stay: J is that of the whole part
    trainer = Trainer(config, data.prepare(config))
    state = trainer.initial_state()
    assert trainer.size % config.training.batch_size
    _, (record,) = one_epoch(trainer, state, 0)
    assert_allclose(record["loss"], mlp_jax.loss(trainer.net, state.params, *trainer.parts["train"]), rtol=1e-6)


def test_the_whole_training_is_compiled_once():
    traced = []

    def update(grads, state, params=None):
        traced.append(1)
        return jax.tree.map(lambda g: -0.01 * g, grads), state

    config = iris(training__epochs=5)
    trainer = Trainer(config, data.prepare(config))
    trainer.optimizer = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    state = trainer.initial_state()
    trainer.compile(state)
    for epoch in range(5):
        trainer._steps_per_call = 1 + epoch  # any number of steps a call
        state, _ = one_epoch(trainer, state, epoch)
    assert len(traced) == 1


@pytest.mark.parametrize("validation", [0, 0.2])
def test_however_the_steps_are_cut_into_calls_the_result_is_the_same(validation):
    config = iris(data={"source": "iris", "split": {"validation": validation}}, training__epochs=7)
    trainer = Trainer(config, data.prepare(config))

    def run(steps_per_call):
        state, step, records = trainer.initial_state(), 0, []
        while step < 7 * trainer.steps:
            trainer._steps_per_call = steps_per_call
            state, step, more = trainer.advance(state, step)
            records += more
        return state, records

    whole = run(1000)
    assert [record["epoch"] for record in whole[1]] == list(range(1, 8))
    for steps_per_call in (1, 3, trainer.steps, 2 * trainer.steps + 1):
        chex.assert_trees_all_equal(whole, run(steps_per_call))


def test_a_run_is_a_function_of_its_seed(tmp_path):
    def weights(name, seed):
        train(iris(seed=seed), tmp_path / name)
        return (tmp_path / name / "weights.safetensors").read_bytes()

    assert weights("a", 3) == weights("b", 3) != weights("c", 2**32 - 1)


@pytest.mark.parametrize("name", configuration.OPTIMIZERS)
def test_every_optimizer_trains_and_its_state_is_kept(name, tmp_path):
    rate = {"schedule": "warmup_cosine_decay_schedule", "init_value": 1e-4, "peak_value": 1e-3, "warmup_steps": 5,
            "decay_steps": 40}  # fmt: skip
    config = iris(optimizer={"name": name, "learning_rate": rate}, training__epochs=2)
    train(config, tmp_path / "run")
    prepared = data.prepare(config)
    trainer = Trainer(config, prepared)
    initial = trainer.initial_state()
    state, epochs = checkpoint.load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", initial, prepared)
    assert epochs == 2
    chex.assert_trees_all_equal_shapes_and_dtypes(state, initial)
    expected = initial
    for epoch in range(2):
        expected, _ = one_epoch(trainer, expected, epoch)
    chex.assert_trees_all_equal(state, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_dtypes(dtype, tmp_path):
    with jax.enable_x64(dtype == "float64"):
        summary = train(iris(network__dtype=dtype, training__epochs=30), tmp_path / "run")
        assert summary["results"]["train"]["accuracy"] > 0.9
        config = iris(network__dtype=dtype)
        model = checkpoint.load_weights(tmp_path / "run" / "weights.safetensors", build_network(config.network))
        assert model.params[0].W.dtype == dtype


def test_float64_is_refused_where_it_is_off(tmp_path):
    with pytest.raises(InputError, match="network.dtype: float64 is off in this process"):
        train(iris(network__dtype="float64"), tmp_path / "run")


def test_training_goes_on_where_it_ended(tmp_path):
    train(iris(training__epochs=6), tmp_path / "whole")
    train(iris(training__epochs=2), tmp_path / "parts")
    train(iris(training__epochs=6), tmp_path / "parts", resume=True)
    for file in ("weights.safetensors", "checkpoint.safetensors", "metrics.jsonl", "config.yaml"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


class StopAfter(Reporter):
    """Presses Ctrl-C when training is under way."""

    def advanced(self, done, records):
        if done >= 1:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_what_was_done(tmp_path):
    with pytest.raises(TrainingInterrupted, match="stopped after 1 of 4 epochs"):
        train(iris(), tmp_path / "run", reporter=StopAfter)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert len(read_metrics(tmp_path / "run")) == 1
    train(iris(), tmp_path / "whole")
    train(iris(), tmp_path / "run", resume=True)
    weights = "weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    train(iris(), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    train(iris(), tmp_path / "run", resume=True)
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3, 4]


def test_divergence_stops_the_run_and_keeps_the_last_good_weights(tmp_path):
    config = iris(
        network={"widths": (4, 8, 3), "output": "softmax", "cost": "squared_error", "hidden": "linear"},
        optimizer={"name": "sgd", "learning_rate": {"schedule": "exponential_decay", "init_value": 0.1,
                   "transition_steps": 14, "decay_rate": 1e18, "staircase": True}},
        training__epochs=50,
    )  # fmt: skip
    with pytest.raises(TrainingDiverged) as caught:
        train(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["epochs"] >= 2
    assert len(read_metrics(tmp_path / "run")) == summary["epochs"]
    assert f"in epoch {summary['epochs'] + 1}, " in str(caught.value)
    assert f"The weights after epoch {summary['epochs']} are in {tmp_path}" in str(caught.value)
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(np.isfinite(value).all() for value in weights.values())


def test_a_cost_that_is_not_finite_names_epoch_and_step():
    trainer = Trainer(iris(), data.prepare(iris()))
    x, y = trainer.parts["train"]
    batches = np.asarray(shuffled_batches(0, 0, trainer.size, 16))
    trainer.parts["train"] = data.Examples(x.at[batches[4, 0]].set(jnp.nan), y)
    with pytest.raises(TrainingDiverged, match="the cost became nan in epoch 1, step 5 of 7"):
        one_epoch(trainer, trainer.initial_state(), 0)


def test_a_parameter_that_becomes_infinite_while_the_cost_is_finite(tmp_path):
    def update(grads, count, params=None):  # from step 18 on, the first bias is −inf: its relu is dead
        bias = jnp.where(count >= 17, -jnp.inf, 0.0)
        zeros = jax.tree.map(jnp.zeros_like, grads)
        return (zeros[0]._replace(b=zeros[0].b.at[0].set(bias)), *zeros[1:]), count + 1

    config = iris(training__epochs=9, network={"widths": (4, 8, 3), "output": "softmax"})
    trainer = Trainer(config, data.prepare(config))
    trainer.optimizer = optax.GradientTransformation(lambda params: jnp.zeros((), int), update)
    trainer._steps_per_call = 1000
    state, step, records = trainer.advance(trainer.initial_state(), 0)
    assert [record["epoch"] for record in records] == [1, 2]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    trainer._steps_per_call = 1000
    with pytest.raises(TrainingDiverged, match="a parameter became NaN or infinite in epoch 3, step 7 of 7"):
        trainer.advance(state, step)


def test_a_directory_with_a_run_is_refused_unless_told_otherwise(tmp_path):
    run = tmp_path / "run"
    train(iris(), run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(InputError, match=r"holds a run; go on with it \(--resume\), replace it \(--overwrite\)"):
        train(iris(seed=1), run)
    with pytest.raises(InputError, match=r"another configuration: seed was 0, is 1\. Only training.epochs may"):
        train(iris(seed=1), run, resume=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    (run / "notes.txt").write_text("mine")
    train(iris(seed=1, training__epochs=1), run, overwrite=True)
    assert len(read_metrics(run)) == 1
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.jsonl", "config.yaml"])
def test_files_of_others_with_the_names_of_ours_are_not_replaced(name, tmp_path):
    (tmp_path / name).write_text("mine: 1")
    for resume in (False, True):
        with pytest.raises(InputError, match="holds a run|holds no run"):
            train(iris(), tmp_path, resume=resume)
    assert (tmp_path / name).read_text() == "mine: 1"
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_data_leave_an_existing_run_as_it_was(tmp_path):
    run = tmp_path / "run"
    train(iris(), run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(InputError, match="network.widths starts with 5"):
        train(iris(network__widths=(5, 3)), run, overwrite=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_a_run_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the run directory .*: (Not a directory|File exists)"):
        train(iris(), tmp_path / "file")


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_a_full_disk_loses_nothing(options, tmp_path, monkeypatch):
    train(iris(training__epochs=2), tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot write the run directory .*: No space left on device"):
        train(iris(training__epochs=4), tmp_path / "run", **options)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_ctrl_c_while_compiling_leaves_an_existing_run_as_it_was(tmp_path, monkeypatch):
    train(iris(), tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}

    def interrupted(trainer, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(iris(seed=1), tmp_path / "run", overwrite=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_fewer_epochs_than_were_run_are_refused(tmp_path):
    train(iris(), tmp_path / "run")
    with pytest.raises(InputError, match=r"has 4 epochs; training.epochs is 2\. Set it to 4 or more to go on"):
        train(iris(training__epochs=2), tmp_path / "run", resume=True)


def points(tmp_path, x, y, **network):
    np.savez(tmp_path / "points.npz", x=x, y=y)
    source = {"source": "npz", "path": tmp_path / "points.npz"}
    return iris(data=source, network={"widths": (x.shape[1], y.shape[-1]), **network})


def test_a_run_does_not_go_on_with_data_that_have_changed(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.zeros((50, 1))
    train(points(tmp_path, x, y), tmp_path / "run")
    with pytest.raises(InputError, match=r"points.npz has changed since this run was trained"):
        train(points(tmp_path, x + 1, y), tmp_path / "run", resume=True)


@pytest.mark.parametrize("dtype", ["int64", ">i4", "uint64", "float64"])
def test_whole_numbers_as_targets_of_a_regression(dtype, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.full((50, 1), 2_000_000_000)
    config = points(tmp_path, x, y.astype(dtype) * (1 if dtype == ">i4" else 2))
    values = Trainer(config, data.prepare(config)).parts["train"].y
    assert values.dtype == jnp.float32
    assert (values == (2e9 if dtype == ">i4" else 4e9)).all()


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b""], ids=["cut", "empty"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    train(iris(), tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="is damaged"):
        train(iris(training__epochs=9), tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    train(iris(), tmp_path / "run")
    other = iris(network__widths=(4, 9, 3))
    prepared = data.prepare(other)
    state = Trainer(other, prepared).initial_state()
    with pytest.raises(InputError, match=r"mu\.0\.W is float32 \(4, 8\), needed is float32 \(4, 9\)"):
        checkpoint.load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", state, prepared)
    wider = build_network(iris(network__widths=(4, 8, 8, 3)).network)
    narrow = build_network(iris(network__widths=(4, 7, 3)).network)
    with pytest.raises(InputError, match=r"belongs to another network: params\[0\].W must have shape \(4, 7\)"):
        checkpoint.load_weights(tmp_path / "run" / "weights.safetensors", narrow)
    with pytest.raises(InputError, match="has no 'layers.2.W'; it belongs to another network"):
        checkpoint.load_weights(tmp_path / "run" / "weights.safetensors", wider)


def test_regression_metrics_are_in_the_original_units(tmp_path):
    config = configuration.load(CONFIGS[0].parent / "diabetes.yaml", ["training.epochs=5"])
    summary = train(config, tmp_path / "run")
    prepared = data.prepare(config)
    net = build_network(config.network)
    model = checkpoint.load_weights(tmp_path / "run" / "weights.safetensors", net)
    test = prepared.parts["test"]
    y_hat = prepared.targets.undo(np.asarray(mlp_jax.predict(net, model.params, test.x)))
    y = prepared.targets.undo(test.y)
    assert_allclose(summary["results"]["test"]["rmse"], np.sqrt(np.mean((y - y_hat) ** 2)), rtol=1e-5)
    r2 = 1 - np.sum((y - y_hat) ** 2) / np.sum((y - y.mean()) ** 2)
    assert_allclose(summary["results"]["test"]["r2"], r2, rtol=1e-4)


def test_a_run_directory_without_a_run(tmp_path):
    with pytest.raises(InputError, match="holds no run: it has no config.yaml"):
        RunDirectory(tmp_path).load_config()


def test_schedules_are_built():
    config = iris(optimizer={"name": "sgd", "learning_rate": {"schedule": "linear_schedule", "init_value": 1.0,
                             "end_value": 0.0, "transition_steps": 2}})  # fmt: skip
    optimizer = build_optimizer(config.optimizer)
    params, state, taken = jnp.zeros(()), optimizer.init(jnp.zeros(())), []
    for _ in range(3):
        update, state = optimizer.update(jnp.ones(()), state, params)
        taken.append(float(update))
    assert taken == [-1.0, -0.5, 0.0]
