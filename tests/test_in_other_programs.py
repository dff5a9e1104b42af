"""What other programs do to the tracer besides calling operations: export, pickle, numpy, methods, infinities."""

import dataclasses
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from numpy.testing import assert_allclose

import mlp_jax
from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

x = jnp.array([1.0, 2.0, 3.0])
swish = ad.Operation("swish", lambda x: x * ops.sigmoid(x), (lambda g, out, x: g * (out + ops.sigmoid(x) * (1 - out)),))

# --- lengths that are symbols -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        ops.mean,
        lambda x: ops.mean(x, axis=1)[0],
        lambda x: x[0, 0],
        lambda x: ops.sum(x[1:] * x[-1:]),
        lambda x: ops.sum(x[::2, None]),
        lambda x: ops.sum(x) / x.size,
        lambda x: ops.sum(ops.softmax(x) * ops.log_softmax(x, axis=0)) + ops.logsumexp(x),
        lambda x: ops.sum(ops.cumsum(x, axis=0) * ops.flip(x)) + ops.max(x),
        lambda x: ops.sum(ops.einsum("ij,kj->ik", x, x) @ x),
        lambda x: ops.sum(ops.concatenate([x, x[1:]]) ** 2) + ops.sum(ops.sort(x, axis=0)[0]),
        lambda x: ops.sum(ops.prod(x, axis=0)) + ops.prod(x),
        lambda x: ops.sum(ops.scan(lambda c, row: (c * row, c), x[0], x)[1]),
        lambda x: ops.sum(ad.vmap(lambda row: ops.tanh(row) * row[0])(x)) + ops.var(x),
    ],
)
def test_a_gradient_is_exported_with_a_batch_of_any_size(f):
    (n,) = export.symbolic_shape("n")
    exported = export.export(jax.jit(ad.grad(f)))(jax.ShapeDtypeStruct((n, 3), jnp.float32))
    for size in (2, 5):
        at = jax.random.normal(jax.random.key(0), (size, 3))
        assert_allclose(exported.call(at), ad.grad(f)(at), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_algorithm_6_4_is_exported_with_a_batch_of_any_size(output):
    net = mlp_jax.MLP((3, 4, 2), hidden="tanh", output=output, penalty=mlp_jax.L2(0.1))
    params = mlp_jax.init(net, jax.random.key(0))
    (n,) = export.symbolic_shape("n")
    rows = [jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (3, 2)]
    step = jax.jit(lambda params, x, y: mlp_jax.loss_and_grad(net, params, x, y))
    at = params, jnp.ones((5, 3)), jnp.full((5, 2), 0.5)
    flat = jax.tree_util.tree_structure(params)
    exported = export.export(jax.jit(lambda leaves, x, y: jax.tree.leaves(step(flat.unflatten(leaves), x, y))))(
        jax.tree.leaves(params), *rows
    )
    for one, other in zip(exported.call(jax.tree.leaves(params), *at[1:]), jax.tree.leaves(step(*at)), strict=True):
        assert_allclose(one, other, rtol=1e-5)


# --- pickle --------------------------------------------------------------------------------------------------


def test_operations_are_pickled_by_name():
    operations = [value for module in (ops, ops.linalg) for value in vars(module).values()]
    operations = [value for value in operations if isinstance(value, ad.Operation)]
    assert len(operations) > 100
    for operation in (*operations, swish):
        assert pickle.loads(pickle.dumps(operation)) is operation


def test_networks_and_graphs_are_pickled():
    for hidden in (mlp_jax.hidden_units.maxout(3), mlp_jax.hidden_units.gelu(approximate=False), "rbf"):
        net = mlp_jax.MLP((3, 6, 2), hidden=hidden)
        assert pickle.loads(pickle.dumps(net)) == net
    p = {"a": x, "b": jnp.float32(2.0)}

    def f(p):
        carry, rows = ops.scan(
            lambda c, row: (ops.tanh(c * row), ops.cond(row > 1, ops.sin, ops.cos, c)), p["b"], p["a"]
        )
        batch = ad.vmap(ad.checkpoint(lambda row: row * p["b"]))(p["a"])
        return carry + ops.sum(rows * batch) + ops.linalg.slogdet(ops.diag(p["a"]))[1]

    graph = ad.trace(f, p)
    for each in (graph, graph.gradient(), graph.gradient().simplify()):
        again = pickle.loads(pickle.dumps(each))
        assert str(again) == str(each)
        assert_allclose(
            *(jnp.concatenate([jnp.ravel(y) for y in jax.tree.leaves(g.evaluate(p))]) for g in (again, each))
        )

    def chain(x):
        for _ in range(3000):
            x = x + 1.0
        return x

    assert len(pickle.loads(pickle.dumps(ad.trace(chain, 1.0))).variables) == 3001


def test_a_network_with_another_output_has_the_cost_of_that():
    net = mlp_jax.MLP((3, 6, 2))
    other = dataclasses.replace(net, output="softmax")
    assert other == mlp_jax.MLP((3, 6, 2), output="softmax", cost="cross_entropy")
    assert dataclasses.replace(pickle.loads(pickle.dumps(other)), output="linear") == net
    with pytest.raises(ValueError, match="cost of a softmax output unit"):
        dataclasses.replace(mlp_jax.MLP((3, 6, 2), cost="absolute_error"), output="softmax")


# --- numpy, methods, keywords ----------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [np.sum, np.mean, np.max, np.min, np.prod, np.std, np.linalg.norm, np.ptp])
def test_a_function_of_numpy_is_the_operation_of_its_name_or_refused_by_its_name(f):
    ours = lambda x: f(x * x)  # noqa: E731
    if f is np.ptp:
        with pytest.raises(ad.TracingError, match="numpy.ptp is not an operation of a graph"):
            ad.grad(ours)(x)
    else:
        reference = jnp.linalg.norm if f is np.linalg.norm else getattr(jnp, f.__name__)
        assert_allclose(ad.grad(ours)(x), jax.grad(lambda x: reference(x * x))(x), rtol=1e-6)


def test_a_numpy_array_does_not_take_a_variable_in():
    def f(x):
        total = np.zeros(3, np.float32)
        total += x
        return total

    with pytest.raises(ad.TracingError, match="numpy.add is not an operation of a graph"):
        ad.grad(f)(x)


@pytest.mark.usefixtures("usual_promotion")
def test_methods_of_arrays():
    def f(a):
        b = a.clip(0.1, 0.9).cumsum(axis=0).swapaxes(0, 1).flatten() + a.ravel().sort() + a.repeat(2)[:6]
        c = a.var() + a.std(axis=0).sum() + a.take(a.argmax()) + a.diagonal().sum() + a.real.conj().copy().sum()
        d = a[0].argmin() + (a % 0.7 + a // 0.3).sum() + round(a)[0, 0] + a.cumprod(axis=1).sum()
        e = a.at[0].set(3.0).at[1, [0, 0]].add(a[0, :2]).at[1].multiply(a[0]).sum() + a.at[0].get().sum()
        return b.sum() + c + d + e if (a > 0).all() and not (a > 2).any() else a.sum()

    a = jnp.array([[0.2, 0.9, 0.5], [0.7, 1.3, 0.4]])
    assert_allclose(f(a), ad.value_and_grad(f)(a)[0], rtol=1e-6)
    assert_allclose(ad.grad(f)(a), jax.grad(lambda a: jnp.where(a.any(), traced(a), 0.0))(a), rtol=1e-5)
    with pytest.raises(AttributeError, match=r"a variable has no .nonzero, which arrays have"):
        ad.grad(lambda x: x.nonzero())(x)


def traced(a):
    """The first branch of f in `test_methods_of_arrays`, as JAX takes it."""
    b = a.clip(0.1, 0.9).cumsum(axis=0).swapaxes(0, 1).flatten() + jnp.sort(a.ravel()) + a.repeat(2)[:6]
    c = a.var() + a.std(axis=0).sum() + a.max() + a.diagonal().sum() + a.sum()
    d = (a % 0.7).sum() + a.cumprod(axis=1).sum()
    e = a.at[0].set(3.0).at[1, jnp.array([0, 0])].add(a[0, :2]).at[1].multiply(a[0]).sum() + a[0].sum()
    return b.sum() + c + d + e


# --- what the messages say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: optax.apply_updates(x, -x), r"of update.py, called from line \d+ of test_in_other.*jax_operation"),
        (lambda x: jax.tree.map(jnp.add, x, x), r": jnp.add was given a variable.*use ops.add"),
        (lambda x: jnp.eye(3)[ops.argmax(x)], r"no entry at a variable; use ops.getitem\(array, index\)"),
        (lambda x: jax.vmap(ops.sin)(x), r"jax.vmap\(…\) was given a variable.*use ad.vmap"),
        (lambda x: jax.jit(ops.sin)(x), r"an operation by ad.jax_operation\(jax.jit\(…\)\)"),
        (lambda x: jax.lax.scan(lambda c, r: (c, r), 1.0, x), "use ops.scan"),
        (lambda x: jnp.linalg.inv(ops.diag(x)), "use ops.linalg.inv"),
    ],
)
def test_a_message_names_the_function_and_what_to_use(f, message):
    with pytest.raises(ad.TracingError, match=message):
        ad.grad(f)(x)


def test_a_tangent_that_is_unlike_its_primal():
    with pytest.raises(ValueError, match=r"jvp: the tangent of argument 0 must be like .*, float32\[\], got int32\[\]"):
        ad.jvp(lambda x: x * x, (2.0,), (1,))
    with pytest.raises(ValueError, match=r"hvp: the tangent of argument 0\['a'\] .* float32\[3\], got float32\[4\]"):
        ad.hvp(lambda p: ops.sum(p["a"] ** 3), ({"a": x},), ({"a": jnp.ones(4)},))


def test_a_stack_of_layers_is_differentiated():
    net = mlp_jax.MLP((3, 4, 4, 4, 1), hidden="tanh", penalty=mlp_jax.L2(0.1))
    params = mlp_jax.init(net, jax.random.key(0), stacked=True)
    f = lambda p: mlp_jax.loss(net, p, jnp.ones((2, 3)), jnp.ones((2, 1)))  # noqa: E731
    for one, other in zip(jax.tree.leaves(ad.grad(f)(params)), jax.tree.leaves(jax.grad(f)(params)), strict=True):
        assert_allclose(one, other, rtol=1e-5)


# --- infinities ------------------------------------------------------------------------------------------------

ELEMENTWISE = re.findall(
    r"\w+",
    "tan arctan sinh cosh arcsinh exp expm1 exp2 log log2 log10 log1p sqrt cbrt rsqrt reciprocal square abs sign relu "
    "tanh sigmoid softplus elu silu gelu erf erfc ndtr log_ndtr floor round isnan nan_to_num hypot logaddexp arctan2 "
    "maximum minimum mul div add mod",
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_at_infinities_and_at_huge_numbers_a_rule_is_finite_where_jaxs_is(name):
    operation = getattr(ops, name)
    n = 1 if name in ELEMENTWISE[: ELEMENTWISE.index("hypot")] else 2
    points = jnp.array([-np.inf, -1e30, -1.0, 0.0, 0.5, 1e30, np.inf], jnp.float32)
    at = [axis.ravel() for axis in jnp.meshgrid(*[points] * n)]
    out = operation(*at)
    for i in range(n):
        if out.dtype == jnp.float32:
            ours = operation.gradient(i, jnp.ones_like(out), out, *at)
            theirs = jax.vjp(operation.f, *at)[1](jnp.ones_like(out))[i]
            assert np.isfinite(ours)[np.isfinite(theirs)].all()


def test_logsumexp_and_logaddexp_at_infinities_are_the_limit():
    for at, expected in [([np.inf, 0], [1, 0]), ([np.inf, np.inf, 1], [0.5, 0.5, 0]), ([-np.inf, 0], [0, 1])]:
        assert ad.grad(ops.logsumexp)(jnp.array(at)).tolist() == expected
    assert ad.grad(ops.logaddexp, (0, 1))(jnp.inf, 0.0) == (1, 0)
    assert ad.grad(ops.logaddexp, (0, 1))(jnp.inf, jnp.inf) == (0.5, 0.5)
    tied = lambda grad, f: grad(lambda a: grad(lambda a: f(jnp.array([1.0, 0.0]) * a + 1.0 - a[::-1] * 0))(a)[0])  # noqa: E731
    assert_allclose(
        tied(ad.grad, ops.logsumexp)(jnp.zeros(2)), tied(jax.grad, jax.nn.logsumexp)(jnp.zeros(2)), atol=1e-6
    )
