"""The operations: each function f beside its bprop rules, once (section 6.5.6).

A rule has the form `(g, out, *inputs, **attributes) -> gradient for one input`, where `g` is the gradient
of the cost J with respect to the operation's output `out`. With inputs x and outputs y it computes the
vector-Jacobian product

    ∇_x J = Σ_j (∇_x y_j) g_j                                                   (6.47)

Three conventions keep the rules to one line each:

- a rule is written in operations and in what arrays themselves have (operators, indexing, shapes), so that a
  gradient can be differentiated again;
- a rule treats its inputs as distinct, even if the caller passes one array twice;
- a rule may return a gradient in the broadcast shape: `Operation.gradient` sums it back to the input's.

Names and meanings are those of jax.numpy and jax.nn; those of the costs are in `costs`. Arrays in, arrays out;
variables of a graph in, variables out. An operation is offered under the name that `__all__` of its file has.

At a kink or a singular point the derivative is

| operation                           | at                    | is                                               |
|-------------------------------------|-----------------------|--------------------------------------------------|
| abs, sign, relu, sum_of_magnitudes  | x = 0                 | 0                                                |
| leaky_relu, parametric_relu         | x = 0                 | the negative side's slope; 0 for the slope itself |
| elu                                 | x = 0 (if alpha ≠ 1)  | alpha                                            |
| hard_tanh                           | x = −1 and x = 1      | 0                                                |
| absolute_error                      | ŷ = y                 | 0                                                |
| hinge                               | t z = 1               | 0                                                |
| maximum, minimum                    | x = y                 | ½ for each input, as in JAX                      |
| clip                                | a bound               | ½, as in JAX                                     |
| max, min, maxout                    | entries that tie      | an equal share for each, as in JAX               |
| sqrt, log, cbrt                     | x = 0                 | ∞                                                |
| hypot                               | x = y = 0             | 0                                                |
| logsumexp                           | entries tie at ±∞     | an equal share for each, and 0 for the others    |
| floor, ceil, trunc, rint, round     | everywhere            | 0                                                |
| sort, top_k                         | entries tie           | of the order that was taken                      |
| pow(x, y)                           | x = 0                 | by x: y x^(y−1), and 0 for y = 0; by y: 0        |

Source: Goodfellow, Bengio & Courville, *Deep Learning* (2016), sections 6.2.2, 6.3 and 6.5.
"""

from mlp_jax.autodiff.operations import linalg as linalg
from mlp_jax.autodiff.operations.activations import *
from mlp_jax.autodiff.operations.arranging import *
from mlp_jax.autodiff.operations.convolution import *
from mlp_jax.autodiff.operations.costs import *
from mlp_jax.autodiff.operations.elementwise import *
from mlp_jax.autodiff.operations.functions import *
from mlp_jax.autodiff.operations.products import *
from mlp_jax.autodiff.operations.reductions import *
from mlp_jax.autodiff.operations.shaping import *
