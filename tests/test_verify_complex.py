"""Complex numbers, by JAX's convention: a complex leaf is two real ones."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import verify
from mlp_jax.verify import Verdict

rng = np.random.default_rng(0)
Z = jnp.asarray(rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2)), jnp.complex64)
X = jnp.asarray(rng.normal(size=6), jnp.float32)


def rule(f, backward):
    made = jax.custom_vjp(f)
    made.defvjp(lambda *args: (f(*args), args), backward)
    return made


def power(z):
    return jnp.real(z) ** 2 + jnp.imag(z) ** 2


def spectrum(x):
    return jnp.abs(jnp.fft.fft(x)) ** 2


CASES = {
    "holomorphic": (lambda z: z**2 * 1j, lambda a, g: (2j * g * a[0],), lambda a, g: (2j * g * jnp.conj(a[0]),), Z),
    "real": (power, lambda a, g: (2 * g * jnp.conj(a[0]),), lambda a, g: (2 * g * a[0],), Z),
    "conjugate": (lambda z: jnp.conj(z), lambda a, g: (jnp.conj(g),), lambda a, g: (g,), Z),
    "inside": (
        spectrum, lambda a, g: (2 * jnp.real(jnp.fft.fft(g * jnp.conj(jnp.fft.fft(a[0])))).astype(jnp.float32),),
        lambda a, g: (2 * jnp.real(jnp.fft.fft(g * jnp.fft.fft(a[0]))).astype(jnp.float32),), X,
    ),
    "out of real ones": (
        lambda x: jnp.exp(1j * x), lambda a, g: (jnp.real(1j * g * jnp.exp(1j * a[0])),),
        lambda a, g: (jnp.real(-1j * g * jnp.exp(1j * a[0])),), X,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("f", "right", "wrong", "x"), CASES.values(), ids=CASES)
def test_a_rule_and_one_that_conjugates_where_it_must_not(f, right, wrong, x):
    with jax.numpy_dtype_promotion("standard"):
        report = verify.check_vjp(rule(f, right), x)
        assert report.passed, report
        assert not verify.check_vjp(rule(f, wrong), x)


def test_the_parts_have_names():
    report = verify.check_vjp(rule(*CASES["conjugate"][:2]), Z)
    assert [leaf.name for leaf in report.leaves] == ["z.real", "z.imag", "primal.real", "primal.imag"]
    one = verify.check_vjp(rule(power, lambda a, g: (g.astype(Z.dtype) * 2 * a[0],)), Z)
    assert [leaf.verdict.value for leaf in one.leaves] == ["ok", "WRONG", "ok"]


def test_a_complex_gradient_of_a_real_argument_is_structure():
    with jax.numpy_dtype_promotion("standard"):
        report = verify.check_vjp(rule(spectrum, lambda a, g: (2 * jnp.fft.fft(g * jnp.conj(jnp.fft.fft(a[0]))),)), X)
    assert report.leaves[0].verdict is Verdict.STRUCTURE, report


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_gradient_by_hand(xp):
    z = xp.asarray(Z)
    f = lambda z: xp.sum(z.real**2 * z.imag)  # noqa: E731
    right = lambda z: 2 * z.real * z.imag - 1j * z.real**2  # noqa: E731
    with jax.numpy_dtype_promotion("standard"):
        assert verify.check_grad(f, right, z).passed
        assert not verify.check_grad(f, lambda z: right(z).conj(), z)


def test_forward_rules_and_transformations():
    with jax.numpy_dtype_promotion("standard"):
        square = lambda z: z**2  # noqa: E731
        assert verify.check_jvp(square, lambda p, t: (p[0] ** 2, 2 * p[0] * t[0]), Z).passed
        assert not verify.check_jvp(square, lambda p, t: (p[0] ** 2, 2 * p[0].conj() * t[0]), Z)
        report = verify.check_transforms(rule(square, lambda a, g: (2 * g * a[0],)), Z)
        assert report.passed, report
        assert report.leaves[1].name == "vmap over z"


def test_a_complex_number_of_python():
    importlib.import_module("mlp_jax.autodiff")  # whose operations are real
    assert verify.check_vjp(lambda z: z * z, 1 + 2j).passed
