"""How large an error may be: the policy, its version, and its reasons.

An entry g of a reference in float64 may be missed by

    16 ε (|g| + κ) + ρ + e

- ε, the precision: that of the coarsest dtype among arguments and outputs. In the comparison in float64, where nothing
  is rounded to that dtype, it is 2⁻²³ at most (2⁻³⁰ for float64 arguments), or that to which the function rounds.
- κ, the conditioning of the entry: by how much it changes, relative to the change, when each number in the arguments
  and cotangents changes by a random relative 2⁻¹⁰. For a sum of terms it is about the root of the sum of their
  squares: it grows with the length of a sum and not with the number of entries, and it keeps a sum whose terms cancel
  from being held to its small result.
- ρ, the rounding of the reference in float64: how much the entry changes under relative changes of 2⁻⁴⁵, at most what
  float64 can resolve of the function itself. It is what remains of a gradient that is 0 by cancellation, and what a
  saturated unit leaves of 1 − σ.
- e, the error that differences estimate of themselves.

Where the rule or the function rounds to half precision on the way, 16 becomes 4, and four times the error of JAX's own
gradient in that dtype is added. A factor common to all entries, in which rounding averages out, may then differ from 1
by one ε only.

The second comparison is of the gradient as it was computed in the arguments' own dtype. Where the rule passed in
float64, its formula is right, and only the loss of half of all digits (an error above √ε of the leaf's largest entry)
counts as wrong: that is overflow, underflow or cancellation that JAX's own gradient has not. Where the rule does not
run in float64, this comparison stands alone, with the allowance above, eight times the error of JAX's own gradient in
that dtype added.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlp_jax.verify.precision import FLOAT32, FLOAT64, eps, largest

VERSION = 1
FACTOR = 16.0
FACTOR_IN_HALF = 4.0
CONDITIONING_STEP = 2.0**-10
ROUNDING_STEP = 2.0**-45
UNTIL_CONVERGED = 2.0**-13

Arrays = list[np.ndarray]


def coarsest(dtypes: Sequence[Any]) -> tuple[float, str]:
    """The precision of the coarsest dtype, and its name."""
    dtype = max(dtypes, key=eps)
    return eps(dtype), str(np.dtype(dtype))


def formula_precision(own: float, inside: float, loops: bool) -> float:
    """The ε of the comparison in float64. Where a loop ends by its own criterion, no derivative is known better."""
    return max(
        min(own, FLOAT32) if own > FLOAT64 else 2.0**-30,
        inside if inside > FLOAT64 else 0.0,
        UNTIL_CONVERGED if loops else 0.0,
    )


def conditioning(reference: Arrays, perturbed: Sequence[Arrays]) -> Arrays:
    """κ of each entry, from the reference at arguments changed by CONDITIONING_STEP."""
    return [
        _largest_change(leaf, [other[k] for other in perturbed]) / CONDITIONING_STEP for k, leaf in enumerate(reference)
    ]


def rounding(reference: Arrays, perturbed: Sequence[Arrays], resolution: Sequence[float]) -> Arrays:
    """ρ of each entry, from the reference at arguments changed by ROUNDING_STEP.

    `resolution` is, for each leaf, a slope that changes the function by about itself; 2⁻⁵² of it cannot be seen in the
    function's values, yet a gradient that small may be right to all digits, as in the first of many saturated layers.
    """
    rounded = []
    for k, (leaf, finest) in enumerate(zip(reference, resolution, strict=True)):
        # noise comes in quanta: that an entry did not change for one cotangent says little
        change = 8 * _largest_change(leaf, [other[k] for other in perturbed]).max(axis=0, keepdims=True)
        noise = FLOAT64 * finest
        # also where the reference is 0; a leaf that is noise as a whole is so in every entry
        is_noise = (change >= 0.1 * np.abs(leaf)) | (largest(change) >= 0.1 * largest(leaf))
        small = 64.0 * noise
        seen = largest(leaf) > 100 * small
        most = 2.0**14 * noise
        if largest(change) < 0.1 * largest(leaf):  # beside entries that are right, noise is small
            most = min(most, 1e-6 * float(largest(leaf)))
        rounded.append(np.where(is_noise, most, np.minimum(change, most) + seen * min(small, most)))
    return rounded


def _largest_change(leaf: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        change = np.zeros_like(leaf)
        for other in others:  # a changed argument may leave the domain of f: that says nothing
            change = np.fmax(change, np.where(np.isfinite(other - leaf), np.abs(other - leaf), 0))
    return change
