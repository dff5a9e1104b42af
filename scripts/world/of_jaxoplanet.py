"""Public functions of jaxoplanet, called: its gradient rules are audited where they are used."""

from common import tried, within
from jaxoplanet import utils
from jaxoplanet.core import limb_dark
from jaxoplanet.core.kepler import kepler

tried(
    lambda: kepler(within(0.3, 2.8), within(0.1, 0.7)),
    lambda: utils.zero_safe_sqrt(within(0.0, 3.0)),
    lambda: limb_dark._p_integral(10, 3, False, within(0.2, 0.8)[0], within(0.1, 0.2)[0]),
    lambda: limb_dark.light_curve(within(0.2, 0.3, 2), within(0.2, 0.8)[0], within(0.1, 0.2)[0]),
)
