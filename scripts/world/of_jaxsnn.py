"""Public functions of jaxsnn, called: its gradient rules are audited where they are used."""

from common import tried, v, within
from jaxsnn.discrete.functional import threshold
from jaxsnn.event.solver import lif_analytical

tried(
    lambda: threshold.superspike(v, 80.0),
    lambda: lif_analytical.lambertw(within(-0.3, 3.0)),
)
