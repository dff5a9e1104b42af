"""The generated gradient rules are what they are called, by jax.vjp and differences in float64; no checker is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks import generated
from benchmarks.generated import is_float


@pytest.fixture(autouse=True)
def usual_jax():
    """As the programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def of_floats(f, args):
    """The function of its floating-point leaves, and these in float64, moved a little off all ties."""
    leaves, tree = jax.tree.flatten(args)
    places = [k for k, x in enumerate(leaves) if is_float(x)]
    r = np.random.default_rng(0)
    moved = [jnp.asarray(np.asarray(leaves[k], np.float64) + 0.01 * r.normal(size=leaves[k].shape)) for k in places]

    def of(floats):
        known = dict(zip(places, floats, strict=True))
        return jax.tree.leaves(f(*jax.tree.unflatten(tree, [known.get(k, x) for k, x in enumerate(leaves)])))

    return of, moved


def ends(f, args):
    """The outputs and the gradients, for cotangents that are cosines."""
    of, floats = of_floats(f, args)

    def both(floats):
        outs, pull = jax.vjp(of, floats)
        return outs + pull([jnp.cos(1.0 + jnp.arange(x.size)).reshape(x.shape).astype(x.dtype) for x in outs])[0]

    return [np.asarray(x, np.float64) for x in jax.jit(both)(floats)]


def distance(xs, ys):
    """The largest difference, relative to each array's largest entry; NaN if there is one."""
    return np.max([np.max(np.abs(x - y)) / max(np.max(np.abs(y)), 1e-9) for x, y in zip(xs, ys, strict=True)])


@pytest.mark.parametrize("seed", [26, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (4, 5))])
def test_the_right_twin_agrees_with_jax_and_the_wrong_one_does_not(seed, x64):
    with jax.enable_x64(False):
        right, wrong = generated.draw(seed)
    truth = ends(right.f.fun, right.args)
    assert distance(ends(right.f, right.args), truth) < 1e-7
    assert not distance(ends(wrong.f, wrong.args), truth) < 5e-5


def test_the_right_twin_agrees_with_differences(x64):
    with jax.enable_x64(False):
        right, _ = generated.draw(26)
    of, floats = of_floats(right.f, right.args)
    cost = jax.jit(lambda floats: sum(jnp.sum(jnp.cos(1.0 + jnp.arange(x.size)) * x.ravel()) for x in of(floats)))
    steps = [jnp.sin(jnp.arange(x.size)).reshape(x.shape) for x in floats]
    up, down = (cost([x + h * d for x, d in zip(floats, steps, strict=True)]) for h in (1e-6, -1e-6))
    slope = sum(np.sum(g * d) for g, d in zip(ends(right.f, right.args)[-len(floats) :], steps, strict=True))
    np.testing.assert_allclose((up - down) / 2e-6, slope, rtol=1e-6)
