"""Public functions of snnax, called: its gradient rules are audited where they are used."""

from common import tried, v
from snnax.functional import surrogate

tried(
    lambda: surrogate.superspike_surrogate(10.0)(v),
    lambda: surrogate.sigmoid_surrogate(1.0)(v),
    lambda: surrogate.piecewise_surrogate(0.5)(v),
)
