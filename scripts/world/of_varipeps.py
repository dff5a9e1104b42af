"""Public functions of varipeps, called: its gradient rules are audited where they are used."""

from common import A, S, tried
from varipeps.ctmrg import calc_ctmrg_env_custom_rule
from varipeps.peps import PEPS_Unit_Cell
from varipeps.utils import svd


def environment():
    """The environment of a lattice of one tensor."""
    cell = PEPS_Unit_Cell.random([[0]], d=2, D=2, chi=4, dtype=float, max_chi=4, seed=1)
    calc_ctmrg_env_custom_rule([tensor.tensor for tensor in cell.get_unique_tensors()], cell)


tried(
    environment,
    lambda: svd.svd_wrapper(A),
    lambda: svd.svd_wrapper(A, use_qr=True),
    lambda: svd.svd_only_u(A),
    lambda: svd.svd_only_vt(A),
    lambda: svd.gauge_fixed_svd(S),
)
