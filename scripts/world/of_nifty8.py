"""Public functions of nifty8, called: its gradient rules are audited where they are used."""

from common import S, tried, v
from nifty8.re.multi_grid import util

tried(lambda: util.solve(S, v[:4]), lambda: util.sqrtm(S))
