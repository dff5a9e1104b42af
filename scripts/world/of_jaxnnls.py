"""Public functions of jaxnnls, called: its gradient rules are audited where they are used."""

import jaxnnls
from common import S, tried, v

tried(
    lambda: jaxnnls.solve_nnls_primal(S, v[:4]),
    lambda: jaxnnls.solve_nnls_primal(S, abs(v[:4]), 1e-6),
)
