"""Public functions of brax, called: its gradient rules are audited where they are used."""

from brax import math as m
from common import tried, v, within

tried(
    lambda: m.safe_arccos(within(-0.9, 0.9)),
    lambda: m.safe_arcsin(within(-0.9, 0.9)),
    lambda: m.safe_norm(v),
    lambda: m.normalize(v),
)
