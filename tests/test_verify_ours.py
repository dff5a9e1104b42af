"""Every operation of this package, and a network of each kind, goes through its own checker."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operation_rows import ROWS

import mlp_jax
from mlp_jax import verify

pytestmark = pytest.mark.usefixtures("x64")
# the first row of each operation that has a rule; all rows are held to jax.vjp in test_operations.py
FIRST = {op: (op, *row) for op, *row in reversed(ROWS) if row[2]}
# A kink in the unit and in the cost; a unit with a parameter of its own, with several pieces, with a distance for a
# product, that mixes its entries; a cost that weighs its errors. Every unit and cost: in test_network.py, by jax.grad.
NETWORKS = [
    ("relu", "linear", "absolute_error", None),
    ("parametric_relu", "linear", "squared_error", None),
    ("maxout", "softmax", "cross_entropy", mlp_jax.L2(0.01)),
    ("rbf", "sigmoid", "cross_entropy", None),
    ("softmax", "hinge", "hinge", mlp_jax.L1(0.01)),
    ("tanh", "gaussian", "nll", None),
]


# An ordinary run takes each tenth.
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] * (k % 10 > 0)) for k, row in enumerate(FIRST.values())],
    ids=lambda row: row[0].name,
)
def test_every_operation(row):
    operation, inputs, attributes, which = row
    f = mlp_jax.autodiff.Operation(
        operation.name, lambda *xs: operation.f(*xs, **attributes), bound(operation, attributes)
    )
    argnums = [i for i in which if jnp.issubdtype(jnp.asarray(inputs[i]).dtype, jnp.floating)]
    assert verify.check_vjp(f, *map(jnp.asarray, inputs), argnums=argnums).check().leaves


def bound(operation, attributes):
    """The rules with the attributes of a row."""

    def rule(g, out, *inputs):
        wanted = tuple(i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating))
        grads = operation.gradients(wanted, g, out, inputs, attributes)
        return tuple(grads[wanted.index(i)] if i in wanted else 0.0 for i in range(len(inputs)))

    return rule


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network)))
def test_algorithm_6_4(network):
    net = mlp_jax.MLP((3, 3, 3, 3), *network)  # of equal shapes, which compile once
    params = mlp_jax.init(net, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 3))
    y = jnp.asarray(np.eye(3)[np.arange(6) % 3], jnp.float32)

    def J(params, x, y):
        return mlp_jax.loss(net, params, x, y)

    def backward(params, x, y):
        return mlp_jax.backward(net, params, mlp_jax.forward(net, params, x), y)

    verify.check_grad(J, backward, params, x, y).check()
