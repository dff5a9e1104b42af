"""The estimators beside scikit-learn's: its checks, the behaviours of its own tests, its tools around them."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from compilation import compiled
from scipy import sparse, stats
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlp_jax.estimators import MLPClassifier, MLPQuantileRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, OF_DIGITS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16
TWO = OF_DIGITS < 2
DIGITS_OF_TWO, OF_TWO = DIGITS[TWO][:200], OF_DIGITS[TWO][:200]
IRIS, OF_IRIS = load_iris(return_X_y=True)
X, Y = make_regression(n_samples=200, n_features=10, noise=100.0, random_state=7)
Y = (Y - Y.mean()) / Y.std()


CHECKS = parametrize_with_checks([MLPClassifier(), MLPRegressor(), MLPQuantileRegressor()])


def is_slow(estimator, check):
    """Of regressors an ordinary run has the checks of regressors alone: all else is the code of the classifier."""
    return type(estimator) is not MLPClassifier and (
        type(estimator) is MLPQuantileRegressor or "regressor" not in repr(check)
    )


@pytest.mark.parametrize(
    CHECKS.args[0],
    [pytest.param(*case, marks=[pytest.mark.slow] * is_slow(*case)) for case in CHECKS.args[1]],
    **CHECKS.kwargs,
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


# --- as scikit-learn's own tests have it -------------------------------------------------------------


def test_a_step_that_was_worked_out_by_hand():
    model = MLPClassifier(2, "logistic", solver="sgd", learning_rate_init=0.1, alpha=0.1, momentum=0.0, random_state=1)
    model.coefs_ = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]), np.array([[0.1], [0.2]])]
    model.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    model.n_features_in_, model.t_ = 3, 0
    x = np.array([[0.6, 0.8, 0.7]])
    before = [[W.copy() for W in model.coefs_], [b.copy() for b in model.intercepts_]]
    model.partial_fit(x, [0], classes=[0, 1])

    h = 1 / (1 + np.exp(-(x @ before[0][0] + before[1][0])))
    p = 1 / (1 + np.exp(-(h @ before[0][1] + before[1][1])))
    g_hidden = (p @ before[0][1].T) * h * (1 - h)
    for W, b, (h_in, g, k) in zip(model.coefs_, model.intercepts_, ((x, g_hidden, 0), (h, p, 1)), strict=True):
        np.testing.assert_allclose(W, before[0][k] - 0.1 * (h_in.T @ g + 0.1 * before[0][k]), rtol=1e-12)
        np.testing.assert_allclose(b, before[1][k] - 0.1 * g[0], rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(x)[0, 1], 0.739, atol=1e-3)


def test_lbfgs():
    classifier = MLPClassifier(50, "tanh", solver="lbfgs", max_iter=150, random_state=1)
    assert classifier.fit(DIGITS_OF_TWO[:150], OF_TWO[:150]).score(DIGITS_OF_TWO[150:], OF_TWO[150:]) > 0.95
    regressor = MLPRegressor(hidden_layer_sizes=50, solver="lbfgs", random_state=1)
    assert regressor.fit(X, Y).score(X, Y) > 0.98
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(10\)"):
        regressor.set_params(max_fun=10).fit(X, Y)
    assert regressor.n_iter_ == 10
    assert not hasattr(regressor, "partial_fit")


def test_the_poisson_loss_without_hidden_layers_that_bend_is_the_linear_model():
    x = np.linspace(0, 1, 100)[:, None]
    y = np.random.default_rng(0).poisson(np.exp(x[:, 0] + 1))
    model = MLPRegressor("poisson", (1,), "identity", alpha=0, solver="lbfgs", tol=1e-9, random_state=1).fit(x, y)
    assert model.out_activation_ == "exp"
    np.testing.assert_allclose(model.predict(x), PoissonRegressor(alpha=0, tol=1e-7).fit(x, y).predict(x), rtol=1e-4)
    with pytest.raises(ValueError, match="out of the valid range of the loss 'poisson'"):
        model.fit(x, -1.0 - y)


def test_partial_fit_is_an_epoch_of_fit():
    for solver in ("sgd", "adam"):
        arguments = {"hidden_layer_sizes": 20, "solver": solver, "learning_rate_init": 0.01, "random_state": 1}
        whole = MLPRegressor(**arguments, max_iter=30, tol=0).fit(X, Y)
        stepwise = MLPRegressor(**arguments, tol=0)
        for _ in range(30):
            stepwise.partial_fit(X, Y)
        np.testing.assert_allclose(stepwise.predict(X), whole.predict(X), rtol=1e-9)
        np.testing.assert_allclose(stepwise.loss_curve_, whole.loss_curve_, rtol=1e-9)
        assert (stepwise.n_iter_, stepwise.t_, whole.t_) == (1, 6000, 6000)


def test_partial_fit_knows_its_classes():
    model = MLPClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit([[1], [2], [3]], ["a", "b", "c"])
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit([[4]], ["d"], classes=["d", "e"])
    with pytest.raises(ValueError, match="`y` has classes not in `self.classes_`"):
        model.partial_fit([[4]], ["e"])
    for changes, message in (
        ({"early_stopping": True}, "does not support early_stopping"), ({"class_weight": "balanced"}, "needs all")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            clone(model).set_params(**changes).partial_fit([[4], [5]], ["d", "e"], classes=["d", "e"])


def test_several_labels_and_several_targets():
    x, y = make_multilabel_classification(n_samples=50, random_state=0)
    model = MLPClassifier(50, "tanh", learning_rate_init=0.01, alpha=1e-5, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.97
    p = model.predict_proba(x)
    assert p.shape == y.shape
    assert np.abs(p.sum(axis=1) - 1).max() > 0.1
    np.testing.assert_array_equal(p > 0.5, y)
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(p))
    early = MLPClassifier(10, early_stopping=True, max_iter=5, random_state=0).fit(x, y)
    assert len(early.validation_scores_) == early.n_iter_

    x, y = make_regression(n_samples=200, n_features=10, n_targets=3, random_state=11)
    model = MLPRegressor(hidden_layer_sizes=50, learning_rate_init=0.05, random_state=1).fit(x, y)
    assert model.score(x, y) > 0.9
    assert model.predict(x).shape == (200, 3)


def test_numbers_beyond_range_are_a_value_error():
    x = np.finfo(np.float64).max * np.random.default_rng(0).uniform(size=(10, 2))
    with pytest.raises(ValueError, match=r"(?s)non-finite parameter weights.*need to be preprocessed.*step 1"):
        MLPRegressor(max_iter=3).fit(x, np.ones(10))


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_inputs_are_as_dense_ones(container):
    dense = MLPClassifier(5, random_state=1, max_iter=10).fit(DIGITS_OF_TWO[:50], OF_TWO[:50])
    model = clone(dense).fit(container(DIGITS_OF_TWO[:50]), OF_TWO[:50])
    np.testing.assert_array_equal(model.predict_proba(container(DIGITS_OF_TWO)), dense.predict_proba(DIGITS_OF_TWO))


def test_verbose_prints_the_loss_of_each_epoch(capsys):
    model = MLPClassifier(2, solver="sgd", max_iter=2, verbose=10, random_state=0).fit([[3, 2], [1, 6]], [1, 0])
    model.partial_fit([[3, 2], [1, 6]], [1, 0])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Iteration 1", "Iteration 2", "Iteration 1"]
    assert lines[2] == f"Iteration 1, loss = {model.loss_:.8f}"


def test_early_stopping_and_tolerance():
    for kind in (MLPClassifier, MLPRegressor):
        model = kind(tol=0.2, max_iter=300, solver="sgd", early_stopping=True, random_state=0)
        model.fit(DIGITS_OF_TWO[:100], OF_TWO[:100])
        scores = model.validation_scores_
        assert model.n_iter_ == len(scores) < 300
        assert max(scores) == model.best_validation_score_
        best = np.maximum.accumulate(scores)
        assert all(now < before + 0.2 for now, before in zip(scores[-11:], best[-12:-1], strict=True))
        assert model.best_loss_ is None
        model.set_params(early_stopping=False).fit(DIGITS_OF_TWO[:100], OF_TWO[:100])
        assert model.validation_scores_ is model.best_validation_score_ is None
        assert model.best_loss_ == min(model.loss_curve_)


def test_more_epochs_than_n_iter_no_change_without_progress_end_training():
    for patience in (2, 5):
        model = MLPClassifier(solver="sgd", tol=1e9, n_iter_no_change=patience, random_state=0)
        assert model.fit(DIGITS_OF_TWO[:100], OF_TWO[:100]).n_iter_ == patience + 2  # the first is better than none
    with pytest.warns(ConvergenceWarning):
        model.set_params(n_iter_no_change=np.inf, max_iter=40).fit(DIGITS_OF_TWO[:100], OF_TWO[:100])
    assert model.n_iter_ == 40


def test_the_validation_part():
    x = [[1, 2], [2, 3], [3, 4], [4, 5]]
    with pytest.raises(ValueError, match="The least populated class.* only 1 member"):
        MLPClassifier(early_stopping=True).fit(x, [0, 0, 0, 1])
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPRegressor(early_stopping=True).fit(x[:2], [0.0, 1.0])
    arguments = {"hidden_layer_sizes": 10, "early_stopping": True, "tol": 1e-2, "batch_size": 10, "random_state": 42}
    weighted = MLPRegressor(**arguments).fit(X, Y, sample_weight=np.ones(200))
    np.testing.assert_allclose(weighted.predict(X), MLPRegressor(**arguments).fit(X, Y).predict(X))


def test_warm_start_goes_on_from_the_coefficients():
    model = MLPClassifier(2, solver="sgd", warm_start=True, max_iter=3, random_state=0).fit(IRIS, OF_IRIS)
    first = model.loss_curve_
    model.fit(IRIS, OF_IRIS)
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 6
    assert model.loss_curve_[3] < first[0]
    other = np.repeat([0, 1], 75)
    message = "the same classes as in the previous call to fit. Previously got [0 1 2], `y` has [0 1]"
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(IRIS, other)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_float_type_is_that_of_the_inputs(kind):
    for dtype in (np.float32, np.float64):
        model = kind(hidden_layer_sizes=5, random_state=1, max_iter=2)
        model.fit(DIGITS_OF_TWO[:50].astype(dtype), OF_TWO[:50])
        assert {values.dtype for values in (*model.coefs_, *model.intercepts_)} == {np.dtype(dtype)}
        predict = model.predict_proba if kind is MLPClassifier else model.predict
        assert predict(DIGITS_OF_TWO.astype(dtype)).dtype == dtype


def test_a_model_that_was_pickled_goes_on(tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(42,), random_state=42, learning_rate_init=0.01).fit([[2.0]], [4.0])
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for _ in range(100): model.partial_fit([[2.0]], [1.0])\n"
        "print(model.coefs_[0].dtype, model.predict([[2.0]])[0])"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True, check=True)
    dtype, predicted = told.stdout.split()
    assert dtype == "float64"
    assert abs(float(predicted) - 1) < 0.05


# --- sgd whose steps become smaller ------------------------------------------------------------------


def test_invscaling_divides_the_rate_by_a_power_of_the_examples_seen():
    arguments = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0.0, "alpha": 0.0, "shuffle": False}
    model = MLPRegressor(**arguments, learning_rate="invscaling", learning_rate_init=0.1, power_t=0.25, max_iter=1)
    x, y, w, b = np.array([[1.0], [2.0], [3.0], [-1.0]]), np.array([1.0, 2.0, 2.0, 0.0]), [], []
    for epochs in (1, 2, 3):
        model.set_params(max_iter=epochs, random_state=0).fit(x, y)
        w.append(model.coefs_[0][0, 0]), b.append(model.intercepts_[0][0])
    for k, seen in ((1, 4), (2, 8)):
        rate = 0.1 / (seen + 1) ** 0.25
        error = x[:, 0] * w[k - 1] + b[k - 1] - y
        np.testing.assert_allclose(w[k], w[k - 1] - rate * np.mean(error * x[:, 0]), rtol=1e-6)
        np.testing.assert_allclose(b[k], b[k - 1] - rate * np.mean(error), rtol=1e-6)


def test_an_adaptive_rate_comes_down_and_ends_training():
    model = MLPClassifier(
        tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive", n_iter_no_change=3, random_state=0
    ).fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < 100
    changes = np.abs(np.diff(model.loss_curve_))
    assert changes[-1] < 1e-2 * changes[0]


# --- beyond scikit-learn -----------------------------------------------------------------------------


def test_weights_of_classes_are_weights_of_examples():
    arguments = {"hidden_layer_sizes": 5, "max_iter": 20, "random_state": 0}
    of_classes = MLPClassifier(**arguments, class_weight={0: 1, 1: 5, 2: 1}).fit(IRIS, OF_IRIS)
    of_examples = MLPClassifier(**arguments).fit(IRIS, OF_IRIS, sample_weight=np.where(OF_IRIS == 1, 5, 1))
    np.testing.assert_array_equal(of_classes.predict_proba(IRIS), of_examples.predict_proba(IRIS))


def test_other_units_solvers_and_schedules():
    model = MLPRegressor(
        hidden_layer_sizes=(8, 8), activation=["parametric_relu", {"name": "maxout", "pieces": 2}], max_iter=20,
        solver={"name": "adamw", "weight_decay": np.float64(0.01)}, random_state=0,
        learning_rate_init={"schedule": "cosine_decay_schedule", "init_value": 0.01, "decay_steps": 20},
    ).fit(X, Y)  # fmt: skip
    assert model.thetas_[0].shape == (8,)
    assert model.thetas_[1:] == [None, None]
    assert model.coefs_[1].shape == (8, 16)
    before = model.predict(X)
    model.thetas_[0] += 0.5  # attributes are the model
    assert np.abs(model.predict(X) - before).max() > 0.1
    assert model.partial_fit(X, Y).n_iter_ == 1


def test_distributions():
    x = np.linspace(-1, 1, 400)[:, None]
    y = np.sin(3 * x[:, 0]) + (0.1 + 0.2 * (x[:, 0] > 0)) * np.random.default_rng(0).normal(size=400)
    arguments = {"hidden_layer_sizes": 20, "activation": "tanh", "learning_rate_init": 0.02, "random_state": 0}
    model = MLPRegressor(**arguments, output="heteroscedastic").fit(x, y)
    of = model.predict_distribution(x)
    np.testing.assert_array_equal(of["mean"], model.predict(x))
    assert 0.05 < of["sd"][x[:, 0] < -0.2].mean() < 0.15 < 0.25 < of["sd"][x[:, 0] > 0.2].mean() < 0.35
    q = model.predict_quantiles(x, [0.1, 0.9])
    np.testing.assert_allclose(q, stats.norm.ppf([0.1, 0.9], of["mean"][:, None], of["sd"][:, None]))
    draws = model.sample(x, 300, random_state=0)
    assert draws.shape == (300, 400)
    np.testing.assert_array_equal(draws, model.sample(x, 300, random_state=0))
    assert np.abs(np.quantile(draws, [0.1, 0.9], axis=0).T - q).max() < 0.2

    mixture = MLPRegressor(**arguments, output={"name": "mixture", "components": 2}).fit(x, np.stack([y, -y], axis=1))
    parts = mixture.predict_distribution(x)
    assert (parts["weights"].shape, parts["mean"].shape) == ((400, 2), (400, 2, 2))
    q = mixture.predict_quantiles(x, [0.2, 0.7])
    below = stats.norm.cdf(q[:, None], parts["mean"][..., None], parts["sd"][..., None])
    np.testing.assert_allclose((parts["weights"][:, :, None, None] * below).sum(1) - [0.2, 0.7], 0, atol=1e-9)
    assert not hasattr(MLPRegressor(), "predict_quantiles")


def test_quantiles_do_not_cross_and_are_scored_by_their_own_error():
    x = np.linspace(0, 1, 300)[:, None]
    y = x[:, 0] * np.random.default_rng(0).normal(size=300)
    model = MLPQuantileRegressor((0.1, 0.5, 0.9), (20,), learning_rate_init=0.02, random_state=0).fit(x, y)
    q = model.predict(x)
    assert (np.diff(q, axis=1) >= 0).all()
    np.testing.assert_allclose((y[:, None] < q).mean(axis=0), [0.1, 0.5, 0.9], atol=0.05)
    assert 0 < model.score(x, y) < 1


def test_frames_with_words_and_missing_cells():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "size": random.normal(size=200), "colour": random.choice(["red", "green", "blue"], 200),
    })  # fmt: skip
    y = np.where(frame["colour"] == "red", "hot", np.where(frame["size"] > 0, "warm", "cold"))
    frame.loc[::10, "size"] = np.nan
    model = MLPClassifier(16, max_iter=150, learning_rate_init=0.02, early_stopping=True, random_state=0).fit(frame, y)
    assert model.score(frame, y) > 0.9
    assert (model.n_features_in_, list(model.feature_names_in_)) == (2, ["size", "colour"])
    assert model.coefs_[0].shape[0] > 4
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
    new = pd.DataFrame({"size": [None, 1.0], "colour": ["red", "unseen"]})
    assert model.predict(new)[0] == "hot"
    with pytest.raises(ValueError, match="X must be a frame with the columns"):
        model.predict(IRIS[:, :2])
    with pytest.raises(ValueError, match="X has no column colour; it has size"):
        model.predict(frame[["size"]])
    assert MLPRegressor(max_iter=2, random_state=0).fit(frame, random.normal(size=200)).predict(new).shape == (2,)


def test_a_frame_that_goes_on_is_read_as_the_first_was():
    random = np.random.default_rng(0)
    whole = pd.DataFrame({"a": random.normal(size=60), "b": random.normal(size=60)})
    gaps, y = whole.copy(), whole["a"] > 0
    gaps.iloc[::7, 0] = np.nan
    model = MLPClassifier(8, random_state=0).partial_fit(gaps, y, classes=[False, True]).partial_fit(whole, y)
    assert model.coefs_[0].shape[0] > 2
    with pytest.raises(ValueError, match="X must be a frame with the columns a, b"):
        model.partial_fit(whole.to_numpy(), y)
    with pytest.raises(ValueError, match="contains NaN"):
        MLPClassifier(8, random_state=0).partial_fit(whole, y, classes=[False, True]).partial_fit(gaps, y)


def test_another_unit_or_solver_leaves_nothing_of_the_one_before():
    model = MLPRegressor(hidden_layer_sizes=8, activation="parametric_relu", max_iter=2, random_state=0).fit(X, Y)
    model.set_params(activation="relu").fit(X, Y)
    assert not hasattr(model, "thetas_")
    assert model.predict(X).shape == (200,)
    assert np.isfinite(model.set_params(solver="sgd").partial_fit(X, Y).loss_)


# --- scikit-learn's tools ----------------------------------------------------------------------------


def test_a_grid_of_rates_and_penalties_compiles_once():
    grid = {"mlpclassifier__alpha": [1e-4, 1e-2], "mlpclassifier__learning_rate_init": [1e-3, 1e-2, 1e-1]}
    model = make_pipeline(StandardScaler(), MLPClassifier(8, max_iter=5, random_state=0))
    with compiled() as first:
        search = GridSearchCV(model, grid, cv=4).fit(IRIS, OF_IRIS)
    assert len(first) < 12
    with compiled() as second:
        model.set_params(mlpclassifier__random_state=3)
        GridSearchCV(model, {**grid, "mlpclassifier__alpha": [1e-3, 1e-1]}, cv=4).fit(IRIS, OF_IRIS)
    assert second == []
    assert search.best_params_["mlpclassifier__learning_rate_init"] > 1e-3


def test_the_steps_of_lbfgs_are_compiled_once():
    model = MLPRegressor(hidden_layer_sizes=2, solver="lbfgs", max_iter=3).fit(X[:8], Y[:8])
    with compiled() as programs:
        model.set_params(hidden_layer_sizes=3).fit(X[:8], Y[:8])
    assert len(programs) <= 3  # the start, the steps, the evaluation


def test_the_tools_of_scikit_learn():
    model = MLPClassifier(8, max_iter=40, learning_rate_init=0.02, random_state=0)
    assert cross_val_predict(model, IRIS, OF_IRIS, cv=3, method="predict_proba").shape == (150, 3)
    assert CalibratedClassifierCV(model, cv=3).fit(IRIS, OF_IRIS).score(IRIS, OF_IRIS) > 0.8
    stack = StackingClassifier([("mlp", model), ("linear", LogisticRegression())], cv=3).fit(IRIS, OF_IRIS)
    assert stack.score(IRIS, OF_IRIS) > 0.9
    fitted = model.fit(IRIS, OF_IRIS)
    importance = permutation_importance(fitted, IRIS, OF_IRIS, n_repeats=2, random_state=0)
    assert importance.importances_mean.argmax() in (2, 3)
    assert partial_dependence(fitted, IRIS, [2], grid_resolution=5).average.shape == (3, 5)
    assert "MLPClassifier" in fitted._repr_html_()
    assert isinstance(fitted, TheirClassifier)


def test_two_processes():
    model = MLPClassifier(8, max_iter=5, random_state=0)
    scores = cross_val_score(model, IRIS, OF_IRIS, cv=2, n_jobs=2)
    np.testing.assert_array_equal(scores, cross_val_score(model, IRIS, OF_IRIS, cv=2))


def test_metadata_routing():
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(8, max_iter=40, learning_rate_init=0.02, random_state=0).set_fit_request(
            sample_weight=True
        )
        weights = np.where(OF_IRIS == 0, 100.0, 1e-6)
        search = GridSearchCV(model.set_score_request(sample_weight=True), {"alpha": [0.1]}, cv=3)
        assert (search.fit(IRIS, OF_IRIS, sample_weight=weights).predict(IRIS) == 0).mean() > 0.9


# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MLPClassifier(hidden_layer_sizes=-1), "hidden_layer_sizes"),
        (MLPClassifier(hidden_layer_sizes=(5, 0)), "hidden_layer_sizes must be > 0, got"),
        (MLPClassifier(activation="rellu"), "network.hidden: must be one of .*did you mean relu"),
        (MLPClassifier(solver="adm"), "optimizer.name: must be one of .*did you mean adam"),
        (MLPClassifier(solver={"weight_decay": 0.1}), "solver must have a name"),
        (MLPClassifier(alpha=-1), "The 'alpha' parameter of MLPClassifier must be a float in the range"),
        (MLPClassifier(class_weight="equal"), "The 'class_weight' parameter"),
        (MLPClassifier(solver="sgd", learning_rate="adaptive", early_stopping=True), "watches the cost of training"),
        (MLPRegressor("poisson", output="gaussian"), "give one of them"),
        (MLPRegressor(output="sigmoid"), "must be a distribution of quantities"),
        (MLPQuantileRegressor(quantile=1.5), "The 'quantile' parameter"),
        (MLPQuantileRegressor(quantile=(0.9, 0.1)), "levels of quantiles must be in .* and increasing"),
    ],
)
def test_wrong_arguments_are_refused_at_fit(model, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(IRIS[:100], OF_IRIS[:100])


def test_other_errors_and_warnings_are_those_of_scikit_learn():
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(IRIS)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        MLPClassifier().fit(IRIS, OF_IRIS, sample_weight=-np.ones(150))
    with pytest.raises(TypeError, match="unexpected keyword"):
        MLPClassifier(hidden=3)
    with pytest.warns(DataConversionWarning):
        MLPClassifier(8, max_iter=5, random_state=0).fit(IRIS, OF_IRIS[:, None])
    with pytest.warns(UserWarning, match="batch_size=1000 is clipped to 150"):
        MLPClassifier(8, max_iter=5, batch_size=1000, random_state=0).fit(IRIS, OF_IRIS)


@pytest.mark.parametrize(
    "code",
    [
        "import mlp_jax, sys; from mlp_jax.training import fit; assert 'sklearn' not in sys.modules",
        "import sys; sys.modules['sklearn'] = None\ntry: import mlp_jax.estimators\n"
        "except ImportError as error: assert \"pip install 'mlp_jax[estimators]'\" in str(error)\nelse: assert False",
    ],
)
def test_scikit_learn_is_imported_here_only(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shuffle_matters_and_is_drawn_from_the_random_state():
    def coefs(shuffle):
        model = MLPRegressor(hidden_layer_sizes=1, max_iter=1, batch_size=1, random_state=0, shuffle=shuffle)
        return model.fit(X[:50], Y[:50]).coefs_[0]

    assert np.array_equal(coefs(True), coefs(True))
    assert not np.array_equal(coefs(True), coefs(False))
