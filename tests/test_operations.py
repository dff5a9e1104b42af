"""Every operation's rules against jax.vjp of its f, in float64, first and second order, and at its kinks."""

import functools
import operator
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from operation_rows import COMPOSITIONS, ROWS, normal

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import Operation, ops
from mlp_jax.autodiff.operations import (
    activations,
    arranging,
    costs,
    elementwise,
    functions,
    linalg,
    products,
    reductions,
    shaping,
)

pytestmark = pytest.mark.usefixtures("x64")


MODULES = (activations, arranging, costs, elementwise, functions, linalg, products, reductions, shaping)
ALL = {value for module in MODULES for value in vars(module).values() if isinstance(value, Operation)}


def test_every_operation_has_a_row():
    assert {op for op, *_ in ROWS} == ALL
    hidden = {"scatter_set", "scatter_plus", "top_places"}  # parts of others
    assert all(hasattr(ops, op.name) or hasattr(ops.linalg, op.name) for op in ALL if op.name not in hidden)
    assert len({op.name for op in ALL}) == len(ALL)


def gradients(operation, g, inputs, attributes, which):
    out = operation(*inputs, **attributes)
    return [operation.gradient(i, g, out, *inputs, **attributes) for i in which]


@pytest.mark.parametrize(("operation", "inputs", "attributes", "which"), ROWS, ids=lambda v: getattr(v, "name", ""))
def test_rules_agree_with_jax_in_first_and_second_order(operation, inputs, attributes, which):
    inputs = [jnp.asarray(value) for value in inputs]

    def f(*chosen):
        full = list(inputs)
        for i, value in zip(which, chosen, strict=True):
            full[i] = value
        return operation(*full, **attributes)

    def ours(*chosen):
        full = list(inputs)
        for i, value in zip(which, chosen, strict=True):
            full[i] = value
        return gradients(operation, g, full, attributes, which)

    chosen = [inputs[i] for i in which]
    g = jax.tree.map(lambda y: jnp.asarray(normal(*y.shape, seed=3)), jax.eval_shape(f, *chosen))
    probes = [jnp.asarray(normal(*value.shape, seed=5)) for value in chosen]

    def first_and_second(rule, chosen):
        return rule(*chosen), jax.vjp(lambda *c: list(rule(*c)), *chosen)[1](probes)

    @jax.jit  # one compilation instead of one for each operation of JAX
    def both(*chosen):
        theirs = lambda *chosen: jax.vjp(f, *chosen)[1](g)  # noqa: E731
        return first_and_second(ours, chosen), first_and_second(theirs, chosen)

    (mine, second), (theirs, expected) = both(*chosen)
    for one, other in zip(mine, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    for one, other in zip(second, expected, strict=True):
        assert_allclose(one, other, rtol=1e-10, atol=1e-13)


# An ordinary run takes two of three.
@pytest.mark.parametrize(
    ("ours", "theirs", "inputs", "given"),
    [pytest.param(*row, marks=[pytest.mark.slow] * (k % 3 == 2)) for k, row in enumerate(COMPOSITIONS)],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_compositions_agree_with_jax_in_first_and_second_order(ours, theirs, inputs, given):
    inputs = [jnp.asarray(value) for value in inputs]
    places = [k for k, x in enumerate(inputs) if x.dtype == jnp.float64]

    def first(f, vjp):
        def of_real(*values):
            return f(*(values[places.index(k)] if k in places else x for k, x in enumerate(inputs)), **given)

        out, pullback = vjp(of_real, *(inputs[k] for k in places))
        return out, pullback(jnp.asarray(normal(*out.shape, seed=3)))

    def slope(f, grad, x):
        total = lambda x: (f(*(x if k == places[0] else y for k, y in enumerate(inputs)), **given) ** 3).sum()  # noqa: E731
        return grad(lambda x: (grad(total)(x) ** 2).sum())(x)

    @jax.jit
    def both(x):
        return [(first(f, vjp), slope(f, grad, x)) for f, vjp, grad in ((ours, ad.vjp, ad.grad),
                                                                      (theirs, jax.vjp, jax.grad))]  # fmt: skip

    (mine, second), (expected, expected_second) = both(inputs[places[0]])
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    assert_allclose(second, expected_second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("operation", [ops.relu, ops.abs, ops.sum_of_magnitudes], ids=lambda op: op.name)
def test_the_derivative_at_the_kink_is_0_for_us_and_for_jax(operation):
    x = jnp.array([0.0])
    out = operation(x)
    assert operation.gradient(0, jnp.ones_like(out), out, x).tolist() == [0.0]
    assert jax.grad(lambda v: operation(v).sum())(x).tolist() == [0.0]


@pytest.mark.parametrize("z", [-1e4, -50.0, 0.0, 50.0, 1e4])
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_sigmoid_cross_entropy_is_the_books_for_hard_labels_and_right_for_soft_ones(z, y):
    expected = max(z, 0) - y * z + np.log1p(np.exp(-abs(z)))  # ζ(z) − yz
    zs, ys = jnp.array([z]), jnp.array([y])
    cost = ops.sigmoid_cross_entropy(zs, ys)
    assert_allclose(cost, expected, rtol=1e-13)
    if y in (0, 1):
        assert_allclose(cost, jax.nn.softplus((1 - 2 * y) * z), rtol=1e-15)
        assert_allclose(np.exp(-cost), jax.nn.sigmoid((2 * y - 1) * z), rtol=1e-15)
    gradient = ops.sigmoid_cross_entropy.gradient(0, jnp.ones(()), cost, zs, ys)
    assert np.isfinite(gradient).all()
    assert_allclose(gradient, [jax.nn.sigmoid(z) - y], rtol=1e-12, atol=1e-21)


def test_weighted_mean_over_no_examples_is_0_with_gradient_0():
    L, w = jnp.array([3.0, 4.0]), jnp.zeros(2)
    out = ops.weighted_mean(L, w)
    assert out == 0
    assert ops.weighted_mean.gradient(0, 1.0, out, L, w).tolist() == [0, 0]


def test_an_operation_with_one_rule_for_all_inputs():
    product = Operation("product", lambda x, y: x * y, lambda g, out, x, y: (g * y, g * x))
    x, y = jnp.array([2.0, 3.0]), jnp.array(5.0)
    assert product.gradient(0, jnp.ones(2), product(x, y), x, y).tolist() == [5, 5]
    assert product.gradient(1, jnp.ones(2), product(x, y), x, y) == 5  # unbroadcast: 2 + 3


def halved(g, out, x):
    return g / 2


def test_operations_and_graphs_can_be_pickled():
    half = pickle.loads(pickle.dumps(Operation("half", functools.partial(operator.mul, 0.5), (halved,))))
    assert (half(4.0), half.gradient(0, 1.0, 2.0, 4.0)) == (2.0, 0.5)
    assert pickle.loads(pickle.dumps(ops.sin)) is ops.sin
    gradient = ad.trace(lambda x: ops.sum(ops.sin(x) * half(x)), jnp.ones(3)).gradient()
    (found,) = pickle.loads(pickle.dumps(gradient)).evaluate(jnp.ones(3))
    assert_allclose(found, gradient.evaluate(jnp.ones(3))[0])


def test_a_rule_with_too_few_gradients_is_named():
    lazy = Operation("lazy", lambda x, y: x * y, lambda g, out, x, y: g * y)
    with pytest.raises(ValueError, match="'lazy' must return one gradient per input: 2; it returned 1"):
        lazy.gradient(0, 1.0, 6.0, 2.0, 3.0)


@pytest.mark.parametrize("rule", [lambda g, out, x: g, lambda g, out, x: (g * x).T], ids=["scalar", "transposed"])
def test_a_gradient_of_another_shape_is_named(rule):
    total = Operation("total", jnp.sum, (rule,))
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match=r"'total' for input 0 must return .* shape \(2, 3\), got"):
        total.gradient(0, jnp.ones(()), total(x), x)


def test_a_gradient_whose_extra_axis_no_array_has_is_named():
    double = Operation("double", lambda x: x * 2, (lambda g, out, x: jnp.ones((5, 1)) * g[None],))
    with pytest.raises(ValueError, match=r"'double' for input 0 must return .* shape \(3,\), got \(5, 3\)"):
        ad.vjp(double, jnp.ones(3))[1](jnp.ones(3))


def test_the_mean_of_more_entries_than_float16_can_count():
    x = jnp.ones(100_000, jnp.float16)
    assert_allclose(ad.grad(ops.mean)(x)[:2], [1e-5, 1e-5], rtol=1e-2)


def test_a_gradient_has_the_dtype_of_its_input():
    a, b = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 2), jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        assert ops.matmul.gradient(0, jnp.ones((2, 2), jnp.float32), a @ b, a, b).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("entry", [-1e9, 40.0, 1e7])
def test_the_gradient_of_logsumexp_where_its_value_is_rounded(dtype, entry):
    assert ad.grad(ops.logsumexp)(jnp.full(2, entry, dtype)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("operation", [ops.sum, ops.prod, ops.log_softmax, ops.softmax, ops.cumsum, ops.tanh])
def test_no_entries_have_a_gradient_without_entries(operation):
    assert ad.vjp(operation, jnp.zeros((2, 0)))[1](operation(jnp.zeros((2, 0))))[0].shape == (2, 0)


def test_attributes_may_be_positional_as_in_jax_numpy():
    assert ops.sum(jnp.ones((2, 3)), 0).tolist() == [2, 2, 2]
    assert ops.broadcast_to(jnp.ones(3), (2, 3)).shape == (2, 3)


def test_inputs_are_treated_as_distinct():
    x = jnp.asarray(normal(3, 3))
    out = x @ x
    g = jnp.ones_like(out)
    left, right = gradients(ops.matmul, g, (x, x), {}, (0, 1))
    assert_allclose(left, g @ x.T)
    assert_allclose(right, x.T @ g)


def test_a_missing_rule_names_operation_and_input():
    half = Operation("half", lambda x, y: x * y, (lambda g, out, x, y: g * y, None))
    with pytest.raises(NotImplementedError, match=r"'half' has no bprop rule for input 1 of 2"):
        half.gradient(1, 1.0, 6.0, 2.0, 3.0)
