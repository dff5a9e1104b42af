"""Public functions of phiml, called: its gradient rules are audited where they are used."""

from common import tried, v
from phiml import math
from phiml.math import channel, wrap

math.use("jax")
twice = math.custom_gradient(lambda x: x**2, lambda inputs, outputs, d: {"x": 2 * inputs["x"] * d})
row = wrap(v, channel("i"))
tried(
    lambda: twice(row),
    lambda: math.safe_div(row, row),
    lambda: math.safe_mul(row, row + 1),
    lambda: math.print_gradient(row),
    lambda: math.solve_linear(lambda x: 2 * x, row, math.Solve("CG", x0=0 * row)),
)
