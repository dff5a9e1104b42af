"""Algorithms 6.3 and 6.4 against jax.grad, worked numbers, and what is refused."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import as_for_a_user
from numpy.testing import assert_allclose
from sklearn.neural_network import MLPClassifier

import mlp_jax
from mlp_jax import L1, L2, MLP, ElasticNet, Layer
from mlp_jax.mlp import precision
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.initializers import INITIALIZERS
from mlp_jax.mlp.output_units import OUTPUT_UNITS

OUTPUT_AND_COST = [(output, cost) for output, unit in OUTPUT_UNITS.items() for cost in unit.costs]
# Each hidden unit, and each cost.
NETWORKS = [(hidden, "linear", "squared_error") for hidden in HIDDEN_UNITS] + [
    ("tanh", *both) for both in OUTPUT_AND_COST
]
PENALTY = ElasticNet(0.02, 0.01, on=("W", "b", "theta"))
N = 7

loss_and_grad = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
value_and_grad = jax.jit(jax.value_and_grad(mlp_jax.loss, argnums=1), static_argnums=0)


def examples(output, dtype, *, one_hot=False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4))
    if output == "softmax":
        labels = rng.integers(0, 3, N)
        y = np.eye(3)[labels] if one_hot else labels
    else:
        y = rng.uniform(size=(N, 3))
        y = y.round() if output == "hinge" else (5 * y).round() if output == "poisson" else y
    weights = rng.uniform(0.5, 2, N)
    return jnp.asarray(x, dtype), jnp.asarray(y), jnp.asarray(weights, dtype)


def assert_close_per_leaf(ours, reference, tolerance):
    """‖ours − reference‖ ≤ tolerance ‖reference‖ for each leaf: a small leaf is not excused by a large one."""
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, reference)
    for (path, mine), theirs in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(reference), strict=True):
        scale = np.linalg.norm(np.asarray(theirs, np.float64))
        error = np.linalg.norm(np.asarray(mine, np.float64) - np.asarray(theirs, np.float64))
        assert error <= tolerance * scale, f"{jax.tree_util.keystr(path)}: {error / scale:.1e}"


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("hidden", "output", "cost", "penalty"),
    [(*network, PENALTY) for network in NETWORKS] + [(*network, None) for network in NETWORKS[::4]],
)
def test_gradients_equal_jax_grad_in_float64(hidden, output, cost, penalty):
    net = MLP((4, 6, 5, 3), hidden, output, cost, penalty, bias=(True, False, True) if penalty else False)
    params = mlp_jax.init(net, jax.random.key(1), bias=0.1, dtype=jnp.float64)
    x, y, weights = examples(output, jnp.float64)
    weights = weights if penalty else None
    ours = loss_and_grad(net, params, x, y, weights)
    reference = value_and_grad(net, params, x, y, weights)
    assert_close_per_leaf(ours, reference, 1e-13)


# An ordinary run takes each other one; all are in float64 above.
@pytest.mark.parametrize(
    ("hidden", "output", "cost"),
    [pytest.param(*network, marks=[pytest.mark.slow] * (k % 2)) for k, network in enumerate(NETWORKS)],
)
def test_gradients_in_float32_are_within_a_few_ulp_of_float64(hidden, output, cost):
    def gradient(function, dtype):
        with jax.enable_x64(dtype == jnp.float64):
            exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
            x, y, weights = examples(output, dtype)
            return jax.tree.map(np.asarray, function(net, exact, x, y, weights))

    net = MLP((4, 6, 5, 3), hidden, output, cost, PENALTY, bias=(True, False, True))  # as above: one program for both
    params = jax.tree.map(np.asarray, mlp_jax.init(net, jax.random.key(1), bias=0.1))
    _, ours = gradient(as_for_a_user(mlp_jax.loss_and_grad, static_argnums=0), jnp.float32)
    _, exact = gradient(value_and_grad, jnp.float64)
    ulps = [
        np.abs(mine - truth).max() / np.spacing(np.abs(truth).max().astype(np.float32))
        for mine, truth in zip(*map(jax.tree.leaves, (ours, exact)), strict=True)
    ]
    assert max(ulps) <= (7 if cost == "nll" else 6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("output", "cost"),
    [("linear", "squared_error"), ("sigmoid", "squared_error"), ("softmax", "cross_entropy"), ("gaussian", "nll")],
)
def test_under_jit_vmap_and_per_example(output, cost):
    net = MLP((4, 5, 3), "tanh", output, cost, L2(0.01))
    x, y, _ = examples(output, jnp.float64)
    gradient = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    J, grads = mlp_jax.loss_and_grad(net, params, x, y)
    assert_close_per_leaf(gradient(net, params, x, y), (J, grads), 1e-14)

    def of_one(x, y):
        return mlp_jax.loss_and_grad(net, params, x[None], y[None])

    costs, per_example = jax.jit(jax.vmap(of_one))(x, y)
    one = jax.jit(of_one)(x[2], y[2])[1]
    assert_close_per_leaf(jax.tree.map(lambda leaf: leaf[2], per_example), one, 1e-14)
    assert_close_per_leaf(jax.tree.map(lambda leaf: leaf.mean(0), (costs, per_example)), (J, grads), 1e-14)

    ensemble = [mlp_jax.init(net, jax.random.key(i), dtype=jnp.float64) for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ensemble)
    _, together = jax.jit(jax.vmap(lambda p: mlp_jax.loss_and_grad(net, p, x, y)))(stacked)
    alone = loss_and_grad(net, ensemble[1], x, y)[1]
    assert_close_per_leaf(jax.tree.map(lambda leaf: leaf[1], together), alone, 1e-13)


def test_the_books_xor_network_gives_0_1_1_0_exactly():
    net = MLP(widths=(2, 2, 1), hidden="relu", output="linear")
    params = (Layer(W=jnp.ones((2, 2)), b=jnp.array([0.0, -1.0])), Layer(W=jnp.array([[1.0], [-2.0]]), b=jnp.zeros(1)))
    x = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    assert mlp_jax.predict(net, params, x).tolist() == [[0.0], [1.0], [1.0], [0.0]]
    J, grads = mlp_jax.loss_and_grad(net, params, x, jnp.array([[0.0], [1.0], [1.0], [0.0]]))
    assert J == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_one_sgd_step_of_a_logistic_3_2_1_network_equals_scikit_learn(alpha):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), rng.integers(0, 2, 10)
    theirs = MLPClassifier(
        (2,), activation="logistic", solver="sgd", momentum=0, alpha=alpha, learning_rate_init=0.5,
        batch_size=10, shuffle=False, random_state=0,
    )  # fmt: skip
    theirs.partial_fit(x, y, classes=[0, 1])  # makes the weights
    params = tuple(
        Layer(jnp.asarray(W), jnp.asarray(b)) for W, b in zip(theirs.coefs_, theirs.intercepts_, strict=True)
    )
    theirs.partial_fit(x, y)
    # scikit-learn's penalty is α/(2n) Σ W², ours λ Σ W²
    net = MLP((3, 2, 1), hidden="sigmoid", output="sigmoid", penalty=L2(alpha / 20))
    J, grads = mlp_jax.loss_and_grad(net, params, x, y[:, None])
    assert_allclose(J, theirs.loss_, rtol=1e-14)
    for k, (layer, g) in enumerate(zip(params, grads, strict=True)):
        assert_allclose(layer.W - 0.5 * g.W, theirs.coefs_[k], rtol=1e-13)
        assert_allclose(layer.b - 0.5 * g.b, theirs.intercepts_[k], rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("output", "cost"), OUTPUT_AND_COST)
def test_weights_count_examples(output, cost):
    net = MLP((4, 5, 3), "tanh", output, cost)
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    x, y, _ = examples(output, jnp.float64)
    times = np.array([0, 1, 2, 3, 0, 1, 1])
    weighted = loss_and_grad(net, params, x, y, weights=times)
    repeated = loss_and_grad(net, params, np.repeat(x, times, axis=0), np.repeat(y, times, axis=0))
    assert_close_per_leaf(weighted, repeated, 1e-13)


@pytest.mark.parametrize("cost", OUTPUT_UNITS["softmax"].costs)
def test_class_numbers_and_one_hot_targets_are_the_same(cost):
    net = MLP((4, 3), output="softmax", cost=cost)
    params = mlp_jax.init(net, jax.random.key(0))
    x, labels, _ = examples("softmax", jnp.float32)
    _, one_hot, _ = examples("softmax", jnp.float32, one_hot=True)
    chex.assert_trees_all_equal(
        mlp_jax.loss_and_grad(net, params, x, labels), mlp_jax.loss_and_grad(net, params, x, one_hot)
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_number_out_of_range_gives_nan_and_not_another_class(label):
    net = MLP((4, 3), output="softmax")
    J, grads = mlp_jax.loss_and_grad(net, mlp_jax.init(net, jax.random.key(0)), jnp.ones((2, 4)), jnp.array([0, label]))
    assert np.isnan(J)
    assert np.isnan(grads[0].W).any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_computation_has_the_parameters_dtype(dtype):
    net = MLP((4, 5, 3), output="softmax", penalty=L2(0.1))
    params = mlp_jax.init(net, jax.random.key(0), dtype=dtype)
    x, y, weights = examples("softmax", jnp.float32)
    J, grads = mlp_jax.loss_and_grad(net, params, x, y, weights)
    chex.assert_trees_all_equal_dtypes(grads, params)
    assert J.dtype == mlp_jax.predict(net, params, x).dtype == dtype
    exact = mlp_jax.loss(net, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params), x, y, weights)
    assert_allclose(float(J), float(exact), rtol=4 * float(jnp.finfo(dtype).eps))


def test_the_tape_holds_every_layer():
    net = MLP((4, 6, 5, 3), output="softmax")
    tape = mlp_jax.forward(net, mlp_jax.init(net, jax.random.key(0)), jnp.ones((N, 4)))
    assert [a.shape for a in tape.a] == [(N, 6), (N, 5), (N, 3)]
    assert [h.shape for h in tape.h] == [(N, 4), (N, 6), (N, 5), (N, 3)]
    assert_allclose(tape.h[-1].sum(1), 1, rtol=1e-6)


# --- initial parameters ----------------------------------------------------------------------------

VARIANCES = {"normal": 1e-4, "unit_normal": 1, "glorot": 2 / 500, "he": 2 / 200, "lecun": 1 / 200}


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initial_weights_have_the_stated_distribution(initializer):
    net = MLP((200, 300))
    (layer,) = mlp_jax.init(net, jax.random.key(0), initializer=initializer, bias=0.1)
    assert (layer.b == np.float32(0.1)).all()
    if initializer == "orthogonal":
        assert_allclose(layer.W @ layer.W.T, np.eye(200), atol=1e-5)
    else:
        variance = VARIANCES[initializer]
        assert abs(float(layer.W.mean())) < 5 * np.sqrt(variance / layer.W.size)
        assert_allclose(float(layer.W.var()), variance, rtol=0.02)


def test_each_layer_is_drawn_for_its_unit_from_a_key_of_its_own():
    net = MLP((200, 200, 200, 200), hidden=("relu", "tanh"))
    params = mlp_jax.init(net, jax.random.key(0))
    assert_allclose([float(layer.W.var()) for layer in params], [2 / 200, 1 / 200, 1 / 200], rtol=0.03)
    longer = mlp_jax.init(MLP((200, 200, 200, 200, 5), hidden=("relu", "tanh", "relu")), jax.random.key(0))
    chex.assert_trees_all_equal(params[:2], longer[:2])
    assert abs(np.corrcoef(params[1].W.ravel(), params[2].W.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initial_weights_in_bfloat16(initializer):
    (layer,) = mlp_jax.init(MLP((8, 4)), jax.random.key(0), initializer=initializer, dtype="bfloat16")
    assert layer.W.dtype == layer.b.dtype == jnp.bfloat16


# --- the record --------------------------------------------------------------------------------------


def test_a_network_is_hashable_and_equal_however_it_is_written():
    assert MLP([2, 3, 1], "relu") == MLP((2, 3, 1), ["relu"], bias=[True, True], cost="squared_error")
    assert hash(MLP((2, 3, 1), penalty=L2(0.1))) == hash(MLP((2, 3, 1), penalty=L2(0.1)))
    assert MLP((2, 3, 1), penalty=L2(0.1)) != MLP((2, 3, 1), penalty=L1(0.1))
    assert MLP((2, 1), penalty=L2(0)).penalty is None
    assert MLP(np.array([2, 1])) == MLP((2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (3,)}, "at least two whole numbers of at least 1, got (3,)"),
        ({"widths": (3, 0)}, "at least two whole numbers"),
        ({"widths": (3, 2.0)}, "at least two whole numbers"),
        ({"widths": 3}, "at least two whole numbers of at least 1, got 3"),
        ({"widths": (3, 2, 1), "hidden": 3}, "hidden must be one name or unit, or one for each of 1 layers, got 3"),
        ({"widths": (3, 2), "output": ["relu"]}, "unknown output unit ['relu']"),
        ({"widths": (3, 2, 1), "hidden": "rellu"}, "unknown hidden unit 'rellu'; did you mean 'relu'?"),
        ({"widths": (3, 2, 1), "hidden": ("relu", "tanh")}, "one for each of 1 layers"),
        (
            {"widths": (3, 2), "output": "gauss"},
            "unknown output unit 'gauss'; did you mean 'gaussian'? (known: linear, laplace, gaussian",
        ),
        ({"widths": (3, 2), "cost": "cross_entropy"}, "unknown cost of a linear output unit 'cross_entropy'"),
        ({"widths": (3, 2), "penalty": 0.1}, "penalty must be mlp_jax.L2(λ)"),
        ({"widths": (3, 2), "bias": (True, False)}, "bias must be one bool, or one for each of 1 layers"),
    ],
)
def test_impossible_networks_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MLP(**arguments)


def test_a_numpy_coefficient_does_not_change_dtypes():
    net = MLP((4, 3), penalty=L2(np.float64(0.1)))
    params = mlp_jax.init(net, jax.random.key(0), dtype="bfloat16")
    J, grads = mlp_jax.loss_and_grad(net, params, jnp.ones((2, 4)), jnp.ones((2, 3)))
    chex.assert_trees_all_equal_dtypes(grads, params)
    assert J.dtype == jnp.bfloat16


def test_each_layer_has_the_unit_and_the_parameters_of_its_place():
    net = MLP((2, 3, 4, 5, 1), hidden=("tanh", "relu", "softplus"), output="sigmoid", bias=(True, False, True, True))
    params = mlp_jax.init(net, jax.random.key(0), bias=0.2)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    h = np.tanh(x @ np.asarray(params[0].W) + np.asarray(params[0].b))
    h = np.maximum(h @ np.asarray(params[1].W), 0)
    h = np.log1p(np.exp(h @ np.asarray(params[2].W) + np.asarray(params[2].b)))
    y_hat = 1 / (1 + np.exp(-(h @ np.asarray(params[3].W) + np.asarray(params[3].b))))
    assert_allclose(mlp_jax.predict(net, params, x), y_hat, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint32"])
@pytest.mark.parametrize("wide", [False, True])
def test_class_numbers_of_any_integer_dtype(dtype, wide):
    with jax.enable_x64(wide):
        net = MLP((4, 300), output="softmax")
        params = mlp_jax.init(net, jax.random.key(0))
        x, labels = jnp.ones((3, 4)), np.array([0, 5, 100])
        expected = mlp_jax.loss_and_grad(net, params, x, np.eye(300)[labels])
        chex.assert_trees_all_equal(mlp_jax.loss_and_grad(net, params, x, labels.astype(dtype)), expected)


@pytest.mark.parametrize(
    ("output", "x", "y", "weights", "message"),
    [
        ("linear", (7, 4), (7,), None, "must have shape (7, 1), got (7,); for one target per example pass y[:, None]"),
        ("sigmoid", (7, 4), (7,), None, "1 sigmoid output must have shape (7, 1), got (7,)"),
        ("linear", (7, 4), (6, 1), None, "must have shape (7, 1), got (6, 1)"),
        ("softmax", (7, 4), (7, 1, 1), None, "(7,) of class numbers or (7, 1) of probabilities"),
        ("linear", (4,), (1, 1), None, "(n, 4), one row per example, got (4,); for one example pass x[None]"),
        ("linear", (7, 5), (7, 1), None, "(n, 4), one row per example, got (7, 5)"),
        ("linear", (7, 4), (7, 1), (7, 1), "weights must have shape (7,), one per example, got (7, 1)"),
    ],
)
def test_shapes_are_refused_and_not_broadcast(output, x, y, weights, message):
    net = MLP((4, 1), output=output)
    params = mlp_jax.init(net, jax.random.key(0))
    weights = None if weights is None else jnp.ones(weights)
    for function in (mlp_jax.loss, mlp_jax.loss_and_grad):
        with pytest.raises(ValueError, match=re.escape(message)):
            function(net, params, jnp.ones(x), jnp.ones(y), weights)


def test_class_numbers_must_be_integers():
    net = MLP((4, 3), output="softmax")
    with pytest.raises(ValueError, match=re.escape("must be integers, got float32 of shape (2,); pass y.astype(int)")):
        mlp_jax.loss(net, mlp_jax.init(net, jax.random.key(0)), jnp.ones((2, 4)), jnp.ones(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: tuple(map(tuple, p)), "params[0] must be a mlp_jax.Layer(W, b), got tuple"),
        (lambda p: p[:1], "need 2 layers of parameters, got 1"),
        (
            lambda p: (p[0]._replace(W=p[0].W.T), p[1]),
            "params[0].W must have shape (4, 5), got (5, 4); it is transposed",
        ),
        (lambda p: (p[0], p[1]._replace(b=None)), "params[1].b must be an array, got None"),
        (lambda p: (p[0], p[1]._replace(b=jnp.ones((1, 3)))), "params[1].b must have shape (3,), got (1, 3)"),
    ],
)
def test_parameters_of_another_network_are_refused(change, message):
    net = MLP((4, 5, 3))
    with pytest.raises(ValueError, match=re.escape(message)):
        mlp_jax.predict(net, change(mlp_jax.init(net, jax.random.key(0))), jnp.ones((2, 4)))


def test_initial_parameters_in_float64_need_x64():
    with pytest.raises(ValueError, match="float64 is off in this process"):
        mlp_jax.init(MLP((2, 1)), jax.random.key(0), dtype="float64")
    with pytest.raises(ValueError, match="must be floating-point, got dtype int32"):
        mlp_jax.init(MLP((2, 1)), jax.random.key(0), dtype="int32")
    with pytest.raises(ValueError, match="unknown initializer 'hee'; did you mean 'he'"):
        mlp_jax.init(MLP((2, 1)), jax.random.key(0), initializer="hee")


def test_costs_of_equal_units_are_one_operation():
    for output in ("mixture", "quantiles"):
        units = [MLP((2, 1), output=output).output_unit for _ in range(2)]
        assert units[0].cost(units[0].costs[0]) is units[1].cost(units[1].costs[0])


def test_a_penalty_of_nothing_is_nothing():
    W = jnp.ones((2, 3))
    assert float(L2(0.0)(W)) == 0
    assert not L2(0.0).gradient(W).any()


@pytest.mark.parametrize("coefficient", [-1, float("nan"), float("inf"), 10**400, True, "1", None])
def test_a_coefficient_that_is_no_finite_number_is_refused(coefficient):
    with pytest.raises(ValueError, match="coefficient λ of L2 must be a finite number of at least 0"):
        L2(coefficient)


@pytest.mark.parametrize("shape", [(5, 1), (5, 7), (2, 5, 7)])
def test_the_gradient_for_weights_is_a_product_of_rounded_factors(shape):
    h, g = jax.random.normal(jax.random.key(0), shape), jax.random.normal(jax.random.key(1), (*shape[:-1], 3))
    exact = jnp.matmul(*(x.astype(jnp.bfloat16).astype(jnp.float32) for x in (h.mT, g)))
    assert_allclose(precision.matmul_over_rows_bfloat16(h, g), exact, rtol=1e-5, atol=1e-5)
