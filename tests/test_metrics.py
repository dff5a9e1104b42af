"""Metrics are those of scikit-learn, on predictions of networks."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as sk

import mlp_jax
from mlp_jax import MLP, output_units
from mlp_jax.training.metrics import METRICS, RANKINGS, measure_with


def evaluated(net, y, n=300, scale=1.0):
    params = mlp_jax.init(net, jax.random.key(3), initializer="unit_normal")
    x = jax.random.normal(jax.random.key(1), (n, net.widths[0]))
    values = measure_with()(net, params, x, y, np.full(net.widths[-1], scale, np.float32), np.ones(n, np.float32))
    y_hat = np.asarray(mlp_jax.predict(net, params, x), np.float64)
    found = {name: np.asarray(values[name], float)[()] for name in METRICS[net.output_unit.kind]}
    assert set(values) == {"loss", *found}
    return found, y_hat, (net, params, x)


def expected_calibration_error(is_right, confidence, bins=15):
    """By its definition: intervals (k/15, (k + 1)/15]."""
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(is_right[inside].mean() - confidence[inside].mean())
    return error


def test_classes():
    y = np.random.default_rng(0).integers(0, 3, 300).astype(np.int32)  # the fourth class is never there
    found, p, _ = evaluated(MLP((5, 4), output="softmax"), y)
    chosen = p.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, chosen), rel=1e-6)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, chosen, average="macro"), rel=1e-6)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p / p.sum(1, keepdims=True), labels=range(4)), rel=1e-5)
    assert found["calibration_error"] == pytest.approx(expected_calibration_error(chosen == y, p.max(1)), rel=1e-4)


@pytest.mark.parametrize("k", [1, 3])
def test_probabilities(k):
    y = np.random.default_rng(0).integers(0, 2, (300, k)).astype(np.float32)
    found, p, _ = evaluated(MLP((5, k), output="sigmoid"), y)
    chosen = (p >= 0.5).astype(int)
    assert found["accuracy"] == pytest.approx((chosen == y).mean(), rel=1e-6)
    truth, given = (y, chosen) if k > 1 else (y[:, 0], chosen[:, 0])
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, given, average="macro"), rel=1e-6)
    losses = [sk.log_loss(y[:, j], p[:, j]) for j in range(k)]
    assert found["log_loss"] == pytest.approx(sum(losses), rel=1e-5)
    right, confidence = (chosen == y).ravel(), np.maximum(p, 1 - p).ravel()
    assert found["calibration_error"] == pytest.approx(expected_calibration_error(right, confidence), rel=1e-4)


def test_margins():
    y = np.random.default_rng(0).integers(0, 2, (300, 1)).astype(np.float32)
    found, z, _ = evaluated(MLP((5, 1), output="hinge"), y)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, z > 0), rel=1e-6)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, z > 0, average="macro"), rel=1e-6)


@pytest.mark.parametrize("output", ["linear", "heteroscedastic", output_units.Mixture(components=2)], ids=str)
def test_quantities_in_the_original_units(output):
    scale = 7.0
    y = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    found, y_hat, (net, params, x) = evaluated(MLP((5, 2), output=output), y, scale=scale)
    true, given = scale * y, scale * y_hat
    for name, of_targets in (("rmse", sk.root_mean_squared_error), ("mae", sk.mean_absolute_error)):  # one for each
        assert_allclose(found[name], of_targets(true, given, multioutput="raw_values"), rtol=1e-5)
    assert found["r2"] == pytest.approx(sk.r2_score(true, given), rel=1e-4)
    density = np.asarray(mlp_jax.log_density(net, params, x, y), np.float64) - 2 * np.log(scale)
    assert_allclose(found["nll"], -density.mean(), rtol=1e-5)


def test_r2_of_constant_targets_is_that_of_scikit_learn():
    y = np.full((300, 1), 0.1, np.float32)
    found, y_hat, _ = evaluated(MLP((5, 1)), y)
    assert found["r2"] == sk.r2_score(y, y_hat) == 0


def test_quantiles():
    y = np.random.default_rng(0).normal(size=(300, 1)).astype(np.float32)
    found, q, _ = evaluated(MLP((5, 1), output=output_units.Quantiles(levels=(0.1, 0.9))), y)
    coverage = (y <= q).mean(0)
    assert found["coverage_error"] == pytest.approx(np.abs(coverage - [0.1, 0.9]).mean(), rel=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_ranking_is_that_of_scikit_learn_with_ties_and_weights(k):
    rng = np.random.default_rng(1)
    y = (rng.random((300, k)) < 0.2).astype(np.float32)
    net = MLP((5, k), output="sigmoid")
    params = mlp_jax.init(net, jax.random.key(3), initializer="unit_normal")
    x = jax.random.normal(jax.random.key(1), (60, 5))[np.arange(300) % 60]  # five times the same prediction
    p = np.asarray(mlp_jax.predict(net, params, x), np.float64)
    for weights in (None, rng.integers(0, 4, 300).astype(np.float32)):
        w = np.ones(300, np.float32) if weights is None else weights
        found = measure_with(("auc", "average_precision"))(net, params, x, y, np.ones(k, np.float32), w)
        for name, of in (("auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
            expected = np.mean([of(y[:, j], p[:, j], sample_weight=weights) for j in range(k)])
            assert found[name] == pytest.approx(expected, rel=1e-5)
            by_numpy = RANKINGS[name](p.astype(np.float32), y, np.ones(300) if weights is None else weights, np)
            assert by_numpy == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("net", "y"),
    [
        (MLP((5, 3), output="softmax"), "classes"),
        (MLP((5, 2), output="sigmoid"), "labels"),
        (MLP((5, 2)), "numbers"),
        (MLP((5, 1), output=output_units.Quantiles(levels=(0.1, 0.9))), "numbers"),
    ],
    ids=str,
)
def test_a_weight_is_how_often_an_example_counts(net, y):
    rng = np.random.default_rng(0)
    k, n = net.widths[-1], 80
    y = {
        "classes": rng.integers(0, 3, n).astype(np.int32),
        "labels": rng.integers(0, 2, (n, k)).astype(np.float32),
    }.get(y, rng.normal(size=(n, k)).astype(np.float32))
    weights = rng.integers(0, 4, n)
    params = mlp_jax.init(net, jax.random.key(3), initializer="unit_normal")
    x, scale = np.asarray(jax.random.normal(jax.random.key(1), (n, 5))), np.full(k, 3.0, np.float32)
    weighted = measure_with()(net, params, x, y, scale, weights.astype(np.float32))
    rows = np.repeat(np.arange(n), weights)
    repeated = measure_with()(net, params, x[rows], y[rows], scale, np.ones(len(rows), np.float32))
    for name, value in repeated.items():
        assert_allclose(weighted[name], value, rtol=1e-5, err_msg=name)
