"""Nine programs as researchers write them, the natural way, each beside JAX: gradients to 1e-10 in float64."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops


@pytest.fixture(autouse=True)
def jax_as_others_have_it():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Ours:
    o, linalg, scan, vmap, grad = ops, ops.linalg, ops.scan, ad.vmap, ad.grad
    sigmoid, softmax, gammaln = ops.sigmoid, ops.softmax, ops.gammaln
    of_jax = staticmethod(ad.jax_operation)


class Theirs:
    o, linalg, scan, vmap, grad = jnp, jnp.linalg, jax.lax.scan, jax.vmap, jax.grad
    sigmoid, softmax, gammaln = jax.nn.sigmoid, jax.nn.softmax, jax.scipy.special.gammaln
    of_jax = staticmethod(lambda f: f)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def layers(*widths):
    return [{"W": 0.7 * normal(n, m, seed=n), "b": 0.1 * normal(m, seed=n)} for n, m in pairwise(widths)]


def network(m, p, x):
    for layer in p[:-1]:
        x = m.o.tanh(x @ layer["W"] + layer["b"])
    return x @ p[-1]["W"] + p[-1]["b"]


def lstm(m, p):
    def step(carry, x):
        h, c = carry
        i, f, g, u = m.o.split(x @ p["x"] + h @ p["h"] + p["b"], 4, axis=-1)
        c = m.sigmoid(f) * c + m.sigmoid(i) * m.o.tanh(g)
        h = m.sigmoid(u) * m.o.tanh(c)
        return (h, c), m.o.mean(h * h)

    start = jnp.zeros((2, 3))
    (h, _), sizes = m.scan(step, (start, start), normal(6, 2, 4))
    return m.o.sum(h) + m.o.sum(sizes)


def gaussian_process(m, p):
    x, y = normal(7, 2), normal(7, seed=1)
    distances = ((x[:, None] - x[None]) ** 2 * m.o.exp(-p["log_length"])).sum(axis=-1)
    K = m.o.exp(p["log_scale"] - 0.5 * distances) + m.o.exp(p["log_noise"]) * np.eye(7)
    L = m.linalg.cholesky(K)
    fit = m.linalg.solve(K, y)
    return 0.5 * y @ fit + m.o.log(m.o.diagonal(L)).sum() + 3.5 * math.log(2 * math.pi)


def physics_informed(m, p):
    def u(x):
        return network(m, p, x[None, None])[0, 0]

    residual = lambda x: m.grad(m.grad(u))(x) + u(x) * m.o.sin(x)  # noqa: E731
    x = jnp.linspace(0.0, 1.0, 6)
    return (m.vmap(residual)(x) ** 2).mean() + (u(x[0]) - 1) ** 2


def meta_learning(m, p):
    x, y = normal(5, 2), normal(5, 1, seed=1)
    loss = lambda p, x, y: ((network(m, p, x) - y) ** 2).mean()  # noqa: E731
    for _ in range(2):
        inner = m.grad(loss)(p, x[:3], y[:3])
        p = m.of_jax(optax.apply_updates)(p, jax.tree.map(lambda g: -0.1 * g, inner))
    return loss(p, x[3:], y[3:])


def attention(m, p):
    x = normal(2, 5, 6)
    q, k, v = (m.o.einsum("btd,dhe->bhte", x, p[name]) for name in "qkv")
    scores = m.o.einsum("bhte,bhse->bhts", q, k) / math.sqrt(3)
    causal = m.o.where(np.tril(np.ones((1, 1, 5, 5), bool)), scores, -np.inf)
    out = m.o.einsum("bhts,bhse->bthe", m.softmax(causal, axis=-1), v).reshape(2, 5, -1)
    centred = out - out.mean(axis=-1, keepdims=True)
    return ((centred / m.o.sqrt(out.var(axis=-1, keepdims=True) + 1e-5)) ** 3).sum()


def hamiltonian_monte_carlo(m, p):
    log_density = lambda q: -(q**4).sum() / 4 + m.o.sin(q * p["bend"]).sum()  # noqa: E731

    def leapfrog(state, _):
        q, momentum = state
        momentum = momentum + 0.05 * m.grad(log_density)(q)
        q = q + 0.1 * momentum
        return (q, momentum + 0.05 * m.grad(log_density)(q)), None

    (q, momentum), _ = m.scan(leapfrog, (p["start"], 0.5 * normal(3)), None, length=5)
    return -log_density(q) + 0.5 * momentum @ momentum


def lanczos(m, p):
    A = p["A"] + p["A"].T
    v, before, beta = p["v"] / m.linalg.norm(p["v"]), 0 * p["v"], 0.0
    diagonal, beside = [], []
    for _ in range(3):
        w = A @ v - beta * before
        alpha = w @ v
        w = w - alpha * v
        beta = m.linalg.norm(w)
        before, v = v, w / beta
        diagonal.append(alpha)
        beside.append(beta)
    side = m.o.stack(beside[:-1])
    T = m.o.diag(m.o.stack(diagonal)) + m.o.diag(side, 1) + m.o.diag(side, -1)
    return m.o.log(m.linalg.eigh(T @ T + np.eye(3))[0]).sum()


def counts_regression(m, p):
    x, y = normal(8, 2), np.arange(8.0)
    mean, r = m.o.exp(x @ p["w"]), m.o.logaddexp(p["log_r"], 0.0)
    at = m.gammaln(y + r) - m.gammaln(r) - m.gammaln(y + 1)
    return -(at + r * m.o.log(r / (r + mean)) + y * m.o.log(mean / (r + mean))).sum()


def in_place(m, p):
    """A value table that is updated entry by entry, and the best of it."""
    table = p["table"].clip(-1, 1)
    for k in range(3):
        table = table.at[k].set(0.9 * table[k + 1].max() + p["reward"][k]).at[k, 0].add(table[k, 1] ** 2)
    best = m.o.sort(table.ravel())[-3:]
    return (best * m.o.cumsum(best)).sum() + m.o.round(table, 1).mean() + m.o.floor(table[0]).sum()


PROGRAMS = {
    lstm: {"x": 0.3 * normal(4, 12), "h": 0.3 * normal(3, 12), "b": normal(12)},
    gaussian_process: {"log_length": normal(2), "log_scale": normal(), "log_noise": normal(seed=1)},
    physics_informed: layers(1, 5, 5, 1),
    meta_learning: layers(2, 5, 1),
    attention: {name: 0.5 * normal(6, 2, 3, seed=k) for k, name in enumerate("qkv")},
    hamiltonian_monte_carlo: {"bend": normal(3), "start": normal(3, seed=1)},
    lanczos: {"A": normal(5, 5), "v": normal(5)},
    counts_regression: {"w": normal(2), "log_r": normal()},
    in_place: {"table": normal(4, 3), "reward": normal(3)},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_gradient_is_jaxs(program):
    p = jax.tree.map(jnp.asarray, PROGRAMS[program])
    ours = lambda p: program(Ours, p)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(lambda p: program(Theirs, p)))(p)
    assert_allclose(ours(p), value, rtol=1e-12)
    for found in (ad.grad(ours)(p), jax.jit(ad.grad(ours))(p)):
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(gradient), strict=True):
            assert_allclose(one, other, rtol=1e-10, atol=1e-10)
