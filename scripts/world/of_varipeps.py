"""Public functions of varipeps, called: its gradient rules are audited where they are used."""

from common import A, S, tried
from varipeps.utils import svd

tried(
    lambda: svd.svd_wrapper(A),
    lambda: svd.svd_wrapper(A, use_qr=True),
    lambda: svd.svd_only_u(A),
    lambda: svd.svd_only_vt(A),
    lambda: svd.gauge_fixed_svd(S),
)
