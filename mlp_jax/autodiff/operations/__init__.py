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
variables of a graph in, variables out. What a derivative is at a kink says a table in `elementwise`.

Source: Goodfellow, Bengio & Courville, *Deep Learning* (2016), sections 6.2.2, 6.3 and 6.5.
"""

from mlp_jax.autodiff.operations.activations import (
    elu,
    gelu,
    hard_tanh,
    leaky_relu,
    maxout,
    parametric_relu,
    radial,
    silu,
)
from mlp_jax.autodiff.operations.costs import (
    absolute_error,
    hinge,
    poisson_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    sum_of_magnitudes,
    sum_of_squares,
    weighted_mean,
)
from mlp_jax.autodiff.operations.elementwise import (
    abs,
    add,
    asarray,
    astype,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    clip,
    cos,
    div,
    divide,
    equal,
    erf,
    erfc,
    exp,
    expm1,
    greater,
    greater_equal,
    identity,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    multiply,
    neg,
    negative,
    not_equal,
    ones_like,
    pow,
    power,
    relu,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    square,
    stop_gradient,
    sub,
    subtract,
    tanh,
    where,
    zeros_like,
)
from mlp_jax.autodiff.operations.products import affine, dot, einsum, matmul, tensordot
from mlp_jax.autodiff.operations.reductions import (
    argmax,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    prod,
    softmax,
    sum,
)
from mlp_jax.autodiff.operations.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    getitem,
    put_along_axis,
    reshape,
    scatter_add,
    split,
    squeeze,
    stack,
    swapaxes,
    take_along_axis,
    transpose,
)
