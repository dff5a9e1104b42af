"""What the tape knows, against loops of jax.grad, jax.jacfwd and jax.hessian over the examples, in float64."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose
from test_network import assert_close_per_leaf

import mlp_jax
from mlp_jax import L2, MLP
from mlp_jax.mlp.cost import WITHOUT_CURVATURE
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.output_units import OUTPUT_UNITS

N, M = 4, 3  # examples, and those that they are paired with
WIDTHS = (3, 4, 4, 4, 2)  # the last two hidden layers are equal: a stack
OUTPUTS = [(output, cost) for output, unit in OUTPUT_UNITS.items() for cost in unit.costs]
CHOICES = (tuple(HIDDEN_UNITS), tuple(OUTPUTS), (True, False, "some"), *[(False, True)] * 3)  # bias skip stack weights


def pairs(row):
    return set(itertools.combinations(enumerate(row), 2))


def cover():
    """Rows of choices so that each pair of unit and bias, unit and skip, output and stack, … is in one of them.

    Of the pairs of a unit with an output, those that this gives: what these two share is the tape alone.
    """
    missing = set().union(*map(pairs, itertools.product(*CHOICES)))
    missing = {pair for pair in missing if {place for place, _ in pair} != {0, 1}}
    rng = np.random.default_rng(0)
    while missing:
        drawn = [tuple(choices[rng.integers(len(choices))] for choices in CHOICES) for _ in range(200)]
        best = max(drawn, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        yield best


def examples(output, n=N, seed=0, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=(n, widths[-1]))
    y = y.round() if output == "hinge" else (5 * y).round() if output == "poisson" else y
    y = rng.integers(0, widths[-1], n) if output == "softmax" else y
    return jnp.asarray(rng.normal(size=(n, widths[0]))), jnp.asarray(y)


def case(hidden, output_and_cost, bias, skip, stacked, weighted):
    """A network, its parameters, examples and their weights."""
    bias = (True, False, False, True) if bias == "some" else bias
    net = MLP(WIDTHS, hidden, *output_and_cost, penalty=L2(0.1), bias=bias, skip=(False, skip, skip))
    params = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64, bias=0.1)
    x, y = examples(output_and_cost[0])
    weights = jnp.asarray([0.5, 2.0, 1.5, 0.25]) if weighted else None
    return net, mlp_jax.stack(net, params) if stacked else params, x, y, weights


def loss_of_one(net, params, x, y):
    """L_i, without weights and penalty."""
    return mlp_jax.loss(replace(net, penalty=None), params, x[None], y[None])


def logits_of_one(net, params, x):
    return mlp_jax.forward(net, params, x[None]).a[-1][0]


def prediction_of_one(net, params, x):
    return mlp_jax.predict(net, params, x[None])[0]


def gradients(net, params, x, y):
    """jax.grad for each example in turn, (n, P)."""
    return jax.lax.map(lambda one: ravel_pytree(jax.grad(loss_of_one, 1)(net, params, *one))[0], (x, y))


def jacobians(net, params, x):
    """jax.jacfwd of the logits for the parameters, for each example in turn, (n, k', P)."""
    flat, restored = ravel_pytree(params)
    return jax.lax.map(lambda x: jax.jacfwd(lambda flat: logits_of_one(net, restored(flat), x))(flat), x)


def hessians(net, params, x, y):
    """∇²_z L_i by jax.hessian, (n, k', k'): the logits are the inputs of a layer that is the identity."""
    z = mlp_jax.forward(net, params, x).a[-1]
    last = MLP((z.shape[1], net.widths[-1]), output=net.output, cost=net.cost, bias=False)
    identity = (type(params[-1])(jnp.eye(z.shape[1]), None, *params[-1][2:]),)
    return jax.lax.map(lambda one: jax.hessian(lambda z: loss_of_one(last, identity, z, one[1]))(one[0]), (z, y))


def jacobians_of_layers(net, params, x):
    """∂z_i/∂a_i of each layer, by jax.jacfwd for its bias: one of 0 is added where there is none."""
    net = replace(net, bias=True)
    params = tuple(own._replace(b=jnp.zeros(own.W.shape[1]) if own.b is None else own.b) for own in params)

    def logits(b, k, x):
        return logits_of_one(net, (*params[:k], params[k]._replace(b=b), *params[k + 1 :]), x)

    return [jax.lax.map(lambda x, k=k: jax.jacfwd(logits)(params[k].b, k, x), x) for k in range(len(params))]


def norms_of(grads):
    return np.linalg.norm(grads, axis=1)


def each_layer(factors):
    for A, G in factors:
        yield from [(A, G)] if A.ndim == 2 else zip(A, G, strict=True)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("row", list(cover()), ids=lambda row: "-".join(map(str, row)))
def test_all_of_it_is_what_loops_over_examples_give(row):
    net, params, x, y, weights = case(*row)
    w = np.ones(N) if weights is None else np.asarray(weights)
    share = w / w.sum()
    has_curvature = net.cost not in WITHOUT_CURVATURE
    _, restored = ravel_pytree(params)
    v = restored(jax.random.normal(jax.random.key(1), ravel_pytree(params)[0].shape))
    layers = mlp_jax.unstack(net, params)

    @jax.jit
    def references(params, x, y):
        of_predictions = [
            jax.lax.map(lambda x, d=d: d(prediction_of_one, 2)(net, params, x), x) for d in (jax.jacfwd, jax.hessian)
        ]
        return gradients(net, params, x, y), jacobians(net, params, x), hessians(net, params, x, y), of_predictions

    grads, J, H, (jacobian, second) = map(jax.device_get, references(params, x, y))
    max_norm = float(np.median(norms_of(grads)))

    @jax.jit
    def ours(params, x, y, v):
        few = x[:M], y[:M]
        found = {
            "gradient_norms": mlp_jax.gradient_norms(net, params, x, y),
            "by_layer": mlp_jax.gradient_norms(net, params, x, y, by_layer=True),
            "clipped_gradient": mlp_jax.clipped_gradient(net, params, x, y, max_norm, weights),
            "gradient_moments": mlp_jax.gradient_moments(net, params, x, y, weights),
            "gram": mlp_jax.gram(net, params, (x, y), few),
            "ntk": mlp_jax.ntk(net, params, x, x[:M]),
            "ntk_trace": mlp_jax.ntk(net, params, x, x[:M], trace=True),
            "input_jacobian": mlp_jax.input_jacobian(net, params, x),
            "laplacian": mlp_jax.laplacian(net, params, x),
        }
        if has_curvature:
            found["ggn_product"] = mlp_jax.ggn_product(net, params, x, y, v, weights)
            found["ggn_diagonal"] = mlp_jax.ggn_diagonal(net, params, x, y, weights)
            found["kfac_factors"] = mlp_jax.kfac_factors(net, params, x, y, weights)
        return found

    found = ours(params, x, y, v)
    ntk = np.einsum("icp,jdp->ijcd", J, J[:M])
    mean = share @ grads
    of_layers = [mlp_jax.unstack(net, restored(g)) for g in grads]
    expected = {
        "gradient_norms": norms_of(grads),
        "by_layer": np.array([[norms_of(ravel_pytree(layer)[0][None])[0] for layer in one] for one in of_layers]),
        "clipped_gradient": restored((w * np.minimum(1, max_norm / norms_of(grads))) @ grads),
        "gradient_moments": (restored(mean), restored(share @ (grads - mean) ** 2)),
        "gram": grads @ grads[:M].T,
        "ntk": ntk,
        "ntk_trace": np.einsum("ijcc->ij", ntk),
        "input_jacobian": jacobian,
    }
    laplacian = np.einsum("ncjj->nc", second)
    assert_allclose(found.pop("laplacian"), laplacian, rtol=1e-10, atol=1e-12 * np.abs(second).max())
    if has_curvature:
        G = np.einsum("icp,i,icd,idq->pq", J, share, H, J)
        expected["ggn_product"] = restored(G @ ravel_pytree(v)[0])
        expected["ggn_diagonal"] = restored(np.diagonal(G))
        factors = found.pop("kfac_factors")
        h, of_a = mlp_jax.forward(net, layers, x).h, jax.jit(lambda p, x: jacobians_of_layers(net, p, x))(layers, x)
        for k, (A, G) in enumerate(each_layer(factors)):
            if row[0] != "rbf" or k == len(layers) - 1:  # where a bias is not added to a, J_a is not that for the bias
                h_bar = h[k] if layers[k].b is None else np.concatenate([h[k], np.ones((N, 1))], axis=1)
                assert_close_per_leaf(A, jnp.einsum("i,ip,iq->pq", share, h_bar, h_bar), 1e-10)
                assert_close_per_leaf(G, jnp.einsum("i,icp,icd,idq->pq", share, of_a[k], H, of_a[k]), 1e-10)
    for name, theirs in expected.items():
        assert_close_per_leaf(found.pop(name), jax.tree.map(jnp.asarray, theirs), 1e-10)
    assert not found
