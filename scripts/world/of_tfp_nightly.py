"""Public functions of tfp-nightly, called: its gradient rules are audited where they are used."""

import functools

import jax
import jax.numpy as jnp
import tensorflow_probability.substrates.jax as tfp
from common import S, key, normal, tried, within
from tensorflow_probability.python.internal.backend.jax import numpy_math
from tensorflow_probability.substrates.jax.experimental.distributions import marginal_fns
from tensorflow_probability.substrates.jax.experimental.math import manual_special_functions as manual
from tensorflow_probability.substrates.jax.internal import custom_gradient, distribute_lib
from tensorflow_probability.substrates.jax.math import hypergeometric, special
from tensorflow_probability.substrates.jax.math.psd_kernels.internal import util as psd_util

d, m, b = tfp.distributions, tfp.math, tfp.bijectors
x, positive, unit = within(-2.3, 2.7), within(0.3, 4.0), within(0.1, 0.9)
tried(*(functools.partial(f, positive) for f in (m.lambertw, m.log1mexp, m.log1mexp, m.erfcx, m.erfcx, m.erfcx)))
tried(
    lambda: m.bessel_ive(1.5, positive),
    lambda: m.bessel_kve(1.5, positive),
    lambda: m.log_bessel_ive(1.5, positive),
    lambda: m.log_bessel_kve(1.5, positive),
    lambda: m.betainc(positive, positive + 1, unit),
    lambda: special.betaincinv(positive, positive + 1, unit),
    lambda: special.igammainv(positive, unit),
    lambda: special.igammacinv(positive, unit),
    lambda: m.owens_t(x, unit),
    lambda: special.atan_difference(x, unit),
    lambda: special.lambertw_winitzki_approx(positive),
    lambda: special.erfcinv(unit),
    lambda: special.dawsn(x),
    lambda: special.log_gamma_difference(positive, positive + 8),
    lambda: special.log_gamma_correction(positive + 8),
    lambda: special.owens_t(x, unit),
    lambda: m.clip_by_value_preserve_gradient(x, -1.0, 1.0),
    lambda: m.softplus_inverse(positive),
    lambda: m.sqrt1pm1(unit),
    lambda: m.log_sub_exp(positive + 1, positive),
    lambda: m.log_add_exp(x, x[::-1]),
    lambda: m.log_cosh(x),
    lambda: m.reduce_kahan_sum(x),
    lambda: custom_gradient.prevent_gradient(x),
    lambda: m.reduce_log_harmonic_mean_exp(x),
    lambda: m.smootherstep(x),
    lambda: m.soft_threshold(x, 0.5),
    lambda: m.soft_sorting_matrix(x, 0.3),
    lambda: m.reduce_weighted_logsumexp(x, positive),
    lambda: m.secant_root(lambda y: y - 1.0, 0.0),
)
tried(
    lambda: d.VonMises(0.1, 1.2).cdf(x),
    lambda: d.VonMises(0.1, 1.2).sample(3, seed=key),
    lambda: d.Gamma(positive, 1.0).sample(seed=key),
    lambda: d.Beta(positive, 1.5).sample(seed=key),
    lambda: d.StudentT(positive, 0.0, 1.0).sample(seed=key),
    lambda: d.Dirichlet(positive).sample(seed=key),
    lambda: d.NegativeBinomial(3.0, probs=unit).log_prob(2.0),
    lambda: d.Binomial(5.0, probs=unit).cdf(2.0),
    lambda: d.Poisson(positive).sample(seed=key),
    lambda: d.TruncatedNormal(0.0, 1.0, -1.0, 2.0).sample(3, seed=key),
    lambda: d.Poisson(positive).cdf(2.0),
    lambda: d.MixtureSameFamily(d.Categorical(probs=[0.3, 0.7]), d.Normal([0.0, 1.0], 1.0), reparameterize=True).sample(
        3, seed=key
    ),
    lambda: b.Softplus().inverse(positive),
    lambda: b.SoftClip(0.0, 1.0).forward(x),
    lambda: b.NormalCDF().inverse(unit),
    lambda: b.LambertWTail(0.0, 1.0, 0.2).inverse(x),
    lambda: d.PowerSpherical(jnp.array([1.0, 0.0, 0.0]), 2.0).sample(3, seed=key),
)
matrix, rhs = S / 4, normal(4, 2)
tried(
    lambda: m.hpsd_logdet(matrix),
    lambda: m.hpsd_solve(matrix, rhs),
    lambda: m.hpsd_solvevec(matrix, rhs[:, 0]),
    lambda: m.hpsd_quadratic_form_solve(matrix, rhs),
    lambda: m.hpsd_quadratic_form_solvevec(matrix, rhs[:, 0]),
    lambda: m.lbeta(positive, positive + 9),
    lambda: m.lbeta(positive, unit),
    lambda: m.log_gamma_difference(positive, positive + 8),
    lambda: m.betaincinv(positive, positive + 1, unit),
    lambda: m.igammainv(positive, unit),
    lambda: m.igammacinv(positive, unit),
    lambda: m.dawsn(x),
    lambda: hypergeometric.hyp2f1_small_argument(0.5, 1.5, 2.5, unit / 2),
    lambda: manual.exp_pade_4_4(x),
    lambda: manual.log_pade_4_4(positive),
    lambda: manual.expm1_pade_4_4(x),
    lambda: manual.log1p_pade_4_4(positive),
    lambda: marginal_fns.retrying_cholesky(matrix),
    lambda: psd_util.sqrt_with_finite_grads(positive),
    lambda: numpy_math.maximum(x, x[::-1] / 2),
    lambda: numpy_math.minimum(x, x[::-1] / 2),
    lambda: jax.vmap(lambda a: distribute_lib.psum(a, "i"), axis_name="i")(x),
    lambda: jax.vmap(lambda a: distribute_lib.pbroadcast(a, "i"), axis_name="i")(x),
)
tried(
    lambda: d.StudentT(3.0, 0.0, 1.0).cdf(x),
    lambda: d.StudentT(3.0, 0.0, 1.0).quantile(unit),
    lambda: d.InverseGaussian(positive, 2.0).sample(seed=key),
    lambda: d.TwoPieceNormal(0.0, 1.0, 0.7).sample(3, seed=key),
    lambda: d.NoncentralChi2(3.0, 1.5).cdf(positive),
    lambda: d.NoncentralChi2(3.0, 1.5).quantile(unit),
    lambda: d.VonMises(0.0, 40.0).cdf(x),
    lambda: tfp.experimental.bijectors.ScalarFunctionWithInferredInverse(lambda y: y + jnp.tanh(y)).inverse(x),
    lambda: tfp.math.ode.BDF().solve(
        lambda t, y, k: -k * y, 0.0, jnp.ones(2), solution_times=[0.5, 1.0], constants={"k": 2.0}
    ),
    lambda: tfp.math.ode.DormandPrince().solve(
        lambda t, y, k: -k * y, 0.0, jnp.ones(2), solution_times=[0.5, 1.0], constants={"k": 2.0}
    ),
    lambda: tfp.math.psd_kernels.MaternOneHalf().apply(normal(3), normal(3, seed=1)),
    lambda: tfp.math.psd_kernels.GeneralizedMatern(1.2).apply(normal(3), normal(3, seed=1)),
)
