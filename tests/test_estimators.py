"""The estimators beside scikit-learn's: its checks, the behaviours of its own tests, its tools around them."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlp_jax.estimators import MLPClassifier, MLPQuantileRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([MLPClassifier(), MLPRegressor(), MLPQuantileRegressor()])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)
