"""Public functions of e3x, called: its gradient rules are audited where they are used."""

import e3x
from common import A, normal, tried, v, within

tried(
    lambda: e3x.ops.norm(A, axis=-1),
    lambda: e3x.ops.norm(v),
    lambda: e3x.nn.smooth_switch(within(-0.5, 1.5), 0.0, 1.0),
    lambda: e3x.nn.basic_bernstein(within(0.1, 0.9), 4, limit=1.0),
    lambda: e3x.nn.exponential_bernstein(within(0.1, 3), 4),
    lambda: e3x.nn.reciprocal_bernstein(within(0.1, 3), 4),
    lambda: e3x.so3.spherical_harmonics(normal(4, 3), 2),
)
