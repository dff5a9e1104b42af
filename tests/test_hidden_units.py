"""Hidden units against numpy and scipy, at their kinks and far out; skip connections and stacks of layers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose

import mlp_jax
from mlp_jax import L2, MLP, ElasticNet, LayerWithTheta, hidden_units
from mlp_jax.autodiff import ops
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.training.build import build_network
from mlp_jax.training.config.records import Network

ELEMENTWISE = {name: unit for name, unit in HIDDEN_UNITS.items() if unit.is_elementwise}
VALUES = {
    "relu": lambda a: np.maximum(a, 0),
    "absolute": np.abs,
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "hard_tanh": lambda a: np.clip(a, -1, 1),
    "softplus": lambda a: np.logaddexp(a, 0),
    "cosine": np.cos,
    "linear": lambda a: a,
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "gelu": lambda a: a * scipy.special.expit(2 * np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)),
    "silu": lambda a: a * scipy.special.expit(a),
}
# f' where the table of `hidden_units` states one
AT_KINKS = {
    "relu": {0.0: 0.0},
    "absolute": {0.0: 0.0},
    "leaky_relu": {0.0: 0.01},
    "hard_tanh": {-1.0: 0.0, 1.0: 0.0},
    "elu": {0.0: 1.0},
}


def slope(unit, a):
    return unit.gradients(jnp.ones_like(a), unit(a), a)[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_are_those_of_numpy_and_scipy(name):
    a = np.linspace(-8, 8, 81) + 0.01
    assert_allclose(ELEMENTWISE[name](jnp.asarray(a)), VALUES[name](a), rtol=1e-13, atol=1e-300)


@pytest.mark.usefixtures("x64")
def test_gelu_is_one_function_under_one_name():
    a = jnp.linspace(-4, 4, 33)
    for unit in (hidden_units.gelu(), HIDDEN_UNITS["gelu"], ops.gelu):
        assert_allclose(unit(a), jax.nn.gelu(a), rtol=1e-13, atol=1e-15)
    for unit in (hidden_units.gelu(approximate=False), lambda a: ops.gelu(a, approximate=False)):
        assert_allclose(unit(a), a * scipy.special.ndtr(a), rtol=1e-13)
    configured = Network(widths=(2, 3, 1), hidden={"name": "gelu", "approximate": False})
    assert build_network(configured).hidden_units == (hidden_units.gelu(approximate=False),)


@pytest.mark.parametrize("name", AT_KINKS)
def test_derivatives_at_kinks_are_the_stated_ones(name):
    for a, stated in AT_KINKS[name].items():
        assert float(slope(ELEMENTWISE[name], jnp.float32(a))) == np.float32(stated)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_jaxs_derivative_of_a_unit_is_ours_at_every_point(name):
    a = jnp.linspace(-2, 2, 17)  # kinks included
    assert_allclose(jax.vmap(jax.grad(ELEMENTWISE[name]))(a), slope(ELEMENTWISE[name], a), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_both_derivatives_are_finite_and_right_far_out(name, dtype):
    a = jnp.asarray([-1e4, -100, -30, -5, 5, 30, 100, 1e4], dtype)
    first = slope(ELEMENTWISE[name], a)
    second = jax.jit(jax.vmap(jax.grad(lambda v: slope(ELEMENTWISE[name], v))))(a)
    with jax.enable_x64(True):
        exact = jax.jit(jax.vmap(jax.grad(lambda v: ELEMENTWISE[name](v))))(a.astype(jnp.float64))
    assert np.isfinite(np.asarray(second, np.float64)).all()
    assert_allclose(np.asarray(first, np.float64), exact, atol=8 * float(jnp.finfo(dtype).eps))


def test_maxout_is_the_largest_of_its_pieces_and_shares_at_a_tie():
    unit = hidden_units.maxout(3)
    a = jnp.asarray([[1.0, 5.0, 2.0, 7.0, 7.0, 0.0]])
    assert unit(a).tolist() == [[5.0, 7.0]]
    assert unit.gradients(jnp.ones((1, 2)), unit(a), a)[0].tolist() == [[0, 1, 0, 0.5, 0.5, 0]]
    net = MLP((4, 5, 2), unit)
    assert [layer.W.shape for layer in mlp_jax.init(net, jax.random.key(0))] == [(4, 15), (5, 2)]


def test_slopes_of_parametric_relu_are_learned_one_for_each_unit():
    net = MLP((1, 2, 1), "parametric_relu", bias=False)
    first, last = mlp_jax.init(net, jax.random.key(0))
    assert first.theta.tolist() == [0.25, 0.25]
    params = (LayerWithTheta(jnp.array([[1.0, 1.0]]), None, jnp.array([0.5, 3.0])), last._replace(W=jnp.ones((2, 1))))
    assert mlp_jax.predict(net, params, [[-2.0]]).tolist() == [[-7.0]]
    grads = mlp_jax.loss_and_grad(net, params, jnp.array([[-2.0]]), jnp.array([[0.0]]))[1]
    assert grads[0].theta.tolist() == [14.0, 14.0]  # (ŷ − y) a


def test_a_radial_unit_is_1_at_its_centre_and_falls_off_with_the_distance():
    net = MLP((2, 1, 1), "rbf")
    params = mlp_jax.init(net, jax.random.key(0))
    params = (params[0]._replace(W=jnp.array([[3.0], [4.0]]), b=jnp.log(jnp.array([0.5]))), params[1])
    tape = mlp_jax.forward(net, params, [[3.0, 4.0], [0.0, 0.0]])
    assert_allclose(tape.h[1].ravel(), [1, np.exp(-0.5 * 25 / 2)], rtol=1e-6)  # the mean of 9 and 16, times e^b


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hidden_units.maxout(0), "the pieces of maxout must be a whole number of at least 1, got 0"),
        (lambda: hidden_units.maxout(2.0), "at least 1, got 2.0"),
        (lambda: hidden_units.leaky_relu(float("nan")), "slope must be a finite number, got nan"),
        (lambda: MLP((2, 3, 1), "maxot"), "did you mean 'maxout'?"),
        (lambda: MLP((2, 3, 4, 1), skip=True), "h^(1) to h^(2): both need the same number of units, got 3 and 4"),
        (lambda: MLP((2, 3, 1), skip=[True]), "h^(0) to h^(1)"),
        (lambda: ElasticNet(0.1, 0.1, on="bias"), "a penalty is on some of W, b, theta, got 'bias'"),
        (lambda: ElasticNet(0.1, 0.1, layers=[-1]), "layers of a penalty must be whole numbers of at least 0"),
        (lambda: ElasticNet(0.1, 0.1, on=None), "a penalty is on some of W, b, theta, got None"),
        (lambda: MLP((2, 3, 1), penalty=L2(0.1, layers=2)), "a penalty is on layer 2, but there are 2, counted from 0"),
        (lambda: MLP((2, 3, 1), penalty=L2(0.1, on="theta")), "a penalty is on theta, but none of its layers has one"),
        (lambda: MLP((2, 3, 1), penalty=L2(0.1, on="b"), bias=False), "a penalty is on b, but none"),
        (lambda: MLP((2, 3, 1), hidden_units.maxout), "maxout makes one; call it, as in maxout()"),
        (lambda: MLP((2, 1), "rellu"), "did you mean 'relu'?"),
    ],
)
def test_impossible_units_and_connections_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# --- depth ----------------------------------------------------------------------------------------


def batch(net, dtype=jnp.float64):
    x = jax.random.normal(jax.random.key(1), (6, net.widths[0]), dtype)
    return x, jax.random.normal(jax.random.key(2), (6, net.widths[-1]), dtype)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("hidden", ["tanh", "parametric_relu", "maxout", "rbf"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_stack_computes_what_its_layers_compute(hidden, skip):
    net = MLP((5, 5, 5, 5, 5, 2), hidden, skip=skip, penalty=ElasticNet(0.01, 0.02, on=("W", "theta"), layers=(0, 1)))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64, bias=0.1)
    stacked = mlp_jax.stack(net, params)
    assert len(stacked) < len(params)
    x, y = batch(net)
    loss_and_grad = jax.jit(mlp_jax.loss_and_grad, static_argnums=0)
    J, grads = loss_and_grad(net, params, x, y)
    J_stacked, grads_stacked = loss_and_grad(net, stacked, x, y)
    assert_allclose(J_stacked, J, rtol=1e-14)
    reference = jax.jit(jax.grad(mlp_jax.loss, argnums=1), static_argnums=0)(net, params, x, y)
    for ours, theirs in ((mlp_jax.unstack(net, grads_stacked), grads), (grads, reference)):
        for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
            assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    for a, b in zip(*map(jax.tree.leaves, (mlp_jax.unstack(net, stacked), params)), strict=True):
        assert (a == b).all()
    drawn = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64, bias=0.1, stacked=True)
    for a, b in zip(*map(jax.tree.leaves, (drawn, stacked)), strict=True):
        assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
def test_skip_connections_start_in_range_at_any_depth(hidden):
    net = MLP((3, *(64,) * 300, 1), hidden, skip=True)
    predicted = mlp_jax.predict(net, mlp_jax.init(net, jax.random.key(0), stacked=True), jnp.ones((2, 3)))
    assert (jnp.abs(predicted) < 100).all()


def test_what_is_compiled_for_a_stack_does_not_grow_with_depth():
    def size(depth):
        net = MLP((8,) * (depth + 1) + (1,), "tanh")
        params = jax.eval_shape(lambda: mlp_jax.init(net, jax.random.key(0), stacked=True))
        x, y = (jax.ShapeDtypeStruct((4, width), jnp.float32) for width in (8, 1))
        return len(jax.jit(mlp_jax.loss_and_grad, static_argnums=0).lower(net, params, x, y).as_text())

    assert size(1000) < 1.05 * size(10)


def test_parameters_of_another_depth_are_refused():
    net = MLP((3, 3, 3, 3, 1))
    stacked = mlp_jax.init(net, jax.random.key(0), stacked=True)
    with pytest.raises(ValueError, match=re.escape("params[0] is a stack of 3 layers; the network has 4 equal")):
        mlp_jax.loss(MLP((3, 3, 3, 3, 3, 1)), stacked, *batch(net, jnp.float32))
    with pytest.raises(ValueError, match=re.escape("params[0].b must have shape (3,), got (2, 3)")):
        mlp_jax.loss(net, (stacked[0]._replace(b=jnp.zeros((2, 3))), stacked[1]), *batch(net, jnp.float32))
