"""Public functions of neural-tangents, called: its gradient rules are audited where they are used."""

import neural_tangents as nt
from common import A, tried, v, within
from neural_tangents._src.stax import elementwise

_, _, kernel = nt.stax.serial(nt.stax.Dense(4), nt.stax.Relu(), nt.stax.Dense(1))
tried(
    lambda: kernel(A, A[:2] + 1),
    lambda: elementwise._sqrt(within(0.1, 3.0), 1e-4),
    lambda: elementwise._arctan2(v, v[::-1], 0.5),
)
