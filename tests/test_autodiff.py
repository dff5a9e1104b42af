"""Derivatives of Python functions: agreement with JAX, composition with its transformations, and clear refusals."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose

import mlp_jax
from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

w = jax.random.normal(jax.random.key(0), (4, 5))
x = jax.random.normal(jax.random.key(1), (3, 4))


def f(w, x):
    return ops.sum(ops.tanh(x @ w) ** 2)


def same(ours, theirs, rtol=1e-5):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if one.dtype != jax.dtypes.float0:
            assert_allclose(one, other, rtol=rtol, atol=1e-6)


# --- the signatures of JAX --------------------------------------------------------------------------


@pytest.mark.parametrize("argnums", [-1, (0,), (1, 0)])
@pytest.mark.parametrize("name", ["grad", "value_and_grad", "jacobian", "hessian"])
def test_argnums(name, argnums):
    reference = {"jacobian": "jacrev"}.get(name, name)
    same(getattr(ad, name)(f, argnums)(w, x), getattr(jax, reference)(f, argnums)(w, x), rtol=1e-4)


@pytest.mark.parametrize("name", ["grad", "value_and_grad"])
def test_has_aux(name):
    def with_aux(w, x):
        a = x @ w
        return ops.sum(ops.tanh(a)), {"a": a, "fixed": x}

    same(getattr(ad, name)(with_aux, has_aux=True)(w, x), getattr(jax, name)(with_aux, has_aux=True)(w, x))
    with pytest.raises(TypeError, match=r"with has_aux the function must return a pair \(value, aux\), got Variable"):
        ad.grad(f, has_aux=True)(w, x)


def test_vjp_of_pytrees_with_an_integer_argument_and_two_outputs():
    def g(params, k):
        return {"rows": params["W"][k], "all": (ops.exp(params["W"]), params["b"] * 2)}, k

    params, k = {"W": x, "b": jnp.float32(3.0), "none": None}, jnp.array([0, 2])
    out, pullback = ad.vjp(g, params, k)
    expected, reference = jax.vjp(g, params, k)
    same(out, expected)
    gradient = jax.tree.map(
        lambda z: jnp.ones_like(z) if z.dtype == jnp.float32 else np.zeros(2, jax.dtypes.float0), out
    )
    same(pullback(gradient), reference(gradient))
    same(pullback(gradient), reference(gradient))  # once more: nothing was used up


def test_vjp_and_jvp_with_aux():
    both = lambda x: (ops.sin(x), x * 2)  # noqa: E731
    ours, theirs = ad.vjp(both, x, has_aux=True), jax.vjp(both, x, has_aux=True)
    same((ours[0], ours[1](x), ours[2]), (theirs[0], theirs[1](x), theirs[2]))
    same(ad.jvp(both, (x,), (x,), has_aux=True), jax.jvp(both, (x,), (x,), has_aux=True))


def test_jacobian_of_pytrees():
    def g(p):
        return {"a": p["u"] * p["v"], "b": ops.sum(p["u"])}

    p = {"u": jnp.arange(3.0), "v": jnp.array(2.0)}
    same(ad.jacobian(g)(p), jax.jacrev(g)(p))


def test_jvp_and_hvp():
    same(ad.jvp(f, (w, x), (w, x)), jax.jvp(f, (w, x), (w, x)))
    expected = jax.jvp(jax.grad(f, (0, 1)), (w, x), (w, x))[1]
    same(ad.hvp(f, (w, x), (w, x)), expected, rtol=1e-4)


def test_keyword_arguments_are_passed_on():
    def scaled(x, *, scale):
        return ops.sum(x * scale)

    assert ad.grad(scaled)(x, scale=3).tolist() == jnp.full(x.shape, 3.0).tolist()


def test_an_unused_argument_and_a_constant_function_have_gradient_0():
    assert ad.grad(lambda a, b: ops.sum(a), argnums=1)(x, w).tolist() == jnp.zeros_like(w).tolist()
    assert ad.grad(lambda a: 3.0)(x).tolist() == jnp.zeros_like(x).tolist()
    assert ad.grad(lambda a: jnp.float32(3.0))(2.0) == 0


def test_one_array_in_two_places():
    assert ad.grad(lambda a, b: a * b)(3.0, 3.0) == 3
    assert ad.grad(lambda a: a * a)(3.0) == 6
    _, pullback = ad.vjp(lambda a: (a, a), 3.0)
    assert pullback((jnp.float32(1), jnp.float32(10)))[0] == 11


# --- nested, without perturbation confusion -----------------------------------------------------------


def test_nested_derivatives_do_not_confuse_their_perturbations():
    assert ad.grad(lambda x: x * ad.grad(lambda y: x + y)(1.0))(2.0) == 1
    assert ad.grad(lambda x: ad.grad(lambda y: x * y)(3.0))(2.0) == 1
    assert ad.grad(lambda x: x * ad.grad(lambda y: x * y * y)(x))(2.0) == 12 + 12  # x (2 x²): 6x²
    assert ad.jvp(lambda x: x * ad.jvp(lambda y: x * y, (1.0,), (1.0,))[1], (3.0,), (1.0,))[1] == 6


def test_derivatives_of_any_order():
    ours, theirs = ops.sin, jnp.sin
    for _ in range(5):
        ours, theirs = ad.grad(ours), jax.grad(theirs)
        assert_allclose(ours(0.7), theirs(0.7), rtol=1e-6)


def nested(grad, vjp, jvp, jacobian, o):
    """Functions in which derivatives close over the variables of outer ones."""

    def pullback_within(x):
        y, pullback = vjp(lambda u: o.sin(u) * x, x)
        return o.sum(grad(lambda z: o.sum(pullback(z * y)[0] * z))(x))

    def forward_within_a_jacobian(x):
        return o.sum(jacobian(lambda u: jvp(lambda v: o.sum(o.sin(v) * u * x), (u,), (x,))[1] * u)(x))

    def three_deep(x):
        return grad(lambda a: grad(lambda b: grad(lambda c: o.sum(a * b * c * x * x))(1.0) * b)(2.0) * a)(3.0)

    return pullback_within, forward_within_a_jacobian, three_deep


@pytest.mark.parametrize("k", range(3))
def test_derivatives_that_close_over_outer_variables_in_every_mode(k):
    v = jnp.array([1.0, 2.0, 3.0])
    ours = nested(ad.grad, ad.vjp, ad.jvp, ad.jacobian, ops)[k]
    theirs = nested(jax.grad, jax.vjp, jax.jvp, jax.jacrev, jnp)[k]
    expected = jax.grad(theirs)(v)
    graph = ad.trace(ours, v).gradient()
    for gradient in (ad.grad(ours)(v), jax.jit(ad.grad(ours))(v), *graph.evaluate(v), *graph.simplify().evaluate(v)):
        assert_allclose(gradient, expected, rtol=1e-5)
    assert_allclose(ad.hessian(ours)(v), jax.jit(jax.hessian(theirs))(v), rtol=1e-4, atol=1e-5)


def test_a_jacobian_that_reaches_an_outer_variable_by_its_gradient_alone():
    assert ad.hessian(lambda a: 1.0)(x[0]).tolist() == jnp.zeros((4, 4)).tolist()
    assert ad.grad(lambda c: ops.sum(ad.jacobian(lambda v: (v * 2, c * v))(x[0])[1]))(2.0) == 4
    assert ad.grad(lambda c: ops.sum(ad.jacobian(lambda v: c * v[:0])(x[0])))(2.0) == 0


def test_both_second_derivatives_of_a_power_at_exponent_0():
    power = lambda p: p[0] ** p[1]  # noqa: E731
    at = jnp.array([2.0, 0.0])
    same(ad.hessian(power)(at), jax.hessian(power)(at))


def test_a_name_does_not_cut_a_gradient():
    assert ad.grad(lambda x: ad.named(x, "y") ** 2)(3.0) == 6
    assert ad.trace(lambda x: ad.named(ad.named(x, "y") ** 2, "z"), 3.0).gradient().evaluate(3.0) == (6.0,)


# --- JAX's transformations, outside and inside ---------------------------------------------------------


def test_jit_vmap_and_grad_of_jax_work_on_ours():
    g = ad.grad(f)
    same(jax.jit(g)(w, x), jax.grad(f)(w, x))
    same(jax.jit(jax.vmap(g, (None, 0)))(w, x[:, None]), jax.vmap(jax.grad(f), (None, 0))(w, x[:, None]))
    total = lambda h: lambda w: jnp.sum(h(f)(w, x) ** 2)  # noqa: E731
    same(jax.grad(total(ad.grad))(w), jax.grad(total(jax.grad))(w), rtol=1e-4)
    same(jax.jvp(g, (w, x), (w, x)), jax.jvp(jax.grad(f), (w, x), (w, x)), rtol=1e-4)
    same(jax.jit(ad.hessian(f))(w, x), jax.jit(jax.hessian(f))(w, x), rtol=1e-4)


def test_an_index_may_be_a_tracer():
    one_of = lambda grad: lambda i: grad(lambda z: z[i] ** 2 + z[i, None].sum())(x[0])  # noqa: E731
    same(jax.vmap(one_of(ad.grad))(jnp.arange(3)), jax.vmap(one_of(jax.grad))(jnp.arange(3)))


def test_ours_within_a_scan_body_and_under_checkpoint():
    def descend(w, _):
        return w - 0.1 * ad.grad(f)(w, x), ad.value_and_grad(f)(w, x)[0]

    def reference(w, _):
        return w - 0.1 * jax.grad(f)(w, x), f(w, x)

    same(jax.lax.scan(descend, w, None, 5), jax.lax.scan(reference, w, None, 5), rtol=1e-4)
    same(jax.checkpoint(ad.grad(f))(w, x), jax.grad(f)(w, x))


@pytest.mark.parametrize("check_vma", [True, False])
def test_ours_within_shard_map_sums_over_devices_what_they_share(check_vma):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))

    def per_device(derivative):
        body = lambda w, x: derivative(lambda w: ops.sum(ops.tanh(x @ w)))(w)  # noqa: E731
        return jax.shard_map(body, mesh=mesh, in_specs=(P(), P("i")), out_specs=P(), check_vma=check_vma)

    same(per_device(ad.grad)(w, x), per_device(jax.grad)(w, x))


def test_a_compiled_gradient_has_no_more_flops_than_that_of_jax():
    ours, theirs = (jax.jit(grad(f)).lower(w, x).compile().cost_analysis()["flops"] for grad in (ad.grad, jax.grad))
    assert ours <= theirs


# --- Python in the function ---------------------------------------------------------------------------


def test_control_flow_on_concrete_values():
    def branching(x):
        while x < 100:
            x = x * x if x > 3 else x + 2
        return x

    assert ad.grad(branching)(1.5) == jax.grad(branching)(1.5)
    assert ad.grad(lambda x: x[jnp.argmax(jnp.array([1, 5, 2]))] ** 2)(jnp.array([1.0, 2.0, 3.0])).tolist() == [0, 4, 0]
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(ad.grad(branching))(1.5)


def test_operators_indexing_and_methods_are_those_of_arrays():
    def everything(a):
        b = 2 - a + 1 / (3 + a * a) - (-a) ** 2 / 5 + +a * 0.5
        c = abs(b) + a.T.T + a.mT.mT + a.reshape(4, 3).reshape((3, 4)) + a.ravel().reshape(3, -1)
        d = c[1:, ::2].sum() + c[0].mean() + c.max() + c.min(axis=0).sum() + c[..., None].squeeze(-1).prod()
        e = sum(row[0] for row in c) + a.transpose(1, 0).dot(a[:, 0]).sum() + 2.0 ** a[0, 0] + a.astype(a.dtype)[1, 1]
        first, *_ = a
        return d + e + first.sum() + np.float32(2) * a[0, 1] + (np.ones((3, 4), np.float32) * a).sum() + len(a)

    same(ad.value_and_grad(everything)(x), jax.value_and_grad(everything)(x), rtol=1e-4)
    masked = lambda a: ops.sum(ops.where(((a > 0) & (a <= 1)) | ~(a != a), a, 0 * a))  # noqa: E731
    same(ad.grad(masked)(x), jax.grad(masked)(x))


def test_masks_of_truth_values_and_of_whole_numbers():
    mask = np.array([[True, False, True, False]])
    same(ad.grad(lambda a: ops.sum(ops.where(mask & (a > 0) | ~mask, a, 0)))(x),
         jax.grad(lambda a: jnp.sum(jnp.where(mask & (a > 0) | ~mask, a, 0)))(x))  # fmt: skip
    v = jnp.array([0.0, 1, 2, 5, 6, 7, 9])
    assert ad.grad(lambda a: ops.sum(a) * (ops.argmax(a) & 1).astype("float32"))(v)[0] == 0


def test_a_users_operation_in_ten_lines():
    @jax.jit
    def forward(x):
        return x * jax.nn.sigmoid(x)

    swish = ad.Operation("swish", forward, (lambda g, out, x: g * (out + ops.sigmoid(x) * (1 - out)),))
    same(ad.hessian(lambda x: ops.sum(swish(x)))(x[0]), jax.hessian(lambda x: jnp.sum(jax.nn.swish(x)))(x[0]))
    assert "swish(x)" in str(ad.trace(swish, x))


# --- size ------------------------------------------------------------------------------------------------


def test_a_chain_of_thousands_of_operations_needs_no_recursion():
    def chain(x):
        for _ in range(2_000):
            x = (x + 1.0) * 0.5
        return x

    assert ad.grad(chain)(3.0) == 0.0
    graph = ad.trace(chain, 3.0)
    assert len(graph.variables) == 4_001
    assert graph.gradient().evaluate(3.0)[0] == 0


def test_number_mode_frees_what_it_has_used():
    """The gradient of a chain holds few arrays at its end, not one or two for each operation."""
    alive, most = [], 0
    gc.freeze()  # what is there already need not be looked through each time

    def watch(g, out, x):
        nonlocal most
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))
        gradient = g * 1.0
        alive.append(weakref.ref(gradient))
        return gradient

    step = ad.Operation("step", lambda x: x + 1.0, (watch,))

    def chain(x):
        for _ in range(30):
            x = step(x)
            value = x.value
            alive.append(weakref.ref(value))
        return ops.sum(x)

    ad.grad(chain)(jnp.ones(3))
    left = sum(reference() is not None for reference in alive)
    gc.unfreeze()
    assert left <= 2
    assert most <= 34


# --- the network ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "output", "cost", "penalty"),
    [
        ("relu", "softmax", None, None),
        ("sigmoid", "softmax", "squared_error", mlp_jax.L1(0.01)),
        ("tanh", "sigmoid", None, mlp_jax.L2(0.1)),
        ("softplus", "linear", None, mlp_jax.L1(0.01)),
    ],
)
def test_algorithm_6_4_is_the_tracer_on_the_cost_bit_for_bit(hidden, output, cost, penalty):
    net = mlp_jax.MLP((4, 6, 5, 3), hidden=hidden, output=output, cost=cost, penalty=penalty, bias=(True, False, True))
    params = mlp_jax.init(net, jax.random.key(0), bias=0.1)
    y = jax.nn.softmax(jax.random.normal(jax.random.key(2), (3, 3)))
    weights = jnp.array([1.0, 0.0, 2.0])
    J, grads = mlp_jax.loss_and_grad(net, params, x, y, weights)
    value, traced = ad.value_and_grad(mlp_jax.loss, argnums=1)(net, params, x, y, weights)
    symbols = ad.trace(lambda params: mlp_jax.loss(net, params, x, y, weights), params).gradient().evaluate(params)[0]
    assert value == J
    for one, two, three in zip(*(jax.tree.leaves(tree) for tree in (grads, traced, symbols)), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
