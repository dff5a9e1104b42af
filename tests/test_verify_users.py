"""What users bring to a checker: other arguments than arrays, functions of numpy, solvers, declared rules."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_verify import normal, verdicts, with_rule
from test_verify_found import is_wrong, passes, row, usual_promotion  # noqa: F401

from mlp_jax import verify
from mlp_jax.verify import CannotCheck, Verdict

# --- of the checker itself ------------------------------------------------------------------------


@dataclasses.dataclass
class Layer:
    w: jax.Array


def test_what_is_not_looked_at_is_named():
    lazy = with_rule(lambda x, s: s * x**2, lambda x, s, g: (2 * g * s * x, None))
    passes(lazy, normal(3), 3, words="not looked at: s (int; pass 3.0 to check the gradient for it)")
    whole = np.arange(4, dtype=np.int32)
    passes(lazy, normal(4), whole, words="not looked at: s (int32[4]; pass floating-point numbers")
    is_wrong(lazy, normal(3), 3.0, leaf="s")
    report = verify.check_grad(
        lambda x, n: np.sum(n * x**3), lambda x, n: 3 * n * x**2, np.array([1.2, 0.3]), whole[:2]
    )
    assert report.passed
    assert "not looked at: n" in str(report) or verdicts(report).keys() == {"x", "primal"}
    passes(lambda x, layer: x * layer.w, normal(2), Layer(normal(2)), words="layer (Layer, which jax.tree_util.regis")
    report = verify.check_vjp(lambda p, x: p["act"](x * p["w"]), {"act": jnp.tanh, "w": normal(2)}, normal(2))
    assert report.passed
    assert "not looked at" not in str(report)


def attention(faulty):
    """Rows of scores with −inf where they are masked; a row that is masked everywhere is NaN, and nobody uses it."""

    def backward(z, v, g):
        p = jax.nn.softmax(z)
        dead = jnp.isinf(z).all(1, keepdims=True)
        dp = g @ v.T
        dz = jnp.where(dead, 0, p * (dp - jnp.sum(dp * p, 1, keepdims=True)))
        return dz * (1 + faulty / 10), jnp.where(dead, 0, p).T @ jnp.where(dead, 0, g)

    return with_rule(lambda z, v: jax.nn.softmax(z) @ v, backward)


def test_outputs_that_are_not_a_number_are_left_out():
    z = normal(4, 3).at[0, 1].set(-jnp.inf).at[2].set(-jnp.inf)
    passes(attention(0), z, normal(3, 2, seed=1), words="not finite: no gradient of them is looked at")
    is_wrong(attention(1), z, normal(3, 2, seed=1), leaf="z")


# --- gradients by hand, of numpy ------------------------------------------------------------------


def flow(drag, thickness, density):
    return float(drag[0] * 1e-4 + np.sqrt(thickness[0]) * 30 + 1e-17 * density[0] * drag[0] / 2e4)


def flow_gradient(factor):
    return lambda drag, thickness, density: (
        np.array([1e-4 + 1e-17 * density[0] / 2e4]),
        np.array([factor * 15 / np.sqrt(thickness[0])]),
        np.array([1e-17 * drag[0] / 2e4]),
    )


SCALES = (np.array([2.1e4]), np.array([2.6e-5]), np.array([1.3e18]))


@pytest.mark.parametrize("n", [5, 2000])
def test_arguments_of_other_sizes(n):
    assert verify.check_grad(flow, flow_gradient(1), *SCALES)
    report = verify.check_grad(flow, flow_gradient(1.01), *SCALES)
    assert verdicts(report)["thickness"] is Verdict.WRONG
    x = np.random.default_rng(2).uniform(1, 2, n) * np.geomspace(1e-5, 1e4, n)
    assert verify.check_grad(lambda x: np.sum(np.log(x)), lambda x: 1 / x, x)
    faulty = lambda x: np.where(np.arange(n) == 0, 1.01, 1) / x  # noqa: E731
    assert n > 1000 or not verify.check_grad(lambda x: np.sum(np.log(x)), faulty, x)


def test_state_that_a_function_keeps():
    x, buffer, calls = np.array([0.5, 1.5, -1.0]), np.zeros(3), []

    def forward(x):
        np.multiply(x, x, out=buffer)
        return float(np.sum(buffer * x))

    def stale(x):
        forward(np.array([1.0, 1, 2]))
        return 3 * buffer

    def counted(x):
        calls.append(1)
        return float(len(calls) * np.sum(x))

    assert verify.check_grad(forward, lambda x: (forward(x), 3 * buffer)[1], x)
    assert not verify.check_grad(forward, stale, x)
    report = verify.check_grad(counted, lambda x: np.ones_like(x), x)
    assert not report
    assert verdicts(report) == {"primal": Verdict.NONDETERMINISTIC}
    with pytest.raises(CannotCheck, match="changes its argument b in place"):
        verify.check_grad(lambda a, b: (b.sort(), float(np.sum(a * b)))[1], lambda a, b: (b, a), x, x[::-1].copy() + 1)


def test_a_numpy_function_is_not_called_for_ever():
    calls = []

    def f(x):
        calls.append(1)
        return float(np.sum(np.sin(x)))

    assert verify.check_grad(f, np.cos, np.linspace(-1, 1, 300))
    assert len(calls) <= 60 * 300


# --- what else users bring ------------------------------------------------------------------------


def test_a_declared_rule():
    """Row gradients of a table, divided by how often each row is used."""
    ids, counts = np.array([1, 1, 3, 3, 3, 0]), np.array([1, 2, 1, 3])

    def backward(counts):
        return lambda e, g: (jnp.zeros_like(e).at[ids].add(g) / counts[:, None],)

    declared = with_rule(lambda e: e[ids], backward(counts))
    table = normal(4, 2)
    assert verify.check_vjp(with_rule(lambda e: e[ids], backward(counts)), table, reference=declared)
    assert not verify.check_vjp(with_rule(lambda e: e[ids], backward(counts[::-1])), table, reference=declared)


def test_a_sparse_matrix():
    from jax.experimental import sparse

    a = sparse.BCOO.fromdense(jnp.array([[1.0, 0, -2], [0, 0.5, 0]]))
    at = np.array(a.indices)

    def product(transposed):
        def backward(a, x, g):
            i, j = (at.T[::-1] % 2) if transposed else at.T
            data = g[i] * x[j]
            return sparse.BCOO((data, a.indices), shape=a.shape), jnp.zeros(3).at[at[:, 1]].add(a.data * g[at[:, 0]])

        return lambda data, x: with_rule(
            lambda d, x: sparse.BCOO((d, at), shape=(2, 3)) @ x,
            lambda d, x, g: (backward(a, x, g)[0].data, backward(sparse.BCOO((d, at), shape=(2, 3)), x, g)[1]),
        )(data, x)

    passes(lambda a, x: a @ x, a, normal(3))
    passes(product(False), a.data, normal(3))
    is_wrong(product(True), a.data, normal(3))


# --- right, though it looks odd --------------------------------------------------------------------

HILBERT = 1 / (np.arange(5)[:, None] + np.arange(5) + 1.0)


def first_of_largest(x):
    return np.eye(len(x))[np.argmax(x)]


@pytest.mark.parametrize(
    ("f", "gradient", "x"),
    [
        (lambda x: float(x.max()), first_of_largest, [1.0, 3, 2]),
        (lambda x: float(np.sort(x) @ np.arange(4)), lambda x: 1.0 * np.argsort(np.argsort(x)), [0.3, -1, 2, 0.1]),
        (lambda x: float(x[0] ** 2), lambda x: np.array([2 * x[0], 0]), [1.5, 2]),
        (lambda x: float(np.sum(np.sin(x.astype(np.float32)))), np.cos, [0.3, -1, 2, 0.1]),
        (lambda x: round(float(np.sum(np.sin(x))), 8), np.cos, [0.3, -1, 2, 0.1]),
    ],
    ids=["largest", "sorted", "unused", "in single precision", "in eight digits"],
)
def test_numpy_functions_with_slopes_of_0_and_values_of_few_digits(f, gradient, x):
    report = verify.check_grad(f, gradient, np.array(x))
    assert report, str(report)
    report = verify.check_grad(f, lambda x: gradient(x) + 0.2, np.array(x))
    assert not report


def test_a_slope_of_0_without_reverse_mode():
    first = lambda x: lax.while_loop(lambda s: jnp.max(jnp.abs(s)) > 0.1, lambda s: s / 2, x)[0]  # noqa: E731
    x = jnp.array([1.1, -0.5])
    passes(with_rule(first, lambda x, g: (jnp.array([g / 16, 0]),)), x)
    is_wrong(with_rule(first, lambda x, g: (jnp.array([g / 16, 0.01 * g]),)), x)


def test_single_and_double_precision_together(x64):
    rule = with_rule(
        lambda x, y: jnp.sin(x) * y, lambda x, y, g: ((g * jnp.cos(x) * y).astype(x.dtype), g * jnp.sin(x))
    )
    passes(rule, normal(5), normal(5, dtype="float64", seed=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_ill_conditioned_system(dtype, x64):
    def backward(a, b, g):
        y = jnp.linalg.solve(a.T, g)
        return -jnp.outer(y, jnp.linalg.solve(a, b)), y

    a, b = jnp.asarray(HILBERT, dtype), jnp.ones(5, dtype)
    passes(with_rule(lambda a, b: jnp.linalg.solve(a, b), backward), a, b)
    assert not verify.check_vjp(
        with_rule(lambda a, b: jnp.linalg.solve(a, b), lambda a, b, g: backward(a, b, 1.05 * g)), a, b
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_kernel_that_runs_in_its_own_precision_alone(dtype):
    def kernel(f):
        of = lambda v: f(v.astype(np.float32)).astype(v.dtype)  # noqa: E731
        return lambda x: jax.pure_callback(
            lambda v: of(np.asarray(v)), jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential"
        )

    sine, cosine = kernel(np.sin), kernel(np.cos)
    forward = lambda x: (sine(x), (x,))  # noqa: E731
    passes(with_rule(lambda x: jnp.sin(x), lambda x, g: (g * cosine(x),), forward), normal(6, dtype=dtype))
    faulty = with_rule(lambda x: jnp.sin(x), lambda x, g: (g * cosine(x) * jnp.asarray(1.2, x.dtype),), forward)
    assert not verify.check_vjp(faulty, normal(6, dtype=dtype))


def test_a_row_beyond_the_range_of_half_precision():
    rule = with_rule(lambda x: x**2, lambda x, g: (2 * g * x,))
    assert row(rule, "float16", jnp.array([1e6, 2e7])) is Verdict.UNSUPPORTED


def test_a_function_of_jax_with_a_gradient_of_numpy():
    assert verify.check_grad(lambda w: jnp.sum(jnp.tanh(w)), lambda w: 1 - np.tanh(np.asarray(w)) ** 2, normal(4))


@pytest.mark.slow
def test_a_slow_function_of_numpy_is_judged_along_directions():
    started = time.perf_counter()
    assert verify.check_grad(lambda x: (time.sleep(0.02), float(np.sum(np.sin(x))))[1], np.cos, np.linspace(0.1, 1, 60))
    assert time.perf_counter() - started < 30


# --- wrong, though it looks right ------------------------------------------------------------------

PLANES = jnp.array([[1.0, 0], [0, 1], [-1, -1]])


@pytest.mark.parametrize("at_0", [(0.3, 0.3), (1.0, 0.0)])
def test_the_corner_of_three_planes(at_0):
    """Right is what is between (1, 0), (0, 1) and (−1, −1)."""

    def backward(x, g):
        return (g * jnp.where((x == 0).all(), jnp.array(at_0), PLANES[jnp.argmax(PLANES @ x)]),)

    passes(with_rule(lambda x: jnp.max(PLANES @ x), backward), jnp.zeros(2))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_kink_that_two_arguments_share(sign):
    """|a − b| does not change where both move, so the two slopes add to 0."""
    away = lambda a, b: jnp.where(a >= b, 1, -1)  # noqa: E731
    rule = with_rule(
        lambda a, b: jnp.abs(a - b), lambda a, b, g: (g * away(a, b), -g * jnp.where(a == b, sign, away(a, b)))
    )
    (passes if sign == 1 else is_wrong)(rule, jnp.ones(2), jnp.ones(2))


def test_at_the_tip_of_a_cone():
    def backward(x, g):
        n = jnp.linalg.norm(x)
        return (g * jnp.where(n == 0, jnp.array([0.6, 0.0, -0.8]), x / jnp.where(n == 0, 1, n)),)

    passes(with_rule(lambda x: jnp.linalg.norm(x), backward), jnp.zeros(3))


def test_a_rule_that_raises_outside_jit_alone():
    def backward(x, g):
        return (g * jnp.cos(x) if isinstance(g, jax.core.Tracer) else g * jnp.cos(x.axes),)

    report = verify.check_vjp(with_rule(jnp.sin, backward), normal(3))
    assert not report
    assert "outside jit" in str(report)


def dirichlet(x, a, strict):
    value = jnp.sum((a - 1) * jnp.log(x)) + jax.scipy.special.gammaln(a.sum()) - jax.scipy.special.gammaln(a).sum()
    return jnp.where(jnp.abs(x.sum() - 1) < 1e-9, value, -jnp.inf) if strict else value


@pytest.mark.slow
def test_a_density_on_a_simplex():
    x, a = jnp.array([0.25, 0.5, 0.25]), jnp.array([1.5, 2.0, 3.0])
    right = lambda x, a, g: (g * (a - 1) / x, g * (jnp.log(x) + lax.digamma(a.sum()) - lax.digamma(a)))  # noqa: E731
    passes(with_rule(lambda x, a: dirichlet(x, a, False), right), x, a)
    report = verify.check_vjp(with_rule(lambda x, a: dirichlet(x, a, True), right), x, a)
    assert {leaf.verdict for leaf in report.leaves} <= {Verdict.OK, Verdict.UNRESOLVED}, str(report)


@pytest.mark.slow
def test_a_sign_of_second_derivatives():
    gradient_of = jax.grad(lambda w: jnp.sum(jnp.logaddexp(w, 2 * w[::-1])))
    hessian = lambda w: jax.jacfwd(gradient_of)(w)  # noqa: E731
    passes(with_rule(gradient_of, lambda w, g: (hessian(w).T @ g,)), normal(4))
    is_wrong(with_rule(gradient_of, lambda w, g: (-hessian(w).T @ g,)), normal(4))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_sign_of_what_arrives(seed):
    for faulty in (jnp.abs, lambda g: jnp.maximum(g, 0), lambda g: jnp.maximum(g, 0) - 2 * jnp.maximum(-g, 0)):
        is_wrong(with_rule(lambda x: jnp.sum(x**2), lambda x, g, f=faulty: (2 * f(g) * x,)), normal(3), seed=seed)


@pytest.mark.slow
def test_ties_of_numpy_functions():
    x = np.array([1.0, 1, 0])
    assert verify.check_grad(lambda x: float(x.max()), first_of_largest, x)
    report = verify.check_grad(lambda x: float(x.max()), lambda x: 1.0 * (x == x.max()), x)
    assert verdicts(report)["x"] is Verdict.WRONG


@pytest.mark.slow
def test_a_parameter_of_the_initial_state():
    def simulated(p):
        y = p["start"]["level"] if "start" in p else jnp.ones(())
        for t in range(5):
            y = y + p["rates"]["growth"] * y * (1 - y) - p["rates"]["loss"][0] * t / 10
        return y

    def backward(p, g):
        found = jax.grad(simulated)(p)
        return ({**jax.tree.map(lambda d: g * d, found), "start": {"level": jnp.zeros(())}},)

    p = {"start": {"level": 0.3}, "rates": {"growth": 0.4, "loss": [0.05, 1.0]}}
    report = verify.check_vjp(with_rule(simulated, backward), p)
    assert verdicts(report)["p['start']['level']"] is Verdict.ZERO_EVERYWHERE
    assert not report


@pytest.mark.slow
def test_zero_by_cancellation():
    """The sum of a normalised batch is 0, whatever the batch."""

    def backward(x, g):
        s = jnp.sqrt(x.var(0) + 1e-5)
        h, g = (x - x.mean(0)) / s, jnp.broadcast_to(g, x.shape)
        return ((g - g.mean(0) - h * (g * h).mean(0)) / s,)

    plain = lambda x: jnp.sum((x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5))  # noqa: E731
    passes(with_rule(plain, backward), normal(16, 3))
    is_wrong(with_rule(plain, lambda x, g: (g / jnp.sqrt(x.var(0) + 1e-5) + 0 * x,)), normal(16, 3))
