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

Names and meanings are those of jax.numpy and jax.nn. At a kink the derivative has a stated value:
relu'(0) = 0 and abs'(0) = 0.

Source: Goodfellow, Bengio & Courville, *Deep Learning* (2016), sections 6.2.2, 6.3 and 6.5.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """A differentiable function: y = f(*inputs, **attributes), and how a gradient passes back through it.

    Args:
        name: what messages and drawings call it.
        f: the function, of arrays; static choices such as `axis` are keyword attributes.
        bprop: the rules, one per input, each `(g, out, *inputs, **attributes) -> gradient`; None where an
            input has no gradient. Or one function of the same form that returns the gradients of all
            inputs as a tuple (for a single input, the gradient itself will do).

    Calling the operation calls f:

    >>> cube = Operation("cube", lambda x: x**3, (lambda g, out, x: 3 * x**2 * g,))
    >>> cube(2.0)
    8.0
    >>> cube.gradient(0, 1.0, cube(2.0), 2.0)
    12.0
    """

    name: str
    f: Callable[..., Any] = field(repr=False)
    bprop: Rule | tuple[Rule | None, ...] = field(repr=False)

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        return self.f(*inputs, **attributes)

    def gradient(self, i: int, g: Any, out: Any, *inputs: Any, **attributes: Any) -> Any:
        """∇ of J for input i: the book's op.bprop(inputs, X, G), equation (6.47).

        Args:
            i: which input, from 0.
            g: the gradient of J for the output, in the output's shape.
            out: the output, f(*inputs, **attributes).
            inputs: the inputs that gave `out`.
            attributes: the attributes that gave `out`.

        Returns:
            An array of the shape and dtype of `inputs[i]`.

        Raises:
            NotImplementedError: the operation has no rule for this input.
            ValueError: a rule returned too few or too many gradients, or one whose shape does not fit.
        """
        if callable(self.bprop):
            gradient = self._all_gradients(g, out, *inputs, **attributes)[i]
        else:
            rule = self.bprop[i] if i < len(self.bprop) else None
            gradient = None if rule is None else rule(g, out, *inputs, **attributes)
        if gradient is None:
            raise NotImplementedError(
                f"operation {self.name!r} has no bprop rule for input {i} of {len(inputs)} (counted from 0)"
            )
        gradient = _unbroadcast(gradient, inputs[i])
        if jnp.shape(gradient) != jnp.shape(inputs[i]):
            raise ValueError(
                f"the bprop rule of operation {self.name!r} for input {i} must return a gradient of the input's "
                f"shape {jnp.shape(inputs[i])}, got {jnp.shape(gradient)}"
            )
        dtype = jnp.result_type(inputs[i])
        return gradient if jnp.result_type(gradient) == dtype else gradient.astype(dtype)

    def _all_gradients(self, g: Any, out: Any, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        assert callable(self.bprop)
        gradients = self.bprop(g, out, *inputs, **attributes)
        if not isinstance(gradients, tuple | list):
            gradients = (gradients,)
        if len(gradients) != len(inputs):
            raise ValueError(
                f"the bprop rule of operation {self.name!r} must return one gradient per input: "
                f"{len(inputs)}; it returned {len(gradients)}"
            )
        return tuple(gradients)


def _unbroadcast(gradient: Any, x: Any) -> Any:
    """Sum `gradient` over the axes that broadcasting gave to x; the only place where this is undone."""
    shape = jnp.shape(x)
    added = jnp.ndim(gradient) - len(shape)
    if added > 0:
        gradient = sum(gradient, axis=tuple(range(added)))
    if jnp.ndim(gradient) == len(shape):
        stretched = tuple(k for k, n in enumerate(shape) if n == 1 and gradient.shape[k] != 1)
        gradient = sum(gradient, axis=stretched, keepdims=True) if stretched else gradient
    return gradient


# --- choosing and summing -------------------------------------------------------------------------

where: Operation = Operation(
    "where",
    jnp.where,
    (
        None,
        lambda g, out, condition, x, y: where(condition, g, 0),
        lambda g, out, condition, x, y: where(condition, 0, g),
    ),
)
sign = Operation("sign", jnp.sign, (lambda g, out, x: 0 * g,))
# Not jnp.abs, whose JAX derivative at 0 is 1.
abs = Operation("abs", lambda x: x * jnp.sign(x), (lambda g, out, x: g * sign(x),))
square = Operation("square", jnp.square, (lambda g, out, x: 2 * x * g,))


def _sum_rule(g: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    kept = g if keepdims or axis is None else jnp.expand_dims(g, axis)
    return broadcast_to(kept, shape=jnp.shape(x))


def _sum(x: Any, axis: Any = None, keepdims: bool = False) -> jax.Array:
    return jnp.sum(x, axis=axis, keepdims=keepdims)


sum = Operation("sum", _sum, (_sum_rule,))
broadcast_to = Operation("broadcast_to", jnp.broadcast_to, (lambda g, out, x, shape: g,))

# --- products: C = A B has the rules ∇_A = G Bᵀ and ∇_B = Aᵀ G (section 6.5.6) -----------------------


def _matmul_rule_a(g: Any, out: Any, a: Any, b: Any, out_sharding: Any = None) -> Any:
    if b.ndim == 1:
        return g[..., None] @ b[None]
    if a.ndim == 1:
        return (b @ g[..., None])[..., 0]
    return matmul(g, b.mT, out_sharding=_layout(a)) if a.ndim == b.ndim == 2 else g @ b.mT


def _matmul_rule_b(g: Any, out: Any, a: Any, b: Any, out_sharding: Any = None) -> Any:
    if a.ndim == 1:
        return a * g if b.ndim == 1 else a[:, None] @ g[..., None, :]
    if b.ndim == 1:
        return (a.mT @ g[..., None])[..., 0]
    return matmul(a.mT, g, out_sharding=_layout(b)) if a.ndim == b.ndim == 2 else a.mT @ g


def _layout(x: Any) -> Any:
    """How x lies on a mesh with explicit axes: there, a product over a sharded axis must be told its result's layout.

    A gradient lies as its input does. None on other meshes, where the compiler decides, and on none at all.
    """
    sharding = jax.typeof(x).sharding
    return sharding if jax.sharding.AxisType.Explicit in sharding.mesh.axis_types else None


matmul: Operation = Operation("matmul", jnp.matmul, (_matmul_rule_a, _matmul_rule_b))

# Algorithm 6.3, "a ← b + W h", for rows that are examples: h (n, n_in), W (n_in, n_out), b (n_out,).
affine = Operation(
    "affine",
    lambda h, W, b: h @ W + jnp.expand_dims(b, 0),
    (
        lambda g, out, h, W, b: _matmul_rule_a(g, out, h, W),
        lambda g, out, h, W, b: _matmul_rule_b(g, out, h, W),
        lambda g, out, h, W, b: g,
    ),
)

# --- units (sections 6.2.2 and 6.3) ---------------------------------------------------------------

identity = Operation("identity", lambda x: x, (lambda g, out, x: g,))
relu = Operation("relu", jax.nn.relu, (lambda g, out, x: where(out > 0, g, 0),))
sigmoid = Operation("sigmoid", jax.nn.sigmoid, (lambda g, out, x: g * out * (1 - out),))
tanh = Operation("tanh", jnp.tanh, (lambda g, out, x: g * (1 - out) * (1 + out),))
# ζ(x) = log(1 + exp x), whose derivative is σ(x).
softplus = Operation("softplus", jax.nn.softplus, (lambda g, out, x: g * sigmoid(x),))
# ∂p_i/∂z_j = p_i (δ_ij − p_j), so ∇_z = p ∘ (g − Σ_j g_j p_j).
softmax = Operation(
    "softmax",
    jax.nn.softmax,
    (lambda g, out, z, axis=-1: out * (g - sum(g * out, axis=axis, keepdims=True)),),
)
# log p = z − logsumexp(z), so ∇_z = g − p Σ_j g_j.
log_softmax = Operation(
    "log_softmax",
    jax.nn.log_softmax,
    (lambda g, out, z, axis=-1: g - softmax(z, axis=axis) * sum(g, axis=axis, keepdims=True),),
)

# --- costs, one per example: (n, k), (n, k) -> (n,) (sections 6.2.1 and 6.2.2) ----------------------

# −log N(y; ŷ, I) without its constant: ½ ‖ŷ − y‖².
squared_error = Operation(
    "squared_error",
    lambda y_hat, y: 0.5 * jnp.sum(jnp.square(y_hat - y), axis=-1),
    (
        lambda g, out, y_hat, y: g[..., None] * (y_hat - y),
        lambda g, out, y_hat, y: g[..., None] * (y - y_hat),
    ),
)
# −log P(y | z) of independent Bernoulli units, from logits: the log undoes the exp of the sigmoid.
#
#     −y log σ(z) − (1−y) log σ(−z) = y ζ(−z) + (1−y) ζ(z)
#
# For y in {0, 1} this is the book's ζ((1−2y)z) (section 6.2.2.2), which holds for those two values only;
# this form also holds for soft labels in between, equals ζ(z) − yz, and does not cancel for large |z|.
sigmoid_cross_entropy = Operation(
    "sigmoid_cross_entropy",
    lambda z, y: jnp.sum(y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z), axis=-1),
    (
        lambda g, out, z, y: g[..., None] * ((1 - y) * sigmoid(z) - y * sigmoid(-z)),
        lambda g, out, z, y: -g[..., None] * z,
    ),
)
# −Σ_j q_j log softmax(z)_j for a target distribution q (section 6.2.2.3). Where Σq = 1, ∇_z = softmax(z) − q.
softmax_cross_entropy = Operation(
    "softmax_cross_entropy",
    lambda z, q: -jnp.sum(q * jax.nn.log_softmax(z), axis=-1),
    (
        lambda g, out, z, q: g[..., None] * (softmax(z) * sum(q, axis=-1, keepdims=True) - q),
        lambda g, out, z, q: -g[..., None] * log_softmax(z),
    ),
)


def _weighted_mean(L: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(w * L) / _total(w)


def _total(w: Any) -> Any:
    """Σw, or 1 where all weights are 0: the mean over no examples is 0."""
    total = sum(w)
    return where(total == 0, 1, total)


# The data cost of a batch, Σ w_i L_i / Σ w_i. A row of weight 0 does not count, if its numbers are finite.
weighted_mean = Operation(
    "weighted_mean",
    _weighted_mean,
    (
        lambda g, out, L, w: g * w / _total(w),
        lambda g, out, L, w: g * (L - out) / _total(w),
    ),
)

# --- penalties Ω of one weight matrix (section 6.5.7) ----------------------------------------------

sum_of_squares = Operation("sum_of_squares", lambda W: jnp.sum(jnp.square(W)), (lambda g, out, W: 2 * g * W,))
sum_of_magnitudes = Operation("sum_of_magnitudes", lambda W: jnp.sum(abs(W)), (lambda g, out, W: g * sign(W),))
