"""Public functions of fmmax, called: its gradient rules are audited where they are used."""

from common import S, normal, tried
from fmmax import eig

tried(lambda: eig.eig(S + 0j), lambda: eig.eig(normal(3, 3) + 1j * normal(3, 3, seed=1)))
