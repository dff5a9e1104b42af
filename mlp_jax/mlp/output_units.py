"""Output units and their costs (section 6.2.2): choosing the distribution chooses the cost.

| unit    | p(y given x)          | ŷ          | cost by maximum likelihood     | targets                        |
|---------|-----------------------|------------|--------------------------------|--------------------------------|
| linear  | Gaussian N(y; ŷ, I)   | z          | squared_error ½‖z − y‖²        | (n, k) real                    |
| sigmoid | k Bernoulli           | σ(z)       | cross_entropy Σ ζ((1 − 2y) z)  | (n, k) in [0, 1]               |
| softmax | multinoulli           | softmax(z) | cross_entropy −log softmax(z)_y | (n,) class numbers, or (n, k) |

The squared error is −log p without the constant (k/2) log 2π. It may also be put on a sigmoid or softmax
unit, which the chapter studies and warns of: where the unit saturates, its gradient vanishes.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation


class Cost(NamedTuple):
    """A cost per example: an operation (n, k), (n, k) -> (n,) of the logits z or of the prediction ŷ."""

    operation: Operation
    of_logits: bool


class OutputUnit(NamedTuple):
    """ŷ = operation(z) with the costs that it can have, the one by maximum likelihood first."""

    operation: Operation
    costs: dict[str, Cost]


OUTPUT_UNITS = {
    "linear": OutputUnit(ops.identity, {"squared_error": Cost(ops.squared_error, of_logits=True)}),
    "sigmoid": OutputUnit(
        ops.sigmoid,
        {
            "cross_entropy": Cost(ops.sigmoid_cross_entropy, of_logits=True),
            "squared_error": Cost(ops.squared_error, of_logits=False),
        },
    ),
    "softmax": OutputUnit(
        ops.softmax,
        {
            "cross_entropy": Cost(ops.softmax_cross_entropy, of_logits=True),
            "squared_error": Cost(ops.squared_error, of_logits=False),
        },
    ),
}


def as_targets(output: str, y: Any, z: Any) -> Any:
    """Targets in the form that the costs take: like the logits z, (n, k) and of their dtype.

    Class numbers (n,) of a softmax unit become one-hot rows; a number outside 0..k−1 becomes a row of NaN,
    so that no cost or gradient of it can pass for a right one.
    """
    y = ops.asarray(y)
    n, k = z.shape
    if output == "softmax" and y.shape == (n,):
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"class numbers y must be integers, got {y.dtype} of shape {y.shape}; pass y.astype(int)")
        if y.dtype.itemsize < 4:
            y = y.astype(jnp.int32)  # uint8 cannot hold the number of 300 classes
        valid = (y >= 0) & (y < k)
        one_hot = (y[:, None] == jnp.arange(k, dtype=y.dtype)[None]).astype(z.dtype)
        return ops.where(valid[:, None], one_hot, jnp.nan)
    if y.shape != z.shape:
        raise ValueError(_wrong_shape(output, y.shape, z.shape))
    return ops.asarray(y, z.dtype)


def _wrong_shape(output: str, got: tuple[int, ...], z: tuple[int, ...]) -> str:
    n, k = z
    required = f"{(n, k)}" if output != "softmax" else f"({n},) of class numbers or {(n, k)} of probabilities"
    message = f"targets y of a network with {k} {output} output{'s' * (k != 1)} must have shape {required}, got {got}"
    if got == (n,):
        return f"{message}; for one target per example pass y[:, None]" if k == 1 else message
    if got == (n, 1) and output == "softmax":
        return f"{message}; pass y[:, 0]"
    return message
