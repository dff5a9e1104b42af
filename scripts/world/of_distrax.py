"""Public functions of distrax, called: its gradient rules are audited where they are used."""

import distrax
from common import key, normal, tried, v, within
from distrax._src.utils import math

tried(
    lambda: distrax.Categorical(logits=v).log_prob(2),
    lambda: distrax.Softmax(v).sample(seed=key),
    lambda: distrax.Gumbel(0.0, 1.0).entropy(),
    lambda: distrax.Normal(0.0, 1.0).log_cdf(v),
    lambda: distrax.VonMises(0.1, 1.2).sample(seed=key, sample_shape=3),
    lambda: distrax.VonMises(0.1, 1.2).cdf(v),
    lambda: math.power_no_nan(within(0.3, 2.0), within(0.5, 2.0)),
    lambda: distrax.Tanh().inverse(within(-0.9, 0.9)),
    lambda: distrax.OneHotCategorical(logits=v).sample(seed=key),
    lambda: distrax.straight_through_wrapper(distrax.OneHotCategorical)(logits=v).sample(seed=key),
    lambda: distrax.RationalQuadraticSpline(normal(10), 0.0, 1.0).forward(within(0.1, 0.9)),
)
