"""What `verify` says: verdicts, references, kinks, structures, bad input, and that the process is left as it was."""

import dataclasses
import functools
import json
from typing import NamedTuple
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import autodiff as ad
from mlp_jax import verify
from mlp_jax.autodiff import ops
from mlp_jax.verify import CannotCheck, GradientError, Verdict, compiled


def with_rule(plain, backward, forward=None):
    f = jax.custom_vjp(plain)
    f.defvjp(forward or (lambda *args: (plain(*args), args)), lambda args, g: backward(*args, g))
    return f


def verdicts(report):
    return {leaf.name: leaf.verdict for leaf in report.leaves}


def normal(*shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


sine = with_rule(jnp.sin, lambda x, g: (g * jnp.cos(x),))
wrong = with_rule(lambda w, x: jnp.sum(jnp.tanh(x @ w)), lambda w, x, g: (jnp.ones_like(w), -g * jnp.ones_like(x)))


# --- the report --------------------------------------------------------------------------------------------


def test_a_report_reads_as_a_table_with_cause_and_reproduction():
    scaled = with_rule(
        lambda w, x: jnp.mean(x @ w), lambda w, x, g: (g * jnp.mean(x, axis=0), -g * jnp.ones_like(x) * w / 5)
    )
    with jax.numpy_rank_promotion("allow"):
        report = verify.check_vjp(scaled, normal(3), normal(5, 3), seed=4)
    lines = str(report).splitlines()
    assert lines[0].startswith("check_vjp(lambda): WRONG")
    assert "seed 4 · " in lines[0]
    assert lines[1].split() == ["leaf", "shape", "verdict", "rel.", "error", "worst", "entry", "yours", "reference"]
    assert lines[2].split()[:4] == ["w", "(3,)", "ok", lines[2].split()[3]]
    assert lines[3].split()[:4] == ["x", "(5,", "3)", "WRONG"]
    assert "  x: yours = -1 × reference in every entry: a sign." in lines
    assert lines[-1] == "  Reproduce: verify.check_vjp(lambda, ..., seed=4)"


def test_a_notebook_shows_a_report_as_a_table_and_elsewhere_it_is_its_text():
    report = verify.check_vjp(with_rule(jnp.sin, lambda x, g: (g * jnp.sin(x),)), jnp.array([0.5, 1.0]))
    page = ElementTree.fromstring(report._repr_html_())  # is well-formed
    rows = [["".join(cell.itertext()) for cell in row] for row in page.findall(".//tr")]
    assert [row[:3] for row in rows] == [["leaf", "shape", "verdict"], ["x", "(2,)", "WRONG"], ["primal", "(2,)", "ok"]]
    assert [cell.text for cell in page.findall(".//b")][:1] == ["x"]
    assert report.reproduce in "".join(page.itertext())
    assert repr(report) == str(report)


def test_check_raises_the_whole_report_and_is_an_assertion():
    report = verify.check_vjp(wrong, normal(3, 2), normal(4, 3))
    assert not report.passed
    with pytest.raises(GradientError, match=r"check_vjp\(lambda\): WRONG") as caught:
        report.check()
    assert isinstance(caught.value, AssertionError)
    assert verify.check_vjp(sine, 1.0).check().passed


def test_json_has_every_number():
    report = verify.check_vjp(wrong, normal(3, 2), normal(4, 3))
    found = json.loads(report.to_json())
    assert found["passed"] is False
    assert found["policy"] == 2
    w = found["leaves"][0]
    assert (w["name"], w["verdict"], w["shape"]) == ("w", "WRONG", [3, 2])
    assert w["error"] > w["tolerance"] > 0
    assert found["causes"]


def test_the_process_is_left_as_it_was():
    before = {name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_numpy_dtype_promotion")}
    verify.check_vjp(sine, normal(3))
    assert before == {name: getattr(jax.config, name) for name in before}
    assert jnp.zeros(1).dtype == jnp.float32


def test_an_xla_without_the_options_that_compile_soon_compiles_as_ever(monkeypatch):
    monkeypatch.setattr(compiled, "_SOON", {"xla_no_such_option": True})
    monkeypatch.setattr(compiled, "_soon", compiled._soon.__wrapped__)  # without what it remembers
    assert compiled._soon("cpu") is None
    assert verify.check_vjp(sine, normal(3)).passed


def test_the_seed_changes_the_cotangents_and_gives_the_same_report_again():
    one, again, other = (verify.check_vjp(wrong, normal(3, 2), normal(4, 3), seed=s) for s in (0, 0, 1))
    assert one.leaves == again.leaves
    assert one.leaves[0].error != other.leaves[0].error


# --- verdicts ------------------------------------------------------------------------------------------------


def relu_with(slope):
    return with_rule(
        lambda x: jnp.maximum(x, 0), lambda x, g: (g * jnp.where(x > 0, 1.0, jnp.where(x == 0, slope, 0.0)),)
    )


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [(0.0, "KINK"), (0.5, "OK"), (1.0, "KINK"), (0.3, "KINK"), (1.2, "WRONG"), (-0.1, "WRONG"), (np.nan, "NONFINITE")],
)
def test_at_a_kink_any_slope_between_the_one_sided_ones(slope, verdict):
    report = verify.check_vjp(relu_with(slope), jnp.array([-1.0, 0.0, 2.0]))
    assert verdicts(report)["x"] is Verdict[verdict]
    if verdict == "KINK":
        assert "1 entry sits at a kink; your values lie between the one-sided slopes" in str(report)


def test_a_wrong_value_where_the_function_is_smooth_is_no_kink():
    sinc = with_rule(jnp.sinc, lambda x, g: (jnp.where(x == 0, g, g * jax.vjp(jnp.sinc, x)[1](jnp.ones_like(x))[0]),))
    assert verdicts(verify.check_vjp(sinc, jnp.array([0.0, 0.5])))["x"] is Verdict.WRONG


def test_no_gradient_at_all_is_said_so():
    lazy = with_rule(lambda x, y: jnp.sum(x * y), lambda x, y, g: (g * y, None))
    report = verify.check_vjp(lazy, normal(3), normal(3, seed=1))
    assert verdicts(report)["y"] is Verdict.ZERO_EVERYWHERE
    assert "you return no gradient for y" in str(report)


def test_stop_gradient_is_respected():
    def plain(x, t):
        return jnp.sum((x - jax.lax.stop_gradient(t)) ** 2)

    stopped = with_rule(plain, lambda x, t, g: (2 * g * (x - t), jnp.zeros_like(t)))
    report = verify.check_vjp(stopped, normal(3), normal(3, seed=1))
    assert verdicts(report)["t"] is Verdict.STOPPED
    assert report.passed
    leaking = with_rule(plain, lambda x, t, g: (2 * g * (x - t), -2 * g * (x - t)))
    assert verdicts(verify.check_vjp(leaking, normal(3), normal(3, seed=1)))["t"] is Verdict.WRONG


def test_a_rule_of_another_structure():
    two = with_rule(lambda x: jnp.sum(x), lambda x, g: (g * jnp.ones_like(x), g))
    report = verify.check_vjp(two, normal(3))
    assert verdicts(report)["gradient"] is Verdict.STRUCTURE
    assert "must produce" in str(report)
    shape = with_rule(lambda x: jnp.sum(x), lambda x, g: (g * jnp.ones((1, 3)),))
    assert verdicts(verify.check_vjp(shape, normal(3)))["gradient"] is Verdict.STRUCTURE
    dtype = with_rule(lambda x: jnp.sum(x), lambda x, g: (g.astype(jnp.float32) * jnp.ones(3),))
    report = verify.check_vjp(dtype, normal(3, dtype="float16"))
    assert verdicts(report) == {"x": Verdict.STRUCTURE}
    assert "the gradient must have dtype float16, got float32" in str(report)


def test_a_rule_that_raises():
    broken = with_rule(lambda x: jnp.sum(x), lambda x, g: (x @ x @ x,))
    report = verify.check_vjp(broken, normal(3))
    assert verdicts(report) == {"gradient": Verdict.RAISED}
    assert "matmul" in str(report)


def test_a_rule_or_a_function_that_is_not_deterministic():
    random = np.random.default_rng(0)
    rule = with_rule(jnp.sin, lambda x, g: (g * jnp.cos(x) * (1 + 0.01 * random.normal()),))
    report = verify.check_vjp(rule, normal(3))
    assert verdicts(report)["x"] is Verdict.NONDETERMINISTIC
    report = verify.check_vjp(lambda x: x * random.normal(), normal(3))
    assert verdicts(report) == {"primal": Verdict.NONDETERMINISTIC}
    assert "give it a fixed key" in str(report)


def test_the_forward_rule_must_return_the_value():
    off = with_rule(jnp.sin, lambda x, g: (g * jnp.cos(x),), forward=lambda x: (1.001 * jnp.sin(x), (x,)))
    report = verify.check_vjp(off, normal(1000))
    assert verdicts(report) == {"x": Verdict.OK, "primal": Verdict.PRIMAL}
    assert "the forward rule returns 1.001 × the function's value" in str(report)


def test_right_in_float64_but_not_in_half_precision():
    def backward(x, g):
        return (g * (jnp.cosh(x) ** 2 - jnp.sinh(x) ** 2) * jnp.cos(x),)  # 1, where it does not overflow

    report = verify.check_vjp(with_rule(jnp.sin, backward), normal(5, dtype="float16") + 5)
    assert verdicts(report)["x"] is Verdict.WRONG
    assert "right in float64, but float16 loses more than half of its digits" in str(report)


# --- references ---------------------------------------------------------------------------------------------


def test_a_named_reference_is_the_truth():
    straight = with_rule(lambda x: jnp.round(x), lambda x, g: (g,))
    assert not verify.check_vjp(straight, normal(4), strict=True).passed

    def identity_gradient(x):
        return x + jax.lax.stop_gradient(jnp.round(x) - x)

    assert verify.check_vjp(straight, normal(4), reference=identity_gradient).passed
    assert not verify.check_vjp(sine, normal(4), reference=jnp.cos).passed


def test_rules_beneath_jit_partial_and_lambda_are_found():
    bad = with_rule(lambda x, c: jnp.sum(jnp.sin(x) * c), lambda x, c, g: (g * c * jnp.sin(x), jnp.sum(g * jnp.cos(x))))
    c = jnp.float32(2.0)
    assert not verify.check_vjp(jax.jit(bad), normal(3), c).passed
    assert not verify.check_vjp(functools.partial(bad, normal(3)), c).passed
    assert not verify.check_vjp(lambda w, x: jnp.mean(bad(x @ w, c)), normal(40, 50), normal(3, 40)).passed


def test_a_custom_jvp_rule():
    @jax.custom_jvp
    def half(x):
        return jnp.sin(x)

    half.defjvp(lambda xs, ts: (jnp.sin(xs[0]), 0.5 * jnp.cos(xs[0]) * ts[0]))
    assert not verify.check_vjp(half, normal(3)).passed


def test_a_wrong_rule_inside_the_function_beneath_is_no_excuse():
    inner = with_rule(jnp.sin, lambda x, g: (2 * g * jnp.cos(x),))
    outer = with_rule(lambda x: jnp.sum(inner(x) ** 2), lambda x, g: (4 * g * jnp.sin(x) * jnp.cos(x),))
    report = verify.check_vjp(outer, normal(3))
    assert verdicts(report)["x"] is Verdict.WRONG
    assert report.leaves[0].reference is not None


def test_operations_are_held_to_jax():
    good = ad.Operation(
        "swish", lambda x: x * ops.sigmoid(x), (lambda g, out, x: g * (out + ops.sigmoid(x) * (1 - out)),)
    )
    bad = ad.Operation("swish", lambda x: x * ops.sigmoid(x), (lambda g, out, x: g * (out + ops.sigmoid(x)),))
    assert verify.check_vjp(good, normal(5)).passed
    assert not verify.check_vjp(bad, normal(5)).passed
    assert not verify.check_vjp(lambda x: ops.sum(bad(x) ** 2), normal(5)).passed


def test_many_entries_without_a_reference_are_judged_along_directions():
    hidden = with_rule(jnp.tanh, lambda x, g: (g * (1 - jnp.tanh(x) ** 2).at[1, 1].set(0),))
    w, x = normal(60, 50), normal(3, 60, seed=1)
    report = verify.check_vjp(lambda w, x: hidden(x @ w), w, x)
    assert set(verdicts(report).values()) == {Verdict.WRONG, Verdict.OK}
    right = with_rule(jnp.tanh, lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))
    assert verify.check_vjp(lambda w, x: right(x @ w), w, x).passed


def test_a_program_is_remembered_with_its_random_key():
    def masked(key):
        plain = lambda x: x * jax.random.normal(key, x.shape)  # noqa: E731
        return with_rule(plain, lambda x, g: (g * jax.random.normal(key, x.shape),))

    for seed in (0, 1):  # the second program differs in the key alone
        assert verify.check_vjp(masked(jax.random.key(seed)), normal(5)).passed


# --- arguments -----------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    w: jax.Array
    b: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Both:
    w: jax.Array
    n: int = dataclasses.field(metadata={"static": True}, default=3)


@pytest.mark.parametrize(
    "params", [{"w": normal(3), "b": None}, Pair(normal(3), None), Both(normal(3)), [normal(3), 4, "x"]]
)
def test_pytrees_with_none_whole_numbers_and_strings(params):
    def plain(p, k):
        w = p["w"] if isinstance(p, dict) else p[0] if isinstance(p, list) else p.w
        return jnp.sum(jnp.sin(w)) * k.astype(w.dtype)

    assert verify.check_vjp(plain, params, jnp.array(2)).passed


def test_arguments_that_are_no_arrays_are_constants():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, scale):
        return scale * jnp.sum(f(x))

    apply.defvjp(
        lambda f, x, scale: (scale * jnp.sum(f(x)), x),
        lambda f, scale, x, g: (scale * g * jax.vjp(f, x)[1](jnp.ones_like(x))[0],),
    )
    assert verify.check_vjp(apply, jnp.sin, normal(3), 2.5).passed


def test_argnums_chooses_arguments():
    lazy = with_rule(lambda x, y: jnp.sum(x * y), lambda x, y, g: (g * y, None))
    assert verify.check_vjp(lazy, normal(3), normal(3, seed=1), argnums=0).passed
    with pytest.raises(CannotCheck, match="argnums=5 needs that argument; got 2 arguments"):
        verify.check_vjp(lazy, normal(3), normal(3), argnums=5)


def raises(x):
    raise KeyError("depth")


def in_place(x):
    x[0] = 0.0
    return np.sum(x)


@pytest.mark.parametrize(
    ("f", "args", "message"),
    [
        (raises, (1.0,), "raises raised KeyError at these arguments: 'depth'"),
        (lambda x: None, (1.0,), r"must return at least one floating-point array, got nothing \(None\)"),
        (lambda x: jnp.argmax(x), (np.ones(3),), r"must return at least one floating-point array, got int32\[\]"),
        (lambda x, key: x, (1.0,), "a function that needs a key is checked with one"),
        (lambda x: x, (), "has no argument to differentiate for.*got no arguments"),
        (lambda x: x, (3,), "needs at least one floating-point array or number, got x: int"),
        (lambda x: jnp.log(x), (-1.0,), "is nan at these arguments, also in float64, so it has no gradient"),
    ],
)
def test_what_cannot_be_checked_says_why(f, args, message):
    with pytest.raises(CannotCheck, match=message):
        verify.check_vjp(f, *args)


def test_a_function_that_changes_its_argument():
    with pytest.raises(CannotCheck, match="in_place changes its argument x in place; let it work on a copy"):
        verify.check_grad(in_place, lambda x: x, np.ones(3))


# --- gradients by hand ------------------------------------------------------------------------------------------


def cost(w, x, y):
    return 0.5 * np.sum((x @ w - y) ** 2) / len(y)


def gradient(w, x, y):
    return x.T @ (x @ w - y) / len(y)


BATCH = (np.random.default_rng(0).normal(size=3), np.random.default_rng(1).normal(size=(5, 3)), np.ones(5))


def numpy_cost(w, x, y):
    return float(np.sum(np.tanh(np.asarray(x) @ np.asarray(w)) * y))


def numpy_gradient(w, x, y):
    return x.T @ ((1 - np.tanh(x @ w) ** 2) * y)


def test_plain_numpy_functions():
    report = verify.check_grad(numpy_cost, numpy_gradient, *BATCH)
    assert report.passed
    assert "held to slopes from values, in float64" in str(report)
    report = verify.check_grad(numpy_cost, lambda w, x, y: -numpy_gradient(w, x, y), *BATCH)
    assert report.causes == ("w: yours = -1 × reference in every entry: a sign.",)


def test_the_gradient_for_several_arguments_or_with_the_value():
    def both(w, x, y):
        r = (x @ w - y) / len(y)
        return x.T @ r, np.outer(r, w)

    assert [leaf.name for leaf in verify.check_grad(cost, both, *BATCH).check().leaves] == ["w", "x", "primal"]
    assert verify.check_grad(cost, lambda *args: (cost(*args), gradient(*args)), *BATCH).passed
    report = verify.check_grad(cost, lambda *args: (2 * cost(*args), gradient(*args)), *BATCH)
    assert verdicts(report)["primal"] is Verdict.PRIMAL
    report = verify.check_grad(cost, lambda *args: 5 * gradient(*args), *BATCH)
    assert "5 is the length of axis 0 of y: a sum where a mean is meant" in str(report)


def test_a_gradient_of_another_shape_or_tree():
    report = verify.check_grad(cost, lambda w, x, y: gradient(w, x, y)[:, None], *BATCH)
    assert "the gradient must have shape (3,), got (3, 1)" in str(report)
    report = verify.check_grad(lambda p: jnp.sum(p["w"]), lambda p: [p["w"]], {"w": normal(3)})
    assert verdicts(report) == {"gradient": Verdict.STRUCTURE}
    report = verify.check_grad(cost, lambda w: w, *BATCH)
    assert verdicts(report) == {"gradient": Verdict.RAISED}
    with pytest.raises(CannotCheck, match=r"must return one number, got shape \(5,\)"):
        verify.check_grad(lambda w, x, y: x @ w, gradient, *BATCH)


# --- transformations and mutants ----------------------------------------------------------------------------------


def test_the_table_of_transformations():
    product = with_rule(
        lambda w, x: jnp.tanh(x @ w),
        lambda w, x, g: (x.T @ (g * (1 - jnp.tanh(x @ w) ** 2)), g * (1 - jnp.tanh(x @ w) ** 2) @ w.T),
    )
    report = verify.check_transforms(product, normal(3, 2), normal(4, 3, seed=1)).check()
    names = [leaf.name for leaf in report.leaves]
    assert names[:5] == ["jit", "vmap over w", "vmap over x", "vmap over all arguments", "vmap over all, last axes"]
    assert names[5:9] == ["scan", "checkpoint", "only w differentiated", "only x differentiated"]
    assert names[9:14] == [
        "second order", "forward over reverse", "reverse over forward", "forward over forward", "zero cotangent",
    ]  # fmt: skip
    assert names[14:] == ["float32", "bfloat16", "float16", "batch of 1", "batch of 0", "larger batch"]


def test_a_rule_that_is_wrong_or_not_supported_under_a_transformation():
    def backward(x, g):
        return (jax.lax.stop_gradient(g * jnp.cos(x)),)

    report = verify.check_transforms(with_rule(jnp.sin, backward), normal(3))
    assert verdicts(report)["second order"] is Verdict.WRONG
    assert verdicts(report)["jit"] is Verdict.OK

    def concrete(x, g):
        return (g * jnp.cos(x) if float(x[0]) < 9 else g,)

    report = verify.check_transforms(with_rule(jnp.sin, concrete), normal(3))
    assert verdicts(report)["jit"] is Verdict.UNSUPPORTED
    assert report.passed


def test_mutants_that_the_arguments_cannot_show():
    product = with_rule(lambda w, x: x @ w, lambda w, x, g: (x.T @ g, g @ w.T))
    found = verify.mutate(product, normal(3, 2), normal(4, 3, seed=1))
    assert found.score == 1.0
    assert len(found.mutants) > 15
    hidden = verify.mutate(product, jnp.zeros((3, 2)), normal(4, 3, seed=1))
    assert {m.leaf for m in hidden.survivors if "penalty" not in m.fault} == {"x"}
    assert "x: doubled: would pass: the gradient is 0 at these arguments" in str(hidden)
    with pytest.raises(CannotCheck, match="the gradient for w is wrong already"):
        verify.mutate(wrong, normal(3, 2), normal(4, 3))
