"""Kinds of faults in gradients that users of other libraries have met, each with a rule that is right beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_verify import normal, verdicts, with_rule
from test_verify_found import is_wrong, passes, row, usual_promotion  # noqa: F401

from mlp_jax import verify
from mlp_jax.verify import Verdict

# --- approximations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_jax", [False, True])
def test_a_rule_of_what_a_polynomial_stands_for(on_jax):
    """Values right to a digit, slopes 3e-6 off: the formula is right, and one with a factor of 1 + 4e-6 is none."""
    nodes = np.cos(np.pi * (np.arange(40) + 0.5) / 40)
    fitted = np.polynomial.Chebyshev.fit(nodes**2, np.arctan(nodes) / nodes, 7, domain=[0, 1])
    coefficients = fitted.convert(kind=np.polynomial.Polynomial).coef[::-1].astype(np.float32)
    coefficients = jnp.asarray(coefficients) if on_jax else coefficients

    def arc_tangent(factor):
        return with_rule(lambda x: x * jnp.polyval(coefficients, x * x), lambda x, g: (factor * g / (1 + x * x),))

    at = jnp.array([-0.93, -0.4, 0.2, 0.55, 0.97])
    passes(arc_tangent(1.0), at, words="an approximation")
    is_wrong(arc_tangent(1 + 4e-6), at)


def test_a_rule_of_exact_binomials_for_their_rounded_logarithms():
    binomials, k = np.array([1.0, 3.0, 3.0, 1.0]), np.arange(4)
    rounded = jnp.asarray((np.log(binomials) + 1.1e-6 * np.array([-1, 1, 1, -1])).astype(np.float32))

    def polynomials(x):
        return jnp.exp(rounded + k * jnp.log(x[:, None]) + (3 - k) * jnp.log1p(-x[:, None]))

    def slopes(factor):
        def back(x, g):
            x = x[:, None]
            lower = jnp.pad(jnp.array([1.0, 2.0, 1.0]) * x ** k[:3] * (1 - x) ** k[2::-1], ((0, 0), (1, 1)))
            return (factor * 3 * jnp.sum(g * (lower[:, :-1] - lower[:, 1:]), axis=1),)

        return with_rule(polynomials, back)

    at = jnp.linspace(0.1, 0.9, 6)
    passes(slopes(1.0), at, words="an approximation")
    is_wrong(slopes(1 + 4e-6), at)


def test_a_tail_is_one_along_lines_too():
    def decay(off):
        return with_rule(lambda x: jnp.exp(-x), lambda x, g: (-g * (jnp.exp(-x) + off),))

    at = jnp.array([0.3, 6.0, 7.0, 8.0, 7.5])
    passes(decay(5e-8), at, words="TAIL")
    is_wrong(decay(1e-7), at)


def test_a_wrong_rule_whose_argument_is_a_type():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def cast(dtype, x):
        return (x * x).astype(dtype)

    cast.defvjp(lambda dtype, x: (cast(dtype, x), x), lambda dtype, x, g: (3 * x * g,))
    assert verdicts(verify.check_vjp(cast, jnp.float32, jnp.arange(1.0, 4.0)))["x"] == Verdict.WRONG


def test_a_stopped_gradient_within_a_branch():
    def shifted(x):
        top = lax.cond(x[0] > 0, lambda y: lax.stop_gradient(jnp.max(y)), lambda y: 0.0, x)
        return jnp.log(jnp.sum(jnp.exp(x - top))) + top

    at = jnp.array([0.3, -0.4, 1.2])
    passes(with_rule(shifted, lambda x, g: (g * jax.nn.softmax(x),)), at)
    is_wrong(with_rule(shifted, lambda x, g: (g * jax.nn.softmax(2 * x),)), at)


def test_a_stopped_gradient_within_a_loop():
    def f(x):
        return lax.scan(lambda c, t: (c * jnp.cos(x) + lax.stop_gradient(x**2) * t, None), x, jnp.arange(3.0))[0]

    at = jnp.array([0.3, 0.7, 1.1])
    passes(f, at)
    is_wrong(with_rule(f, lambda x, g: (1.01 * jax.vjp(f, x)[1](g)[0],)), at)


# --- transformations, and derivatives of derivatives -----------------------------------------------------------------


def test_a_rule_in_single_precision_inside():
    def backward(x, g):
        h = x.astype(jnp.float32)
        return ((g.astype(jnp.float32) * 3.1415927 * jnp.exp(-h) * (1 - h)).astype(g.dtype),)

    rule = with_rule(lambda x: jnp.pi * x * jnp.exp(-x), backward)
    report = verify.check_transforms(rule, jnp.array([0.4, -0.9]))
    assert report, str(report)


def test_a_value_from_a_kernel_has_no_derivative_and_needs_none():
    def forward(x):
        kernel = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda v: np.asarray(v) ** 4, kernel, x, vmap_method="sequential"), x

    rule = with_rule(lambda x: x**4, lambda x, g: (4 * g * x**3,), lambda x: (forward(x)[0], (x,)))
    stopped = with_rule(lambda x: x**4, lambda x, g: (4 * g * x**3,), lambda x: (lax.stop_gradient(x) ** 4, (x,)))
    for f, second in ((rule, Verdict.UNSUPPORTED), (stopped, Verdict.OK)):
        rows = {leaf.name: leaf.verdict for leaf in verify.check_transforms(f, jnp.array([0.7, -1.1])).leaves}
        assert rows["scan"] is Verdict.OK
        assert rows["second order"] is second
        assert rows["bfloat16"] is Verdict.OK  # the kernel rounds in other places, and by less than a digit


def test_second_order_where_jax_is_wrong():
    def slope(x, factor=1.0):
        """Of (eˣ − 1) / x: Σ (n + 1) xⁿ / (n + 2)!."""
        near = jnp.abs(x) < 0.2
        s = jnp.where(near, 1, x)
        series = 1 / 2 + factor * x / 3 + x**2 / 8 + x**3 / 30 + x**4 / 144 + x**5 / 840 + x**6 / 5760 + x**7 / 45360
        return jnp.where(near, series, (s * jnp.exp(s) - jnp.expm1(s)) / s**2)

    def plain(x):
        s = jnp.where(x == 0, 1, x)
        return jnp.where(x == 0, 1, jnp.expm1(s) / s)

    at = jnp.array([0.0, 1.3])
    assert row(with_rule(plain, lambda x, g: (g * slope(x),)), "second order", at) is Verdict.OK
    passes(with_rule(plain, lambda x, g: (g * slope(x),)), at)
    is_wrong(with_rule(plain, lambda x, g: (g * (slope(x) - (x == 0) / 4),)), at)


def test_a_batch_of_another_size():
    def mean_square(per):
        return with_rule(lambda x: jnp.mean(x**2), lambda x, g: (2 * g * x / per(x),))

    at_one = mean_square(lambda x: x.size if x.shape[0] > 1 else 1)
    assert row(at_one, "batch of 1", normal(3, 4)) is Verdict.WRONG
    assert row(mean_square(lambda x: x.size), "batch of 1", normal(3, 4)) is Verdict.OK


# --- reverse mode that does not exist, or is wrong -------------------------------------------------------------------


def halvings(x):
    return lax.while_loop(lambda s: jnp.max(jnp.abs(s)) > 0.1, lambda s: s / 2, x)


def test_no_reverse_mode():
    for f, args in (
        (lambda a: jax.scipy.special.betainc(a, 1.5, 0.3), (jnp.float32(2.2),)),
        (halvings, (jnp.array([1.1, -0.5]),)),
    ):
        report = verify.check_vjp(f, *args)
        assert verdicts(report) == {"gradient": Verdict.NO_REVERSE_MODE}, str(report)
        assert not report


def test_a_rule_for_what_has_no_reverse_mode():
    x = jnp.array([1.1, -0.5])  # four halvings
    passes(with_rule(halvings, lambda x, g: (g / 16,)), x)
    is_wrong(with_rule(halvings, lambda x, g: (g / 8,)), x)


def test_eigenvalues_beyond_the_guard_of_single_precision():
    q = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    a = jnp.asarray(q @ np.diag([3e7, 3.1e7, 3.4e7]) @ q.T, jnp.float32)
    a = (a + a.T) / 2

    def rule(factor):
        def backward(a, g):
            v = jnp.linalg.eigh(a)[1]
            return (factor * (v * g) @ v.T,)

        return with_rule(lambda a: jnp.linalg.eigvalsh((a + a.T) / 2), backward)

    passes(rule(1), a)
    is_wrong(rule(1.01), a)


# --- formulas: name → (function, its rule, a faulty one, arguments) --------------------------------------------------

V = jnp.array([0.5, 2.0, -1.0, 3.0, 2.5])
IDS = np.array([0, 5, 2, 7, 0])


def sampled(v, t):
    t = jnp.clip(t, 0, 4)
    k = jnp.clip(jnp.floor(t), 0, 3).astype(jnp.int32)
    return v[k] + (t - k) * (v[k + 1] - v[k])


def slope_at_the_border(beyond):
    def backward(t, g):
        k = jnp.clip(jnp.floor(t), 0, 3).astype(jnp.int32)
        return (g * jnp.where(t >= 4, beyond * (t == 4), V[k + 1] - V[k]),)

    return backward


def spectrum(n, last):
    def backward(x, mask, g):
        z = jnp.fft.rfft(x, n)
        inner = jnp.ones(n // 2 + 1).at[0].set(0).at[n // 2].set(last)  # these bins count twice
        dx = n * jnp.fft.irfft(2 * g * mask * z / (1 + inner), n)
        return jnp.pad(dx, (0, max(0, len(x) - n)))[: len(x)], g * jnp.abs(z) ** 2

    return backward


def power_of(n):
    return lambda x, mask: (jnp.fft.rfft(x, n).real ** 2 + jnp.fft.rfft(x, n).imag ** 2) * mask


def composited(alpha, colour, background):
    through = jnp.cumprod(1 - alpha)
    before = jnp.concatenate([jnp.ones(1), through[:-1]])
    return jnp.sum(before * alpha * colour) + through[-1] * background


def compositing(times):
    def backward(alpha, colour, background, g):
        through = jnp.cumprod(1 - alpha)
        before = jnp.concatenate([jnp.ones(1), through[:-1]])
        behind = jnp.cumsum((before * alpha * colour)[::-1])[::-1] - before * alpha * colour
        d_alpha = before * colour - (behind + times * through[-1] * background) / (1 - alpha)
        return g * d_alpha, g * before * alpha, g * through[-1]

    return backward


def others(x, guarded):
    """The product of the other entries of each row."""
    if guarded:
        return jnp.where(x == 0, 0, x.prod(1, keepdims=True) / jnp.where(x == 0, 1, x))
    return jnp.stack([jnp.delete(x, k, axis=1).prod(1) for k in range(x.shape[1])], axis=1)


KINDS = {
    "two largest, from the wrong end": (
        lambda x: lax.top_k(x, 2)[0],
        lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(-x)[:2]].set(g),),
        lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(x)[:2]].set(g),),
        (normal(6),),
    ),
    "running maximum": (
        lambda x: lax.cummax(x),
        lambda x, g: (jnp.zeros_like(x).at[jnp.array([x[: k + 1].argmax() for k in range(len(x))])].add(g),),
        lambda x, g: (g,),
        (jnp.array([0.3, 1.2, 0.4, 1.1, 2.0]),),
    ),
    "even transform": (power_of(6), spectrum(6, 0), spectrum(6, 1), (normal(6), jnp.arange(1.0, 5))),
    "padded transform": (power_of(10), spectrum(10, 0), spectrum(10, 1), (normal(6), jnp.arange(1.0, 7))),
    "background": (composited, compositing(1), compositing(2), (jnp.array([0.2, 0.5, 0.3]), normal(3), 0.6)),
    "border of a grid": (
        lambda t: sampled(V, t),
        slope_at_the_border(0),
        slope_at_the_border(-V[4]),
        (jnp.array([0.3, 2.5, 4.0, 1.2, 4.0]),),
    ),
    "rows that nobody wrote to": (
        lambda x: jnp.zeros(3).at[IDS].add(x**2, mode="drop"),
        lambda x, g: (2 * x * jnp.where(IDS < 3, g[np.minimum(IDS, 2)], 0),),
        lambda x, g: (2 * x * g[np.minimum(IDS, 2)],),
        (normal(5),),
    ),
    "product with a zero": (
        lambda x: x.prod(1),
        lambda x, g: (g[:, None] * others(x, False),),
        lambda x, g: (g[:, None] * others(x, True),),
        (jnp.array([[1.5, -2, 0.5], [3, 0, -1.5]]),),
    ),
    "a square at 0": (
        lambda x: x**2.0,
        lambda x, g: (2 * g * x,),
        lambda x, g: (2 * g * x**2 / x,),
        (jnp.array([0.0, 3.0]),),
    ),
    "whole numbers in the argument": (
        lambda p: jnp.tanh(p["w"]) ** p["n"][0] * jnp.where(p["flag"], 1, 2),
        lambda p, g: ({"w": 3 * g * jnp.tanh(p["w"]) ** 2 / jnp.cosh(p["w"]) ** 2, "n": None, "flag": None},),
        lambda p, g: ({"w": 2 * g * jnp.tanh(p["w"]) / jnp.cosh(p["w"]) ** 2, "n": None, "flag": None},),
        ({"w": normal(4), "n": jnp.array([3, 1]), "flag": True},),
    ),
    "nearly a tie": (
        lambda x: x.max(),
        lambda x, g: (g * jax.nn.one_hot(x.argmax(), len(x)),),
        lambda x, g: (g * jax.nn.one_hot(jnp.argsort(x)[-2], len(x)),),
        (jnp.array([0.2, np.nextafter(np.float32(1.5), np.float32(2)), 1.5]),),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_rule_of_a_kind_passes_and_the_faulty_one_does_not(kind):
    plain, right, faulty, args = KINDS[kind]
    passes(with_rule(plain, right), *args)
    report = verify.check_vjp(with_rule(plain, faulty), *args)
    assert not report, str(report)


def test_a_black_background_shows_nothing_and_that_is_said():
    args = jnp.array([0.2, 0.5, 0.3]), normal(3), 0.0
    passes(with_rule(composited, compositing(2)), *args, words="background: 0 everywhere")


def exponential(forgets):
    """E^A by squaring; the rule forgets half of it for large A."""

    def plain(a):
        term = total = jnp.eye(3)
        for k in range(1, 14):
            term = term @ a / (32 * k)
            total = total + term
        return jnp.linalg.matrix_power(total, 32)

    def backward(a, g):
        block = jnp.block([[a.T, g], [jnp.zeros_like(a), a.T]])
        full = plain_of(block)[:3, 3:]
        return (jnp.where(forgets & (jnp.max(jnp.abs(a)) > 2), full / 2, full),)

    def plain_of(block):
        term = total = jnp.eye(6)
        for k in range(1, 14):
            term = term @ block / (32 * k)
            total = total + term
        return jnp.linalg.matrix_power(total, 32)

    return with_rule(plain, backward)


def test_a_branch_that_the_arguments_take():
    small = normal(3, 3) / 3
    passes(exponential(True), small)
    passes(exponential(False), 8 * small)
    is_wrong(exponential(True), 8 * small)


# --- where no number is right, and where values tell none alone -------------------------------------------------------


@pytest.mark.parametrize(("at_0", "factor", "right"), [(0.0, 1.0, True), (0.0, 1.5, False), (np.nan, 1.0, False)])
def test_an_infinite_slope_is_nobodys_number(at_0, factor, right):
    def backward(x, g):
        return (jnp.where(x > 0, factor * g / (2 * jnp.sqrt(jnp.where(x > 0, x, 1))), at_0),)

    report = verify.check_vjp(with_rule(jnp.sqrt, backward), jnp.linspace(0, 3, 6))
    assert report.passed is right, str(report)
    assert not right or "or infinite" in str(report)


def test_a_finite_slope_is_not_excused_where_the_reference_is_infinite():
    def plain(x):  # x, but reverse mode has 0 times infinity, or infinity, at 0
        return jnp.sqrt(x) * jnp.sqrt(x)

    report = verify.check_vjp(with_rule(plain, lambda x, g: (0 * g,)), jnp.linspace(0, 3, 6))
    assert not report.passed


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_what_values_tell_of_no_entry_alone_they_may_tell_of_all_together(factor):
    def sum_of(v):
        return np.asarray(1e5 + np.sum(v), np.float32)

    def kernel(x):
        return jax.pure_callback(sum_of, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential")

    rule = with_rule(kernel, lambda x, g: (factor * g * jnp.ones_like(x),))
    report = verify.check_vjp(rule, normal(64))
    assert report.passed is (factor == 1), str(report)
    assert not report.passed or "all entries together" in str(report)


def test_an_error_beside_a_reference_of_0_is_relative_to_yours():
    step = with_rule(lambda x: jax.lax.stop_gradient(jnp.sin(x)), lambda x, g: (g,))
    (leaf, _) = verify.check_vjp(step, normal(4)).leaves
    assert (leaf.verdict, leaf.reference) == (Verdict.WRONG, 0)
    assert 0.01 < leaf.error <= 1
