"""Public functions of jax-galsim, called: its gradient rules are audited where they are used."""

from common import tried, within
from jax_galsim import bessel

tried(lambda: bessel.kv(1.5, within(0.3, 4.0)), lambda: bessel.kv(0.3, 2.0))
