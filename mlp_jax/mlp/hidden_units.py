"""Hidden units (section 6.3): the nonlinearity h = f(a) of a layer and the initializer that suits it.

| unit     | f(a)            | f'(a)        | f' at a kink |
|----------|-----------------|--------------|--------------|
| relu     | max{0, a}       | 1 where a > 0 | 0 at a = 0  |
| sigmoid  | 1 / (1 + e^−a)  | h (1 − h)    | smooth       |
| tanh     | tanh a          | 1 − h²       | smooth       |
| softplus | log(1 + e^a)    | σ(a)         | smooth       |
| linear   | a               | 1            | smooth       |
"""

from typing import NamedTuple

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation


class HiddenUnit(NamedTuple):
    """An elementwise operation, and the name of the initializer for the layer that feeds it."""

    operation: Operation
    initializer: str


HIDDEN_UNITS = {
    "relu": HiddenUnit(ops.relu, initializer="he"),
    "sigmoid": HiddenUnit(ops.sigmoid, initializer="glorot"),
    "tanh": HiddenUnit(ops.tanh, initializer="glorot"),
    "softplus": HiddenUnit(ops.softplus, initializer="he"),
    "linear": HiddenUnit(ops.identity, initializer="glorot"),
}
