"""Public functions of torax, called: its gradient rules are audited where they are used."""

from common import tried
from torax._src.orchestration import whilei_loop

tried(
    lambda: whilei_loop.whilei_loop(3, lambda c: c < 2.0, lambda i, c: c + 1.0, 0.0),
)
