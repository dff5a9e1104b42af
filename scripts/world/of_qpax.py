"""Public functions of qpax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import S, normal, tried, v
from qpax.explicit import diff_qp, elastic_qp
from qpax.implicit import diff_qp as implicit_qp
from qpax.implicit import elastic_qp as implicit_elastic

q, a, b, h = v[:4], normal(1, 4, seed=3), jnp.ones(1), jnp.ones(3)
G = normal(3, 4, seed=4)
tried(
    lambda: diff_qp.solve_qp_primal(S, q, a, b, G, h),
    lambda: implicit_qp.solve_qp_primal(S, q, a, b, G, h),
    lambda: elastic_qp.solve_qp_elastic_primal(S, q, G, h, 10.0),
    lambda: implicit_elastic.solve_qp_elastic_primal(S, q, G, h, 10.0),
)
