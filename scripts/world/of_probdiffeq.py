"""Public functions of probdiffeq, called: its gradient rules are audited where they are used."""

from common import A, S, tried
from probdiffeq.backend import linalg

tried(lambda: linalg.qr_r(A), lambda: linalg.qr_r(S))
