"""Rules that are no derivative, on purpose: accepted where that is exactly what they are, and told from faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import verify
from mlp_jax.verify import Verdict

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


def rule(f, backward):
    """F with a backward pass whose residuals are the arguments."""
    made = jax.custom_vjp(f)
    made.defvjp(lambda *args: (f(*args), args), backward)
    return made


def rounded(x):
    return jnp.round(x)


def same(x):
    return x


def to_the_norm_of_all(_, g):
    norm = jnp.sqrt(sum(jnp.sum(part**2) for part in g))
    return tuple(part * jnp.minimum(1, 1 / norm) for part in g)


ON_PURPOSE = {
    "straight through": (rounded, lambda a, g: (g,), Verdict.SURROGATE, "straight through"),
    "straight through, scaled": (rounded, lambda a, g: (2 * g,), Verdict.SURROGATE, "times 2"),
    "masked": (
        lambda x: jnp.clip(jnp.round(x), -1, 1), lambda a, g: (jnp.where(jnp.abs(a[0]) < 1, g, 0),),
        Verdict.SURROGATE, "a mask",
    ),
    "smooth": (
        lambda x: jnp.heaviside(x, 0.0), lambda a, g: (g / (1 + jnp.abs(a[0])) ** 2,),
        Verdict.SURROGATE, "entry by entry",
    ),
    "of a choice": (
        lambda x: jnp.argmax(x, axis=-1).astype(x.dtype), lambda a, g: (g[:, None] * jax.nn.softmax(a[0]),),
        Verdict.SURROGATE, "another function",
    ),
    "reversed": (same, lambda a, g: (-g,), Verdict.SCALED, "times -1"),
    "scaled": (same, lambda a, g: (0.25 * g,), Verdict.SCALED, "times 0.25"),
    "clipped": (same, lambda a, g: (jnp.clip(g, -0.5, 0.5),), Verdict.CLIPPED, "at 0.5"),
    "clipped by its norm": (
        same, lambda a, g: (g * jnp.minimum(1, 0.7 / (jnp.linalg.norm(g) + 1e-6)),), Verdict.CLIPPED, "at 0.7",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("f", "backward", "verdict", "words"), ON_PURPOSE.values(), ids=ON_PURPOSE)
def test_a_rule_that_lies_on_purpose_passes_and_fails_if_strict(f, backward, verdict, words):
    report = verify.check_vjp(rule(f, backward), X)
    assert report.leaves[0].verdict is verdict
    assert words in str(report)
    assert report.passed
    assert not verify.check_vjp(rule(f, backward), X, strict=True)


FAULTS = {
    "twice, where relu is an identity": (jax.nn.relu, lambda a, g: (2 * g,), jnp.abs(X)),
    "let through, where relu is flat": (jax.nn.relu, lambda a, g: (g,), -jnp.abs(X)),
    "a sign, not of an identity": (jnp.tanh, lambda a, g: (-g * (1 - jnp.tanh(a[0]) ** 2),), X),
    "clipped, not of an identity": (lambda x: 3 * x, lambda a, g: (jnp.clip(3 * g, -1, 1),), X),
    "clipped on one side of a mask": (same, lambda a, g: (jnp.where(a[0] > 0, jnp.clip(g, -1, 1), 2 * g),), X),
    "nothing comes back": (same, lambda a, g: (0 * g,), X),
    "a step, and not linear": (rounded, lambda a, g: (jnp.sign(g),), X),
    "a step, and not finite": (rounded, lambda a, g: (g / 0,), X),
    "an argument that is not used": (lambda x: jnp.ones_like(x), lambda a, g: (g,), X),
}


@pytest.mark.parametrize(("f", "backward", "x"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_not_excused(f, backward, x):
    assert not verify.check_vjp(rule(f, backward), x)


def test_a_scale_that_is_an_argument():
    scaled = rule(lambda x, s: x, lambda a, g: (-a[1] * g, jnp.zeros_like(a[1])))
    report = verify.check_vjp(scaled, X, 0.3)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.SCALED, Verdict.OK, Verdict.OK]


def test_clipped_to_the_norm_of_all_leaves_together():
    report = verify.check_vjp(rule(lambda x, y: (x, y), to_the_norm_of_all), X, X[0])
    assert {leaf.verdict for leaf in report.leaves[:2]} == {Verdict.CLIPPED}


def test_a_surrogate_at_the_step_itself():
    assert verify.check_vjp(rule(rounded, lambda a, g: (g,)), jnp.array([0.5, 1.5, 0.2])).passed


def test_a_surrogate_is_still_run_outside_jit():
    backward = lambda a, g: (g if isinstance(g, jax.core.Tracer) else 3 * g,)  # noqa: E731
    assert "outside jit" in str(verify.check_vjp(rule(rounded, backward), X))


def test_what_is_intended_is_declared_once_and_every_check_holds_the_rule_to_it():
    right, wrong = (rule(rounded, lambda a, g, c=c: (c * g,)) for c in (1.0, 2.0))
    for declared in (right, wrong):
        assert verify.intended(declared, reference=same) is declared
    report = verify.check_vjp(right, X)
    assert report.leaves[0].verdict is Verdict.OK
    assert "intended" in report.notes[0]
    assert verify.check_vjp(wrong, X).leaves[0].verdict is Verdict.WRONG
    assert verify.check_vjp(wrong, X, reference=lambda x: jnp.round(x) + 2 * (x - jax.lax.stop_gradient(x)))


def test_the_values_of_what_is_intended_are_the_rules_own():
    made = jax.custom_vjp(rounded)
    made.defvjp(lambda x: (x, None), lambda _, g: (g,))
    assert verify.check_vjp(verify.intended(made, reference=same), X).leaves[1].verdict is Verdict.PRIMAL


@pytest.mark.parametrize(("of", "reference"), [(3, same), (same, 3), ((1).__add__, same)])
def test_what_cannot_be_declared(of, reference):
    with pytest.raises(verify.CannotCheck):
        verify.intended(of, reference=reference)
