"""Public functions of jaxsim, called: its gradient rules are audited where they are used."""

from common import A, tried, v
from jaxsim.math import utils

tried(lambda: utils.safe_norm(v), lambda: utils.safe_norm(A, axis=-1))
