"""scikit-learn's multilayer perceptrons on this package's training: change the import, and the rest stays as it is.

| file               | what                                                                                    |
| ------------------ | --------------------------------------------------------------------------------------- |
| `base.py`          | what all have: a `fit` that hands over to `mlp_jax.training.fit`, and the way back      |
| `classifier.py`    | `MLPClassifier`                                                                         |
| `regressor.py`     | `MLPRegressor`, also of distributions; `MLPQuantileRegressor`                           |
| `settings.py`      | arguments of scikit-learn's names as a configuration                                    |
| `inputs.py`        | arrays checked as scikit-learn does it, frames of any columns read by `tables`          |
| `examples.py`      | examples split and encoded, as `mlp_jax.training.fit` takes them                        |
| `distributions.py` | the quantiles of an output unit's distribution                                          |

What is the same as in `sklearn.neural_network`, what differs and what is beyond it stands in docs/estimators.md.
"""

try:
    import sklearn as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "mlp_jax.estimators needs scikit-learn 1.7 or newer: pip install 'mlp_jax[estimators]'"
    ) from error

from mlp_jax.estimators.classifier import MLPClassifier
from mlp_jax.estimators.regressor import MLPQuantileRegressor, MLPRegressor

__all__ = ["MLPClassifier", "MLPQuantileRegressor", "MLPRegressor"]
