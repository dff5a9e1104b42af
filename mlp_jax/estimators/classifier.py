"""The classifier: labels of any kind to the targets of a sigmoid or softmax unit, and back."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from mlp_jax.estimators.base import BaseMLP

Array = NDArray[Any]


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that says how probable each class is; for scikit-learn's, change the import.

    Two classes, or several labels (a matrix of zeros and ones), have sigmoid outputs, more classes softmax outputs.

    Args:
        hidden_layer_sizes: numbers of hidden units.
        activation: identity, logistic, tanh, relu, or another hidden unit of this package; a section such as
            {"name": "maxout", "pieces": 3}; or a list with one for each layer.
        solver: sgd, adam, lbfgs, or another optimizer of optax; or a section such as
            {"name": "adamw", "weight_decay": 0.01}.
        alpha: of the penalty ½ · alpha · ΣW² / (examples of a minibatch).
        batch_size: how many examples a step uses; "auto" takes 200, or all where there are fewer.
        learning_rate: of sgd: constant, invscaling, adaptive.
        learning_rate_init: the learning rate, or a schedule of optax as a section.
        power_t: the exponent of invscaling.
        max_iter: the most epochs; of lbfgs, iterations.
        shuffle: whether each epoch has an order of its own.
        random_state: of initial weights, the validation part and shuffling.
        tol: what is no progress.
        verbose: whether to print the loss of each epoch.
        warm_start: whether `fit` goes on from the coefficients that there are.
        momentum: of sgd.
        nesterovs_momentum: whether that is Nesterov's.
        early_stopping: whether to hold out a validation part, watch its accuracy, and keep the best coefficients.
        validation_fraction: how much of the examples that takes.
        beta_1: of adam.
        beta_2: of adam.
        epsilon: of adam.
        n_iter_no_change: for more epochs without progress than this, training does not go on.
        max_fun: the most iterations of lbfgs, each of which evaluates the cost once or more.
        class_weight: how much an example of each class counts, or "balanced"; as elsewhere in scikit-learn.

    Attributes:
        coefs_: the weights W of each layer, which together with `intercepts_` and `thetas_` are the model.
        intercepts_: the biases of each layer.
        thetas_: the parameters that the units of a layer have of their own; only where some have.
        classes_: the classes, or the numbers of the labels.
        loss_curve_: the cost of each epoch.
        n_iter_: how many epochs the last call took.

    Further attributes are those of scikit-learn.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), learning_rate_init=0.02, max_iter=80, random_state=0, tol=0.01).fit(x, y)
    >>> model.score(x, y) > 0.95, model.predict_proba(x[:2]).shape
    (True, (2, 3))
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **BaseMLP._parameter_constraints, "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }  # fmt: skip
    _criterion = "accuracy"

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, solver: Any = "adam", alpha: float = 0.0001,
        batch_size: Any = "auto", learning_rate: str = "constant", learning_rate_init: Any = 0.001,
        power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
        verbose: Any = False, warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True,
        early_stopping: bool = False, validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-8, n_iter_no_change: Any = 10, max_fun: int = 15000, class_weight: Any = None,
    ) -> None:  # fmt: skip
        """Keep the arguments; `fit` checks them."""
        super().__init__(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
            max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
            validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun,
        )  # fmt: skip
        self.class_weight = class_weight

    @available_if(BaseMLP._has_epochs)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Go on for one epoch on these examples; the first call needs all `classes` that there will be."""
        if _check_partial_fit_first_call(self, classes):
            self._labels = LabelBinarizer().fit(y if type_of_target(y).startswith("multilabel") else classes)
        super().partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, (n,); of several labels whether each is there, (n, k)."""
        _, y_hat = self._logits_and_predictions(X)
        predicted: Array = self._labels.inverse_transform(y_hat[:, 0] if y_hat.shape[1] == 1 else y_hat)
        return predicted

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), or of each label."""
        _, y_hat = self._logits_and_predictions(X)
        return y_hat if y_hat.shape[1] > 1 else np.concatenate([1 - y_hat, y_hat], axis=1)[:, : len(self.classes_)]

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _weights(self, y: Array, sample_weight: Any, goes_on: bool) -> Array | None:
        weights = super()._weights(y, sample_weight, goes_on)
        if self.class_weight is None:
            return weights
        if goes_on and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all examples, which partial_fit does not have: give a weight for each "
                "class, as sklearn.utils.class_weight.compute_class_weight finds them"
            )
        of_classes: Array = compute_sample_weight(self.class_weight, y)
        return of_classes if weights is None else weights * of_classes

    def _targets(self, y: Array, begins: bool, goes_on: bool) -> tuple[Array, int]:
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "_labels") or (begins and not goes_on):
            self._labels = LabelBinarizer().fit(y)
            self.classes_ = self._labels.classes_
        self._require_known(unique_labels(y), goes_on)
        found = self._labels.transform(y)
        if self._labels.y_type_ == "multiclass":
            return found.argmax(axis=1).astype(np.int32), found.shape[1]
        return found.astype(np.float32), found.shape[1]

    def _require_known(self, classes: Array, goes_on: bool) -> None:
        if not goes_on and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if goes_on and len(np.setdiff1d(classes, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _output(self) -> Any:
        return "softmax" if self._labels.y_type_ == "multiclass" else "sigmoid"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
