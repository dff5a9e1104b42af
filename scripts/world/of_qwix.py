"""Public functions of qwix, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import A, B, normal, tried
from qwix._src.core import conv_general_qt, dot_general_qt, ragged_dot_qt

dims = (((1,), (0,)), ((), ()))
dot = dot_general_qt.DotGeneralQtConfig(lhs_qtype=jnp.int8, rhs_qtype=jnp.int8)
plain = dot_general_qt.DotGeneralQtConfig()
ragged = ragged_dot_qt.RaggedDotQtConfig(lhs_qtype=jnp.int8, rhs_qtype=jnp.int8)
conv = conv_general_qt.ConvGeneralQtConfig(lhs_qtype=None, rhs_qtype=None)
tried(
    lambda: dot_general_qt.dot_general_qt(A, B, dims, dot),
    lambda: dot_general_qt.dot_general_qt(A, B, dims, plain),
    lambda: ragged_dot_qt.ragged_dot_qt(A, normal(2, 3, 5), jnp.array([1, 3]), ragged),
    lambda: conv_general_qt.conv_general_qt(normal(1, 2, 5), normal(2, 2, 3), conv, (1,), "SAME"),
)
