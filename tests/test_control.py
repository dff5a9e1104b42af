"""Loops, branches, batches and JAX's functions inside a function that is differentiated, against JAX, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

pytestmark = pytest.mark.usefixtures("x64")

W = 0.5 * np.random.default_rng(0).normal(size=(4, 4))
rows = np.random.default_rng(1).normal(size=(5, 4))


class Ours:
    grad, hvp, vmap, checkpoint, o = ad.grad, ad.hvp, ad.vmap, ad.checkpoint, ops
    scan, cond, switch, fori_loop = ops.scan, ops.cond, ops.switch, ops.fori_loop


class Theirs:
    grad, vmap, checkpoint, o = jax.grad, jax.vmap, jax.checkpoint, jnp
    scan, cond, switch, fori_loop = jax.lax.scan, jax.lax.cond, jax.lax.switch, jax.lax.fori_loop


def recurrent(m):
    """Carries an array and a count; closes over W; puts out two things of which one is read in part."""

    def f(W, rows, h0):
        def step(carry, x):
            h, i = carry
            h = m.o.tanh(W @ h + x * m.o.sin(h))
            return (h, i + 1), {"square": h * h, "first": m.o.sum(h) * W[0, 0]}

        (h, i), out = m.scan(step, (h0, 0), rows)
        return m.o.sum(h) * i + m.o.sum(out["square"][2:3] * out["square"]) + m.o.sum(out["first"] ** 2)

    return f


def backwards_in_blocks(m):
    def f(W, rows, h0):
        step = m.checkpoint(lambda h, x: (m.o.tanh(W @ h + x), h))
        h, before = m.scan(step, h0, rows, reverse=True, unroll=2)
        return m.o.sum(h * before[0])

    return f


def without_rows(m):
    return lambda W, rows, h0: m.o.sum(m.scan(lambda h, _: (W @ h + rows[0], None), h0, None, length=3)[0])


def counted(m):
    def f(W, rows, h0):
        return m.o.sum(m.fori_loop(1, 4, lambda i, v: m.o.sin(v) * m.o.take(rows, i, axis=0) + W[0], h0 + 1.0))

    return f


def branching(m):
    def f(W, rows, h0):
        a = m.cond(rows[0, 0] > 0, lambda x: m.o.sin(x) * h0, lambda x: m.o.exp(x) + W[0], rows[0])
        b = m.switch(1, [lambda x: x, lambda x: x * x * W[1], lambda x: h0], a)
        return m.o.sum(b)

    return f


def batched(m):
    def f(W, rows, h0):
        of_row = lambda x, w, both: m.o.tanh(W @ x) * w + both["h"]  # noqa: E731
        out = m.vmap(of_row, in_axes=(0, 1, {"h": None}), out_axes=1)(rows[:4], W, {"h": h0})
        return m.o.sum(out[0] ** 3) + m.o.sum(m.vmap(m.grad(lambda x: m.o.sum(m.o.sin(x) * x)))(rows) ** 2)

    return f


def recomputed(m):
    return lambda W, rows, h0: m.o.sum(m.checkpoint(lambda x: m.o.sin(W @ x))(rows[0] + h0) ** 2)


PROGRAMS = (recurrent, backwards_in_blocks, without_rows, counted, branching, batched, recomputed)
H0 = 0.1 * np.arange(4.0)


def same(ours, theirs, rtol=1e-10):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert_allclose(one, other, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_in_number_and_in_symbol_mode_and_under_jit(program):
    at = jnp.asarray(W), jnp.asarray(rows), jnp.asarray(H0)
    ours, expected = program(Ours), jax.jit(jax.grad(program(Theirs), (0, 1, 2)))(*at)
    assert_allclose(ours(*at), program(Theirs)(*at), rtol=1e-12)
    same(ad.grad(ours, (0, 1, 2))(*at), expected)
    same(jax.jit(ad.grad(ours, (0, 1, 2)))(*at), expected)
    graph = ad.trace(ours, *at).gradient()
    same(graph.evaluate(*at), expected)
    same(graph.simplify().evaluate(*at), expected)
    assert graph.to_svg()


@pytest.mark.parametrize("program", PROGRAMS)
def test_higher_orders_and_forward_mode(program):
    at, along = (jnp.asarray(W), jnp.asarray(rows), jnp.asarray(H0)), (W + 1, rows - 1, H0 + 1)
    ours, theirs = program(Ours), program(Theirs)
    same(ad.jvp(ours, at, along), jax.jvp(theirs, at, along))
    second = jax.jit(lambda at: jax.jvp(jax.grad(theirs, (0, 1, 2)), at, along)[1])
    same(ad.hvp(ours, at, along), second(at), rtol=1e-9)

    def third(grad, f):
        second = lambda h: (grad(lambda h: f(at[0], at[1], h))(h) ** 2).sum()  # noqa: E731
        return grad(lambda h: (grad(second)(h) ** 2).sum())

    if program in (recurrent, branching, recomputed):
        same(third(ad.grad, ours)(at[2]), jax.jit(third(jax.grad, theirs))(at[2]), rtol=1e-8)


def test_jaxs_grad_and_vmap_of_ours():
    h0s = jnp.stack([H0, H0 + 1])
    at = jnp.asarray(W), jnp.asarray(rows)
    square = lambda grad, f: lambda W: (grad(f)(W, at[1], H0) ** 2).sum()  # noqa: E731
    same(jax.grad(square(ad.grad, recurrent(Ours)))(at[0]), jax.grad(square(jax.grad, recurrent(Theirs)))(at[0]))
    of_many = lambda grad, m: jax.vmap(lambda h: grad(recurrent(m))(*at, h))(h0s)  # noqa: E731
    same(of_many(ad.grad, Ours), of_many(jax.grad, Theirs))


def test_the_tape_of_a_loop_is_no_larger_than_jaxs():
    at = jnp.asarray(W), jnp.ones((1000, 4)), jnp.asarray(H0)
    step = lambda m: lambda W, rows, h0: m.o.sum(m.scan(lambda h, x: (m.o.tanh(W @ h + x), None), h0, rows)[0])  # noqa: E731
    ours, theirs = (
        jax.jit(m.grad(step(m))).lower(*at).compile().memory_analysis().temp_size_in_bytes for m in (Ours, Theirs)
    )
    assert ours <= 1.1 * theirs


def test_a_python_number_that_is_carried_takes_the_dtype_of_what_it_becomes():
    total = lambda x: ops.scan(lambda c, row: (c + row, None), 0.0, x)[0]  # noqa: E731
    assert ad.grad(total)(jnp.ones(3, jnp.float32)).dtype == jnp.float32
    assert ops.scan(lambda c, row: (c + row, None), 0, jnp.ones(3))[0] == 3


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: ops.scan(lambda c, row: c + row, x[0], x), r"a step of scan returns \(carry, y\)"),
        (lambda x: ops.scan(lambda c, row: (x, row), x[0], x), r"like the one it got, float64\[\], got float64\[3\]"),
        (lambda x: ops.scan(lambda c, row: (c, row), x[0], (x, x[1:])), r"one leading length, or a length, got"),
        (lambda x: ops.scan(lambda c, row: (c, row), x[0]), "one leading length, or a length, got none"),
        (lambda x: ops.cond(x[0] > 0, lambda x: x, lambda x: (x,), x), "branches must return one structure"),
        (lambda x: ops.scan(lambda c, row: (jnp.sin(c), row), x[0], x), r"line \d+ of test_control.py.*use ops.sin"),
        (lambda x: ops.scan(lambda c, row: (c if c > 0 else -c, row), x[0], x), "symbol without a value.*ops.where"),
    ],
)
def test_what_loops_and_branches_refuse(f, message):
    with pytest.raises(TypeError, match=message):
        ad.grad(f)(jnp.ones(3))


# --- several results ----------------------------------------------------------------------------------------

several = ad.Operation(
    "several",
    lambda x: {"total": x.sum(), "rest": (x * x, jnp.argmax(x))},
    lambda g, out, x: g["total"] + g["rest"][0] * 2 * x,
)


def test_an_operation_of_several_results_everywhere():
    x = jnp.array([1.0, 2.0, 3.0])
    out, pullback = ad.vjp(several, x)
    assert jax.tree.structure(out) == jax.tree.structure(several(x))
    g = {"total": jnp.ones(()), "rest": (x, np.zeros((), jax.dtypes.float0))}
    assert pullback(g)[0].tolist() == [3, 9, 19]
    assert ad.jacobian(lambda x: several(x)["rest"][0])(x).tolist() == np.diag([2.0, 4.0, 6.0]).tolist()
    ours = lambda x: ops.sum(several(x)["rest"][0] ** 2) * several(x)["total"]  # noqa: E731
    theirs = lambda x: jnp.sum(x**4) * x.sum()  # noqa: E731
    same(ad.hessian(ours)(x), jax.hessian(theirs)(x))
    same(ad.jvp(ours, (x,), (x,)), jax.jvp(theirs, (x,), (x,)))
    graph = ad.trace(ours, x)
    assert "several(x)" in str(graph)
    assert "part(v1, index=0)" in str(graph)
    for gradient in (graph.gradient(), graph.gradient().simplify()):
        same(gradient.evaluate(x), [jax.grad(theirs)(x)])
    assert graph.account().bprops == 8


def test_an_operation_that_returns_nothing_is_refused():
    with pytest.raises(ad.TracingError, match="'nothing' must return arrays, got NoneType"):
        ad.trace(ad.Operation("nothing", lambda x: None, (None,)), 1.0)


# --- any function of JAX ---------------------------------------------------------------------------------------


@jax.custom_vjp
def tenfold(p, scale):
    """Its own derivative is ten times the right one, so that one sees whose is used."""
    return {"a": p["x"] ** 2 * scale, "place": jnp.argmax(p["x"])}


tenfold.defvjp(
    lambda p, scale: (tenfold(p, scale), (p, scale)),
    lambda kept, g: ({"x": 10 * g["a"] * 2 * kept[0]["x"] * kept[1]}, None),
)


def test_a_function_of_jax_is_an_operation_with_its_own_rule():
    x = jnp.ones(3)
    assert ad.grad(lambda x: ops.sum(ad.jax_operation(tenfold)({"x": x}, 3.0)["a"]))(x).tolist() == [60, 60, 60]
    for f, at in [
        (jax.jit(jnp.linalg.det), W),
        (jax.vmap(lambda x: jax.lax.scan(lambda c, a: (c * a, c), 1.0, x)[0]), rows),
        (lambda x: jax.scipy.linalg.expm(x)[0], W),
        (lambda x: jnp.linalg.svd(x, full_matrices=False)[1], rows),
    ]:
        ours, theirs = (lambda x, f=f: ops.sum(ad.jax_operation(f)(x) ** 2)), (lambda x, f=f: jnp.sum(f(x) ** 2))
        at = jnp.asarray(at)
        same(ad.grad(ours)(at), jax.grad(theirs)(at))
        same(ad.hvp(ours, (at,), (at,)), jax.jvp(jax.grad(theirs), (at,), (at,))[1], rtol=1e-8)
        same(ad.trace(ours, at).gradient().evaluate(at), [jax.grad(theirs)(at)])


def test_a_function_of_jax_says_so_in_the_graph_and_takes_what_is_static():
    shifted = ad.jax_operation(jnp.roll, name="shifted")
    assert "jax.shifted(x)" in str(ad.trace(lambda x: shifted(x, 1, axis=0), jnp.ones((2, 2))))
    assert ad.grad(lambda x: shifted(x, 1)[0])(jnp.arange(3.0)).tolist() == [0, 0, 1]


def test_a_variable_that_a_function_of_jax_is_not_given_is_an_error():
    with pytest.raises(TypeError, match="jnp.sin was given a variable"):
        ad.grad(lambda x: ad.jax_operation(lambda y: jnp.sin(x) * y)(2.0 * x))(1.0)
