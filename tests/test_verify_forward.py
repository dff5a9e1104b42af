"""Forward rules, Jacobians and products with a Hessian, each held to the function as gradients are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import verify
from mlp_jax.verify import Verdict

rng = np.random.default_rng(0)
X = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
W = rng.normal(size=(4, 3))


def forward(f, rule):
    made = jax.custom_jvp(f)
    made.defjvp(rule)
    return made


def softmax(c):
    """The tangent of a softmax whose second term has a factor c."""

    def rule(primals, tangents):
        s = jax.nn.softmax(primals[0])
        return s, s * (tangents[0] - c * jnp.sum(s * tangents[0], -1, keepdims=True))

    return forward(lambda x: jax.nn.softmax(x), rule)


def looped(x):
    return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * jnp.sin(x)), (0, x))[1]


def looped_tangent(c):
    return lambda p, t: (looped(*p), t[0] * (jnp.sin(p[0]) ** 3 + c * p[0] * jnp.sin(p[0]) ** 2 * jnp.cos(p[0])))


def pair(x, n):
    return {"a": jnp.sin(x) * n, "b": jnp.sum(x**2)}


def pair_tangent(c):
    return lambda p, t: (pair(*p), {"a": jnp.cos(p[0]) * p[1] * t[0], "b": c * jnp.sum(p[0] * t[0])})


def outer(x, y):
    return np.outer(np.sin(x), y)


def outer_tangent(c):
    def rule(p, t):
        return outer(*p), np.outer(np.cos(p[0]) * t[0], p[1]) + c * np.outer(np.sin(p[0]), t[1])

    return rule


FORWARD = {
    "a rule of its own": (softmax, lambda c: None, (X,), 1.0, 1.01),
    "forward mode only": (lambda c: looped, looped_tangent, (X,), 3.0, 2.9),
    "two outputs and a constant": (lambda c: pair, pair_tangent, (X, 3), 2.0, 1.0),
    "numpy": (lambda c: outer, outer_tangent, (rng.normal(size=3), rng.normal(size=2)), 1.0, 1.05),
    "a step": (
        lambda c: lambda x: jnp.round(x),
        lambda c: lambda p, t: (jnp.round(p[0]), c * t[0]),
        (X,),
        1.0,
        jnp.nan,
    ),
}


@pytest.mark.parametrize(("f", "rule", "args", "right", "wrong"), FORWARD.values(), ids=FORWARD)
def test_tangents_are_held_to_the_function(f, rule, args, right, wrong):
    assert verify.check_jvp(f(right), rule(right), *args).passed
    report = verify.check_jvp(f(wrong), rule(wrong), *args)
    assert {leaf.verdict for leaf in report.leaves} & {Verdict.WRONG, Verdict.NONFINITE}, report


def test_the_output_entry_is_named_and_the_output():
    report = verify.check_jvp(pair, lambda p, t: (pair(*p), {"a": jnp.cos(p[0]) * p[1] * t[0].at[1, 2].mul(2),
                                                             "b": 2 * jnp.sum(p[0] * t[0])}), X, 3)  # fmt: skip
    verdicts = {leaf.name: leaf.verdict.value for leaf in report.leaves}
    assert verdicts == {
        "tangent of primal['a']": "WRONG", "primal['a']": "ok", "tangent of primal['b']": "ok", "primal['b']": "ok"
    }  # fmt: skip
    assert "1 arrives at [1, 2]" in str(report)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (lambda p, t: (jnp.sin(p[0]), jnp.abs(t[0]) * jnp.cos(p[0])), Verdict.WRONG),  # not linear
        (lambda p, t: (jnp.cos(p[0]), t[0] * jnp.cos(p[0])), Verdict.PRIMAL),
        (lambda p, t: (jnp.sin(p[0]), t[0][0]), Verdict.STRUCTURE),
        (lambda p, t: (jnp.sin(p[0]), (t[0], t[0])), Verdict.STRUCTURE),
        (lambda p, t: 1 / 0, Verdict.RAISED),
    ],
)
def test_faults_of_forward_rules(rule, verdict):
    assert verdict in {leaf.verdict for leaf in verify.check_jvp(lambda x: jnp.sin(x), rule, X).leaves}


def test_at_a_kink_any_tangent_between():
    sign = lambda p, t: (jnp.abs(p[0]), t[0] * jnp.sign(p[0]))  # noqa: E731
    report = verify.check_jvp(lambda x: jnp.abs(x), sign, X.at[0, 0].set(0))
    assert report.leaves[0].verdict is Verdict.KINK
    assert report.passed


def test_the_reverse_rule_must_be_its_adjoint():
    sine = jax.custom_vjp(lambda x: jnp.sin(x))
    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (2 * g * jnp.cos(x),))
    report = verify.check_jvp(sine, lambda p, t: (jnp.sin(p[0]), t[0] * jnp.cos(p[0])), X)
    assert [leaf.verdict.value for leaf in report.leaves] == ["ok", "ok", "WRONG"]
    assert verify.check_jvp(lambda x: jnp.sin(x), None, X).leaves[-1].verdict is Verdict.OK


def test_a_tangent_in_half_precision():
    assert verify.check_jvp(softmax(1.0), None, X.astype(jnp.bfloat16)).passed


# --- matrices ---------------------------------------------------------------------------------------------------------


def layer(x, b, xp):
    return xp.tanh(xp.asarray(W, x.dtype) @ x) + b


def jacobian(x, b, xp):
    return (1 - xp.tanh(xp.asarray(W, x.dtype) @ x) ** 2)[:, None] * xp.asarray(W, x.dtype), xp.eye(4, dtype=x.dtype)


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_jacobian_by_hand(xp):
    x, b = xp.asarray(W[0]), xp.asarray(W[:, 0])
    f = lambda x, b: layer(x, b, xp)  # noqa: E731
    assert verify.check_jacobian(f, lambda x, b: jacobian(x, b, xp), x, b).passed
    assert verify.check_jacobian(f, lambda x, b: jacobian(x, b, xp)[0], x, b).passed
    one_row = np.where(np.arange(4) == 2, 1.01, 1)[:, None]
    report = verify.check_jacobian(f, lambda x, b: jacobian(x, b, xp)[0] * xp.asarray(one_row, x.dtype), x, b)
    assert report.leaves[0].verdict is Verdict.WRONG
    assert "1 arrives at [2]" in str(report)
    turned = verify.check_jacobian(f, lambda x, b: jacobian(x, b, xp)[0].T, x, b)
    assert turned.leaves[0].verdict is Verdict.STRUCTURE
    assert "(4, 3), got (3, 4)" in str(turned)


def test_a_jacobian_of_many_rows():
    x = np.linspace(0.1, 2, 200)
    assert verify.check_jacobian(np.sqrt, lambda x: np.diag(0.5 / np.sqrt(x)), x).passed
    wrong = np.diag(np.where(np.arange(200) == 77, 0.6, 0.5))
    assert not verify.check_jacobian(np.sqrt, lambda x: wrong / np.sqrt(x), x)


def test_a_jacobian_is_of_one_array():
    with pytest.raises(verify.CannotCheck, match="one array"):
        verify.check_jacobian(lambda x: (x, x), lambda x: x, X)


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_product_with_the_hessian_by_hand(xp):
    x, v = xp.asarray(W[0]), xp.asarray(W[1])
    f = lambda x: xp.sum(xp.exp(x) * x)  # noqa: E731
    product = lambda x, v: xp.exp(x) * (x + 2) * v  # noqa: E731
    assert verify.check_hvp(f, product, x, v).passed
    assert verify.check_hvp(f, lambda x, v: 1.01 * product(x, v), x, v).leaves[0].verdict is Verdict.WRONG


def test_a_product_with_the_hessian_of_two_arguments_and_of_a_loop():
    x = jnp.asarray(W[0], jnp.float32)
    assert verify.check_hvp(lambda x, y: x @ y, lambda x, y, v: (v[1], v[0]), x, x + 1, (x, x)).passed
    loop = lambda x: jnp.sum(looped(x))  # noqa: E731

    def second(x):
        s, c = jnp.sin(x), jnp.cos(x)
        return 6 * s**2 * c + x * (6 * s * c**2 - 3 * s**3)

    assert verify.check_hvp(loop, lambda x, v: second(x) * v, x, x).passed
    assert not verify.check_hvp(loop, lambda x, v: 1.1 * second(x) * v, x, x)


def test_the_hessian_is_that_of_the_function_not_of_its_rule():
    square = jax.custom_vjp(lambda x: jnp.sum(x**3))
    square.defvjp(lambda x: (jnp.sum(x**3), x), lambda x, g: (7 * g * x,))
    x = jnp.asarray(W[0], jnp.float32)
    assert verify.check_hvp(square, lambda x, v: 6 * x * v, x, x).passed


def test_v_must_be_like_its_argument():
    with pytest.raises(verify.CannotCheck, match="like its argument"):
        verify.check_hvp(lambda x: jnp.sum(x), lambda x, v: v, X, X[0])
    with pytest.raises(verify.CannotCheck):
        verify.check_hvp(lambda x: jnp.sum(x), lambda x, v: v, X)


# --- values with noise ------------------------------------------------------------------------------------------------


def noisy(kind, seed):
    """A function of numpy with the noise of a solver's tolerance, its gradient, and arguments."""
    random = np.random.default_rng([seed, 1])
    x, a = random.normal(size=3) * 10.0 ** random.integers(-3, 4), random.normal(size=3)
    tolerance, s = 10.0 ** random.integers(-11, -6), np.abs(x)

    def solved(x):
        u, y = float(np.sum(a * x / s)), 0.0
        while True:
            y, last = 0.7 * np.tanh(y) + u, y
            if abs(y - last) < tolerance:
                return y

    def jittered(x):
        bits = np.asarray(x, np.float64).tobytes()
        return float(np.sum(a * np.sin(x / s))) + tolerance * np.random.default_rng(list(bits)).uniform(-1, 1)

    def implicit(x):
        return a / s / (1 - 0.7 * (1 - np.tanh(solved(x)) ** 2))

    rounded = lambda x: np.round(np.sum(a * np.sin(x / s)) / tolerance) * tolerance  # noqa: E731
    of_sine = lambda x: a * np.cos(x / s) / s  # noqa: E731
    return {"solved": (solved, implicit), "jittered": (jittered, of_sine), "rounded": (rounded, of_sine)}[kind], x


@pytest.mark.parametrize("kind", ["solved", "jittered", "rounded"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_a_right_gradient_of_noisy_values_raises_no_alarm_and_one_10_percent_off_does(kind, seed):
    (f, gradient), x = noisy(kind, seed)
    assert verify.check_grad(f, gradient, x).passed
    assert not verify.check_grad(f, lambda x: 1.1 * gradient(x), x)
