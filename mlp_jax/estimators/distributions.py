"""Quantiles of the distributions of output units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
_HALVINGS = 60  # of an interval of 20 standard deviations: to rounding


def quantiles(unit: str, parameters: dict[str, Array], levels: Array) -> Array:
    """The quantiles (n, k, levels) of the targets, each by itself, of the parameters (n, k) of a unit's distribution.

    >>> parameters = {"mean": np.zeros((1, 1)), "sd": np.ones((1, 1))}
    >>> quantiles("heteroscedastic", parameters, np.array([0.5, 0.975])).round(2).tolist()
    [[[0.0, 1.96]]]
    """
    of = {name: values[..., None] for name, values in parameters.items()}
    if unit == "poisson":
        return stats.poisson.ppf(levels, of["rate"])
    if unit == "laplace":
        return stats.laplace.ppf(levels, of["median"])
    if unit == "mixture":
        return _of_mixture(of["weights"], of["mean"], of["sd"], levels)
    return stats.norm.ppf(levels, of["mean"], of.get("sd", 1.0))


def _of_mixture(weights: Array, mean: Array, sd: Array, levels: Array) -> Array:
    """By halving an interval: weights (n, m, 1), means and deviations (n, m, k, 1)."""
    weights = weights[:, :, None]
    low = np.broadcast_to((mean - 10 * sd).min(axis=1), (*mean.shape[::2], len(levels)))
    high = np.broadcast_to((mean + 10 * sd).max(axis=1), low.shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = (weights * stats.norm.cdf(middle[:, None], mean, sd)).sum(axis=1) < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
