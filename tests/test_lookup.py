"""A first layer that looks categories up is the layer of their one-hot codes: values, gradients of any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax import MLP
from mlp_jax import autodiff as ad
from mlp_jax.mlp.lookup import lookup


def example(bias=True, hidden=(5,), **changes):
    """The same network twice, and its inputs: numbers of categories, and one-hot."""
    rng = np.random.default_rng(0)
    numbers, codes = rng.normal(size=(20, 2)).astype(np.float32), rng.integers(-1, 3, (20, 2))
    one_hot = [np.eye(4)[codes[:, 0]] * (codes[:, :1] >= 0), np.eye(3)[codes[:, 1]] * (codes[:, 1:] >= 0)]
    x = np.concatenate([numbers, codes], axis=1).astype(np.float32)
    dense = np.concatenate([numbers, *one_hot], axis=1).astype(np.float32)
    nets = [MLP((9, *hidden, 2), hidden="tanh", bias=bias, categories=categories) for categories in ((4, 3), ())]
    return (
        nets,
        mlp_jax.init(nets[0], jax.random.key(1), bias=0.1),
        (x, dense),
        jnp.asarray(rng.normal(size=(20, 2)), "float32"),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 5)])
def test_costs_and_gradients_are_those_of_one_hot_codes(bias, hidden):
    nets, params, xs, y = example(bias, hidden)
    (J, grads), (expected, expected_grads) = (
        mlp_jax.loss_and_grad(net, params, x, y) for net, x in zip(nets, xs, strict=True)
    )
    assert pytest.approx(float(expected), rel=1e-6) == J
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, expected_grads)
    of_jax = jax.grad(mlp_jax.loss, argnums=1)(nets[0], params, xs[0], y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, of_jax)


def test_the_tracer_differentiates_it_to_any_order():
    _, params, (x, dense), _ = example()
    v = jnp.cos(jnp.arange(45, dtype="float32")).reshape(9, 5)

    def f(operation, x):
        return lambda W: ad.ops.sum(ad.ops.tanh(operation(x, W)) ** 3)

    mine, its = f(lookup((4, 3)), jnp.asarray(x)), f(ad.ops.matmul, jnp.asarray(dense))
    np.testing.assert_allclose(ad.grad(mine)(params[0].W), ad.grad(its)(params[0].W), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        ad.hvp(mine, (params[0].W,), (v,))[0], ad.hvp(its, (params[0].W,), (v,))[0], rtol=1e-4, atol=1e-5
    )
    g = ad.grad(lambda h: ad.ops.sum(lookup((4, 3))(h, params[0].W) ** 2))(jnp.asarray(x))
    assert np.abs(g[:, :2]).min() > 0
    assert not g[:, 2:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": (9, 1)}, "add up to widths"),
        ({"categories": (0,)}, "whole numbers"),
        ({"categories": (3,), "hidden": "rbf"}, "a radial unit measures distances"),
        ({"categories": (3,), "products": "bfloat16"}, "do not go with categories"),
    ],
)
def test_what_cannot_look_up_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MLP((9, 5, 2), **changes)
