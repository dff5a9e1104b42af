"""The classifier: labels of any kind to the targets of a sigmoid or softmax unit, and back."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from mlp_jax.estimators.base import WIDER, TrainedHere, takes

Array = NDArray[Any]


class MLPClassifier(TrainedHere, neural_network.MLPClassifier):  # type: ignore[misc]
    """A multilayer perceptron that says how probable each class is: scikit-learn's, trained by this package.

    Two classes, or several labels (a matrix of zeros and ones), have sigmoid outputs, more classes softmax outputs.
    Arguments and attributes are those of `sklearn.neural_network.MLPClassifier`, and:

    Args:
        activation: also any other hidden unit of this package, a section such as {"name": "maxout", "pieces": 3}, or a
            list with one for each layer.
        solver: also any other optimizer of optax, or a section such as {"name": "adamw", "weight_decay": 0.01}.
        learning_rate_init: also a schedule of optax, as a section.
        class_weight: how much an example of each class counts, or "balanced"; as elsewhere in scikit-learn.

    Attributes:
        thetas_: the parameters that the units of a layer have of their own; only where some have. With `coefs_` and
            `intercepts_` they are the model.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), learning_rate_init=0.02, tol=0.01, random_state=0).fit(x, y)
    >>> model.score(x, y) > 0.95, model.predict_proba(x[:2]).shape
    (True, (2, 3))
    """

    _parameter_constraints = {  # noqa: RUF012
        **neural_network.MLPClassifier._parameter_constraints,
        **WIDER,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }
    _criterion = "accuracy"

    @takes(neural_network.MLPClassifier)
    def __init__(self, *arguments: Any, class_weight: Any = None, **named: Any) -> None:
        """Keep the arguments; `fit` checks them."""
        super().__init__(*arguments, **named)
        self.class_weight = class_weight

    @available_if(TrainedHere._has_epochs)  # type: ignore[untyped-decorator]
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
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "_labels") or (begins and not goes_on):
            self._labels = LabelBinarizer().fit(y)
            self.classes_ = self._labels.classes_
        classes = unique_labels(y)
        if not goes_on and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if unknown := set(classes) - set(self.classes_):
            raise ValueError(f"`y` has classes not in `self.classes_`: {sorted(unknown)} are not in {self.classes_}")
        found = self._labels.transform(y)
        if self._labels.y_type_ == "multiclass":
            return found.argmax(axis=1).astype(np.int32), found.shape[1]
        return found.astype(np.float32), found.shape[1]

    def _output(self) -> Any:
        return "softmax" if self._labels.y_type_ == "multiclass" else "sigmoid"
