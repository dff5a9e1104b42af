"""Public functions of jaxbessel, called: its gradient rules are audited where they are used."""

import jaxbessel
from common import tried, within

x = within(-7.0, 40.0, 8)
tried(
    lambda: jaxbessel.j0(x),
    lambda: jaxbessel.j1(x),
    lambda: jaxbessel.bessel_jn(3, x),
    lambda: jaxbessel.spherical_bessel_jn(3, x),
    lambda: jaxbessel.bessel_jv_over_xv(1.5, x),
)
