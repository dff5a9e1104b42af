"""J and ∇J of a minibatch: at once, in parts one after the other, or in parts that are spread over devices.

J is a mean weighted by the examples, so it is the mean of the parts' costs weighted by the parts' shares.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from mlp_jax.mlp import cost, network
from mlp_jax.mlp.params import Params
from mlp_jax.mlp.tape.gradients import clipped_total, mean_and_squares
from mlp_jax.training.step.health import Seen, is_alive
from mlp_jax.training.step.program import Program


class Batch(NamedTuple):
    """A minibatch: inputs x (n, d), targets y, (n,) class numbers or (n, k), weights (n,) or None for 1 each.

    An example of weight 0 does not count, so that a ragged last minibatch has the shape of the others.
    """

    x: Any
    y: Any
    weights: Any = None


class OfBatch(NamedTuple):
    """What a minibatch, or a part of it, gives.

    Attributes:
        means: over the examples: J, its gradient, and where that is watched the mean and the squares of each example's.
        alive: the hidden units that are, if they are watched.
    """

    means: Any
    alive: Any


def gradient(program: Program, params: Params, batch: Batch) -> tuple[jax.Array, Params, Seen | None]:
    """J, its gradient and what is watched."""
    (J, grads, of_examples), alive = _of_parts(program, params, batch)
    if of_examples is None:
        return J, grads, None
    mean, squares = of_examples
    return J, grads, Seen(alive, mean, squares, cost.example_weights(program.net, batch.y, batch.weights))


def _of_parts(program: Program, params: Params, batch: Batch) -> OfBatch:
    def of(batch: Batch) -> OfBatch:
        return _in_turn(program, params, batch)

    if program.parts == 1:
        return of(batch)
    parts = _cut(batch, program.parts)
    shares = _shares(program, parts)
    if program.axis is None:
        return _added_up(shares, _of_each(of, parts))
    here = program.parts // jax.lax.axis_size(program.axis)
    first = here * jax.lax.axis_index(program.axis)
    mine, my_shares = jax.tree.map(lambda v: jax.lax.dynamic_slice_in_dim(v, first, here), (parts, shares))
    of_mine = _of_each(of, mine)
    if program.in_order:
        return _added_up(shares, _from_all(of_mine, program.axis))
    vector, back = ravel_pytree(_added_up(my_shares, of_mine))  # one message between devices in place of many
    total: OfBatch = back(jax.lax.psum(vector, program.axis))  # a unit is alive if it is on some device
    return total


def _of_each(of: Callable[[Batch], OfBatch], parts: Batch) -> OfBatch:
    """Of each of the parts, (V, …), by a loop that compiles to the same however many there are, and so rounds the same.

    Of one part XLA would take loop and table away, and fuse what is in them with what stands around. So there is a
    part and a row to spare, and the loop's end is a number that XLA does not know: there are never so many weights.
    """
    kinds, here = jax.eval_shape(of, jax.tree.map(lambda v: v[0], parts)), len(parts.x)
    count = here + (jnp.sum(parts.weights != 0) > parts.weights.size)
    parts = jax.tree.map(lambda v: jnp.concatenate([v, v[:1]]), parts)
    tables = jax.tree.map(lambda kind: jnp.zeros((here + 1, *kind.shape), kind.dtype), kinds)

    def add(k: jax.Array, tables: OfBatch) -> OfBatch:
        of_part = of(jax.tree.map(lambda v: v[k], parts))
        return jax.tree.map(lambda table, value: table.at[k].set(value), tables, of_part)

    of_all: OfBatch = jax.tree.map(lambda table: table[:here], jax.lax.fori_loop(0, count, add, tables))
    return of_all


def _from_all(of_parts: OfBatch, axis: str) -> OfBatch:
    """The parts of all devices, in the order of these; as one message."""
    vectors = jax.vmap(lambda part: ravel_pytree(part)[0])(of_parts)
    back = ravel_pytree(jax.tree.map(lambda v: v[0], of_parts))[1]
    of_all: OfBatch = jax.vmap(back)(jax.lax.all_gather(vectors, axis, tiled=True))
    return of_all


def _in_turn(program: Program, params: Params, batch: Batch) -> OfBatch:
    """Of all examples at once; or of microbatches, one after the other, added up on the way."""
    if program.microbatches == 1:
        return _at_once(program, params, batch)
    parts = _cut(batch, program.microbatches)

    def add(sums: Any, part: Any) -> Any:
        share, of_part = part
        means, alive = _at_once(program, params, of_part)
        return _plus(sums, share, means), alive

    kinds = jax.eval_shape(lambda batch: _at_once(program, params, batch), jax.tree.map(lambda v: v[0], parts)).means
    sums, alive = jax.lax.scan(add, _zeros(kinds), (_shares(program, parts), parts))
    return _narrowed(sums, kinds, alive)


def _at_once(program: Program, params: Params, batch: Batch) -> OfBatch:
    tape = network.forward(program.net, params, batch.x)
    of_batch = (program.net, params, tape, batch.y, batch.weights)
    J, grads = network.cost_and_gradient(*of_batch)
    if program.clip_examples is not None:
        grads = clipped_total(*of_batch, program.clip_examples)
    if not program.watch:
        return OfBatch((J, grads, None), None)
    return OfBatch((J, grads, mean_and_squares(*of_batch)), is_alive(program.net, tape, batch.weights))


def _added_up(shares: jax.Array, of_parts: OfBatch) -> OfBatch:
    """Of all parts, (V, …) each, weighted by their shares (V,), in their order."""
    kinds = jax.tree.map(lambda v: v[0], of_parts.means)
    sums, _ = jax.lax.scan(lambda sums, part: (_plus(sums, *part), None), _zeros(kinds), (shares, of_parts.means))
    return _narrowed(sums, kinds, of_parts.alive)


def _cut(batch: Batch, parts: int) -> Batch:
    """The examples in parts of one size, (V, n / V, …)."""
    return jax.tree.map(lambda v: v.reshape(parts, -1, *v.shape[1:]), batch)


def _shares(program: Program, parts: Batch) -> jax.Array:
    """What each part counts in the mean, (V,)."""
    totals = jax.vmap(lambda y, w: jnp.sum(cost.example_weights(program.net, y, w)))(parts.y, parts.weights)
    total = jnp.sum(totals)
    return jnp.where(total > 0, totals / total, 1 / len(totals))


def _zeros(kinds: Any) -> Any:
    """In float32 at least, for sums."""
    return jax.tree.map(lambda v: jnp.zeros(v.shape, jnp.promote_types(v.dtype, jnp.float32)), kinds)


def _plus(sums: Any, share: jax.Array, means: Any) -> Any:
    return jax.tree.map(lambda s, value: s + share.astype(s.dtype) * value.astype(s.dtype), sums, means)


def _narrowed(sums: Any, kinds: Any, alive: Any) -> OfBatch:
    means = jax.tree.map(lambda s, kind: s.astype(kind.dtype), sums, kinds)
    return OfBatch(means, jax.tree.map(lambda units: units.any(axis=0), alive))
