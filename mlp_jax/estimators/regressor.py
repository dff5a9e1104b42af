"""The regressors: of the mean, of a whole distribution, of quantiles."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.metrics import d2_pinball_score
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if

from mlp_jax.estimators.base import WIDER, TrainedHere, computing_in, takes
from mlp_jax.estimators.distributions import quantiles
from mlp_jax.mlp.output_units import OUTPUT_UNITS

Array = NDArray[Any]
_LOSSES = {"squared_error": "linear", "poisson": "poisson"}


class MLPRegressor(TrainedHere, neural_network.MLPRegressor):  # type: ignore[misc]
    """A multilayer perceptron that predicts one or several quantities: scikit-learn's, trained by this package.

    Arguments and attributes are those of `sklearn.neural_network.MLPRegressor` and of `MLPClassifier`, and:

    Args:
        output: an output unit of this package in the place of `loss`: gaussian, heteroscedastic, full_gaussian,
            laplace, poisson, or a section such as {"name": "mixture", "components": 3}. `predict` gives its mean, and
            `predict_distribution`, `predict_quantiles` and `sample` more.

    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(3 * x[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=200)
    >>> model = MLPRegressor(hidden_layer_sizes=(32,), activation="tanh", solver="lbfgs", output="gaussian", tol=1e-3)
    >>> model = model.set_params(random_state=0).fit(x, y)
    >>> model.score(x, y) > 0.95, model.predict_distribution(x)["sd"][:2].round(1).tolist()
    (True, [0.1, 0.1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **neural_network.MLPRegressor._parameter_constraints,
        **WIDER,
        "output": [str, dict, None],
    }
    _criterion = "r2"

    @takes(neural_network.MLPRegressor)
    def __init__(self, *arguments: Any, output: Any = None, **named: Any) -> None:
        """Keep the arguments; `fit` checks them."""
        super().__init__(*arguments, **named)
        self.output = output

    def predict(self, X: Any) -> Array:
        """The mean of the targets, of laplace the median: (n,), or (n, k) of several."""
        return self._as_fitted(self._logits_and_predictions(X)[1])

    def _is_distribution(self) -> bool:
        if self.output is None:
            raise AttributeError("without a distribution: give one, such as output='heteroscedastic'")
        return True

    @available_if(_is_distribution)  # type: ignore[untyped-decorator]
    def predict_distribution(self, X: Any) -> dict[str, Array]:
        """The parameters of the distribution of each row's targets by name, as "mean" and "sd", (n,) or (n, k) each.

        Those of a mixture have a second axis for its parts.
        """
        return {name: self._as_fitted(values) for name, values in self._parameters(X).items()}

    @available_if(_is_distribution)  # type: ignore[untyped-decorator]
    def predict_quantiles(self, X: Any, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """The quantiles of each target at these levels, (n, levels), or (n, k, levels) of several targets."""
        given = np.asarray(levels, np.float64)
        if given.ndim != 1 or not ((given > 0) & (given < 1)).all():
            raise ValueError(f"levels must be numbers between 0 and 1, got {levels!r}")
        found = quantiles(self._net.output_unit.name, self._parameters(X), given)
        return found[:, 0] if self._is_one_column else found

    @available_if(_is_distribution)  # type: ignore[untyped-decorator]
    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draws of the targets, (n_samples, n) or (n_samples, n, k), a function of random_state."""
        z: Any = self._logits_and_predictions(X)[0]
        theta, unit = self._params[-1][2:], self._net.output_unit
        with computing_in(self._dtype):
            key = jax.random.key(check_random_state(random_state).randint(2**31))
            draws = [unit.sample(key, z, *theta) for key in jax.random.split(key, n_samples)]
        return np.stack([self._as_fitted(np.asarray(draw)) for draw in draws])

    def _parameters(self, X: Any) -> dict[str, Array]:
        z: Any = self._logits_and_predictions(X)[0]
        with computing_in(self._dtype):
            found = self._net.output_unit.parameters(z, *self._params[-1][2:])
            return {name: np.asarray(values) for name, values in found.items()}

    def _as_fitted(self, values: Array) -> Array:
        """(n,) where the targets were."""
        return values[..., 0] if self._is_one_column and values.shape[-1] == 1 else values

    def _targets(self, y: Array, begins: bool, goes_on: bool) -> tuple[Array, int]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.dtype.kind not in "fiub":
            y = y.astype(np.float64)
        self._is_one_column = y.ndim == 1
        if self._output() == "poisson" and (y < 0).any():
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson'.")
        y = y.reshape(len(y), -1)
        return y, y.shape[1]

    def _output(self) -> Any:
        if self.output is not None and self.loss != "squared_error":
            raise ValueError(f"loss={self.loss!r} and output={self.output!r}: give one of them")
        if self.output is None:
            return _LOSSES[self.loss]
        unit = OUTPUT_UNITS.get(str(self.output.get("name") if isinstance(self.output, dict) else self.output))
        if unit is None or unit.kind != "quantities":
            known = ", ".join(name for name, unit in OUTPUT_UNITS.items() if unit.kind == "quantities")
            raise ValueError(f"output must be a distribution of quantities, one of {known}; got {self.output!r}")
        return self.output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class MLPQuantileRegressor(TrainedHere, neural_network.MLPRegressor):  # type: ignore[misc]
    """A multilayer perceptron that predicts quantiles of a target, which do not cross.

    Arguments and attributes are those of `MLPRegressor`, without `loss` and `output`, and:

    Args:
        quantile: a level between 0 and 1, or several in increasing order. Early stopping watches the cost, and
            `best_validation_score_` is minus that.

    >>> x = np.linspace(0, 1, 300)[:, None]
    >>> y = x[:, 0] * np.random.default_rng(0).normal(size=300)
    >>> model = MLPQuantileRegressor((0.1, 0.9), (32,), solver="lbfgs", random_state=0).fit(x, y)
    >>> low, high = model.predict(x).T
    >>> bool(0.7 < np.mean((low < y) & (y < high)) < 0.9)
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        **neural_network.MLPRegressor._parameter_constraints,
        **WIDER,
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }
    del _parameter_constraints["loss"]

    @takes(neural_network.MLPRegressor, without=("loss",))
    def __init__(self, quantile: Any = 0.5, *arguments: Any, **named: Any) -> None:
        """Keep the arguments; `fit` checks them."""
        super().__init__("squared_error", *arguments, **named)
        self.quantile = quantile

    def predict(self, X: Any) -> Array:
        """The quantile of each row's target, (n,); of several levels (n, levels)."""
        q = self._logits_and_predictions(X)[1]
        return q[:, 0] if np.ndim(self.quantile) == 0 else q

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """D², how much less the quantile error is than that of the best constant; the mean of several levels."""
        q = self._logits_and_predictions(X)[1]
        of_each = [
            d2_pinball_score(y, of_level, sample_weight=sample_weight, alpha=level)
            for of_level, level in zip(q.T, self._levels(), strict=True)
        ]
        return float(np.mean(of_each))

    def _levels(self) -> list[float]:
        return [float(level) for level in np.atleast_1d(self.quantile)]

    def _targets(self, y: Array, begins: bool, goes_on: bool) -> tuple[Array, int]:
        return column_or_1d(y, warn=True).astype(np.float64)[:, None], 1

    def _output(self) -> Any:
        return {"name": "quantiles", "levels": self._levels()}
