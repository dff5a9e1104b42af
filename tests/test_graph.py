"""Graphs: the book's get-operations, Algorithm 6.5 symbol-to-symbol, pruning, simplification, accounting."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlp_jax
from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops
from mlp_jax.autodiff.dag import check_types
from mlp_jax.autodiff.graph import Graph
from mlp_jax.autodiff.variable import Variable

w = jax.random.normal(jax.random.key(0), (4, 5))
x = jax.random.normal(jax.random.key(1), (3, 4))


def f(w, x):
    a = x @ w
    return ops.sum(a * ops.tanh(a))


def test_the_book_s_three_questions_to_a_graph():
    graph = ad.trace(f, w, x)
    w_in, x_in = graph.inputs
    a, h, product, J = graph.variables[2:]
    assert [graph.operation_of(v).name for v in (a, h, product, J)] == ["matmul", "tanh", "mul", "sum"]
    assert graph.operation_of(w_in) is None
    assert graph.inputs_of(a) == (x_in, w_in)
    assert graph.inputs_of(product) == (a, h)
    assert graph.consumers_of(a) == (h, product)
    assert graph.consumers_of(J) == ()
    assert graph.outputs == (J,)
    assert (h.shape, h.dtype, h.ndim, h.size) == ((3, 5), jnp.float32, 2, 15)
    for v in graph.variables:
        assert all(v in graph.inputs_of(c) for c in graph.consumers_of(v))


def test_only_shapes_and_dtypes_are_needed():
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in (w, x)]
    assert str(ad.trace(f, *shapes)) == str(ad.trace(f, w, x))
    assert jax.jit(lambda w, x: ad.trace(f, w, x).gradient().evaluate(w, x))(w, x)[0].shape == w.shape


def test_whole_and_real_numbers_of_one_value_are_two_constants():
    with jax.numpy_dtype_promotion("standard"):
        graph = ad.trace(lambda n: (n * 2, n * 2.0), jnp.arange(3))
        assert [v.dtype for v in graph.simplify().outputs] == [v.dtype for v in graph.outputs] == ["int32", "float32"]


def test_two_threads_may_differentiate_one_graph():
    graph = ad.trace(f, w, x)
    with ThreadPoolExecutor(4) as pool:
        texts = [str(gradient) for gradient in pool.map(lambda _: graph.gradient(), range(40))]
    assert len(set(texts)) == 1
    assert not graph.inputs[0].trace.is_open


def test_evaluate_returns_the_structure_of_the_function():
    def g(params, k):
        return {"sum": params["a"] + params["b"], "rest": (params["a"], None, 3.0, k)}

    params = {"a": jnp.ones(2), "b": jnp.zeros(())}
    graph = ad.trace(g, params, jnp.array(1))
    assert graph.names[graph.inputs[1]] == "params['b']"
    for evaluate in (graph.evaluate, jax.jit(graph.evaluate)):
        out = evaluate(params, jnp.array(1))
        assert out["sum"].tolist() == [1, 1]
        assert out["rest"][0].tolist() == [1, 1]
        assert out["rest"][2:] == (3.0, 1)


def test_evaluate_refuses_arguments_that_do_not_fit():
    graph = ad.trace(f, w, x)
    with pytest.raises(ValueError, match=r"input w of the graph is float32\[4,5\], got float32\[5,4\]; for other"):
        graph.evaluate(w.T, x)
    with pytest.raises(ValueError, match=r"input x of the graph is float32\[3,4\], got int32\[3,4\]"):
        graph.evaluate(w, x.astype(int))
    with pytest.raises(TypeError, match="the graph's arguments have the structure"):
        graph.evaluate(w)


def test_the_gradient_of_a_gradient():
    graph = ad.trace(lambda x: x**4, 1.0)
    values = []
    for _ in range(4):
        graph = graph.gradient()
        values.append(float(graph.evaluate(2.0)[0]))
    assert values == [32, 48, 48, 24]


def test_gradient_for_chosen_variables_in_their_structure():
    graph = ad.trace(f, w, x)
    a, h = graph.variables[2:4]
    by_name = graph.gradient(wrt={"h": h, "w": [graph.inputs[0]]}).evaluate(w, x)
    assert_allclose(by_name["h"], x @ w, rtol=1e-6)
    assert_allclose(by_name["w"][0], jax.grad(f)(w, x), rtol=1e-5, atol=1e-6)
    alone = graph.gradient(wrt=a).evaluate(w, x)
    assert_allclose(alone, jax.grad(lambda a: jnp.sum(a * jnp.tanh(a)))(x @ w), rtol=1e-5)


def test_gradient_of_one_of_several_outputs():
    graph = ad.trace(lambda x: (x * 2, x * 3), 1.0)
    with pytest.raises(ValueError, match=r"the graph has 2 outputs; .*gradient\(of=graph.outputs\[0\]\)"):
        graph.gradient()
    assert graph.gradient(of=graph.outputs[1]).evaluate(1.0) == (3.0,)


def test_what_a_gradient_cannot_be_taken_of():
    graph = ad.trace(lambda x, k: (x @ x.T, k), x, 3)
    with pytest.raises(TypeError, match=r"floating-point scalar, got v2: float32\[3,3\]; reduce it"):
        graph.gradient(of=graph.outputs[0])
    with_integer = ad.trace(lambda x, k: ops.sum(x), x, 3)
    with pytest.raises(TypeError, match=r"gradients are for floating-point numbers, got k: int32\[\]"):
        with_integer.gradient(wrt=with_integer.inputs[1])
    with pytest.raises(ValueError, match="the graph's output is a constant"):
        ad.trace(lambda x: 3.0, x).gradient()


def test_an_integer_argument_has_no_gradient():
    assert ad.trace(lambda x, k: ops.sum(x[k]), x, 1).gradient().evaluate(x, 1)[1] is None


# --- pruning ---------------------------------------------------------------------------------------------


def test_what_was_pruned_is_reported():
    gradient = ad.trace(f, w, x).gradient(wrt=())
    assert gradient.notes[0].startswith("pruned")
    graph = ad.trace(lambda w, x: ops.sum(ops.sin(x) * w), w, w)
    only_w = graph.gradient(wrt=graph.inputs[0])
    assert only_w.notes == ("pruned 2 of 5 variables: x, v1",)
    assert not any(v.operation is ops.cos for v in only_w.variables)


def test_why_a_gradient_is_zero():
    def cost(w, b, c, d):
        stopped = ops.stop_gradient(w)
        picked = ops.argmax(b)
        return ops.sum(stopped * c) + picked.astype("float32")

    graph = ad.trace(cost, x, x, x, x)
    gradient = graph.gradient()
    line = cost.__code__.co_firstlineno
    assert gradient.notes[1:] == (
        f"∂J/∂w = 0: no path from J to w: cut at stop_gradient, line {line + 1} of test_graph.py",
        f"∂J/∂b = 0: no path from J to b: cut at argmax, line {line + 2} of test_graph.py",
        "∂J/∂d = 0: J does not depend on d",
    )
    assert gradient.notes[1] in str(gradient)
    values = gradient.evaluate(x, x, x, x)
    assert [bool(np.any(value)) for value in values] == [False, False, True, False]


def test_one_bprop_for_each_edge_and_none_that_is_not_needed():
    calls = []

    def counted(name, rule):
        return lambda g, out, x, y: (calls.append(name), rule(g, x, y))[1]

    times = ad.Operation(
        "times", lambda x, y: x * y, (counted("left", lambda g, x, y: g * y), counted("right", lambda g, x, y: g * x))
    )
    shared = ad.trace(lambda x, y: times(times(x, x), y), 2.0, 3.0)
    shared.gradient(wrt=shared.inputs[0])
    assert sorted(calls) == ["left", "left", "right"]


# --- the type-check --------------------------------------------------------------------------------------


def test_a_graph_with_a_wrong_type_is_not_made():
    graph = ad.trace(f, w, x)
    J = graph.outputs[0]
    wrong = Variable(J.trace, jax.ShapeDtypeStruct((2,), "float32"), J.operation, J.inputs, J.attributes)
    with pytest.raises(ad.TracingError, match=r"Variable\(sum: float32\[2\]\) should be float32\[\]: .* 'sum'"):
        Graph(graph.inputs, (wrong,), graph.in_tree, graph.out_tree)
    check_types(graph.gradient())


# --- simplification (section 6.5.9) ------------------------------------------------------------------------


def count(graph):
    return sum(v.operation is not None for v in graph.variables)


def test_the_derivative_of_softmax_then_log_becomes_q_minus_p():
    z, q = x, jax.nn.one_hot(jnp.arange(3), 4)
    graph = ad.trace(lambda z, q: -ops.sum(q * ops.log(ops.softmax(z))), z, q)
    gradient = graph.gradient(wrt=graph.inputs[0])
    simple = gradient.simplify()
    assert (count(gradient), count(simple)) == (14, 4)  # p Σq − q
    assert simple.notes == ("simplified 14 operations to 4",)
    assert_allclose(simple.evaluate(z, q), jax.nn.softmax(z) - q, rtol=1e-6)
    constant = ad.trace(lambda z: -ops.sum(q * ops.log(ops.softmax(z))), z).gradient().simplify()
    assert [v.operation.name for v in constant.variables if v.operation] == ["softmax", "add"]  # p + (−q)
    assert_allclose(constant.evaluate(z)[0], jax.nn.softmax(z) - q, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "operations"),
    [
        (lambda x: x * 1 + 0, 0),
        (lambda x: ops.neg(ops.neg(x)) / 1, 0),
        (lambda x: (x.T.T).reshape(3, 4), 0),
        (lambda x: ops.sin(x) + ops.sin(x), 2),
        (lambda x: x * (ops.ones_like(x) * 2), 1),
        (lambda x: ops.exp(ops.log_softmax(x)) + ops.log(ops.softmax(x)), 3),
        (lambda x: (2 * jnp.ones(3)).sum() * x, 1),
        (lambda x: x - (-x) + -(x - 2 * x), 4),
        (lambda x: ops.sum(-x), 2),
        (lambda x: x ** jnp.float32(1), 0),
    ],
)
def test_simplification_keeps_the_value(function, operations):
    graph = ad.trace(function, x)
    simple = graph.simplify()
    assert count(simple) == operations
    assert_allclose(simple.evaluate(x), graph.evaluate(x), rtol=1e-6)


def test_simplification_does_not_change_shape_or_dtype():
    with jax.numpy_dtype_promotion("standard"):
        graph = ad.trace(lambda a, b: (a * jnp.ones((2, 1)), b * 1.0), jnp.ones((1, 3)), jnp.ones(2, jnp.int32))
        simple = graph.simplify()
    assert [(v.shape, v.dtype) for v in simple.outputs] == [(v.shape, v.dtype) for v in graph.outputs]


def test_simplification_knows_numbers_without_sign_and_weak_types():
    u, h = jnp.array([1, 2], jnp.uint8), jnp.ones(2, jnp.float16)
    with jax.numpy_dtype_promotion("standard"):
        for function, args in [
            (lambda u: (-u) / 2.0, (u,)),
            (lambda u: ops.sum(-u), (u,)),
            (lambda u, x: x + (-u), (u, jnp.ones(2))),
            (lambda a, h: (a * np.float32(1)) * h, (3.0, h)),
            (lambda a, h: ops.ones_like(a) * h, (3.0, h)),
        ]:
            graph = ad.trace(function, *args)
            expected, simple = graph.evaluate(*args), graph.simplify().evaluate(*args)
            assert simple.dtype == expected.dtype
            assert_array_equal(simple, expected)


def test_large_constants_are_not_looked_into_and_arrays_as_attributes_are_kept_apart():
    large = np.ones(20_000, np.float32)
    assert count(ad.trace(lambda v: v * large, jnp.zeros(20_000)).simplify()) == 1
    shift = ad.Operation("shift", lambda x, by: x + by, (lambda g, out, x, by: g,))
    graph = ad.trace(lambda v: shift(v, by=np.zeros(3)) + shift(v, by=np.ones(3)), jnp.zeros(3))
    assert graph.simplify().evaluate(jnp.zeros(3)).tolist() == [1, 1, 1]


# --- accounting ----------------------------------------------------------------------------------------------


def test_the_account_of_a_network():
    """A multilayer perceptron costs a multiply-add per weight and example, its gradient twice that (section 6.5.4)."""
    n, widths = 128, (784, 512, 512, 10)
    net = mlp_jax.MLP(widths, output="softmax")
    params = jax.eval_shape(lambda: mlp_jax.init(net, jax.random.key(0)))
    data = jax.ShapeDtypeStruct((n, 784), "float32"), jax.ShapeDtypeStruct((n,), "int32")
    graph = ad.trace(lambda params, x, y: mlp_jax.loss(net, params, x, y), params, *data)
    account = graph.account(wrt=graph.inputs[:6])
    weights = sum(i * o for i, o in itertools.pairwise(widths))
    assert account.forward.multiply_adds == n * weights
    assert account.backward.multiply_adds == n * (2 * weights - 784 * 512)  # nothing is asked for the data
    assert account.bprops == 12
    assert account.bytes_kept < 4 * n * 10_000
    assert "multiply-adds" in str(account)


def test_the_account_of_einsum_is_that_of_matmul():
    by_einsum = ad.trace(lambda w, x: ops.sum(ops.einsum("ij,jk->ik", x, w)), w, x).account()
    by_matmul = ad.trace(lambda w, x: ops.sum(x @ w), w, x).account()
    assert by_einsum.forward == by_matmul.forward
    assert by_einsum.backward.multiply_adds == by_matmul.backward.multiply_adds == 2 * 3 * 4 * 5


def test_a_rule_of_the_wrong_shape_or_number_is_named_in_symbol_mode_too():
    total = ad.Operation("total", jnp.sum, (lambda g, out, x: g,))
    with pytest.raises(ValueError, match=r"'total' for input 0 must return a gradient of the input's shape \(3, 4\)"):
        ad.trace(total, x).gradient()
    lazy = ad.Operation("lazy", lambda x, y: x * y, lambda g, out, x, y: g * y)
    with pytest.raises(ValueError, match="'lazy' must return one gradient per input: 2; it returned 1"):
        ad.trace(lazy, 1.0, 2.0).gradient()


def test_each_edge_costs_one_bprop():
    def complete(x):
        nodes = [x]
        for _ in range(9):
            total = nodes[0]
            for node in nodes[1:]:
                total = total + node
            nodes.append(ops.sin(total))
        return nodes[-1]

    account = ad.trace(complete, 1.0).account()
    assert account.bprops == account.forward.edges
    assert_array_equal(account.forward.multiply_adds, 0)
