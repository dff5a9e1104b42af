"""Output units against scipy's densities, scikit-learn's costs, and mpmath at extreme logits."""

import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from sklearn.metrics import hinge_loss, mean_pinball_loss

import mlp_jax
from mlp_jax import MLP, Layer, LayerWithTheta, output_units
from mlp_jax import autodiff as ad
from mlp_jax.mlp.cost import as_targets
from mlp_jax.mlp.output_units import OUTPUT_UNITS

N, K = 50, 3
RNG = np.random.default_rng(0)


def softplus(s):
    return np.logaddexp(0, s)


def logits(unit):
    scale = 0.3 if unit.name == "full_gaussian" else 2  # the covariance matrix that scipy gets must not be singular
    return scale * np.random.default_rng(1).normal(size=(N, unit.logits(K)))


def targets(unit):
    y = np.random.default_rng(2).normal(size=(N, K))
    match unit.name:
        case "softmax":
            return np.eye(K)[np.arange(N) % K]
        case "sigmoid" | "hinge":
            return (y > 0).astype(float)
        case "poisson":
            return np.floor(np.exp(y))
    return y


def own_parameters(unit):
    theta = unit.theta(K)
    return () if theta is None else (jnp.asarray(theta + np.linspace(-1, 1, K)),)


def full_covariance(unit, row):
    T = np.eye(K)
    T[np.tril_indices(K, -1)] = row[2 * K :]
    D = np.diag(unit.floor + softplus(row[K : 2 * K]))
    return np.linalg.inv(T) @ D @ D @ np.linalg.inv(T).T


def by_scipy(unit, z, y, theta):
    """The log-density of each example by scipy.stats."""
    stats = scipy.stats
    match unit.name:
        case "linear":
            return stats.norm.logpdf(y, z).sum(axis=1)
        case "laplace":
            return stats.laplace.logpdf(y, z).sum(axis=1)
        case "gaussian":
            return stats.norm.logpdf(y, z, unit.floor + softplus(np.asarray(theta[0]))).sum(axis=1)
        case "heteroscedastic":
            return stats.norm.logpdf(y, z[:, :K], unit.floor + softplus(z[:, K:])).sum(axis=1)
        case "full_gaussian":
            return [
                stats.multivariate_normal.logpdf(target, row[:K], full_covariance(unit, row))
                for row, target in zip(z, y, strict=True)
            ]
        case "mixture":
            C = unit.components
            mean = z[:, C : C + C * K].reshape(N, C, K)
            sd = unit.floor + softplus(z[:, C + C * K :].reshape(N, C, K))
            parts = stats.norm.logpdf(y[:, None], mean, sd).sum(axis=2) + scipy.special.log_softmax(z[:, :C], axis=1)
            return scipy.special.logsumexp(parts, axis=1)
        case "sigmoid":
            return stats.bernoulli.logpmf(y, scipy.special.expit(z)).sum(axis=1)
        case "softmax":
            return stats.multinomial.logpmf(y, 1, scipy.special.softmax(z, axis=1))
        case "poisson":
            return stats.poisson.logpmf(y, np.exp(z)).sum(axis=1)


DISTRIBUTIONS = [make() for name, make in OUTPUT_UNITS.items() if name not in ("quantiles", "hinge")]
by_name = pytest.mark.parametrize("unit", DISTRIBUTIONS, ids=lambda unit: unit.name)


@pytest.mark.usefixtures("x64")
@by_name
def test_log_density_is_that_of_scipy(unit):
    z, y, theta = logits(unit), targets(unit), own_parameters(unit)
    ours = unit.log_density(jnp.asarray(z), jnp.asarray(y), *theta)
    assert_allclose(ours, by_scipy(unit, z, y, theta), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_costs_that_are_no_density_are_those_of_sklearn():
    unit = output_units.Quantiles((0.1, 0.5, 0.9))
    z, y = logits(unit), targets(unit)
    q = np.asarray(unit.predict(jnp.asarray(z))).reshape(N, K, 3)
    assert (np.diff(q, axis=2) > 0).all()  # no crossing
    cost = unit.cost("quantile_error")(jnp.asarray(z), jnp.asarray(y))
    sklearns = sum(mean_pinball_loss(y[:, k], q[:, k, j], alpha=a) for k in range(K) for j, a in enumerate(unit.levels))
    assert_allclose(cost.mean(), sklearns, rtol=1e-12)
    unit = output_units.Hinge()
    z, y = logits(unit), targets(unit)
    cost = unit.cost("hinge")(jnp.asarray(z), jnp.asarray(y))
    assert_allclose(cost.mean(), sum(hinge_loss(y[:, k], z[:, k]) for k in range(K)), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@by_name
def test_samples_have_the_mean_and_the_density_of_the_distribution(unit):
    """The mean of many samples; and over them, the mean of another density over this one, which is 1."""
    z, theta, n = jnp.asarray(logits(unit)[:1] / 2), own_parameters(unit), 40_000
    rows = jnp.repeat(z, n, axis=0)
    y = unit.sample(jax.random.key(0), rows, *theta)
    assert y.shape == (n, K)
    expected = unit.predict(z)[0]
    assert_allclose(y.mean(axis=0), expected, atol=5 * float(y.std(axis=0).max()) / np.sqrt(n))
    other = rows + 0.1 * jax.random.normal(jax.random.key(1), (1, unit.logits(K)))
    ratio = jnp.exp(unit.log_density(other, y, *theta) - unit.log_density(rows, y, *theta))
    assert abs(float(ratio.mean()) - 1) < 6 * float(ratio.std()) / np.sqrt(n)


@pytest.mark.usefixtures("x64")
def test_a_floor_bounds_the_cost_and_without_one_it_has_no_bound():
    y = jnp.zeros((4, 1))
    z = jnp.array([[0.0, -700.0]] * 4)  # the mean is exact, σ → the floor
    with_floor, without = (output_units.Heteroscedastic(floor) for floor in (1e-3, 0.0))
    bound = np.log(1e-3) + 0.5 * np.log(2 * np.pi)
    assert_allclose(-with_floor.log_density(z, y), bound, rtol=1e-12)
    assert (-without.log_density(z, y) < -690).all()


# --- extremes -----------------------------------------------------------------------------------------

EXTREMES = np.array([-1e4, -1e3, -100.0, -20.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 20.0, 100.0, 1e3, 1e4])


def exact_sigmoid(z, y):
    """−log p, its derivative and the second one, by 60 digits."""
    with mpmath.workdps(60):
        z = mpmath.mpf(float(z))
        s = 1 / (1 + mpmath.exp(-z))
        cost = y * mpmath.log1p(mpmath.exp(-z)) + (1 - y) * mpmath.log1p(mpmath.exp(z))
        return float(cost), float((1 - y) * s - y / (1 + mpmath.exp(z))), float(s / (1 + mpmath.exp(z)))


def ulps(got, exact, dtype):
    """The error in units of the last place of the exact number; where that is below the normal numbers, in tiny."""
    got = np.asarray(got, np.float64)
    info = jnp.finfo(dtype)
    unit = np.maximum(np.abs(exact) * float(info.eps), float(info.tiny))
    return np.max(np.abs(got - np.asarray(exact)) / unit)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_bernoulli_at_extreme_logits(dtype, y):
    """The cost and its derivatives by our rules, each entry to 3 ulp of itself (measured: 2.71)."""
    with jax.enable_x64(True):
        z = jnp.asarray(EXTREMES, dtype)
        exact = np.array([exact_sigmoid(float(v), y) for v in z]).T
        targets = jnp.full((len(z), 1), y, dtype)

        def cost(z):
            return ad.ops.sum(ad.ops.sigmoid_cross_entropy(ad.ops.expand_dims(z, -1), targets))

        first = ad.grad(cost)
        second = ad.grad(lambda z: ad.ops.sum(first(z)))  # the Hessian is diagonal
        values = ad.ops.sigmoid_cross_entropy(z[:, None], targets)
        for got, truth in zip((values, jax.jit(first)(z), jax.jit(second)(z)), exact, strict=True):
            assert ulps(got, truth, dtype) <= 3


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_multinoulli_at_extreme_logits(dtype, label):
    scales = np.array([[0, 1e4, -1e4], [1e4, 1e4, 0], [-1e4, -1e4, -1e4], [3, 3.5, 2], [20, 0, -20], [1e3, 0, 1]])
    with jax.enable_x64(True):
        z = jnp.asarray(scales, dtype)
        y = jnp.eye(3, dtype=dtype)[label]
        eps = float(jnp.finfo(dtype).eps)

        def f(v):
            return -output_units.Softmax().log_density(v[None], y[None])[0]

        costs, gradients, seconds = jax.jit(
            lambda z: (jax.vmap(f)(z), jax.vmap(jax.grad(f))(z), jax.vmap(jax.hessian(f))(z))
        )(z)
        assert np.isfinite(np.asarray(seconds, np.float64)).all()
        for row, J, g in zip(z, costs, gradients, strict=True):
            exact = [mpmath.mpf(float(v)) for v in row]
            with mpmath.workdps(60):
                total = mpmath.fsum(mpmath.exp(v - max(exact)) for v in exact)
                p = [mpmath.exp(v - max(exact)) / total for v in exact]
                cost = float(mpmath.log(total) - (exact[label] - max(exact)))
                gradient = [float(p[j] - (j == label)) for j in range(3)]
            # what is left of a difference of logits has the error of the largest
            assert abs(float(J) - cost) <= 4 * eps * max(1, abs(cost))
            assert np.max(np.abs(np.asarray(g, np.float64) - gradient)) <= 4 * eps


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", OUTPUT_UNITS)
def test_cost_and_both_derivatives_are_finite_at_extreme_logits(name, dtype):
    """But where the cost itself is beyond the dtype: e^z of a Poisson rate, sums and squares in float16."""
    unit = OUTPUT_UNITS[name]()
    squares = name in ("linear", "gaussian", "heteroscedastic", "full_gaussian", "mixture")
    big = 4.0 if name == "poisson" else 1e4 if dtype != "float16" else 1.0 if squares else 1e3
    cost = unit.cost(unit.costs[0])
    y = jnp.asarray(targets(unit)[:3], dtype)
    theta = tuple(t.astype(dtype) for t in own_parameters(unit))
    scales = np.array([0.0, 1e-3, 1.0, big, -big])[:, None, None]

    def J(z):
        return cost(z, *theta, y).sum()

    z = jnp.asarray(scales * np.sign(logits(unit)[None, :3]), dtype)
    everything = jax.jit(jax.vmap(lambda z: (J(z), jax.grad(J)(z), jax.grad(lambda z: jax.grad(J)(z).sum())(z))))(z)
    for got in everything:
        assert np.isfinite(np.asarray(got, np.float32)).all()


# --- what is refused, and what users combine ------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: output_units.Mixture(components=0),
            "the components of a mixture must be a whole number of at least 1, got 0",
        ),
        (lambda: output_units.Mixture(floor=-1), "floor of a standard deviation must be a finite number"),
        (lambda: output_units.Gaussian(floor=True), "floor of a standard deviation must be a finite number"),
        (lambda: MLP((2, 1), output=output_units.Mixture), "Mixture makes one; call it, as in Mixture()"),
        (lambda: MLP((2, 3), output="softmax", class_weights=[0, 0, 0]), "must not all be 0"),
        (lambda: MLP((2, 1), cost=""), "unknown cost of a linear output unit ''"),
        (lambda: output_units.Quantiles(()), "must be in (0, 1) and increasing, got ()"),
        (lambda: output_units.Quantiles((0.5, 0.5)), "must be in (0, 1) and increasing, got (0.5, 0.5)"),
        (lambda: output_units.Quantiles((0.0, 0.5)), "must be in (0, 1) and increasing"),
        (lambda: MLP((2, 1), output="poison"), "did you mean 'poisson'?"),
        (lambda: MLP((2, 1), output="gaussian", cost="squared_error"), "unknown cost of a gaussian output unit"),
        (lambda: MLP((2, 1), output="poisson", label_smoothing=0.1), "needs a sigmoid or softmax output unit"),
        (lambda: MLP((2, 3), output="softmax", class_weights=[1, 2]), "class_weights must be 3 numbers, one per class"),
        (lambda: MLP((2, 2), output="sigmoid", class_weights=[1, 2]), "got 2 sigmoid outputs"),
        (lambda: output_units.Hinge().log_density(jnp.zeros((1, 1)), jnp.zeros((1, 1))), "is no distribution"),
        (lambda: output_units.Quantiles().sample(jax.random.key(0), jnp.zeros((1, 3))), "is no distribution"),
    ],
)
def test_impossible_units_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("name", "bad"), [("poisson", -1.0), ("poisson", 0.5), ("sigmoid", 2.0), ("softmax", 1.2), ("hinge", -1.0)]
)
def test_targets_outside_the_support_are_found(name, bad):
    unit = OUTPUT_UNITS[name]()
    y = targets(unit)
    assert not unit.outside(y).any()
    y[3, 1] = bad
    assert np.argwhere(unit.outside(y)).tolist() == [[3, 1]]


def test_units_take_their_arguments_by_position():
    assert output_units.Mixture(3).components == 3
    assert output_units.Quantiles(np.array([0.1, 0.5])).levels == (0.1, 0.5)


def test_parameters_that_are_no_arrays_of_floats_are_refused():
    for W, kind in ((jnp.ones((2, 1), int), "int32"), ([[1.0], [1.0]], "list")):
        with pytest.raises(ValueError, match=f"must be an array of floating-point numbers, got {kind}"):
            mlp_jax.predict(MLP((2, 1)), (Layer(W, jnp.zeros(1)),), [[0.9, 0.9]])


def test_a_network_needs_the_outputs_that_its_unit_needs():
    for name, columns in (("heteroscedastic", 6), ("full_gaussian", 9), ("mixture", 35), ("quantiles", 9)):
        net = MLP((2, 4, 3), output=name)
        params = mlp_jax.init(net, jax.random.key(0))
        assert params[-1].W.shape == (4, columns)
        assert mlp_jax.predict(net, params, np.zeros((5, 2))).shape == (5, 9 if name == "quantiles" else 3)
    params = mlp_jax.init(MLP((2, 4, 3), output="gaussian"), jax.random.key(0))
    assert isinstance(params[-1], LayerWithTheta)
    assert params[-1].theta.shape == (3,)


def test_parameters_of_a_full_gaussian_are_consistent():
    net = MLP((2, K), output="full_gaussian")
    params = mlp_jax.init(net, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 2))
    found = mlp_jax.parameters(net, params, x)
    assert_allclose(jnp.sqrt(jnp.diagonal(found["covariance"], axis1=1, axis2=2)), found["sd"], rtol=1e-6)
    assert (np.linalg.eigvalsh(found["covariance"]) > 0).all()
    one = as_targets(net.output_unit, jnp.zeros((4, K)), jnp.zeros((4, 9)), K)
    assert mlp_jax.log_density(net, params, x, one).shape == (4,)


@pytest.mark.usefixtures("x64")
def test_class_weights_are_example_weights_and_smoothing_is_soft_labels():
    rng = np.random.default_rng(0)
    x, labels = jnp.asarray(rng.normal(size=(8, 2))), jnp.arange(8) % 3
    params = (Layer(jnp.asarray(rng.normal(size=(2, 3))), jnp.zeros(3)),)
    weights = np.array([1.0, 2.0, 5.0])
    weighted = mlp_jax.loss_and_grad(MLP((2, 3), output="softmax", class_weights=weights), params, x, labels)
    by_example = mlp_jax.loss_and_grad(MLP((2, 3), output="softmax"), params, x, labels, weights[np.asarray(labels)])
    assert_allclose(weighted[0], by_example[0], rtol=1e-12)
    assert_allclose(weighted[1][0].W, by_example[1][0].W, rtol=1e-12)
    smoothed = mlp_jax.loss(MLP((2, 3), output="softmax", label_smoothing=0.3), params, x, labels)
    soft = optax.smooth_labels(jax.nn.one_hot(labels, 3, dtype=jnp.float64), 0.3)
    assert_allclose(smoothed, optax.softmax_cross_entropy(x @ params[0].W, soft).mean(), rtol=1e-12)
    one = (Layer(params[0].W[:, :1], jnp.zeros(1)),)
    y = (labels > 0).astype(float)[:, None]
    binary = mlp_jax.loss(MLP((2, 1), output="sigmoid", class_weights=[1, 4]), one, x, y)
    assert_allclose(binary, mlp_jax.loss(MLP((2, 1), output="sigmoid"), one, x, y, 1 + 3 * y[:, 0]), rtol=1e-12)
