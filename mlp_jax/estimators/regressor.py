"""The regressors: of the mean, of a whole distribution, of quantiles."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from mlp_jax.estimators.base import BaseMLP, computing_in
from mlp_jax.estimators.distributions import quantiles

Array = NDArray[Any]
_LOSSES = {"squared_error": "linear", "poisson": "poisson"}


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that predicts one or several quantities; for scikit-learn's, change the import.

    Args:
        loss: squared_error, or poisson, whose predictions are e^z and targets not negative.
        hidden_layer_sizes: and all that follow are those of `MLPClassifier`; early stopping watches R².
        output: an output unit of this package in the place of `loss`: gaussian, heteroscedastic, full_gaussian,
            laplace, poisson, or a section such as {"name": "mixture", "components": 3}. `predict` gives its mean, and
            `predict_distribution`, `predict_quantiles` and `sample` more.

    Attributes are those of `MLPClassifier`, but for the classes.

    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(3 * x[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=200)
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=(32,), activation="tanh", solver="lbfgs", output="gaussian", random_state=0
    ... ).fit(x, y)
    >>> model.score(x, y) > 0.95, float(model.predict_distribution(x)["sd"][0].round(1))
    (True, 0.1)
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **BaseMLP._parameter_constraints, "loss": [StrOptions(set(_LOSSES))], "output": [str, dict, None],
    }  # fmt: skip
    _criterion: str | None = "r2"

    def __init__(
        self, loss: str = "squared_error", hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
        solver: Any = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: Any = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: Any = 10, max_fun: int = 15000, output: Any = None,
    ) -> None:  # fmt: skip
        """Keep the arguments; `fit` checks them."""
        super().__init__(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
            max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
            validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun,
        )  # fmt: skip
        self.loss = loss
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
        z, _ = self._logits_and_predictions(X)
        theta, unit = self._params[-1][2:], self._net.output_unit
        with computing_in(self._dtype):
            key = jax.random.key(check_random_state(random_state).randint(2**31))
            draws = [unit.sample(key, z, *theta) for key in jax.random.split(key, n_samples)]
        return np.stack([self._as_fitted(np.asarray(draw)) for draw in draws])

    def _parameters(self, X: Any) -> dict[str, Array]:
        z, _ = self._logits_and_predictions(X)
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
        return _LOSSES[self.loss] if self.output is None else self.output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class MLPQuantileRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that predicts quantiles of a target, which do not cross.

    Args:
        quantile: a level between 0 and 1, or several in increasing order.
        hidden_layer_sizes: and all that follow are those of `MLPClassifier`; early stopping watches the cost.

    Attributes are those of `MLPClassifier`, but for the classes; `best_validation_score_` is minus the cost.

    >>> x = np.linspace(0, 1, 300)[:, None]
    >>> y = x[:, 0] * np.random.default_rng(0).normal(size=300)
    >>> model = MLPQuantileRegressor((0.1, 0.9), (32,), solver="lbfgs", random_state=0).fit(x, y)
    >>> low, high = model.predict(x).T
    >>> bool(0.7 < np.mean((low < y) & (y < high)) < 0.9)
    True
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **BaseMLP._parameter_constraints, "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }  # fmt: skip

    def __init__(
        self, quantile: Any = 0.5, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
        solver: Any = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: Any = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: Any = 10, max_fun: int = 15000,
    ) -> None:  # fmt: skip
        """Keep the arguments; `fit` checks them."""
        super().__init__(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
            max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
            validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun,
        )  # fmt: skip
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
