"""How healthy each layer is in a training step: what a person looks at when a network does not learn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax.mlp.network import Tape
from mlp_jax.mlp.structure import MLP


class Health(NamedTuple):
    """One number for each of the l layers.

    Attributes:
        gradient_norm: the norm of ∇J for the layer's parameters, (l,); 0 for a frozen layer.
        update_ratio: the norm of what the step added to W, relative to that of W before, (l,). About 1e-3 is usual.
        dead: the fraction of the layer's units that put out 0 for every example of the minibatch, (l,); of the
            output layer, and of units that are not 0 on an interval, that is 0.
    """

    gradient_norm: jax.Array
    update_ratio: jax.Array
    dead: jax.Array


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


def health(after: Any, before: Any, grads: Any, alive: Sequence[jax.Array]) -> Health:
    """The health of a step from the trained parameters after and before it; entries of frozen layers are None."""
    norms, ratios, dead = [], [], []
    for k, (new, old, grad) in enumerate(zip(after, before, grads, strict=True)):
        of_units = alive[k] if k < len(alive) else jnp.ones((), bool)
        m = 1 if jnp.ndim(of_units) < 2 else len(of_units)  # how many layers the entry is a stack of
        dead.append(1 - jnp.mean(of_units.reshape(m, -1), axis=1, dtype=jnp.float32))
        if new is None:
            norms.append(jnp.zeros(m))
            ratios.append(jnp.zeros(m))
            continue
        squares = [_norm(leaf, m) ** 2 for leaf in jax.tree.leaves(grad)]
        norms.append(jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0)))
        size = _norm(old.W, m)
        ratios.append(jnp.where(size > 0, _norm(new.W - old.W, m) / jnp.where(size > 0, size, 1), 0))
    return Health(*(jnp.concatenate(values).astype(jnp.float32) for values in (norms, ratios, dead)))


def _norm(values: Any, m: int) -> jax.Array:
    return jnp.linalg.norm(values.astype(jnp.promote_types(values.dtype, jnp.float32)).reshape(m, -1), axis=1)
