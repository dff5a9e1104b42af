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
        weights: of the examples, their sum and that of their squares.
        alive: the hidden units that are, if they are watched.
    """

    means: Any
    weights: tuple[jax.Array, jax.Array]
    alive: Any


def gradient(program: Program, params: Params, batch: Batch) -> tuple[jax.Array, Params, Seen | None]:
    """J, its gradient and what is watched; of the devices of an axis each has its own rows of the minibatch."""
    (J, grads, of_examples), weights, alive = _of_parts(program, params, batch)
    if of_examples is None:
        return J, grads, None
    mean, squares = of_examples
    return J, grads, Seen(alive, mean, squares, *weights)


def cost_of(program: Program, params: Params, batch: Batch) -> jax.Array:
    """J, which can be differentiated: for optimizers that search along a line."""
    if program.parts == 1:
        return network.loss(program.net, params, *batch)

    @jax.custom_vjp  # through messages between devices JAX would not differentiate as it is meant here
    def J(params: Params) -> jax.Array:
        return gradient(program, params, batch)[0]

    J.defvjp(
        lambda params: gradient(program._replace(watch=False), params, batch)[:2],
        lambda grads, g: (jax.tree.map(lambda v: g.astype(v.dtype) * v, grads),),
    )
    return J(params)


def _of_parts(program: Program, params: Params, batch: Batch) -> OfBatch:
    def of(batch: Batch) -> OfBatch:
        return _in_turn(program, params, batch)

    if program.parts == 1:
        return of(batch)
    devices = jax.lax.axis_size(program.axis) if program.axis else 1
    never = jnp.sum(batch.weights != 0) > batch.weights.size
    of_mine: OfBatch = of_each(of, _cut(batch, program.parts // devices), never)
    if program.axis is None:
        return _added_up(of_mine)
    if program.in_order:
        return _added_up(_from_all(of_mine, program.axis))
    return _summed(_added_up(of_mine), program.axis)


def of_each(of: Callable[[Any], Any], parts: Any, never: jax.Array) -> Any:
    """Of each of the parts, (V, …), by a loop that compiles to the same however many there are, and so rounds the same.

    Of one part XLA would take loop and table away, and fuse what is in them with what stands around. So there is a
    part and a row to spare, and the loop's end is a number that XLA does not know: `never` is false, unknown to it.
    """
    kinds, here = jax.eval_shape(of, jax.tree.map(lambda v: v[0], parts)), len(jax.tree.leaves(parts)[0])
    count = here + never
    parts = jax.tree.map(lambda v: jnp.concatenate([v, v[:1]]), parts)
    tables = jax.tree.map(lambda kind: jnp.zeros((here + 1, *kind.shape), kind.dtype), kinds)

    def add(k: jax.Array, tables: Any) -> Any:
        of_part = of(jax.tree.map(lambda v: v[k], parts))
        return jax.tree.map(lambda table, value: table.at[k].set(value), tables, of_part)

    return jax.tree.map(lambda table: table[:here], jax.lax.fori_loop(0, count, add, tables))


def apart(of: Callable[[Any], Any], values: Any, never: jax.Array) -> Any:
    """`of(values)` by such a loop, so that it rounds the same whatever stands around it."""
    found = of_each(of, jax.tree.map(lambda v: jnp.asarray(v)[None], values), never)
    return jax.tree.map(lambda v: v[0], found)


def _summed(mine: OfBatch, axis: str) -> OfBatch:
    """Of all devices, each with its share; as one message."""
    sums = _plus(_zeros(mine.means), mine.weights[0], mine.means)
    vector, back = ravel_pytree((sums, mine.weights, mine.alive))
    sums, weights, alive = back(jax.lax.psum(vector, axis))  # a unit is alive if it is on some device
    total = weights[0]
    of_all: OfBatch = jax.tree.map(  # of examples without weight the penalty is left, the same on each device
        lambda s, own: jnp.where(total > 0, s / jnp.where(total > 0, total, 1).astype(s.dtype), own).astype(own.dtype),
        sums, mine.means,
    )  # fmt: skip
    return OfBatch(of_all, weights, alive)


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
        means, _, alive = _at_once(program, params, of_part)
        return _plus(sums, share, means), alive

    kinds = jax.eval_shape(lambda batch: _at_once(program, params, batch), jax.tree.map(lambda v: v[0], parts)).means
    weights = jax.vmap(lambda y, w: _sums(program, y, w))(parts.y, parts.weights)
    sums, alive = jax.lax.scan(add, _zeros(kinds), (_shares(weights[0]), parts))
    return _narrowed(sums, kinds, weights, alive)


def _at_once(program: Program, params: Params, batch: Batch) -> OfBatch:
    tape = network.forward(program.net, params, batch.x)
    of_batch = (program.net, params, tape, batch.y, batch.weights)
    J, grads = network.cost_and_gradient(*of_batch)
    if program.clip_examples is not None:
        grads = clipped_total(*of_batch, program.clip_examples)
    weights = _sums(program, batch.y, batch.weights)
    if not program.watch:
        return OfBatch((J, grads, None), weights, None)
    return OfBatch((J, grads, mean_and_squares(*of_batch)), weights, is_alive(program.net, tape, batch.weights))


def _added_up(of_parts: OfBatch) -> OfBatch:
    """Of all parts, (V, …) each, weighted by their shares, in their order."""
    kinds = jax.tree.map(lambda v: v[0], of_parts.means)
    weighted = _shares(of_parts.weights[0]), of_parts.means
    sums, _ = jax.lax.scan(lambda sums, part: (_plus(sums, *part), None), _zeros(kinds), weighted)
    return _narrowed(sums, kinds, of_parts.weights, of_parts.alive)


def _cut(batch: Batch, parts: int) -> Batch:
    """The examples in parts of one size, (V, n / V, …)."""
    return jax.tree.map(lambda v: v.reshape(parts, -1, *v.shape[1:]), batch)


def _sums(program: Program, y: Any, weights: Any) -> tuple[jax.Array, jax.Array]:
    """Of the weights of examples, and of their squares."""
    w = cost.example_weights(program.net, y, weights)
    return jnp.sum(w), jnp.sum(jnp.square(w))


def _shares(totals: jax.Array) -> jax.Array:
    """What each part counts in the mean, (V,), of its weight."""
    total = jnp.sum(totals)
    return jnp.where(total > 0, totals / total, 1 / len(totals))


def _zeros(kinds: Any) -> Any:
    """In float32 at least, for sums."""
    return jax.tree.map(lambda v: jnp.zeros(v.shape, jnp.promote_types(v.dtype, jnp.float32)), kinds)


def _plus(sums: Any, share: jax.Array, means: Any) -> Any:
    return jax.tree.map(lambda s, value: s + share.astype(s.dtype) * value.astype(s.dtype), sums, means)


def _narrowed(sums: Any, kinds: Any, weights: tuple[jax.Array, jax.Array], alive: Any) -> OfBatch:
    means = jax.tree.map(lambda s, kind: s.astype(kind.dtype), sums, kinds)
    return OfBatch(
        means, (jnp.sum(weights[0]), jnp.sum(weights[1])), jax.tree.map(lambda units: units.any(axis=0), alive)
    )
