"""Rules that a checker of gradients gets wrong: right ones that look wrong to it, and wrong ones that look right.

Each truth is from mathematics. A wrong rule is never passed, and a right one never rejected.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_verify import normal, verdicts, with_rule

from mlp_jax import verify
from mlp_jax.verify import Verdict, compiled, experiment, one_leaf, rule

WRONG = (Verdict.WRONG, Verdict.ZERO_EVERYWHERE, Verdict.NONFINITE)


@pytest.fixture(autouse=True)
def usual_promotion():
    """JAX's usual promotion, as those who write rules have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def wide(x):
    return x.astype(jnp.float32 if x.dtype.itemsize < 4 else x.dtype)


def passes(f, *args, verdict=None, words="", **options):
    report = verify.check_vjp(f, *args, **options)
    assert report.passed, str(report)
    assert bool(report)
    assert verdict is None or Verdict[verdict] in verdicts(report).values(), str(report)
    assert words in str(report)


def is_wrong(f, *args, words="", without=None, leaf=None, **options):
    report = verify.check_vjp(f, *args, **options)
    assert not report, str(report)
    assert (verdicts(report)[leaf] if leaf else report.leaves[0].verdict) in WRONG, str(report)
    assert words in str(report)
    assert without is None or without not in str(report)


def undecided_or(verdict, f, *args):
    report = verify.check_vjp(f, *args)
    assert {leaf.verdict for leaf in report.leaves} <= {Verdict.OK, Verdict.UNRESOLVED, Verdict[verdict]}, str(report)
    if not Verdict[verdict].passes:
        assert not report.passed, str(report)


def row(f, name, *args):
    rows = verify.check_transforms(f, *args).leaves
    return next(leaf for leaf in rows if leaf.name == name).verdict


# --- integer arrays, and the process ------------------------------------------------------------------------------

LABELS, ROWS = np.array([1, 3, 3, 0, 2]), np.arange(5)


def hinge(off):
    """Σ over classes of max(0, 1 + z_k − z_label), whose rule misses one of its terms if `off`."""

    def slack(z):
        return 1 + z - z[ROWS, LABELS][:, None]

    def backward(z, g):
        active = jnp.where(slack(z) > 0, g[:, None], 0).at[ROWS, LABELS].set(0)
        return (active.at[ROWS, LABELS].set(-off * active.sum(1)),)

    plain = lambda z: jnp.maximum(slack(z), 0).at[ROWS, LABELS].set(0).sum(1)  # noqa: E731
    return with_rule(plain, backward)


def picked(index, factor, shape=()):
    """x[index], any index, and its rule by `at`."""
    return with_rule(lambda x: x[index], lambda x, g: (jnp.zeros_like(x).at[index].add(factor * g),))


def test_indexing_by_integer_arrays():
    passes(hinge(1), normal(5, 4))
    is_wrong(hinge(0.5), normal(5, 4))
    set_to_0 = lambda x: x.at[np.array([5, 1, 4])].set(0.0) ** 2  # noqa: E731
    passes(set_to_0, normal(7))
    kept = np.array([1, 0, 1, 1, 0, 0, 1], np.float32)
    passes(with_rule(set_to_0, lambda x, g: (2 * g * x * kept,)), normal(7))
    is_wrong(with_rule(set_to_0, lambda x, g: (2 * g * x,)), normal(7))
    order = np.array([[2], [0], [1]], np.int8)
    passes(lambda x: jnp.take_along_axis(x, order, axis=1) ** 3, normal(3, 3))


def test_functions_that_draw_random_numbers():
    key = jax.random.key(5)

    def sampled(m, s):
        return m - jnp.log(s) * jax.random.uniform(key, (6,))

    drawn = jax.random.uniform(key, (6,))
    m, s = normal(), jnp.float32(2.5)
    passes(sampled, m, s)
    passes(with_rule(sampled, lambda m, s, g: (g.sum(), -jnp.sum(g * drawn) / s)), m, s)
    other = jax.random.uniform(jax.random.fold_in(key, 1), (6,))
    is_wrong(with_rule(sampled, lambda m, s, g: (g.sum(), -jnp.sum(g * other) / s)), m, s, leaf="s")


def test_many_checks_in_one_process_in_any_order():
    rng = np.random.default_rng(11)
    indices = [np.array([2, 0, 0]), np.array([-1, 1, 3], np.int32), (np.array([0, 3]), 1), np.array([True, False] * 2)]
    cases = [(index, factor) for index in indices for factor in (1, 2)] * 2
    for k in rng.permutation(len(cases)):
        index, factor = cases[k]
        report = verify.check_vjp(picked(index, factor), normal(4, 3, seed=int(k)), seed=int(k))
        assert report.passed is (factor == 1), str(report)


def test_a_check_leaves_what_the_process_has_compiled():
    traced = []

    @jax.jit
    def f(x):
        traced.append(x.dtype)
        return jnp.arctan(x)

    x = normal(3)
    f(x)
    before = len(traced)
    assert verify.check_vjp(with_rule(jnp.sinh, lambda x, g: (g * jnp.cosh(x),)), x)
    f(x)
    assert len(traced) == before
    assert verify.check_vjp(f, x)
    after = len(traced)
    f(x)
    assert len(traced) == after
    assert set(traced) == {jnp.dtype("float32")}


class OwnError(Exception):
    """Of the checker, not of a rule under test."""


@pytest.mark.parametrize("check", [verify.check_vjp, verify.check_transforms])
@pytest.mark.parametrize(
    ("module", "name"), [(experiment, "judge"), (one_leaf, "half_the_digits"), (rule, "in_float64")]
)
def test_exceptions_of_the_checker_are_nobodys_verdict(monkeypatch, check, module, name):
    def fails(*args, **options):
        raise OwnError

    monkeypatch.setattr(module, name, fails)
    monkeypatch.setattr(compiled, "_memory", type(compiled._memory)())
    with pytest.raises(OwnError):
        check(with_rule(lambda x: x**5, lambda x, g: (5 * g * x**4,)), normal(2, 2))


# --- wrong, and nearly right ----------------------------------------------------------------------------------------


def softplus_layer(d):
    def backward(w, x, g):
        g = g * jax.nn.sigmoid(x @ w)
        return (x.T @ g) * (1 + d), g @ w.T

    return with_rule(lambda w, x: jax.nn.softplus(x @ w), backward)


@pytest.mark.parametrize("d", [1e-5, *(pytest.param(d, marks=pytest.mark.slow) for d in (2e-4, 1e-3))])
def test_a_smooth_function_has_no_kinks(d):
    is_wrong(softplus_layer(d), normal(3, 2), normal(8, 3, seed=1))


@pytest.mark.parametrize("d", [1e-7, *(pytest.param(d, marks=pytest.mark.slow) for d in (3e-6, 1e-4))])
def test_a_smooth_function_has_no_kinks_in_float64(d, x64):
    w, x = normal(3, 2, dtype="float64"), normal(8, 3, dtype="float64", seed=1)
    is_wrong(softplus_layer(d), w, x)
    passes(softplus_layer(0), w, x, verdict="OK")


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lax.digamma, [-19.9, 2.0]),
        (lambda x: jnp.where(x == 0, 0, jnp.expm1(x)), [0.0, -0.4]),  # a constant branch; the slope at 0 is 1
    ],
)
def test_no_rule_and_jax_is_wrong(f, x):
    is_wrong(f, jnp.array(x), words="JAX's derivative of the function")


ODD = {"flushed": lambda g: jnp.where(jnp.abs(g) < 4e-6, 0, g), "clipped": lambda g: jnp.clip(g, -2e5, 2e5)}


@pytest.mark.parametrize("name", ODD)
def test_rules_that_are_not_linear(name):
    rule = with_rule(lambda x: x + jnp.cos(x), lambda x, g: (ODD[name](g) * (1 - jnp.sin(x)),))
    is_wrong(rule, normal(24), words="not linear")


def test_wrong_where_0_arrives():
    is_wrong(
        with_rule(lambda x: x + jnp.cos(x), lambda x, g: (jnp.where(g == 0, 3, g * (1 - jnp.sin(x))),)), normal(24)
    )


def test_wrong_outside_jit_alone():
    def backward(x, g):
        return (g / jnp.cosh(x) ** 2 * (1 if isinstance(g, jax.core.Tracer) else -1),)

    is_wrong(with_rule(jnp.tanh, backward), normal(4), words="outside jit")


def test_sums_that_stand_still():
    def scaled(row_by_row, total):
        """Rows over their root mean square, times w, whose gradient is a sum over rows."""

        def backward(w, x, g):
            unit = wide(x) / jnp.sqrt(jnp.mean(wide(x) ** 2, 1, keepdims=True))
            terms = (wide(g) * unit).astype(total if row_by_row else jnp.float32)
            one = lambda s, t: (s + t, None)  # noqa: E731
            dw = lax.scan(one, jnp.zeros(w.shape, terms.dtype), terms)[0] if row_by_row else terms.sum(0)
            return dw.astype(w.dtype), jnp.zeros_like(x)

        def plain(w, x):
            x = lax.stop_gradient(wide(x))
            return (x / jnp.sqrt(jnp.mean(x**2, 1, keepdims=True)) * wide(w)).astype(w.dtype)

        return with_rule(plain, backward)

    x = jnp.abs(normal(1500, 4)).astype(jnp.bfloat16) + jnp.bfloat16(1)
    w = normal(4, dtype="bfloat16")
    is_wrong(scaled(True, jnp.bfloat16), w, x, argnums=0)
    passes(scaled(True, jnp.float32), w, x, argnums=0)
    passes(scaled(False, None), w, x, argnums=0)


def half_times(factor):
    """Σ over 400 rows of 1 + b; the rule is another multiple in half precision."""
    return with_rule(
        lambda b: (jnp.ones((400, 1)) + wide(b)).sum(0).astype(b.dtype),
        lambda b, g: ((400 * (factor if g.dtype == jnp.bfloat16 else 1) * wide(g)).astype(g.dtype),),
    )


def half_added(dtype):
    def backward(b, g):
        return (lax.fori_loop(0, 400, lambda _, s: s + g.astype(dtype), jnp.zeros(b.shape, dtype)).astype(b.dtype),)

    return with_rule(lambda b: (jnp.ones((400, 1)) + wide(b)).sum(0).astype(b.dtype), backward)


@pytest.mark.parametrize("size", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_half_precision_is_no_excuse(size):
    b = normal(size, dtype="bfloat16", seed=3)
    for factor in (0, 2, 0.64):
        is_wrong(half_times(factor), b)
    is_wrong(half_added(jnp.bfloat16), b)
    passes(half_times(1), b)
    passes(half_added(jnp.float32), b)


def test_an_underflow_is_told():
    def product(factor):
        def backward(x, g):
            others = jnp.stack([jnp.prod(wide(x).at[k].set(1)) for k in range(7)])
            return ((factor * wide(g) * others).astype(g.dtype),)

        return with_rule(lambda x: jnp.prod(x), backward)

    x = jnp.full(7, 0.01, jnp.float16)
    passes(product(1), x, words="underflows")
    is_wrong(product(2), x)
    passes(with_rule(jnp.exp, lambda x, g: (g * jnp.exp(x),)), jnp.array([-19.0], jnp.float16), words="underflows")


# --- references that are no good -------------------------------------------------------------------------------------


def remainder(factor):
    """(x − sin x) / x³ = 1/6 − x²/120 + …: its slope is −x/60 + x³/1260 near 0."""
    return with_rule(lambda x: (x - jnp.sin(x)) / x**3, lambda x, g: (factor * g * (-x / 60 + x**3 / 1260),))


@pytest.mark.parametrize("x", [2e-3, *(pytest.param(x, marks=pytest.mark.slow) for x in (3e-2, 1e-5, 1e-8))])
def test_a_reference_without_digits(x):
    undecided_or("OK", remainder(1), jnp.array([x, 0.08]))
    undecided_or("WRONG", remainder(2), jnp.array([x, 0.08]))


def test_smooth_where_reverse_mode_is_not_finite():
    def distance(factor):
        """2 x₀ − ‖x − y‖² where x is y: through a square root."""
        return with_rule(
            lambda x, y: 2 * x[0] - jnp.linalg.norm(x - y) ** 2,
            lambda x, y, g: (g * (factor * jnp.array([2.0, 0, 0], g.dtype) - 2 * (x - y)), 2 * g * (x - y)),
        )

    x = normal(3)
    passes(distance(1), x, x, verdict="OK")
    is_wrong(distance(1.5), x, x)
    quartic = lambda c: with_rule(lambda x: 3 * x + jnp.sqrt(x**4), lambda x, g: (c * g * (3 + 2 * x),))  # noqa: E731
    passes(quartic(1), jnp.array([0.0, 0.4]), verdict="OK")
    is_wrong(quartic(0.9), jnp.array([0.0]))


@pytest.mark.parametrize("factor", [1, 2])
def test_equal_singular_values(factor):
    """A Aᵀ through the singular values of A: they are equal, and JAX divides by their difference."""

    def plain(a):
        u, s, _ = jnp.linalg.svd(a)
        return (u * s**2) @ u.T

    rule = with_rule(plain, lambda a, g: (factor * (g + g.T) @ a,))
    (passes if factor == 1 else is_wrong)(rule, jnp.array([[0.0, 1], [-1, 0]]))


@pytest.mark.parametrize(("factor", "right"), [(1, True), (0.5, False)])
@pytest.mark.parametrize("beside", [0.0, jnp.nan])
def test_what_is_not_decided_hides_nothing(factor, right, beside):
    """x^p: no slope in p where x < 0."""

    def backward(x, p, g):
        dp = jnp.where(x > 0, factor * x**p * jnp.log(jnp.abs(x)), beside)
        return g * p * x ** (p - 1), jnp.where(g == 0, 0, g * dp)

    x, p = jnp.array([-1.5, 2]), jnp.array([2.0, 4])
    report = verify.check_vjp(with_rule(lambda x, p: x**p, backward), x, p)
    assert report.passed is right, str(report)
    assert verdicts(report)["x"] is Verdict.OK
    assert right or verdicts(report)["p"] is Verdict.WRONG
    assert not right or "not defined on either side" in str(report)


# --- ties and kinks --------------------------------------------------------------------------------------------------

SHARES = {
    "all": lambda hit: hit,
    "evenly": lambda hit: hit / hit.sum(-1, keepdims=True),
    "first": lambda hit: hit * (jnp.cumsum(hit, -1) == 1),
    "twice the first": lambda hit: 2 * hit * (jnp.cumsum(hit, -1) == 1),
}


def smallest(share):
    def backward(x, g):
        hit = (x == x.min(-1, keepdims=True)).astype(x.dtype)
        return (g[..., None] * SHARES[share](hit),)

    return with_rule(lambda x: x.min(-1), backward)


def test_the_shares_of_a_tie_add_to_one():
    x = jnp.full(40, 0.7)
    for share in ("all", "twice the first"):
        is_wrong(smallest(share), x)
    for share in ("evenly", "first"):
        passes(smallest(share), x)


def test_ties_in_many_rows():
    x = np.abs(np.random.default_rng(1).normal(size=(50, 5))) + 0.1
    x[:, 1:3] = 0
    is_wrong(smallest("all"), jnp.asarray(x, jnp.float32))
    passes(smallest("evenly"), jnp.asarray(x, jnp.float32))


def test_right_at_a_kink_and_wrong_beside_it():
    cut = lambda x: jnp.clip(x, -2, 3)  # noqa: E731
    x = jnp.array([3.0, 1.0])
    passes(with_rule(cut, lambda x, g: (jnp.where((x > -2) & (x <= 3), g, 0),)), x)
    is_wrong(with_rule(cut, lambda x, g: (g,)), x, words="beside", without="factor 2")


def test_too_small_to_be_seen_is_not_zero():
    rule = with_rule(jnp.tanh, lambda x, g: (4 * g * jnp.exp(-2 * x),))  # 1 − tanh² x but for e^−4x
    passes(rule, jnp.array([23.0, 25.0]), words="too small beside the value to be seen")
