"""How healthy each layer is in a training step: what a person looks at when a network does not learn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.mlp.network import Tape
from mlp_jax.mlp.structure import MLP


class Health(NamedTuple):
    """One number for each of the l layers.

    Attributes:
        gradient_norm: the norm of ∇J for the layer's parameters, (l,); 0 for a frozen layer.
        update_ratio: the norm of what the step added to W, relative to that of W before, (l,). About 1e-3 is usual.
        dead: the fraction of the layer's units that put out 0 for every example of the minibatch, (l,); of the
            output layer, and of units that are not 0 on an interval, that is 0.
        variance: the trace of the covariance of the examples' gradients, estimated from the minibatch, (l,).
        squared_mean: the squared norm of their mean over all data, likewise, (l,): what the minibatch's has beyond
            its noise, which may be below 0.
    """

    gradient_norm: jax.Array
    update_ratio: jax.Array
    dead: jax.Array
    variance: jax.Array
    squared_mean: jax.Array


class Seen(NamedTuple):
    """What of a minibatch is watched.

    Attributes:
        alive: the units that are, as `is_alive` gives them.
        mean: the mean of the examples' gradients, without the penalty, like the parameters.
        squares: the mean of their squared norms, of each layer, (l,).
        total: of the examples' weights.
        total_of_squares: of these.
    """

    alive: Sequence[jax.Array]
    mean: Any
    squares: jax.Array
    total: jax.Array
    total_of_squares: jax.Array


def is_alive(net: MLP, tape: Tape, weights: Any) -> list[jax.Array]:
    """Which units of each hidden entry of the tape put out something else than 0, (units,) or (m, units)."""
    found, k, before = [], 0, tape.h[0]
    for h in tape.h[1:-1]:
        f = h
        if net.skip[k]:  # of h + f(a), f(a) is the unit's own
            f = h - (before if h.ndim == 2 else jnp.concatenate([before[None], h[:-1]]))
        counts = (weights > 0).reshape(*[1] * (h.ndim - 2), -1, 1)
        found.append(jnp.any((f != 0) & counts, axis=-2))
        k, before = (k + 1, h) if h.ndim == 2 else (k + len(h), h[-1])
    return found


def health(after: Any, before: Any, grads: Any, seen: Seen) -> Health:
    """The health of a step from the trained parameters after and before it; entries of frozen layers are None."""
    norms: list[Any] = []
    ratios: list[Any] = []
    means: list[Any] = []
    dead, trained = [], []
    for k, (new, old, grad) in enumerate(zip(after, before, grads, strict=True)):
        of_units = seen.alive[k] if k < len(seen.alive) else jnp.ones((), bool)
        m = 1 if jnp.ndim(of_units) < 2 else len(of_units)  # how many layers the entry is a stack of
        dead.append(1 - jnp.mean(of_units.reshape(m, -1), axis=1, dtype=jnp.float32))
        trained += [new is not None] * m
        if new is None:
            for numbers in (norms, ratios, means):
                numbers.append(jnp.zeros(m))
            continue
        norms.append(_norm_of_all(grad, m))
        means.append(_norm_of_all(seen.mean[k], m))
        size = _norm(old.W, m)
        ratios.append(jnp.where(size > 0, _norm(new.W - old.W, m) / jnp.where(size > 0, size, 1), 0))
    spread = _without_noise(seen, jnp.square(jnp.concatenate(means)), jnp.asarray(trained))
    of_layers = (*map(jnp.concatenate, (norms, ratios, dead)), *spread)
    return Health(*(value.astype(jnp.float32) for value in of_layers))


def _without_noise(seen: Seen, of_minibatch: jax.Array, trained: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Variance and squared mean of each layer, without bias, from the squared mean of the minibatch (l,).

    With shares s_i = w_i / Σw and q = Σ s_i², the minibatch's E‖g‖² − ‖ḡ‖² is (1 − q) tr Σ on average, and its ‖ḡ‖² is
    the squared mean + q tr Σ (McCandlish et al. 2018, appendix A.1, for equal weights). One example says nothing: 0.
    """
    total = seen.total
    q = (seen.total_of_squares / jnp.where(total > 0, jnp.square(total), 1)).astype(of_minibatch.dtype)
    counts = trained & (total > 0) & (q < 1)
    variance = jnp.where(counts, (seen.squares - of_minibatch) / jnp.where(q < 1, 1 - q, 1), 0)
    return variance, of_minibatch - q * variance


def of_epoch(steps: Health) -> dict[str, list[float]]:
    """What is recorded of an epoch: means over its S steps, of (S, l), and of each layer the gradient noise scale.

    That is tr Σ / ‖mean‖², of the means over the steps: how many examples a minibatch needs for its gradient to be as
    large as its noise; 0 where there is no noise. A mean that drowns in noise counts as 1e-6 of the variance.
    """
    means = {name: value.mean(axis=0) for name, value in steps._asdict().items()}
    variance, squared_mean = means.pop("variance"), means.pop("squared_mean")
    means["noise_scale"] = variance / np.where(variance > 0, np.maximum(squared_mean, 1e-6 * variance), 1)
    return {name: value.tolist() for name, value in means.items()}


def _norm_of_all(layer: Any, m: int) -> jax.Array:
    squares = [_norm(leaf, m) ** 2 for leaf in jax.tree.leaves(layer)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))


def _norm(values: Any, m: int) -> jax.Array:
    return jnp.linalg.norm(values.astype(jnp.promote_types(values.dtype, jnp.float32)).reshape(m, -1), axis=1)
