"""Targets in the form that costs take."""

from typing import Any

import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.mlp.output_units.base import OutputUnit


def as_targets(unit: OutputUnit, y: Any, z: Any, k: int) -> Any:
    """Targets in the form that the costs take: (n, k), of the dtype of the logits z.

    Class numbers (n,) of a softmax unit become one-hot rows; a number outside 0..k−1 becomes a row of NaN,
    so that no cost or gradient of it can pass for a right one.
    """
    y = ops.asarray(y)
    n = z.shape[0]
    if unit.kind == "classes" and y.shape == (n,):
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"class numbers y must be integers, got {y.dtype} of shape {y.shape}; pass y.astype(int)")
        if y.dtype.itemsize < 4:
            y = y.astype(jnp.int32)  # uint8 cannot hold the number of 300 classes
        valid = (y >= 0) & (y < k)
        one_hot = (y[:, None] == jnp.arange(k, dtype=y.dtype)[None]).astype(z.dtype)
        return ops.where(valid[:, None], one_hot, jnp.nan)
    if y.shape != (n, k):
        raise ValueError(_wrong_shape(unit, y.shape, (n, k)))
    return ops.asarray(y, z.dtype)


def _wrong_shape(unit: OutputUnit, got: tuple[int, ...], required: tuple[int, int]) -> str:
    n, k = required
    wanted = f"{required}" if unit.kind != "classes" else f"({n},) of class numbers or {required} of probabilities"
    message = f"targets y of a network with {k} {unit.name} output{'s' * (k != 1)} must have shape {wanted}, got {got}"
    if got == (n,):
        return f"{message}; for one target per example pass y[:, None]" if k == 1 else message
    if got == (n, 1) and unit.kind == "classes":
        return f"{message}; pass y[:, 0]"
    return message
