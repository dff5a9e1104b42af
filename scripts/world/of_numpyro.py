"""Public functions of numpyro, called: its gradient rules are audited where they are used."""

import numpyro.distributions as d
import numpyro.distributions.util as u
from common import A, B, key, tried, v, within

tried(
    lambda: u.log1mexp(-within(0.3, 3)),
    lambda: u.binomial(key, within(0.1, 0.9), 10),
    lambda: d.VonMises(0.0, 1.0).log_prob(v),
    lambda: d.Dirichlet(within(0.5, 2)).sample(key),
    lambda: d.TruncatedNormal(low=0.1).log_prob(within(0.3, 2)),
    lambda: d.LKJCholesky(3).sample(key),
    lambda: u.logmatmulexp(A, B),
    lambda: u.clamp_probs(within(0, 1)),
    lambda: d.Beta(2.0, 3.0).cdf(within(0.1, 0.9)),
    lambda: d.StudentT(3.0).cdf(v),
    lambda: u.von_mises_centered(key, 1.5),
    lambda: u.betaincinv(2.0, 3.0, within(0.1, 0.9)),
    lambda: u.gammaincinv(2.0, within(0.1, 0.9)),
    lambda: d.DoublyTruncatedPowerLaw(0.5, 0.2, 2.0).log_prob(within(0.3, 1.9)),
    lambda: d.DoublyTruncatedPowerLaw(0.5, 0.2, 2.0).cdf(within(0.3, 1.9)),
    lambda: d.DoublyTruncatedPowerLaw(0.5, 0.2, 2.0).icdf(within(0.1, 0.9)),
    lambda: d.LowerTruncatedPowerLaw(-2.5, 0.2).log_prob(within(0.3, 1.9)),
    lambda: d.Gompertz(1.0, 1.5).log_prob(within(0.3, 1.9)),
)
