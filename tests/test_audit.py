"""The audit within a process: what a tap passes through, what is seen of each call, and what is made of it."""

import contextlib
import functools
import json
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from mlp_jax.tables import npy
from mlp_jax.verify import GradientError, audit
from mlp_jax.verify.auditing import checking
from mlp_jax.verify.auditing.calls import Call, NotStorable, calls_of, store, stored_in
from mlp_jax.verify.auditing.checking import TimeUp, time_limit
from mlp_jax.verify.auditing.findings import BESIDE, NOT_CHECKED, RAISES, WRONG, Audit, Finding, of_json, together
from mlp_jax.verify.auditing.known import digest, read, remember
from mlp_jax.verify.auditing.rules import addresses, at, described, discover, identity
from mlp_jax.verify.auditing.tap import tap
from mlp_jax.verify.auditing.watch import Watch, watching


class Taker:
    def __init__(self):
        self.taken = []

    def take(self, path, *values):
        self.taken.append((tuple(passed.by for passed in path), [np.asarray(v) for v in values]))


X = jnp.linspace(-1.0, 2.0, 12).reshape(3, 4)
MESH = Mesh(np.array(jax.devices()[:1]), "i")
OVER_ROWS = functools.partial(jax.shard_map, mesh=MESH, in_specs=PartitionSpec("i"), out_specs=PartitionSpec())

# f maps an array to a number.
CONTEXTS = {
    "eager": lambda f: f(X),
    "jit": lambda f: jax.jit(f)(X),
    "jit in jit": lambda f: jax.jit(lambda x: jax.jit(f)(2 * x))(X),
    "vmap": lambda f: jax.vmap(f)(X),
    "vmap over columns": lambda f: jax.vmap(f, in_axes=1)(X),
    "vmap in vmap": lambda f: jax.vmap(jax.vmap(lambda x: f(x[None, None])))(X),
    "jit of vmap": lambda f: jax.jit(jax.vmap(f))(X),
    "grad": lambda f: jax.grad(f)(X),
    "jit of grad": lambda f: jax.jit(jax.grad(f))(X),
    "grad of jit": lambda f: jax.grad(jax.jit(f))(X),
    "vmap of grad": lambda f: jax.vmap(jax.grad(f))(X),
    "grad of vmap": lambda f: jax.grad(lambda x: jax.vmap(f)(x).sum())(X),
    "jvp": lambda f: jax.jvp(f, (X,), (X,)),
    "linearize": lambda f: jax.linearize(f, X)[1](X),
    "jacfwd": lambda f: jax.jacfwd(f)(X),
    "jacrev": lambda f: jax.jacrev(f)(X),
    "hessian": lambda f: jax.hessian(f)(X),
    "jit of hessian": lambda f: jax.jit(jax.hessian(f))(X),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f))(X),
    "jit of checkpoint": lambda f: jax.jit(jax.grad(jax.checkpoint(f)))(X),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c + f(x), f(x)), 0.0, X),
    "grad of scan": lambda f: jax.grad(lambda x: jax.lax.scan(lambda c, r: (c + f(r), None), 0.0, x)[0])(X),
    "fori": lambda f: jax.lax.fori_loop(0, 3, lambda k, c: c + f(X), 0.0),
    "while": lambda f: jax.lax.while_loop(lambda c: c < 3, lambda c: c + 1 + 0 * f(X), 0.0),
    "cond": lambda f: jax.lax.cond(X.sum() > 0, f, lambda x: 0.0, X),
    "vmap of cond": lambda f: jax.vmap(lambda x: jax.lax.cond(x.sum() > 0, f, lambda x: 0.0, x))(X),
    "switch": lambda f: jax.lax.switch(1, [lambda x: 0.0, f], X),
    "map": lambda f: jax.lax.map(f, X),
    "associative scan": lambda f: jax.lax.associative_scan(lambda a, b: a + b + 0 * f(a), X),
    "shard_map": lambda f: OVER_ROWS(lambda x: jax.lax.psum(f(x), "i"))(X),
    "jit of shard_map": lambda f: jax.jit(OVER_ROWS(lambda x: jax.lax.psum(f(x), "i")))(X),
    "a rule of its own": lambda f: jax.grad(_with_a_rule(f))(X),
    "custom_root": lambda f: jax.lax.custom_root(
        lambda x: x - 2 + 0 * f(X), 1.0, lambda g, x0: x0 - g(x0), lambda g, y: y / g(1.0)
    ),
    "closure_convert": lambda f: jax.closure_convert(f, X)[0](X),
    "jit disabled": lambda f: _without_jit(f),
    "ahead of time": lambda f: jax.jit(f).lower(X).compile()(X),
    "donated": lambda f: jax.jit(lambda x: (f(x), 2 * x), donate_argnums=0)(X + 0),
    "linear_transpose": lambda f: jax.linear_transpose(lambda x: x + 0 * f(X), X)(X),
}


def _with_a_rule(f):
    @jax.custom_vjp
    def rule(x):
        return f(x)

    rule.defvjp(lambda x: (f(x), x), lambda x, g: (g * jax.grad(f)(x),))
    return rule


def _without_jit(f):
    with jax.disable_jit():
        return jax.jit(f)(X)


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_tap_passes_through_and_sees_the_values(context):
    taker = Taker()

    def plain(x):
        return jnp.sum(jnp.sin(x))

    def tapped(x):
        tap(taker.take, [x])
        return plain(x)

    right, found = CONTEXTS[context](plain), CONTEXTS[context](tapped)
    jax.effects_barrier()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-7, atol=1e-7), found, right)
    assert taker.taken
    assert all(np.isfinite(value).all() for _, values in taker.taken for value in values)


def test_under_vmap_it_sees_the_batch_and_its_axis():
    taker = Taker()
    jax.vmap(lambda x: tap(taker.take, [x, 1.0]) or x, in_axes=1)(X)
    ((path, values),) = taker.taken
    assert path == ("vmap",)
    assert values[0].shape == (3, 4)


# --- what is seen -----------------------------------------------------------------------------------------------------


@jax.custom_vjp
def right(x):
    return jnp.sum(jnp.sin(x))


right.defvjp(lambda x: (right(x), x), lambda x, g: (g * jnp.cos(x),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def power(f, x, p):
    return f(x) ** p


power.defvjp(
    lambda f, x, p: (f(x) ** p, x),
    lambda f, p, x, g: (g * p * f(x) ** (p - 1),),  # without f'
)


def seen(program):
    jax.clear_caches()
    with watching(Watch()) as watch:
        program()
    assert not watch.problems
    return list(watch.signatures.values())


def test_each_kind_of_arguments_is_one_signature():
    signatures = seen(lambda: [right(X), right(2 * X), jax.jit(right)(X[0]), jax.jit(jax.vmap(right))(X)])
    assert [(s.arguments, s.times) for s in signatures] == [("float32[3,4]", 2), ("float32[4]", 2)]
    assert signatures[0].about.name == f"{__name__}.right"
    assert signatures[0].caller.startswith(__file__)


def test_of_a_batch_the_rule_gets_one_example():
    (signature,) = seen(lambda: jax.jit(jax.vmap(jax.grad(right), in_axes=1))(X))
    first, last = (call.args[0] for call in calls_of(signature)[:2])
    np.testing.assert_array_equal(first, X[:, 0])
    np.testing.assert_array_equal(last, X[:, -1])


def test_of_several_values_those_that_are_finite():
    (signature,) = seen(lambda: [right(X / 0), right(X)])
    np.testing.assert_array_equal(calls_of(signature)[0].args[0], X)


def test_static_arguments_keywords_keys_and_numbers_of_python():
    @jax.custom_jvp
    def noisy(key, x):
        return x + jax.random.normal(key, jnp.shape(x))

    noisy.defjvp(lambda primals, tangents: (noisy(*primals), tangents[1]))
    first, second = seen(lambda: [jax.jit(noisy)(jax.random.key(3), X), power(jnp.sin, x=0.5, p=3.0)])
    key, x = calls_of(first)[0].args
    assert jax.random.key_data(key).tolist() == jax.random.key_data(jax.random.key(3)).tolist()
    np.testing.assert_array_equal(x, X)
    assert calls_of(second)[0].args == (jnp.sin, 0.5, 3.0)
    assert calls_of(second)[0].argnums == (1,)
    assert second.arguments == "~float32[] (0: sin, 2: 3.0)"


def test_threads_and_donated_arrays():
    def program():
        threads = [
            threading.Thread(target=lambda: jax.jit(lambda x: (right(x), 2 * x), donate_argnums=0)(X + 1))
            for _ in range(4)
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    (signature,) = seen(program)
    np.testing.assert_array_equal(calls_of(signature)[0].args[0], X + 1)


def test_rules_of_one_source_are_one_and_closed_over_numbers_tell_them_apart():
    def made(c):
        @jax.custom_jvp
        def times(x):
            return c * x

        times.defjvps(lambda t, out, x: c * t)
        return times

    assert identity(made(2.0)) == identity(made(2.0)) != identity(made(3.0))
    assert len(seen(lambda: [made(2.0)(1.0) for _ in range(50)])) == 1


def test_rules_over_other_values_are_others():
    def of(f, df, k=1.0):
        @jax.custom_jvp
        def rule(x, k=k):
            return f(x)

        rule.defjvps(lambda t, out, x: df(x) * t)
        return rule

    def sine(x):
        return jnp.sin(x)

    def cosine(x):
        return jnp.cos(x)

    def exponential(x):
        return jnp.exp(x)

    assert identity(of(sine, cosine)) == identity(of(sine, cosine)) != identity(of(exponential, sine))
    assert identity(of(sine, cosine, 1.0)) != identity(of(sine, cosine, 2.0))
    arrays = [functools.partial(jnp.multiply, jnp.full(3, k)) for k in (1.0, 1.0, 2.0)]
    one, same, other = (identity(of(f, f)) for f in arrays)
    assert one == same != other


def test_traces_that_never_run_do_not_hide_those_that_do():
    (signature,) = seen(lambda: [*(jax.eval_shape(right, X) for _ in range(5)), jax.jit(right)(X)])
    np.testing.assert_array_equal(calls_of(signature)[0].args[0], X)


def test_shapes_alone_where_nothing_runs_and_where_it_is_too_much():
    (abstract,) = seen(lambda: jax.eval_shape(right, X))
    assert not calls_of(abstract)
    (large,) = seen(lambda: right(jnp.zeros(1 << 25)))
    assert large.note == "arguments of 0.1 GB: shapes alone"


def test_exactly_leaves_compiled_programs_as_they_are():
    watch = Watch(exact=True)
    with watching(watch):
        before = str(jax.make_jaxpr(lambda x: right(x))(X))
        right(X)
    assert str(jax.make_jaxpr(lambda x: right(x))(X)) == before
    (signature,) = watch.signatures.values()
    assert len(signature.values) == 1


def test_the_programs_own_call_is_put_back():
    before = jax.custom_vjp.__call__
    with watching(Watch()):
        assert jax.custom_vjp.__call__ is not before
    assert jax.custom_vjp.__call__ is before


def test_watches_of_two_threads_overlap():
    before = jax.custom_vjp.__call__
    first, second = Watch(), Watch()
    one, two = watching(first), watching(second)
    one.__enter__()
    two.__enter__()
    right(X)
    one.__exit__(None, None, None)
    right(X[0])
    two.__exit__(None, None, None)
    assert [len(watch.signatures) for watch in (first, second)] == [1, 2]
    assert jax.custom_vjp.__call__ is before


# --- what is made of it -----------------------------------------------------------------------------------------------


def over(w, factor):
    @jax.custom_vjp
    def inner(y):
        return jnp.sum(y * w)

    inner.defvjp(lambda y: (inner(y), None), lambda _, g: (factor * g * w,))
    return inner


@pytest.mark.parametrize(
    ("around", "factor", "passed"),
    [(jax.jit, 2.0, False), (jax.vmap, 1.0, True), *((lambda f: jax.jit(jax.vmap(f)), k, k == 1) for k in (1.0, 2.0))],
)
def test_rules_over_traced_values_are_checked(around, factor, passed):
    def program(w):
        return jnp.sum(over(w, factor)(jnp.ones_like(w)))

    with audit() as found:
        around(program)(X)
    assert [f.verdict != WRONG for f in found.findings] == [passed], str(found)


def test_a_wrong_rule_raises_with_its_report():
    with audit() as found:
        jax.grad(lambda x: power(jnp.sin, x, 2.0))(0.5)
    assert not found
    with pytest.raises(GradientError, match=r"WRONG  .*test_audit.power .*called from"):
        found.check()
    assert [report.passed for report in found.reports] == [False]


def test_what_cannot_be_checked_is_named():
    @jax.custom_vjp
    def summed(x):
        return jax.lax.psum(x, "i")

    summed.defvjp(lambda x: (summed(x), None), lambda _, g: (g,))

    @jax.custom_vjp
    def refused(x):
        return 2 * x

    def backward(_, g):
        raise NotImplementedError("not differentiable")

    refused.defvjp(lambda x: (2 * x, None), backward)
    with audit() as found:
        jax.vmap(summed, axis_name="i")(X)
        refused(X)
        jax.eval_shape(right, X)
    assert found.passed
    verdicts = {f.rule.rpartition(".")[2]: (f.verdict, f.reason) for f in found.findings}
    assert verdicts["summed"] == (NOT_CHECKED, "summed raised NameError at these arguments: unbound axis name: i")
    assert verdicts["refused"][0] == RAISES
    assert verdicts["right"] == (NOT_CHECKED, "never run: only its shapes were asked for")


def test_an_object_that_cannot_be_shown_hinders_nothing():
    class Mute:
        def __call__(self, x):
            return x

        def __repr__(self):
            raise RuntimeError

    with audit() as found:
        power(Mute(), 0.5, 1.0)
    assert [f.arguments for f in found.findings] == ["~float32[] (0: Mute, 2: 1.0)"], found.problems


def test_each_call_of_a_kind_counts_also_the_last_of_a_batch():
    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvps(lambda t, out, x: jnp.where(x > 5, 3, 2) * x * t)
    with audit() as found:
        jax.vmap(square)(jnp.array([1.0, 2.0, 7.0]))
    assert not found, str(found)


@pytest.mark.parametrize(("factor", "passed"), [(1, True), (2, False)])
def test_a_forward_rule_that_cannot_be_transposed_is_checked_as_it_is(factor, passed):
    @jax.custom_jvp
    def sine(x):
        return jnp.sin(x)

    def halves(t):
        return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + t / 2), (0, 0 * t))[1]

    sine.defjvps(lambda t, out, x: factor * jnp.cos(x) * halves(t))
    with audit() as found:
        sine(0.5)
    assert found.passed is passed, str(found)
    assert [f.verdict for f in found.findings] == ["ok" if passed else WRONG]


@jax.custom_vjp
def guarded(x):
    return jnp.sum(jnp.where(x == 0, 1.0, jnp.sin(x) / jnp.where(x == 0, 1.0, x)) + x)


guarded.defvjp(
    lambda x: (guarded(x), x),
    lambda x, g: (jnp.where(x == 0, 0.0, g * (1 + jnp.cos(x) / x - jnp.sin(x) / x**2)),),  # at 0 it is 1
)


def test_special_points_are_looked_at_and_fail_nothing():
    with audit() as found:
        guarded(jnp.array([0.5, 1.5]))
    assert found.passed
    assert [f.verdict for f in found.findings] == [BESIDE], str(found)
    assert "check_vjp(guarded)" in found.findings[0].text


def test_the_rule_is_held_to_itself_as_the_program_used_it():
    with audit() as found:
        jax.grad(jax.grad(second))(2.0)
    (finding,) = found.findings
    assert finding.verdict == WRONG
    assert "second order" in finding.text


@jax.custom_vjp
def second(x):
    return x**3


# its gradient is right, and is cut off from x
second.defvjp(lambda x: (second(x), jax.lax.stop_gradient(x)), lambda x, g: (3 * x**2 * g,))


def test_the_programs_timer_goes_on():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with time_limit(5):
            pass
        with pytest.raises(TimeUp), time_limit(0.05):
            time.sleep(2)
        time.sleep(0.3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == [1]


def test_time_that_is_up_is_said_again_where_that_was_lost(monkeypatch):
    monkeypatch.setattr(checking, "_AGAIN", 0.05)

    def twice():
        with contextlib.suppress(TimeUp):  # as Python does while an object is finalised
            time.sleep(20)
        time.sleep(20)

    with pytest.raises(TimeUp), time_limit(0.05):
        twice()


def test_no_time_is_left():
    with audit(seconds=0) as found:
        right(X)
    assert [f.reason for f in found.findings] == ["the 0 seconds for checks were used up"]


def test_what_the_program_sets_for_itself_does_not_hinder_the_checks():
    with jax.disable_jit(), jax.debug_nans(True), audit() as found:
        right(X)
    assert [f.verdict for f in found.findings] == ["ok"]


def test_the_checkers_own_calls_are_none_of_the_programs():
    from mlp_jax.verify import check_vjp

    with audit() as found:
        check_vjp(right, X)
    assert not found.findings


# --- what was found before --------------------------------------------------------------------------------------------


def scaled(factor, kernel=jnp.sin):
    @jax.custom_vjp
    def rule(x):
        return jnp.sum(kernel(x)) * factor

    rule.defvjp(lambda x: (rule(x), x), lambda x, g: (g * factor * jnp.cos(x),))
    return rule


def test_a_digest_is_of_all_that_a_finding_depends_on():
    def told(rule, x):
        (signature,) = seen(lambda: jax.jit(rule)(x))
        return digest(signature)

    first = told(scaled(2.0), X)
    assert first == told(scaled(2.0), X + 0)
    others = [told(scaled(3.0), X), told(scaled(2.0, jnp.tan), X), told(scaled(2.0), X + 1), told(scaled(2.0), X[0])]
    assert len({first, *others}) == 5
    assert "" not in (first, *others)


def test_what_cannot_be_told_is_not_remembered(tmp_path):
    def kernel(x):
        return jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    (signature,) = seen(lambda: scaled(2.0, kernel)(X))
    assert digest(signature) == ""
    found = [Finding("p.f", "p.py:1", "t.py:2", "float32[]", verdict=v, key=v) for v in ("ok", WRONG, NOT_CHECKED)]
    remember(tmp_path / "audited.json", [*found, Finding("p.f", "p.py:1", "t.py:2", "float32[2]", verdict="ok")])
    assert read(tmp_path / "audited.json") == {"ok": ("ok", False)}
    for damaged in ("[]", "{", '{"a": 1}', '{"a": ["fine", true]}'):
        (tmp_path / "audited.json").write_text(damaged)
        assert read(tmp_path / "audited.json") == {}
    assert read(tmp_path / "none.json") == read(None) == {}


# --- addresses, files, packages ---------------------------------------------------------------------------------------


def test_a_rule_is_found_where_it_is_public():
    where = addresses()
    assert where[id(jax.nn.relu)] == "jax.nn:relu"
    assert at("jax.nn:relu", as_rule=True) is jax.nn.relu
    assert described(right).place.startswith(__file__)
    with pytest.raises(LookupError, match="holds no gradient rule"):
        at("jax.numpy:sin", as_rule=True)


def test_a_rule_around_anothers_function_is_called_by_its_derivative():
    rule = jax.custom_vjp(jnp.sin)
    rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    assert described(rule).name.endswith(" of sin")
    assert described(rule).place.startswith(__file__)


def test_a_call_is_stored_and_restored(tmp_path):
    args = (jnp.sin, {"a": [jnp.ones(3, jnp.bfloat16), None], "b": (True, 2, 0.1)}, X, jax.random.key(1))
    store(Call(jax.nn.relu, args, (1, 2), False), "jax.nn:relu", addresses, tmp_path / "call.npz")
    found = stored_in(npy.load(tmp_path / "call.npz"))[1]()
    assert (found.rule, found.args[0], found.argnums) == (jax.nn.relu, jnp.sin, (1, 2))
    assert jax.tree.structure(found.args[1]) == jax.tree.structure(args[1])
    assert found.args[1]["a"][0].dtype == jnp.bfloat16
    assert found.args[1]["b"] == (True, 2, 0.1)
    np.testing.assert_array_equal(found.args[2], X)
    assert jax.random.key_data(found.args[3]).tolist() == jax.random.key_data(args[3]).tolist()


def test_what_no_file_can_hold_and_files_that_hold_none(tmp_path):
    (signature,) = seen(lambda: power(lambda x: x, X, 3.0))
    with pytest.raises(NotStorable, match="an argument of type builtins.function"):
        store(calls_of(signature)[0], "jax.nn:relu", addresses, tmp_path / "call.npz")
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", x=X)
    for name in ("text", "other", "none"):
        with pytest.raises(ValueError, match="it holds no call of a rule|cannot read"):
            stored_in(npy.load(tmp_path / f"{name}.npz"))


@pytest.mark.parametrize(
    "described",
    [
        {"record": "os:system", "fields": [{"plain": "touch pwned"}]},
        {"record": "jax.numpy:sin", "fields": []},
        {"array": "none", "dtype": "float32", "shape": [1], "weak": False, "of": "jax"},
        [],
    ],
)
def test_a_file_from_a_stranger_calls_nothing(tmp_path, monkeypatch, described):
    monkeypatch.chdir(tmp_path)
    record = {"rule": "jax.nn:relu", "from": "", "args": described, "argnums": [0], "x64": False}
    np.savez("call.npz", description=np.array(json.dumps(record | {"rows": [], "special": False})))
    with pytest.raises((LookupError, ValueError)):
        stored_in(npy.load(tmp_path / "call.npz"))[1]()
    assert not (tmp_path / "pwned").exists()


def test_the_rules_of_a_package(tmp_path, monkeypatch):
    package = tmp_path / "somerules"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "ops.py").write_text(
        "import jax\n\n@jax.custom_jvp\ndef f(x):\n    return x\n\n"
        "def make():\n    @jax.custom_vjp\n    def g(x):\n        return x\n    return g\n"
    )
    (package / "broken.py").write_text("raise SystemExit('no')")
    (package / "test_ops.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    found = discover("somerules")
    assert [rule.name for rule in found.rules] == ["somerules.ops.f"]
    assert found.made_later == [f"{package}/ops.py:8"]
    assert found.failed == {"somerules.broken": "SystemExit: no"}


def test_audits_of_several_processes_are_one():
    ok, wrong = (Finding("p.f", "p.py:1", "t.py:2", "float32[]", verdict=v) for v in ("ok", "WRONG"))
    lost = Finding("p.g", "p.py:9", "t.py:4", "float32[]", reason="its process was killed")
    first = Audit(findings=[ok], not_reached=["p.h (p.py:5)", "p.f (p.py:1)"])
    found = together("x", [first, of_json(Audit(findings=[wrong]).to_json())], [lost])
    assert [(f.rule, f.verdict, f.times) for f in found.findings] == [("p.f", "WRONG", 2), ("p.g", "not checked", 1)]
    assert found.not_reached == ["p.h (p.py:5)"]
    assert str(found).splitlines()[0] == (
        "audit of x: 2 gradient rules of 1 package reached, at arguments of 2 kinds: 1 WRONG, 1 not checked"
    )
