"""Ways of training: each held to what it must equal."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilation import compiled
from numpy.testing import assert_allclose
from runs import CONFIGS, ByHand, iris, train

import mlp_jax
from mlp_jax import MLP
from mlp_jax.errors import InputError
from mlp_jax.mlp.params import init, param_types
from mlp_jax.training import Batch, Program, fit, initial_state, take_step, trainer, xla
from mlp_jax.training import config as configuration
from mlp_jax.training.build import OPEN, build_network, build_program, leave_open, prepare
from mlp_jax.training.config.optimizers import OPTIMIZERS
from mlp_jax.training.progress import Reporter

pytestmark = pytest.mark.usefixtures("usual_promotion")


def compiled_step(config):
    """A step of its training, not run."""
    prepared = prepare(config)
    net = build_network(config.network, prepared)
    program, rows = build_program(config, net), 16
    state = jax.eval_shape(lambda params: initial_state(program, params), param_types(net))
    x, y = (
        jax.ShapeDtypeStruct((rows, *part.shape[1:]), "float32" if part.ndim > 1 else "int32")
        for part in prepared.parts["train"]
    )
    return jax.jit(take_step, static_argnums=0).lower(program, state, Batch(x, y)).compile()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("class_weights", [None, (0.0, 1.0, 5.0)])
def test_the_gradient_in_parts_equals_that_of_the_minibatch(class_weights):
    def after_an_epoch(parts):
        run = ByHand(iris(network__dtype="float64", network__class_weights=class_weights, training__microbatches=parts))
        return run.epoch(), run.params

    whole = after_an_epoch(1)
    for parts in (3, 16):
        chex.assert_trees_all_close(after_an_epoch(parts), whole, rtol=1e-9)


def test_the_gradient_in_parts_needs_less_memory():
    def activations(parts):
        network = {"widths": (64, 8, 2048, 10), "output": "softmax"}
        config = iris(data={"source": "digits"}, network=network, training__microbatches=parts)
        return compiled_step(config).memory_analysis().temp_size_in_bytes

    assert activations(8) < 0.6 * activations(1)


def test_frozen_layers_keep_their_weights_and_the_others_train_as_without_them():
    net = {"widths": (4, 64, 64, 64, 3), "output": "softmax", "penalty": {"l2": 1e-3}}
    run = ByHand(iris(network=net, training__frozen=(0, 1), optimizer={"name": "adamw", "learning_rate": 0.01}))
    params = before = run.params
    run.epoch()
    for k, (new, old) in enumerate(zip(run.params, before, strict=True)):
        assert bool((new.W == old.W).all()) == (k < 2)
    optimizer = optax.adamw(0.01)
    state = optimizer.init(params[2:])

    @jax.jit
    def take(params, state, x, y):
        grads = jax.grad(lambda top: mlp_jax.loss(run.trainer.net, (*params[:2], *top), x, y))(params[2:])
        updates, state = optimizer.update(grads, state, params[2:])
        return (*params[:2], *optax.apply_updates(params[2:], updates)), state

    for x, y in run.examples_of(0):
        params, state = take(params, state, x, y)
    chex.assert_trees_all_close(run.params, params, rtol=1e-4, atol=1e-6)


def test_no_gradient_is_computed_for_frozen_layers():
    net = {"widths": (4, 256, 256, 256, 3), "output": "softmax"}
    whole, top = (
        compiled_step(iris(network=net, training__frozen=frozen)).cost_analysis()["flops"] for frozen in ((), (0, 1, 2))
    )
    assert top < 0.4 * whole  # a third: forwards, without backwards


def test_frozen_layers_of_a_stack_are_refused():
    net = MLP((4, 8, 8, 8, 3))
    params = mlp_jax.stack(net, mlp_jax.init(net, jax.random.key(0)))
    with pytest.raises(ValueError, match=r"frozen names layers, and these parameters are stacked; pass mlp_jax.unst"):
        initial_state(Program(net, optax.sgd(0.1), frozen=(2,)), params)


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"frozen": (7,)}, "frozen names layer 7; the network has 2, counted from 0"),
        ({"ema": 1.0}, "ema must be between 0 and 1, got 1.0"),
        ({"microbatches": 0}, "microbatches must be a whole number of at least 1, got 0"),
        ({"microbatches": 3}, "8 examples cannot be cut into 3 microbatches of one size"),
    ],
)
def test_ways_that_no_step_can_go_are_refused(ways, message):
    net = MLP((4, 3, 2))
    program = Program(net, optax.sgd(0.1), **ways)
    with pytest.raises(ValueError, match=message):
        take_step(
            program,
            initial_state(program, mlp_jax.init(net, jax.random.key(0))),
            Batch([[1.0] * 4] * 8, [[1.0] * 2] * 8),
        )


def test_an_unknown_frozen_layer_and_all_of_them_are_refused(tmp_path):
    with pytest.raises(InputError, match="training.frozen names layer 2; the network has 2, counted from 0"):
        train(iris(training__frozen=(2,)), tmp_path / "run")
    with pytest.raises(InputError, match="training.frozen names all layers: nothing would be trained"):
        train(iris(training__frozen=(0, 1)), tmp_path / "run")


def test_the_average_of_the_weights_is_what_the_run_gives(tmp_path):
    decay = 0.9
    config = iris(training__ema=decay, training__epochs=2)
    averaged, plain = ByHand(config), ByHand(iris(training__epochs=2))
    average, weight = None, 0.0
    for _ in range(2 * plain.trainer.steps):
        plain.advance(1)
        scaled = jax.tree.map(lambda p: (1 - decay) * np.asarray(p), plain.params)
        average = scaled if average is None else jax.tree.map(lambda a, s: decay * a + s, average, scaled)
        weight = decay * weight + 1 - decay
    expected = jax.tree.map(lambda a: a / weight, average)
    record = [averaged.epoch() for _ in range(2)][-1]
    chex.assert_trees_all_close(averaged.trainer.chosen(averaged.moment), expected, rtol=1e-5)
    chex.assert_trees_all_close(averaged.params, plain.params, rtol=1e-6)
    run = fit(config, run_dir=tmp_path / "run")
    chex.assert_trees_all_close(run.params, expected, rtol=1e-5)
    assert_allclose(run.results["validation"]["loss"], record["validation"]["loss"], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.5, 0.999999, 1 - 1e-12])
def test_an_average_of_weights_that_do_not_move_is_these_weights(decay, x64):
    optimizer = {"name": "sgd", "learning_rate": 1e-300}
    run = ByHand(iris(training__ema=decay, training__frozen=(1,), network__dtype="float64", optimizer=optimizer))
    before = run.params
    run.epoch()
    chosen = run.trainer.chosen(run.moment)
    chex.assert_trees_all_close(chosen, before, rtol=1e-14, atol=1e-200)
    chex.assert_trees_all_equal(chosen[1], before[1])


def test_early_stopping_without_a_finite_validation_cost_gives_the_last_weights_and_says_so(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 1))
    order = np.random.default_rng(0).permutation(40)  # as data.split draws
    x[order[-6:]] = 1e25
    said = []

    class Hears(Reporter):
        def say(self, message):
            said.append(message)

    settings = {
        "data": {"split": {"validation": 0.15, "test": 0.0}, "standardize_inputs": False},
        "network": {"widths": [1, 1]},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"epochs": 20, "batch_size": 17, "early_stopping": {"patience": 5}},
    }
    run = fit(settings, (x, np.clip(x, -9, 9)), reporter=Hears)
    assert "the validation cost was never finite" in said[0]
    assert "best_epoch" not in run.summary
    plain = fit({**settings, "training": {"epochs": run.summary["epochs"], "batch_size": 17}}, (x, np.clip(x, -9, 9)))
    chex.assert_trees_all_equal(run.params, plain.params)


def test_a_step_is_a_pure_function_that_research_code_can_scan():
    run = ByHand(iris(optimizer={"name": "adam", "learning_rate": 0.01}, data={"source": "iris", "split": {"test": 0.0,
                 "validation": 0.04}}))  # fmt: skip
    program, batches = run.trainer.program, list(run.examples_of(0))
    assert {len(y) for _, y in batches} == {16}
    state = initial_state(program, run.params)
    state, J = jax.jit(
        lambda state, batches: jax.lax.scan(lambda s, b: take_step(program, s, Batch(*b)), state, batches)
    )(state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches))
    record = run.epoch()
    chex.assert_trees_all_close(state.params, run.params, rtol=1e-5, atol=1e-7)
    assert_allclose(record["loss"], J.mean(), rtol=1e-6)


def test_each_seed_stops_early_on_its_own(tmp_path):
    path = CONFIGS[0].parent / "diabetes.yaml"
    changes = ["network.widths=[10, 64, 1]", "optimizer={name: adam, learning_rate: 0.02}", "training.epochs=60",
               "training.early_stopping={patience: 4, min_delta: 0.002}"]  # fmt: skip
    run = fit(configuration.load(path, [*changes, "seeds=0..3"]), run_dir=tmp_path / "run")
    lasts = []
    for seed, one in enumerate(run.seeds):
        alone = fit(configuration.load(path, [*changes, f"seed={seed}"]))
        assert one.summary["epochs"] == alone.summary["epochs"] == len(one.history)
        assert one.summary["best_epoch"] == alone.summary["best_epoch"]
        lasts.append(one.summary["epochs"])
    assert len(set(lasts)) > 1
    assert run.summary["epochs"] == max(lasts) < 60
    with pytest.raises(InputError, match="this run has 4 seeds, each a run of its own in run.seeds: take one"):
        run.predict(np.zeros((1, 10)))


def test_lbfgs_reaches_the_minimum_of_a_small_problem(x64, tmp_path):
    """A linear least-squares problem with a penalty, whose minimum is known in closed form."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    config = {
        "data": {"split": {"validation": 0.0, "test": 0.0}, "standardize_inputs": False},
        "network": {"widths": [3, 1], "bias": False, "penalty": {"l2": 0.1}, "dtype": "float64"},
        "optimizer": {"name": "lbfgs"},
        "training": {"epochs": 30, "batch_size": "all"},
    }
    run = fit(config, (x, y))
    expected = np.linalg.solve(x.T @ x / 40 + 0.2 * np.eye(3), x.T @ y / 40)
    assert_allclose(run.params[0].W, expected, atol=1e-8)


def test_lbfgs_needs_the_same_cost_in_every_step():
    with pytest.raises(ValueError, match="lbfgs needs the same cost in every step: batch_size: all; got 16"):
        iris(optimizer={"name": "lbfgs"})


@pytest.mark.parametrize("skip", [False, True])
def test_products_with_rounded_factors_are_those_of_bfloat16(skip):
    net, rounded = (MLP((3, 4, 4, 2), hidden="tanh", skip=skip, products=kind) for kind in (None, "bfloat16"))
    params = mlp_jax.init(net, jax.random.key(0))
    x, y = jax.random.normal(jax.random.key(1), (5, 3)), jnp.ones((5, 2))
    r = lambda v: v.astype(jnp.bfloat16).astype(jnp.float32)  # noqa: E731

    h = jnp.tanh(r(x) @ r(params[0].W) + params[0].b[None])
    tape = mlp_jax.forward(rounded, params, x)
    assert_allclose(tape.h[1], h, rtol=1e-6)
    gradient = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
    J, grads = gradient(rounded, params, x, y)
    g = (tape.h[-1] - y) / 5
    assert_allclose(grads[-1].W, r(tape.h[-2]).T @ r(g), rtol=1e-5, atol=1e-7)
    assert grads[0].W.dtype == jnp.float32
    exact = gradient(net, params, x, y)
    chex.assert_trees_all_close((J, grads), exact, rtol=0.05, atol=0.02)
    assert float(jnp.abs(grads[0].W - exact[1][0].W).max()) > 0


def test_digits_are_learned_as_well_with_rounded_products(tmp_path):
    path = CONFIGS[0].parent / "digits.yaml"
    exact, rounded = (fit(configuration.load(path, changes)) for changes in ([], ["network.products=bfloat16"]))
    assert rounded.results["test"]["accuracy"] >= exact.results["test"]["accuracy"] - 0.01
    assert rounded.summary["precision"] == {"parameters": "float32", "products": "bfloat16"}


def test_what_is_watched_is_that_of_the_steps():
    run = ByHand(iris(training__watch=True, training__epochs=2, optimizer={"name": "sgd", "learning_rate": 0.1}))
    gradient = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
    norms, ratios, params = [], [], run.params
    for x, y in run.examples_of(0):
        grads = gradient(run.trainer.net, params, x, y)[1]
        norms.append([float(optax.tree.norm(layer)) for layer in grads])
        ratios.append(
            [0.1 * float(jnp.linalg.norm(g.W) / jnp.linalg.norm(p.W)) for g, p in zip(grads, params, strict=True)]
        )
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    record = run.epoch()
    assert_allclose(record["layers"]["gradient_norm"], np.mean(norms, axis=0), rtol=1e-3)
    assert_allclose(record["layers"]["update_ratio"], np.mean(ratios, axis=0), rtol=1e-3)
    assert record["training"] == pytest.approx(run.trainer.evaluate(run.params)["train"], rel=1e-5)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_the_noise_scale_is_that_of_the_examples_gradients(microbatches):
    run = ByHand(iris(training__watch=True, training__microbatches=microbatches, training__epochs=1,
                      optimizer={"name": "sgd", "learning_rate": 0.0001}))  # fmt: skip
    parts = []
    gradient = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
    for x, y in run.examples_of(0):
        net = run.trainer.net
        grads = [gradient(net, run.params, x[i : i + 1], y[i : i + 1])[1] for i in range(len(x))]
        flat = np.array([[np.concatenate([leaf.ravel() for leaf in layer]) for layer in g] for g in grads], object)
        for_layers = [np.stack(flat[:, k]) for k in range(2)]
        variance = [np.var(g, axis=0, ddof=1).sum() for g in for_layers]
        parts.append(
            [variance, [(g.mean(0) ** 2).sum() - v / len(x) for g, v in zip(for_layers, variance, strict=True)]]
        )
    variance, squared_mean = np.mean(parts, axis=0)
    assert_allclose(run.epoch()["layers"]["noise_scale"], variance / squared_mean, rtol=1e-2)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_the_gradient_of_each_example_is_clipped(microbatches):
    penalty = {"l2": 0.01}
    run = ByHand(iris(training__clip_examples=0.1, training__microbatches=microbatches, training__epochs=1,
                      network={"widths": (4, 8, 3), "output": "softmax", "penalty": penalty},
                      optimizer={"name": "sgd", "learning_rate": 0.5}))  # fmt: skip
    net, params, gradient = run.trainer.net, run.params, jax.jit(mlp_jax.clipped_gradient, static_argnums=0)
    for x, y in run.examples_of(0):
        clipped = gradient(net, params, x, y, 0.1)
        params = tuple(
            own._replace(W=own.W - 0.5 * (g.W / len(x) + 0.02 * own.W), b=own.b - 0.5 * g.b / len(x))
            for own, g in zip(params, clipped, strict=True)
        )
    run.epoch()
    chex.assert_trees_all_close(run.params, params, rtol=1e-4, atol=1e-6)


def test_dead_units_are_counted():
    run = ByHand(iris(training__watch=True, network={"widths": (4, 8, 8, 3), "output": "softmax"}))
    first, *others = run.params
    run.params = (first._replace(b=first.b.at[:3].set(-1e6)), *others)
    found = run.epoch()["layers"]["dead"]
    assert found[0] == pytest.approx(3 / 8)
    assert found[2] == 0


def test_a_dead_unit_of_a_layer_with_a_skip_connection_is_dead():
    run = ByHand(iris(training__watch=True, network={"widths": (4, 8, 8, 3), "output": "softmax", "skip": True}))
    first, second, last = run.params
    run.params = (first, second._replace(b=jnp.full(8, 1e3).at[:2].set(-1e6)), last)
    assert run.epoch()["layers"]["dead"][1] == pytest.approx(2 / 8)


def test_deep_networks_that_compute_as_one_loop_are_watched_by_layer():
    network = {"widths": (4, *[6] * 70, 3), "output": "softmax", "skip": True}
    record = ByHand(iris(network=network, training__watch=True)).epoch()
    assert {name: len(values) for name, values in record["layers"].items()} == dict.fromkeys(record["layers"], 71)
    assert min(record["layers"]["gradient_norm"]) > 0


OTHER = [
    {"optimizer": {"name": "sgd", "learning_rate": 0.2, "momentum": 0.8}},
    {"network": {"widths": (4, 8, 3), "output": "softmax", "penalty": {"l2": 0.1}}},
    {"seed": 5, "data": {"source": "iris", "split": {"seed": 3}}},
    {"data": {"source": "iris", "split": {"validation": 0.16}}},  # 103 examples, where the others train on 105
]


def test_trainings_that_differ_in_numbers_alone_share_their_programs():
    def trained(**changes):
        network = {"widths": (4, 8, 3), "output": "softmax", "penalty": {"l2": 0.01}}
        optimizer = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
        config = iris(**{"network": network, "optimizer": optimizer, "training__epochs": 3, **changes})
        run = fit(config)
        run.predict(np.ones((7, 4)))
        return run

    first = trained()
    with compiled() as programs:
        others = [trained(**changes) for changes in OTHER]
    assert not programs
    assert len({float(run.params[0].W[0, 0]) for run in (first, *others)}) == 1 + len(OTHER)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_takes_its_numbers_from_a_trace(name):
    arguments = {key: 0.3 for key in OPEN if key in OPTIMIZERS[name]} | {"learning_rate": 0.1}
    config = iris(optimizer={"name": name, **arguments})
    program = build_program(config, build_network(config.network))
    left_open, values = leave_open(program, config)
    params = init(program.net, jax.random.key(0))
    batch = Batch(jnp.ones((5, 4)), jnp.zeros(5, int))

    def step(program, values, params):
        program = values.put_into(program)
        return take_step(program, initial_state(program, params), batch)[0].params

    shared = jax.jit(step, static_argnums=0)(left_open, values, params)
    alone = jax.jit(lambda p: take_step(program, initial_state(program, p), batch)[0].params)(params)
    assert values.optimizer == arguments
    assert_allclose(np.asarray(jax.tree.leaves(shared)[0]), jax.tree.leaves(alone)[0], rtol=1e-5, atol=1e-7)


def test_an_xla_without_the_options_of_the_small_program_takes_the_usual_one(monkeypatch):
    unknown = (("xla_cpu_of_another_time", True),)
    monkeypatch.setattr(xla, "_FOR_SMALL_PRODUCTS", unknown)
    monkeypatch.setattr(trainer, "SOONER_COMPILED", unknown)
    other = fit(iris(training__epochs=2)).history
    monkeypatch.setattr(xla, "_FEW", 0)
    assert fit(iris(training__epochs=2)).history == other


@pytest.mark.parametrize("setting", [jax.debug_nans, jax.debug_infs, jax.disable_jit])
def test_several_seeds_run_in_no_thread_under_a_setting_for_debugging(setting):
    net = MLP((4, 8, 3))
    assert xla.threads_pay(net, 16)
    with setting(True):
        assert not xla.threads_pay(net, 16)


def test_several_seeds_train_on_while_the_interpreter_ends():
    script = """
import threading, numpy as np
from mlp_jax.training import fit
config = {"network": {"widths": [2, 1]}, "optimizer": {"name": "sgd", "learning_rate": 0.1}, "seeds": [0, 1],
          "training": {"epochs": 3000, "batch_size": 10}}
x = np.ones((200, 2))
threading.Thread(target=lambda: print(fit(config, (x, x[:, :1])).summary["epochs"])).start()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("3000\n", 0), done.stderr
