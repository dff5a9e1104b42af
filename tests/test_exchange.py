"""Weights from elsewhere, and to there: the same predictions, and what does not fit is named."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import iris
from safetensors.numpy import load_file, save_file
from sklearn.neural_network import MLPClassifier, MLPRegressor

from mlp_jax import MLP, cli, init, predict
from mlp_jax.errors import InputError
from mlp_jax.exchange import (
    from_equinox,
    from_flax,
    from_safetensors,
    from_sklearn,
    from_torch,
    to_safetensors,
    to_torch,
)
from mlp_jax.training.fitting import fit
from mlp_jax.training.run import load

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(net, params, y, x=X):
    np.testing.assert_allclose(predict(net, params, x), y, rtol=1e-6, atol=1e-6)


# --- PyTorch, by stand-ins ------------------------------------------------------------------------


def module(kind, *children, **arguments):
    """A stand-in for a module of PyTorch: its kind is the name of its class."""

    def state_dict(self, prefix=""):
        own = {f"{prefix}{key}": value for key, value in arguments.items() if isinstance(value, np.ndarray)}
        for k, child in enumerate(children):
            own |= child.state_dict(f"{prefix}{k}.")
        return own

    return type(kind, (), {**arguments, "state_dict": state_dict, "__iter__": lambda self: iter(children)})()


def sequential(state, *modules):
    made = module("Sequential", *modules)
    made.state_dict = lambda: state
    return made


STATE = {"0.weight": random(5, 4), "0.bias": random(5), "2.weight": random(3, 5, seed=1), "2.bias": random(3)}
LOGITS = np.tanh(X @ STATE["0.weight"].T + STATE["0.bias"]) @ STATE["2.weight"].T + STATE["2.bias"]


def test_a_state_dict_predicts_what_it_did():
    net, params = from_torch(STATE, hidden="tanh", output="softmax")
    assert (net.widths, net.hidden, net.output) == ((4, 5, 3), ("tanh",), "softmax")
    same(net, params, np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True))
    back = to_torch(net, params)
    assert list(back) == list(STATE)
    for name in STATE:
        np.testing.assert_array_equal(back[name], STATE[name])


def test_a_sequential_says_its_activations():
    linear = module("Linear")
    modules = [linear, module("LeakyReLU", negative_slope=0.5), module("Dropout"), linear, module("Sigmoid")]
    net, _ = from_torch(sequential(STATE, *modules))
    assert (net.hidden_units[0].attributes, net.output) == ((("negative_slope", 0.5),), "sigmoid")
    with pytest.raises(InputError, match="Conv2d is no layer of an MLP; known are Linear, ReLU"):
        from_torch(sequential(STATE, module("Conv2d")))
    with pytest.raises(InputError, match=r"other arguments than .* need: \{'beta': 1"):
        from_torch(sequential(STATE, linear, module("Softplus", beta=2, threshold=20), linear))


def test_slopes_of_prelu_are_those_of_the_units():
    slopes = {"1.weight": np.array([0.3], np.float32)}
    state = {name: (STATE | slopes)[name] for name in ("0.weight", "0.bias", "1.weight", "2.weight", "2.bias")}
    net, params = from_torch(state, MLP((4, 5, 3), "parametric_relu"))
    assert params[0].theta.tolist() == pytest.approx([0.3] * 5)
    assert to_torch(net, params)["1.weight"].shape == (5,)


SMALLER = MLP((4, 6, 3))


@pytest.mark.parametrize(
    ("change", "net", "message"),
    [
        ({"0.weight": random(6, 4)}, None, "layer 0 (0): the network needs b of shape (6,), got (5,)"),
        ({"2.weight": random(3, 6)}, None, "layer 1 (2): the network needs W of shape (5, 3), got (6, 3)"),
        ({}, SMALLER, "layer 0 (0): the network needs W of shape (4, 6), got (4, 5)"),
        ({"0.weight": random(4, 5)}, MLP((4, 5, 3)), "needs W of shape (4, 5), got (5, 4); it is transposed"),
        ({"2.bias": None}, MLP((4, 5, 3)), "layer 1 (2): the network needs b of shape (3,), got none"),
        ({"0.weight": random(5, 4, 3, 3)}, None, "0.weight has 4 axes: a convolution is no layer of an MLP"),
        ({"1.running_mean": random(5)}, None, "1.running_mean is no weight or bias of a Linear layer"),
        ({"0.weight": None}, None, "0.bias has no 0.weight beside it"),
        ({"3.weight": random(3), "3.bias": random(3)}, None, "3.weight has shape (3,): a normalisation is no layer"),
        ({"4.weight": random(3, 3), "4.bias": random(3)}, SMALLER, "the network needs 2 layers, got 3: 0, 2, 4"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_layer_and_shape(change, net, message):
    state = {name: value for name, value in (STATE | change).items() if value is not None}
    with pytest.raises(InputError, match=re.escape(message)):
        from_torch(state, net, hidden="tanh")


def test_what_the_weights_do_not_say_must_be_given():
    with pytest.raises(InputError, match=r"do not say their activations: give hidden, as in hidden=\"relu\""):
        from_torch(STATE)
    with pytest.raises(InputError, match="there are 1 hidden layers, and 2 activations"):
        from_torch(STATE, hidden=["relu", "relu"])
    with pytest.raises(InputError, match="unknown hidden unit 'rellu'; did you mean 'relu'"):
        from_torch(STATE, hidden="rellu")
    with pytest.raises(InputError, match="a heteroscedastic output unit cannot have 3 logits"):
        from_torch(STATE, hidden="relu", output="heteroscedastic")


def test_what_a_sequential_has_not_is_refused():
    net = MLP((4, 5, 3), "maxout")
    with pytest.raises(InputError, match="layer 0 has maxout units, which a Sequential"):
        to_torch(net, init(net, jax.random.key(0)))


# --- scikit-learn, flax, equinox ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("activation", "targets"),
    [("identity", "two classes"), ("logistic", "three classes"), ("tanh", "several labels"), ("relu", "numbers"),
     ("relu", "counts")],
)  # fmt: skip
def test_scikit_learns_mlp_predicts_what_it_did(activation, targets):
    k = np.arange(60)
    y = {"two classes": k % 2, "three classes": k % 3, "several labels": np.eye(3)[k % 3], "numbers": X[:, :2]}
    kind = MLPRegressor if targets in ("numbers", "counts") else MLPClassifier
    loss = {"loss": "poisson"} if targets == "counts" else {}
    estimator = kind(hidden_layer_sizes=(5, 3), activation=activation, max_iter=2, random_state=0, **loss)
    estimator.fit(X, y.get(targets, k % 4.0))
    net, params = from_sklearn(estimator)
    want = estimator.predict(X) if kind is MLPRegressor else estimator.predict_proba(X)[:, targets == "two classes" :]
    same(net, params, want.reshape(60, -1))


def test_an_estimator_that_is_not_fitted_is_refused():
    with pytest.raises(InputError, match="MLPClassifier has no coefs_: fit it first"):
        from_sklearn(MLPClassifier())


def test_layers_of_flax_go_by_the_numbers_in_their_names():
    kernels = [random(4, 4, seed=k) for k in range(11)]
    params = {f"Dense_{k}": {"kernel": kernels[k], "bias": random(4)} for k in sorted(range(11), key=str)}
    net, found = from_flax({"params": params}, hidden="tanh")
    for layer, kernel in zip(found, kernels, strict=True):
        np.testing.assert_array_equal(layer.W, kernel)
    with pytest.raises(InputError, match=r"Conv_0.kernel has 4 axes: a convolution"):
        from_flax({"Conv_0": {"kernel": random(3, 3, 4, 4)}})
    with pytest.raises(InputError, match=r"LayerNorm_0.scale is no kernel or bias"):
        from_flax({**params, "LayerNorm_0": {"scale": random(4)}}, hidden="tanh")
    assert net.widths == (4,) * 12


def test_activations_of_equinox_are_known_by_what_they_compute():
    layers = [types.SimpleNamespace(weight=STATE[f"{k}.weight"], bias=STATE[f"{k}.bias"]) for k in (0, 2)]
    mlp = types.SimpleNamespace(layers=layers, activation=lambda x: jnp.tanh(x), final_activation=lambda x: x)
    net, params = from_equinox(mlp)
    assert (net.hidden, net.output) == (("tanh",), "linear")
    same(net, params, LOGITS)
    mlp.activation = jnp.sinh
    with pytest.raises(InputError, match="sinh is none of the hidden units"):
        from_equinox(mlp)


# --- files ----------------------------------------------------------------------------------------


def test_safetensors_both_ways(tmp_path):
    net = MLP((4, *[5] * 11, 3), "parametric_relu", output="gaussian")
    params = init(net, jax.random.key(0))
    to_safetensors(tmp_path / "ours.safetensors", net, params)
    save_file({**STATE}, tmp_path / "torch.safetensors")
    found = from_safetensors(tmp_path / "ours.safetensors", net)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, found))
    same(MLP((4, 5, 3), "tanh"), from_safetensors(tmp_path / "torch.safetensors", MLP((4, 5, 3), "tanh")), LOGITS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"", "weights are read from a .safetensors file, or from the directory of a run; got"),
        ("none.safetensors", None, "no such file"),
        ("cut.safetensors", b"\0" * 9, "cut.safetensors as safetensors: "),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        from_safetensors(tmp_path / name, MLP((4, 3)))


# --- training that starts from given weights ------------------------------------------------------


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    with jax.numpy_dtype_promotion("standard"):
        fit(iris(), run_dir=run_dir)
    return run_dir


def onwards(start, **changes):
    changes = {"seed": 1, "training__epochs": 2, "network__start_from": {"path": start}} | changes
    return iris(**changes)


@pytest.mark.usefixtures("usual_promotion")
def test_training_goes_on_from_given_weights_and_says_so(first, tmp_path):
    before = load(first)
    run = fit(onwards(first, training__frozen=(0,)), run_dir=tmp_path / "next")
    frozen, trained = (np.asarray(of.params[0].W == run.params[0].W).all() for of in (before, before)), run.params[1].W
    assert all(frozen)
    assert not np.array_equal(trained, before.params[1].W)
    assert run.history[0]["loss"] < before.history[0]["loss"] / 2  # no new beginning
    assert load(tmp_path / "next").config.network.start_from.sha256 == run.config.network.start_from.sha256


@pytest.mark.usefixtures("usual_promotion")
def test_it_resumes_to_the_same_bits_from_the_same_weights_alone(first, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((first / "weights.safetensors").read_bytes())
    whole = fit(onwards(first, training__epochs=3), run_dir=tmp_path / "whole")
    fit(onwards(first), run_dir=tmp_path / "part")
    longer = onwards(copy, training__epochs=3)
    part = fit(longer, run_dir=tmp_path / "part", resume=True)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole.params, part.params))
    arrays = load_file(copy)
    save_file({**arrays, "layers.0.W": arrays["layers.0.W"] + 1}, copy)
    with pytest.raises(InputError, match=r"another configuration: network.start_from.sha256 was \w+, is \w+"):
        fit(longer, run_dir=tmp_path / "part", resume=True)
    given = {"path": copy, "sha256": part.config.network.start_from.sha256}
    with pytest.raises(InputError, match=r"network.start_from: .* has changed: its SHA-256 is \w+, it was"):
        fit(onwards(copy, network__start_from=given))
    copy.unlink()  # a run can be used without the weights that it began with
    assert cli.main(["evaluate", str(tmp_path / "part")]) == 0


def test_weights_that_do_not_fit_are_refused_before_training(first, tmp_path):
    config = onwards(first, network__widths=(4, 9, 3))
    with pytest.raises(InputError, match=r"network.start_from: .*layer 0 \(layers.0\): .*\(4, 9\), got \(4, 8\)"):
        fit(config, run_dir=tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_evaluate_takes_weights_of_another_file(first, tmp_path, capsys):
    run = load(first)
    to_safetensors(tmp_path / "zero.safetensors", run.net, jax.tree.map(lambda leaf: 0 * leaf, run.params))
    assert cli.main(["evaluate", str(first), "--weights", str(tmp_path / "zero.safetensors")]) == 0
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert losses == pytest.approx([np.log(3)] * 3, rel=1e-5)


def linear(n_in, n_out):
    return module("Linear", weight=np.ones((n_out, n_in), np.float32), bias=np.zeros(n_out, np.float32))


def test_a_module_that_stands_twice_in_a_sequential_counts_twice():
    relu = module("ReLU")
    inner = module("Sequential", linear(3, 3), relu)
    net, params = from_torch(module("Sequential", linear(2, 3), relu, inner, linear(3, 1)))
    assert (net.hidden, net.widths, len(params)) == (("relu", "relu"), (2, 3, 3, 1), 3)


@pytest.mark.parametrize(
    ("source", "net", "message"),
    [
        (module("Network", linear(2, 3), linear(3, 1)), None, "Network computes what its code says: give a Sequential"),
        (module("Sequential", linear(2, 3), module("Softmax", dim=0)), None, "an MLP's is over dim=1"),
        (module("Sequential", module("Flatten", start_dim=0, end_dim=-1), linear(2, 3)), None, "other arguments"),
        (module("Sequential", linear(2, 3), module("Tanh"), linear(3, 1)), MLP((2, 3, 1)),
         "the network has the hidden units relu, the Sequential tanh"),
        (None, None, "give a Sequential of PyTorch, or its state_dict.*; got NoneType"),
        ({"0.weight": np.full((3, 2), np.nan)}, MLP((2, 3), bias=False), "W has entries that are not finite"),
        ({"0.weight": np.ones((3, 2), int)}, MLP((2, 3), bias=False), "holds int64, not floating-point numbers"),
    ],
)  # fmt: skip
def test_what_would_predict_something_else_is_refused(source, net, message):
    with pytest.raises(InputError, match=message):
        from_torch(source, net)


def test_names_that_hold_no_order_of_layers_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    square = {"weight": np.ones((3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    save_file({f"{layer}.{leaf}": value for layer in ("input", "hidden") for leaf, value in square.items()}, path)
    with pytest.raises(InputError, match="the names hidden, input hold no order of layers"):
        from_safetensors(path, MLP((3, 3, 3)))
