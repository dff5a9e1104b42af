"""Output units (section 6.2.2): a unit is a distribution of the targets, and that chooses the cost.

| unit            | p(y given x), for k targets                     | cost by maximum likelihood      | ŷ             |
| --------------- | ----------------------------------------------- | ------------------------------- | ------------- |
| linear          | Gaussian N(y; z, I)                             | squared_error ½ Σ (z − y)²      | z, the mean   |
| laplace         | Laplace, scale 1                                | absolute_error Σ abs(z − y)     | z, the median |
| gaussian        | Gaussian, each variance learned, one for all x  | nll                             | the mean      |
| heteroscedastic | Gaussian, each variance a function of x         | nll                             | the mean      |
| full_gaussian   | Gaussian, the covariance matrix a function of x | nll                             | the mean      |
| mixture         | a mixture of diagonal Gaussians                 | nll                             | the mean      |
| quantiles       | none: the quantiles of each target              | quantile_error                  | the quantiles |
| sigmoid         | k Bernoulli                                     | cross_entropy Σ ζ((1 − 2y) z)   | σ(z)          |
| softmax         | multinoulli, k classes                          | cross_entropy −log softmax(z)_y | softmax(z)    |
| poisson         | k Poisson, rate e^z                             | poisson_error Σ e^z − y z       | e^z           |
| hinge           | none: a linear SVM on y in {0, 1}               | hinge Σ max{0, 1 − (2y − 1) z}  | the margin z  |

A cost is −log p without a constant that depends on the targets alone; `log_density` has it. `nll` is −log p itself. The
squared error may also be put on a sigmoid or softmax unit, which the chapter studies and warns of: where the unit
saturates, its gradient vanishes.

Those whose variances are learned are in `gaussians.py`. `OUTPUT_UNITS` is the one list of all: configurations take
their names, costs and arguments from it. To add one, write its class, and name it there.

**Limits.** Costs do not check their targets, which may be tracers: `mlp-jax train` does, by `outside`. The density and
parameters of a unit are those of its first cost: for a linear unit with the absolute error choose laplace. Squares of
(y − mean) / σ leave the range of float16 early; with learned variances use bfloat16 or float32. Counts are drawn as
int32, so a rate above 2e9 cannot be.

Sources: the book, section 6.2.2; Koenker & Bassett 1978 (quantiles).
"""

from mlp_jax.mlp.output_units.base import OutputUnit
from mlp_jax.mlp.output_units.gaussians import FullGaussian, Gaussian, Heteroscedastic, Mixture
from mlp_jax.mlp.output_units.plain import Hinge, Laplace, Linear, Poisson, Quantiles, Sigmoid, Softmax

__all__ = [
    "OUTPUT_UNITS", "FullGaussian", "Gaussian", "Heteroscedastic", "Hinge", "Laplace", "Linear", "Mixture",
    "OutputUnit", "Poisson", "Quantiles", "Sigmoid", "Softmax",
]  # fmt: skip

OUTPUT_UNITS: dict[str, type[OutputUnit]] = {
    unit.name: unit
    for unit in (
        Linear, Laplace, Gaussian, Heteroscedastic, FullGaussian, Mixture, Quantiles, Sigmoid, Softmax, Poisson, Hinge
    )
}  # fmt: skip
