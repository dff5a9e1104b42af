"""Special points: faults at single numbers, in rules and in JAX's own derivatives, and no alarm for what is right."""

import jax
import jax.numpy as jnp
import jax.scipy.special as of_jax
import numpy as np
import pytest

from mlp_jax import verify
from mlp_jax.verify import Verdict
from mlp_jax.verify.findings import Where
from mlp_jax.verify.interpreter import compared_constants, trace
from mlp_jax.verify.special import single_point

X = jnp.array([0.7, -1.3, 1.6, 0.2], jnp.float32)
MENDED = jax.__version_info__ >= (0, 12)  # i0 and sinc
POSITIVE = jnp.abs(X) + 0.1


def rule(f, backward):
    made = jax.custom_vjp(f)
    made.defvjp(lambda *args: (f(*args), args), backward)
    return made


def found(f, *args, **options):
    """The names of the rows that fail at special points, none at the arguments themselves."""
    report = verify.check_vjp(f, *args, special=True, **options)
    assert all(leaf.passed for leaf in report.leaves if " at " not in leaf.name), report
    return [leaf.name for leaf in report.leaves if not leaf.passed]


def weighted(a, b):
    return of_jax.logsumexp(a, b=b)


def difference(x):
    """(eˣ − 1) / x, 1 at 0: its derivative there is 1/2, and that of the branch which JAX takes is 0."""
    return jnp.where(x == 0, 1.0, (jnp.exp(x) - 1) / jnp.where(x == 0, 1.0, x))


def of_difference(x):
    near = jnp.abs(x) < 0.3
    s = jnp.where(near, 1.0, x)
    series = sum(x**k * (k + 1) / float(np.prod(np.arange(1.0, k + 3))) for k in range(10))
    return jnp.where(near, series, (s * jnp.exp(s) - jnp.exp(s) + 1) / s**2)


@pytest.mark.parametrize(
    ("f", "args", "at", "is_wrong"),
    [
        pytest.param(of_jax.i0, (X,), "= 0", not MENDED, marks=pytest.mark.slow),
        (of_jax.spence, (jnp.array([0.3, 0.7, 2.5, 3.0]),), "= 1.25", True),
        (weighted, (X, POSITIVE), "= 0", True),
        pytest.param(jnp.sinc, (X,), "e-05", not MENDED, marks=pytest.mark.slow),
        (difference, (X,), "= 0", True),
    ],
)
def test_what_is_wrong_in_jax_at_single_points(f, args, at, is_wrong):
    rows = found(f, *args)
    assert any(at in name for name in rows) == is_wrong, rows


def test_a_right_rule_passes_where_jax_is_wrong_at_a_single_point():
    assert found(rule(difference, lambda a, g: (g * of_difference(a[0]),)), X) == []


def test_and_one_that_copies_jax_does_not():
    copied = rule(difference, lambda a, g: jax.vjp(difference, *a)[1](g))
    assert any("= 0" in name for name in found(copied, X))


@pytest.mark.parametrize(
    ("backward", "fails"),
    [
        (lambda a, g: (g * (a[0] == a[0].max()),), True),  # the whole gradient to each of two ties
        (lambda a, g: (g * (a[0] == a[0].max()) / jnp.sum(a[0] == a[0].max()),), False),
    ],
)
def test_ties(backward, fails):
    with jax.numpy_dtype_promotion("standard"):
        names = found(rule(lambda x: x.max(), backward), X)
    assert any("the largest of its row" in name for name in names) is fails


def test_a_branch_that_no_argument_takes():
    f = lambda x: jnp.where(x > 4.0, x**2, 8 * x - 16)  # noqa: E731
    assert any("= 5" in name for name in found(rule(f, lambda a, g: (8 * g,)), X))
    right = lambda a, g: (g * jnp.where(a[0] > 4, 2 * a[0], 8),)  # noqa: E731
    assert found(rule(f, right), X) == []


RIGHT = [
    jax.nn.relu, jax.nn.softmax, jnp.linalg.norm, lambda x: jnp.sqrt(jnp.abs(x)), lambda x: jnp.log(x), jnp.sort,
    of_jax.gammaln, lambda x: jnp.clip(x, -0.5, 0.5),
]  # fmt: skip
ALSO_RIGHT = [
    jnp.tanh, jnp.abs, jax.nn.gelu, jax.nn.softplus, lambda x: jnp.sqrt(x), lambda x: 1 / x, of_jax.digamma, of_jax.erf,
    jnp.cumprod, jnp.var,
]  # fmt: skip


@pytest.mark.parametrize("f", [*RIGHT, *(pytest.param(f, marks=pytest.mark.slow) for f in ALSO_RIGHT)])
def test_what_is_right_raises_no_alarm(f):
    assert found(lambda x: f(x), POSITIVE) == []


@pytest.mark.parametrize("f", [jnp.arctan2, jnp.power, of_jax.xlogy])
def test_nor_of_two_arguments(f):
    assert found(lambda x, y: f(x, y), POSITIVE, POSITIVE[::-1]) == []


def test_the_report_says_that_special_points_were_looked_at():
    assert "special points" in verify.check_vjp(jnp.tanh, X, special=True).notes[-1]
    assert "special points" not in str(verify.check_vjp(jnp.tanh, X))


def test_the_constants_that_a_program_compares_with():
    def f(x):
        y = jnp.where(x > 2.5, x, jnp.maximum(x, -0.75))
        return jax.lax.cond(x[0] < 7.0, lambda y: jnp.clip(y, 0.125, 0.25), lambda y: 3.5 * y, y)

    assert compared_constants(trace(f, X)) == {2.5, -0.75, 7.0, 0.125, 0.25}


AT = np.array([0.0, 0.0])
BESIDE = np.array([[0.499, 1.0], [0.5, 1.001], [0.5, 1.0], [0.501, 0.999]])


@pytest.mark.parametrize(
    ("yours", "at", "beside", "jumps", "verdict"),
    [
        (AT, AT, BESIDE, False, Verdict.WRONG),
        (np.array([0.5, 1.0]), AT, BESIDE, False, Verdict.OK),
        (np.array([np.nan, 1.0]), AT, BESIDE, False, Verdict.WRONG),
        (AT, AT, BESIDE, True, None),  # the value is another at the point, too
        (AT, AT, BESIDE * np.array([-1, -1, 1, 1])[:, None], False, None),  # a kink
        (AT, BESIDE[1], BESIDE, False, None),  # one thing everywhere: the usual judgement knows more
    ],
)
def test_a_derivative_that_is_another_at_a_single_point(yours, at, beside, jumps, verdict):
    finding = single_point(0, 2, yours, at, beside, jumps)
    assert (finding and finding.verdict) is verdict
    assert finding is None or finding.where is Where.SINGLE_POINT


def test_what_is_meant_at_the_arguments_is_meant_at_special_points():
    clipped = jax.custom_vjp(lambda x, bound: x)
    clipped.defvjp(lambda x, bound: (x, bound), lambda bound, g: (jnp.clip(g, -bound, bound), jnp.zeros_like(bound)))
    assert found(clipped, X, jnp.float32(0.5)) == []


@pytest.mark.parametrize(("factor", "names"), [(1.0, []), (2.0, ["x at x[2] = 1"])])
def test_a_slope_that_is_infinite_at_0_has_no_number_at_denormal_ones(factor, names):
    def backward(args, g):
        (x,) = args
        tiny = x < 1e-6
        slope = jnp.where(tiny, 0, 0.5 / jnp.sqrt(jnp.where(tiny, 1, x)))
        return (g * slope * jnp.where(x == 1, factor, 1),)

    at = [name for name in found(rule(jnp.sqrt, backward), POSITIVE) if "e-" not in name or "39" in name]
    assert [name.partition("[")[0] for name in at] == [name.partition("[")[0] for name in names]
