"""Random programs of 1 to 60 operations, with shared variables, broadcasting and several outputs, against jax.vjp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

pytestmark = pytest.mark.usefixtures("x64")
SHAPES = [(), (3,), (1, 3), (2, 1), (2, 3), (3, 2)]

# What a step of a program may do with one or two variables. Each keeps values moderate, so that 60 steps stay finite.
UNARY = {
    "sin": ops.sin,
    "cos": ops.cos,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "softplus": lambda x: ops.softplus(x) / 2,
    "erf": ops.erf,
    "relu": lambda x: ops.relu(x) + 0.1 * x,
    "abs": ops.abs,
    "neg": lambda x: -x,
    "square": lambda x: ops.square(ops.sin(x)),
    "pow": lambda x: ops.tanh(x) ** 3,
    "sqrt": lambda x: ops.sqrt(1 + x * x),
    "exp": lambda x: ops.exp(ops.sin(x)),
    "expm1": lambda x: ops.expm1(-ops.abs(x)),
    "log": lambda x: ops.log(2 + ops.cos(x)),
    "log1p": lambda x: ops.log1p(ops.square(x)),
    "clip": lambda x: ops.clip(x, -0.9, 1.1),
    "stop_gradient": lambda x: ops.stop_gradient(x) * ops.sin(x),
    "sum": lambda x: ops.tanh(ops.sum(x)),
    "mean": ops.mean,
    "sum_last": lambda x: ops.sum(x, axis=-1, keepdims=True) / 3 if x.ndim else x,
    "max_last": lambda x: ops.max(x, -1, keepdims=True) if x.ndim else x,
    "min": ops.min,
    "prod": lambda x: ops.prod(ops.cos(x)),
    "logsumexp": ops.logsumexp,
    "softmax": lambda x: ops.softmax(x) if x.ndim else x,
    "log_softmax": lambda x: ops.log_softmax(x, axis=0) if x.ndim else x,
    "cumsum": lambda x: ops.cumsum(x, axis=0) / 2 if x.ndim else x,
    "T": lambda x: x.T,
    "ravel": lambda x: ops.reshape(x, (3,)) if x.size == 3 else x,
    "row": lambda x: x[0] if x.ndim == 2 else x,
    "reverse": lambda x: x[..., ::-1] if x.ndim else x,
    "gather": lambda x: x[jnp.array([0, 0, 1]) % x.shape[0]] if x.ndim == 1 else x,
    "along": lambda x: ops.take_along_axis(x, jnp.argsort(jnp.ones(x.shape), axis=-1), axis=-1) if x.ndim else x,
}
BINARY = {
    "add": lambda x, y: (x + y) / 2,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: ops.tanh(x) * y,
    "div": lambda x, y: x / (2 + ops.sin(y)),
    "pow": lambda x, y: (1.5 + ops.sin(x)) ** ops.tanh(y),
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "where": lambda x, y: ops.where(x > y, x, 2 * y),
    "matmul": lambda x, y: x @ y / 3 if x.ndim and y.ndim and x.shape[-1] == y.shape[0] else x * 1,
    "outer": lambda x, y: ops.einsum("i,j->ij", x, y)[:2] if x.shape == y.shape == (3,) else x * 1,
    "stack": lambda x, y: ops.mean(ops.stack([x, y]), axis=0) if x.shape == y.shape else x * 1,
    "concatenate": lambda x, y: ops.concatenate([y[-1:], x[:-1]]) if x.shape == y.shape and x.ndim else x * 1,
}


@st.composite
def programs(draw, largest=60):
    """The shapes of the inputs, and steps: an operation and which of the last eight variables it reads."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4))
    step = st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 7), st.integers(0, 7))
    return shapes, draw(st.lists(step, min_size=1, max_size=largest)), draw(st.integers(1, 3))


def run(program, inputs):
    """The program's outputs, on arrays or on variables."""
    _, steps, n_outputs = program
    values = list(inputs)
    for name, i, j in steps:
        x, y = values[-1 - i % len(values)], values[-1 - j % len(values)]
        if name in UNARY:
            values.append(UNARY[name](x))
        else:
            values.append(BINARY[name](x, y) if broadcasts(x.shape, y.shape) else x + 1)
    return tuple(values[-n_outputs:])


def broadcasts(a, b):
    return (a == () or b == () or len(a) == len(b)) and all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=False))


def inputs_of(program, seed=0):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape)) for shape in program[0]]


def assert_equal_leaves(ours, theirs, tolerance):
    """Relative to each leaf; where terms of order 1 cancel to 0, as in logsumexp(log_softmax(x)), up to 1e-13."""
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        assert mine.dtype == reference.dtype
        largest = np.max(np.abs(reference), initial=0.0)
        np.testing.assert_allclose(mine, reference, rtol=0, atol=tolerance * largest + 1e-13)


def on_random_programs(few, many, largest=60):
    """A test of a few programs, and behind the marker `slow` of many."""

    def decorate(test):
        @pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])
        def on_programs(examples):
            how = settings(
                max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
            )
            how(given(programs(largest=largest))(test))()

        return on_programs

    return decorate


@on_random_programs(15, 100)
def test_vjp_equals_jax(program):
    inputs = inputs_of(program)
    out, pullback = ad.vjp(lambda *xs: run(program, xs), *inputs)
    assert_equal_leaves(out, run(program, inputs), 1e-15)
    reference = jax.jit(lambda g: jax.vjp(lambda *xs: run(program, xs), *inputs)[1](g))
    g = tuple(jnp.asarray(np.random.default_rng(1).normal(size=z.shape)) for z in out)
    assert_equal_leaves(pullback(g), reference(g), 1e-10)


def cost(program):
    return lambda *xs: sum((ops.sum(z) for z in run(program, xs)[1:]), ops.sum(run(program, xs)[0]))


@on_random_programs(4, 20, largest=25)
def test_both_modes_agree_bit_for_bit_and_simplification_keeps_the_value(program):
    inputs = inputs_of(program)
    f = cost(program)
    numbers = ad.grad(f, argnums=tuple(range(len(inputs))))(*inputs)
    symbols = ad.trace(f, *inputs).gradient()
    for one, other in zip(numbers, symbols.evaluate(*inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_equal_leaves(symbols.simplify().evaluate(*inputs), numbers, 1e-10)


@on_random_programs(4, 20, largest=15)
def test_second_order_and_forward_mode_equal_jax(program):
    inputs = tuple(inputs_of(program))
    directions = tuple(inputs_of(program, seed=2))
    f, every = cost(program), tuple(range(len(inputs)))
    theirs = jax.jit(lambda xs, ds: (jax.jvp(f, xs, ds), jax.jvp(jax.grad(f, every), xs, ds)[1]))
    both, expected = theirs(inputs, directions)
    assert_equal_leaves(ad.jvp(f, inputs, directions), both, 1e-10)
    largest = max((float(jnp.max(jnp.abs(leaf), initial=0)) for leaf in expected), default=0)
    for mine, reference in zip(ad.hvp(f, inputs, directions), expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-9 * largest + 1e-13)
