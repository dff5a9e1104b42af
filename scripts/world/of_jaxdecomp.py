"""Public functions of jaxdecomp, called: its gradient rules are audited where they are used."""

import jaxdecomp
from common import normal, tried

x = normal(4, 4, 4)
tried(
    lambda: jaxdecomp.fft.pfft3d(x),
    lambda: jaxdecomp.fft.pifft3d(x + 0j),
    lambda: jaxdecomp.transposeXtoY(x),
    lambda: jaxdecomp.transposeYtoZ(x),
    lambda: jaxdecomp.halo_exchange(x, (1, 1), (True, True)),
)
