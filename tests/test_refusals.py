"""What the tracer refuses, and what it says: a gradient is never cut in silence."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

w = jax.random.normal(jax.random.key(0), (4, 5))
x = jax.random.normal(jax.random.key(1), (3, 4))


def f(w, x):
    return ops.sum(ops.tanh(x @ w) ** 2)


def test_a_variable_in_jax_numpy_is_an_error_that_names_the_operation():
    with pytest.raises(ad.TracingError, match=r"line \d+ of test_refusals.py: jnp.sin was given .*; use ops.sin of"):
        ad.grad(lambda x: ops.sum(jnp.sin(x) * x))(x)
    with pytest.raises(ad.TracingError, match=r"jax.nn.relu was given .*; use ops.relu"):
        ad.trace(lambda x: jax.nn.relu(x), x)
    with pytest.raises(ad.TracingError, match=r"jnp.concatenate was given .*; use ops.concatenate"):
        ad.grad(lambda x: jnp.concatenate([x, x]).sum())(x)
    with pytest.raises(ad.TracingError, match=r"jnp.fft.fft was given .*ops has no operation of that name"):
        ad.grad(lambda x: ops.sum(jnp.fft.fft(x)))(x)
    with pytest.raises(ad.TracingError, match=r"jax.lax.scan was given .*use ops.scan"):
        ad.grad(lambda x: jax.lax.scan(lambda c, _: (c, None), x, None, 3)[0])(1.0)


def test_an_error_of_the_function_itself_is_not_explained_away():
    def mine(v):
        raise TypeError(f"my check failed for {v!r}")

    with pytest.raises(TypeError, match="^my check failed for Variable"):
        ad.grad(mine)(x)


def test_numpy_on_a_variable_uses_the_operation_or_is_refused():
    assert ad.grad(lambda x: ops.sum(np.exp(x)))(jnp.zeros(2)).tolist() == [1, 1]
    with pytest.raises(ad.TracingError, match="numpy.spacing is not an operation of a graph"):
        ad.grad(lambda x: np.spacing(x))(1.0)
    with pytest.raises(
        ad.TracingError, match=r"line \d+ of test_refusals.py: numpy.asarray of Variable.* would cut its"
    ):
        ad.grad(lambda x: np.asarray(x))(x)


@pytest.mark.parametrize("number", [float, int, complex, lambda v: v.item(), lambda v: v.tolist(), np.asarray])
def test_a_number_of_a_variable_is_refused(number):
    with pytest.raises(ad.TracingError, match=r"would cut its gradient; keep it in operations"):
        ad.grad(lambda x: x * number(x))(2.0)


def test_a_copy_of_a_variable_is_the_variable():
    assert ad.grad(lambda x: copy.copy(x) * copy.deepcopy(x))(3.0) == 6
    with pytest.raises(ad.TracingError, match="pickle of Variable.* would cut its gradient"):
        ad.grad(lambda x: pickle.loads(pickle.dumps(x)))(3.0)


def test_a_function_that_jax_has_transformed_is_refused():
    with pytest.raises(ad.TracingError, match=r"is one that JAX has transformed.*as in jax.jit\(grad\(f\)\)"):
        ad.grad(jax.jit(f))(w, x)


def test_a_symbol_has_no_truth_value():
    with pytest.raises(ad.TracingError, match=r"is a symbol without a value.*ops.where"):
        ad.trace(lambda x: x if x > 0 else -x, 1.0)
    with pytest.raises(ad.TracingError, match="is a symbol without a value, so it has no whole number"):
        ad.trace(lambda x, k: x[: int(k)], x, 2)


def test_a_variable_is_not_changed_in_place():
    def assign(x):
        x[0] = 1.0

    with pytest.raises(ad.TracingError, match=r"cannot be changed in place; use x = x.at\[index\].set"):
        ad.grad(assign)(x)


def test_variables_of_two_graphs():
    kept = []
    ad.grad(lambda x: kept.append(x) or ops.sum(x))(x)
    message = "operation 'mul' was given Variable.* of another graph, whose function has returned"
    with pytest.raises(ad.TracingError, match=message):
        ad.grad(lambda y: ops.sum(y * kept[0]))(x)
    with pytest.raises(ad.TracingError, match=message):
        kept[0] * 2
    one, other = ad.trace(f, w, x), ad.trace(f, w, x)
    with pytest.raises(ValueError, match="is not a variable of this graph"):
        one.gradient(of=other.outputs[0])
    with pytest.raises(ad.TracingError, match="belongs to another graph; pass it to this function"):
        ad.trace(lambda y: kept[0], x)
    with pytest.raises(ad.TracingError, match="the function returned Variable.* of another graph"):
        ad.grad(lambda y: kept[0])(x)


def test_nothing_is_left_behind_after_an_exception():
    with pytest.raises(ZeroDivisionError):
        ad.grad(lambda x: ops.sum(x) / (1 // 0))(x)
    assert_allclose(ad.grad(f)(w, x), jax.grad(f)(w, x), rtol=1e-5)


def test_numbers_that_are_not_real_are_refused_as_by_jax():
    with pytest.raises(TypeError, match=r"grad needs floating-point numbers, got dtype int32 in argument 0\['a'\]"):
        ad.grad(lambda p: ops.sum(p["a"]))({"a": jnp.arange(3)})
    with pytest.raises(TypeError, match="grad needs floating-point numbers, got dtype int32 in argument 0"):
        ad.grad(lambda x: x * 1.0)(3)
    with pytest.raises(TypeError, match="gradients are for real numbers, got complex64"):
        ad.grad(lambda x: x)(1j)
    with pytest.raises(TypeError, match="gradients are for real numbers, got complex64"):
        ad.grad(lambda x: ops.abs(x * 1j))(2.0)


def test_a_value_that_is_not_one_scalar_says_what_to_use():
    with pytest.raises(TypeError, match=r"returns a floating-point scalar, got float32\[3,4\]; reduce it.*ops.sum"):
        ad.grad(lambda x: x)(x)
    with pytest.raises(TypeError, match=r"returns a floating-point scalar, got int32\[\]"):
        ad.grad(lambda x: ops.argmax(x))(x)
    with pytest.raises(TypeError, match=r"returns one scalar array, got PyTreeDef.* of float32\[\], float32\[\]"):
        ad.grad(lambda x: (x, x))(2.0)
    with pytest.raises(TypeError, match="returns one scalar array, got PyTreeDef.* of none"):
        ad.grad(lambda x: None)(2.0)


def test_the_jacobian_of_whole_numbers_is_refused():
    with pytest.raises(
        TypeError, match=r"jacobian needs a function that returns floating-point numbers, got int32\[3\]"
    ):
        ad.jacobian(lambda x: ops.argmax(x, axis=1))(x)


def test_arguments_that_do_not_fit():
    with pytest.raises(TypeError, match=r"grad with argnums=\(0, -2\) names an argument twice"):
        ad.grad(f, argnums=(0, -2))(w, x)
    with pytest.raises(TypeError, match="grad with argnums=2 needs that argument by position; got 2 arguments"):
        ad.grad(f, argnums=2)(w, x)
    with pytest.raises(TypeError, match=r"jvp takes a tuple of arguments, got ArrayImpl; for one, write \(x,\)"):
        ad.jvp(ops.sin, x, x)
    with pytest.raises(TypeError, match="hvp takes directions of the structure of the arguments"):
        ad.hvp(f, (w, x), (w,))
    _, pullback = ad.vjp(ops.sin, x)
    with pytest.raises(ValueError, match=r"the gradient must be like the value, float32\[3,4\], got float32\[\]"):
        pullback(1.0)
    with pytest.raises(TypeError, match="the gradient must have the structure of the function's value"):
        pullback((x, x))
    with pytest.raises(TypeError, match="attribute 'axis' of operation 'sum' must be static, got a variable"):
        ad.grad(lambda x: ops.sum(x, axis=x[0, 0] > 0))(x)
    with pytest.raises(TypeError, match="operation 'sum' takes 1 input and the attributes axis, keepdims; got 4"):
        ad.grad(lambda x: ops.sum(x, 0, True, 3))(x)


def test_a_missing_rule_is_an_error_and_not_a_zero():
    half = ad.Operation("half", lambda a, b: a * b, (lambda g, out, a, b: g * b, None))
    assert ad.grad(half)(2.0, 3.0) == 3
    with pytest.raises(NotImplementedError, match=r"operation 'half' has no bprop rule for input 1 of 2"):
        ad.grad(half, argnums=1)(2.0, 3.0)
