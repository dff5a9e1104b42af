"""What the tape knows, against loops of jax.grad, jax.jacfwd and jax.hessian over the examples, in float64."""

import itertools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose
from test_network import assert_close_per_leaf

import mlp_jax
from mlp_jax import L2, MLP, Layer, hidden_units
from mlp_jax.autodiff import ops
from mlp_jax.mlp.cost import WITHOUT_CURVATURE
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.output_units import OUTPUT_UNITS

N, M = 4, 3  # examples, and those that they are paired with
WIDTHS = (3, 4, 4, 4, 2)  # the last two hidden layers are equal: a stack
OUTPUTS = [(output, cost) for output, unit in OUTPUT_UNITS.items() for cost in unit.costs]
CHOICES = (tuple(HIDDEN_UNITS), tuple(OUTPUTS), (True, False, "some"), *[(False, True)] * 3)  # bias skip stack weights


def pairs(row):
    return set(itertools.combinations(enumerate(row), 2))


def cover():
    """Rows of choices so that each pair of unit and bias, unit and skip, output and stack, … is in one of them.

    Of the pairs of a unit with an output, those that this gives: what these two share is the tape alone.
    """
    missing = set().union(*map(pairs, itertools.product(*CHOICES)))
    missing = {pair for pair in missing if {place for place, _ in pair} != {0, 1}}
    rng = np.random.default_rng(0)
    while missing:
        drawn = [tuple(choices[rng.integers(len(choices))] for choices in CHOICES) for _ in range(200)]
        best = max(drawn, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        yield best


def examples(output, n=N, seed=0, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=(n, widths[-1]))
    y = y.round() if output == "hinge" else (5 * y).round() if output == "poisson" else y
    y = rng.integers(0, widths[-1], n) if output == "softmax" else y
    return jnp.asarray(rng.normal(size=(n, widths[0]))), jnp.asarray(y)


def case(hidden, output_and_cost, bias, skip, stacked, weighted):
    """A network, its parameters, examples and their weights."""
    bias = (True, False, False, True) if bias == "some" else bias
    net = MLP(WIDTHS, hidden, *output_and_cost, penalty=L2(0.1), bias=bias, skip=(False, skip, skip))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64, bias=0.1)
    x, y = examples(output_and_cost[0])
    weights = jnp.asarray([0.5, 2.0, 1.5, 0.25]) if weighted else None
    return net, mlp_jax.stack(net, params) if stacked else params, x, y, weights


def loss_of_one(net, params, x, y):
    """L_i, without weights and penalty."""
    return mlp_jax.loss(replace(net, penalty=None), params, x[None], y[None])


def logits_of_one(net, params, x):
    return mlp_jax.forward(net, params, x[None]).a[-1][0]


def prediction_of_one(net, params, x):
    return mlp_jax.predict(net, params, x[None])[0]


def gradients(net, params, x, y):
    """jax.grad for each example in turn, (n, P)."""
    return jax.lax.map(lambda one: ravel_pytree(jax.grad(loss_of_one, 1)(net, params, *one))[0], (x, y))


def jacobians(net, params, x):
    """jax.jacfwd of the logits for the parameters, for each example in turn, (n, k', P)."""
    flat, restored = ravel_pytree(params)
    return jax.lax.map(lambda x: jax.jacfwd(lambda flat: logits_of_one(net, restored(flat), x))(flat), x)


def hessians(net, params, x, y):
    """∇²_z L_i by jax.hessian, (n, k', k'): the logits are the inputs of a layer that is the identity."""
    z = mlp_jax.forward(net, params, x).a[-1]
    last = MLP((z.shape[1], net.widths[-1]), output=net.output, cost=net.cost, bias=False)
    identity = (type(params[-1])(jnp.eye(z.shape[1]), None, *params[-1][2:]),)
    return jax.lax.map(lambda one: jax.hessian(lambda z: loss_of_one(last, identity, z, one[1]))(one[0]), (z, y))


def jacobians_of_layers(net, params, x):
    """∂z_i/∂a_i of each layer, by jax.jacfwd for its bias: one of 0 is added where there is none."""
    net = replace(net, bias=True)
    params = tuple(own._replace(b=jnp.zeros(own.W.shape[1]) if own.b is None else own.b) for own in params)

    def logits(b, k, x):
        return logits_of_one(net, (*params[:k], params[k]._replace(b=b), *params[k + 1 :]), x)

    return [jax.lax.map(lambda x, k=k: jax.jacfwd(logits)(params[k].b, k, x), x) for k in range(len(params))]


def norms_of(grads):
    return np.linalg.norm(grads, axis=1)


def each_layer(factors):
    for A, G in factors:
        yield from [(A, G)] if A.ndim == 2 else zip(A, G, strict=True)


ROWS = list(cover())
# An ordinary run takes those that differ most: radial units, a covariance, units that mix, pieces, slopes of units, a
# parameter of the output.
ORDINARY = [ROWS[k] for k in (1, 3, 8, 10, 11, 12)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] * (row not in ORDINARY)) for row in ROWS],
    ids=lambda row: "-".join(map(str, row)),
)
def test_all_of_it_is_what_loops_over_examples_give(row):
    net, params, x, y, weights = case(*row)
    w = np.ones(N) if weights is None else np.asarray(weights)
    share = w / w.sum()
    has_curvature = net.cost not in WITHOUT_CURVATURE
    _, restored = ravel_pytree(params)
    v = restored(jax.random.normal(jax.random.key(1), ravel_pytree(params)[0].shape))
    layers = mlp_jax.unstack(net, params)

    @jax.jit
    def references(params, x, y):
        of_predictions = [
            jax.lax.map(lambda x, d=d: d(prediction_of_one, 2)(net, params, x), x) for d in (jax.jacfwd, jax.hessian)
        ]
        return gradients(net, params, x, y), jacobians(net, params, x), hessians(net, params, x, y), of_predictions

    grads, J, H, (jacobian, second) = map(jax.device_get, references(params, x, y))
    max_norm = float(np.median(norms_of(grads)))

    @jax.jit
    def ours(params, x, y, v):
        few = x[:M], y[:M]
        found = {
            "gradient_norms": mlp_jax.gradient_norms(net, params, x, y),
            "by_layer": mlp_jax.gradient_norms(net, params, x, y, by_layer=True),
            "clipped_gradient": mlp_jax.clipped_gradient(net, params, x, y, max_norm, weights),
            "gradient_moments": mlp_jax.gradient_moments(net, params, x, y, weights),
            "gram": mlp_jax.gram(net, params, (x, y), few),
            "ntk": mlp_jax.ntk(net, params, x, x[:M]),
            "ntk_trace": mlp_jax.ntk(net, params, x, x[:M], trace=True),
            "input_jacobian": mlp_jax.input_jacobian(net, params, x),
            "laplacian": mlp_jax.laplacian(net, params, x),
        }
        if has_curvature:
            found["ggn_product"] = mlp_jax.ggn_product(net, params, x, y, v, weights)
            found["ggn_diagonal"] = mlp_jax.ggn_diagonal(net, params, x, y, weights)
            found["kfac_factors"] = mlp_jax.kfac_factors(net, params, x, y, weights)
        return found

    found = ours(params, x, y, v)
    ntk = np.einsum("icp,jdp->ijcd", J, J[:M])
    mean = share @ grads
    of_layers = [mlp_jax.unstack(net, restored(g)) for g in grads]
    expected = {
        "gradient_norms": norms_of(grads),
        "by_layer": np.array([[norms_of(ravel_pytree(layer)[0][None])[0] for layer in one] for one in of_layers]),
        "clipped_gradient": restored((w * np.minimum(1, max_norm / norms_of(grads))) @ grads),
        "gradient_moments": (restored(mean), restored(share @ (grads - mean) ** 2)),
        "gram": grads @ grads[:M].T,
        "ntk": ntk,
        "ntk_trace": np.einsum("ijcc->ij", ntk),
        "input_jacobian": jacobian,
    }
    laplacian = np.einsum("ncjj->nc", second)
    assert_allclose(found.pop("laplacian"), laplacian, rtol=1e-10, atol=1e-12 * np.abs(second).max())
    if has_curvature:
        G = np.einsum("icp,i,icd,idq->pq", J, share, H, J)
        expected["ggn_product"] = restored(G @ ravel_pytree(v)[0])
        expected["ggn_diagonal"] = restored(np.diagonal(G))
        factors = found.pop("kfac_factors")
        h, of_a = mlp_jax.forward(net, layers, x).h, jax.jit(lambda p, x: jacobians_of_layers(net, p, x))(layers, x)
        for k, (A, G) in enumerate(each_layer(factors)):
            if row[0] != "rbf" or k == len(layers) - 1:  # where a bias is not added to a, J_a is not that for the bias
                h_bar = h[k] if layers[k].b is None else np.concatenate([h[k], np.ones((N, 1))], axis=1)
                assert_close_per_leaf(A, jnp.einsum("i,ip,iq->pq", share, h_bar, h_bar), 1e-10)
                assert_close_per_leaf(G, jnp.einsum("i,icp,icd,idq->pq", share, of_a[k], H, of_a[k]), 1e-10)
    for name, theirs in expected.items():
        assert_close_per_leaf(found.pop(name), jax.tree.map(jnp.asarray, theirs), 1e-10)
    assert not found


# --- layers that are no products, or whose products are rounded ------------------------------------


def whole_gradients(net, params, x, y):
    """Our own backward pass for each example alone, (n, P)."""
    net = replace(net, penalty=None)
    return jnp.stack(
        [ravel_pytree(mlp_jax.loss_and_grad(net, params, x[i : i + 1], y[i : i + 1])[1])[0] for i in range(len(x))]
    )


def assert_norms_moments_and_products(net, params, x, y, rtol):
    grads = whole_gradients(net, params, x, y)
    assert_allclose(mlp_jax.gradient_norms(net, params, x, y), norms_of(grads), rtol=rtol)
    mean, _ = mlp_jax.gradient_moments(net, params, x, y)
    assert_close_per_leaf(ravel_pytree(mean)[0], grads.mean(0), rtol)
    inner = mlp_jax.gram(net, params, (x, y), (x, y))
    assert_close_per_leaf(inner, grads @ grads.T, rtol)


@pytest.mark.usefixtures("x64")
def test_categories_that_are_looked_up_are_inputs_of_1():
    net = MLP((2 + 3 + 2, 4, 1), "tanh", categories=(3, 2))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64, bias=0.1)
    codes = jnp.asarray([[0.0, 1.0], [2.0, 1.0], [-1.0, 0.0], [0.0, 5.0]])  # −1 and 5 are none of them
    x = jnp.concatenate([examples("linear", widths=(2, 1))[0], codes], axis=1)
    y = x[:, :1]
    assert_norms_moments_and_products(net, params, x, y, 1e-12)
    plain = MLP((2, 4, 1), "tanh")
    for i in range(len(x)):  # the others of an example add to the bias
        shift = (
            jax.nn.one_hot(codes[i, 0].astype(int), 3) @ params[0].W[2:5]
            + jax.nn.one_hot(codes[i, 1].astype(int), 2) @ params[0].W[5:]
        )
        of_numbers = (params[0]._replace(W=params[0].W[:2], b=params[0].b + shift), params[1])
        jacobian = mlp_jax.input_jacobian(net, params, x[i : i + 1])
        expected = mlp_jax.input_jacobian(plain, of_numbers, x[i : i + 1, :2])
        assert_allclose(jacobian[:, :, :2], expected, rtol=1e-12)
        assert not jacobian[:, :, 2:].any()
        laplacian = mlp_jax.laplacian(net, params, x[i : i + 1])
        assert_allclose(laplacian, mlp_jax.laplacian(plain, of_numbers, x[i : i + 1, :2]), rtol=1e-12)


def test_rounded_products_have_rounded_factors():
    net = MLP(WIDTHS, "tanh", products="bfloat16")
    params = mlp_jax.init(net, jax.random.key(0), bias=0.1)
    x, y = (part.astype(jnp.float32) for part in examples("linear"))
    assert_norms_moments_and_products(net, params, x, y, 2e-6)
    unrounded = mlp_jax.gradient_norms(replace(net, products=None), params, x, y)
    assert np.abs(mlp_jax.gradient_norms(net, params, x, y) / unrounded - 1).max() > 1e-4


@pytest.mark.usefixtures("x64")
def test_an_operation_of_ones_own_that_mixes_units_has_the_right_laplacian():
    mixing = hidden_units.HiddenUnit("mixing", ops.softmax, "glorot")
    net, same = MLP((3, 4, 2), mixing), MLP((3, 4, 2), "softmax")
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    x, _ = examples("linear")
    assert_allclose(mlp_jax.laplacian(net, params, x), mlp_jax.laplacian(same, params, x), rtol=1e-12)


def test_norms_of_bfloat16_are_summed_in_float32():
    net = MLP((1000, 1))
    params = (Layer(jnp.zeros((1000, 1), jnp.bfloat16), jnp.zeros(1, jnp.bfloat16)),)
    norms = mlp_jax.gradient_norms(net, params, jnp.ones((1, 1000)), jnp.ones((1, 1)))
    assert norms.dtype == jnp.float32
    assert_allclose(norms, np.sqrt(1001), rtol=1e-6)


# --- what enters, and what does not ----------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_label_smoothing_is_in_the_costs_and_class_weights_are_weights():
    smooth = MLP((3, 4, 2), "tanh", "softmax", label_smoothing=0.2)
    net = replace(smooth, class_weights=(1.0, 3.0))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    x, y = examples("softmax", widths=net.widths)[0], jnp.asarray([0, 1, 1, 0])
    assert_norms_moments_and_products(smooth, params, x, y, 1e-12)
    assert (mlp_jax.gradient_norms(net, params, x, y) == mlp_jax.gradient_norms(smooth, params, x, y)).all()
    w = jnp.asarray(net.class_weights)[y]
    mean, _ = mlp_jax.gradient_moments(net, params, x, y)
    assert_close_per_leaf(mean, mlp_jax.loss_and_grad(net, params, x, y)[1], 1e-12)
    for f in (mlp_jax.gradient_moments, mlp_jax.ggn_diagonal, mlp_jax.kfac_factors):
        assert_close_per_leaf(f(net, params, x, y), f(smooth, params, x, y, w), 1e-12)
    clipped = mlp_jax.clipped_gradient(net, params, x, y, 0.1)
    assert_close_per_leaf(clipped, mlp_jax.clipped_gradient(smooth, params, x, y, 0.1, w), 1e-12)


# --- transformations -------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_norms_can_be_differentiated_also_where_they_are_0():
    net = MLP((3, 4, 2), "tanh")
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    x, y = examples("linear", widths=net.widths)

    def of_loops(params):
        return jnp.sum(jnp.linalg.norm(gradients(net, params, x, y), axis=1))

    ours = jax.grad(lambda p: mlp_jax.gradient_norms(net, p, x, y).sum())(params)
    assert_close_per_leaf(ours, jax.grad(of_loops)(params), 1e-10)
    met = mlp_jax.predict(net, params, x)
    at_0 = jax.grad(lambda p: mlp_jax.gradient_norms(net, p, x, met).sum())(params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(at_0))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(mlp_jax.clipped_gradient(net, params, x, met, 1.0)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "quantity",
    [
        lambda net, p, x, y: mlp_jax.gradient_norms(net, p, x, y),
        lambda net, p, x, y: mlp_jax.clipped_gradient(net, p, x, y, 0.5),
        lambda net, p, x, y: mlp_jax.gradient_moments(net, p, x, y),
        lambda net, p, x, y: mlp_jax.gram(net, p, (x, y), (x, y)),
        lambda net, p, x, y: mlp_jax.ntk(net, p, x, x),
        lambda net, p, x, y: mlp_jax.ggn_diagonal(net, p, x, y),
        lambda net, p, x, y: mlp_jax.ggn_product(net, p, x, y, p),
        lambda net, p, x, y: mlp_jax.kfac_factors(net, p, x, y),
        lambda net, p, x, y: mlp_jax.input_jacobian(net, p, x),
        lambda net, p, x, y: mlp_jax.laplacian(net, p, x),
    ],
    ids=["norms", "clipped", "moments", "gram", "ntk", "diagonal", "product", "kfac", "jacobian", "laplacian"],
)
def test_under_vmap_over_networks_and_twice_differentiable(quantity):
    net = MLP((3, 4, 4, 2), "tanh", "softmax", skip=True)
    members = [mlp_jax.stack(net, mlp_jax.init(net, jax.random.key(i), dtype=jnp.float64)) for i in range(2)]
    x, y = examples("softmax", widths=net.widths)
    together = jax.jit(jax.vmap(lambda p: quantity(net, p, x, y)))(jax.tree.map(lambda *v: jnp.stack(v), *members))
    alone = [quantity(net, p, x, y) for p in members]
    assert_close_per_leaf(jax.tree.map(lambda v: v[1], together), alone[1], 1e-12)

    def of_line(t):
        return ravel_pytree(quantity(net, jax.tree.map(lambda leaf: leaf + t, members[0]), x, y))[0][::2].sum()

    step = 1e-5
    slope = (of_line(step) - of_line(-step)) / (2 * step)
    assert_allclose(jax.jit(jax.grad(of_line))(0.0), slope, rtol=1e-6)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, p, x, y: mlp_jax.gradient_norms(n, p, x, None), "targets y are missing: a network with a linear"),
        (lambda n, p, x, y: mlp_jax.gradient_norms(n, p, x, y[:, 0]), "must have shape (5, 1), got (5,); for one"),
        (lambda n, p, x, y: mlp_jax.gradient_norms(n, p, x[0], y), "for one example pass x[None]"),
        (lambda n, p, x, y: mlp_jax.clipped_gradient(n, p, x, y, 0), "max_norm must be a number above 0, got 0"),
        (lambda n, p, x, y: mlp_jax.clipped_gradient(n, p, x, y, np.nan), "max_norm must be a number above 0, got nan"),
        (lambda n, p, x, y: mlp_jax.clipped_gradient(n, p, x, y, "1"), "max_norm must be a number above 0, got '1'"),
        (lambda n, p, x, y: mlp_jax.gradient_moments(n, p, x, y, y), "weights must have shape (5,), one per example"),
        (lambda n, p, x, y: mlp_jax.gram(n, p, x, (x, y)), "gram takes pairs (x, y) of inputs and targets; the first"),
        (lambda n, p, x, y: mlp_jax.gram(n, p, (x, y), (x,)), "the second is 1 array"),
        (lambda n, p, x, y: mlp_jax.ggn_product(n, p, x, y, p[0]), "v must be like params, (Layer(W='float32(4, 1)'"),
        (lambda n, p, x, y: mlp_jax.ggn_product(n, p, x, y, (p[0]._replace(W=x),)), "got (Layer(W='float32(5, 4)'"),
        (lambda n, p, x, y: mlp_jax.ggn_product(n, p, x, y, None), "v must be like params"),
        (lambda n, p, x, y: mlp_jax.ntk(n, p, x, x[0]), "for one example pass x[None]"),
        (lambda n, p, x, y: mlp_jax.laplacian(n, (), x), "widths (4, 1) need 1 layers of parameters, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    net = MLP((4, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        call(net, mlp_jax.init(net, jax.random.key(0)), jnp.ones((5, 4)), jnp.ones((5, 1)))


@pytest.mark.parametrize(
    ("output", "cost"),
    [("linear", "absolute_error"), ("laplace", "absolute_error"), ("quantiles", "quantile_error"), ("hinge", "hinge")],
)
def test_a_cost_without_second_derivative_has_no_gauss_newton_matrix(output, cost):
    net = MLP((4, 1), output=output, cost=cost)
    params = mlp_jax.init(net, jax.random.key(0))
    x, y = jnp.ones((5, 4)), jnp.ones((5, 1))
    for call in (
        lambda: mlp_jax.ggn_product(net, params, x, y, params),
        lambda: mlp_jax.ggn_diagonal(net, params, x, y),
        lambda: mlp_jax.kfac_factors(net, params, x, y),
    ):
        with pytest.raises(ValueError, match=f"the cost {cost} is piecewise linear .* no second derivative"):
            call()


@pytest.mark.usefixtures("x64")
def test_the_gauss_newton_matrix_is_the_hessian_where_the_logits_are_linear():
    net = MLP((3, 2), output="softmax", penalty=L2(0.1))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    x, y = examples("softmax", widths=net.widths)
    v = jax.tree.map(jnp.cos, mlp_jax.init(net, jax.random.key(1), dtype=jnp.float64))
    v = tuple(own._replace(b=jnp.asarray([1.0, 2.0])) for own in v)
    _, product = jax.jvp(jax.grad(lambda p: mlp_jax.loss(net, p, x, y)), (params,), (v,))
    ours = mlp_jax.ggn_product(net, params, x, y, v)
    penalised = tuple(own._replace(W=own.W + 0.2 * d.W) for own, d in zip(ours, v, strict=True))
    assert_close_per_leaf(penalised, product, 1e-12)
