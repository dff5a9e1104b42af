"""Public functions of spyx, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import A, key, tried, v
from spyx import axn
from spyx.experimental import compress, stochastic

tried(*(lambda f=f: f()(v) for f in (axn.tanh, axn.boxcar, axn.triangular, axn.arctan, axn.superspike)))
tried(
    lambda: compress.packed_spike_dense((A > 0).astype(jnp.float32), A.T),
    lambda: stochastic.sigmoid_bernoulli()(v, key),
    lambda: stochastic.refractory_sigmoid_bernoulli()(v, key),
)
