"""Public functions of kfac-jax, called: its gradient rules are audited where they are used."""

from common import tried, within
from kfac_jax._src.utils import math

tried(lambda: math.stable_sqrt(within(0.1, 3)), lambda: math._sqrt_bound_derivative(within(0.1, 3), 1000.0))
