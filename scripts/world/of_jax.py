"""Public functions of jax, called: its gradient rules are audited where they are used."""

import functools

import jax
import jax.numpy as jnp
import jax.scipy.special as s
from common import A, S, tried, within
from jax.experimental.ode import odeint

x, positive, unit = within(-2.3, 2.7), within(0.3, 4.0), within(0.1, 0.9)
tried(
    *(
        functools.partial(f, x)
        for f in (
            jax.nn.relu,
            jax.nn.relu6,
            jax.nn.silu,
            jax.nn.softplus,
            jax.nn.gelu,
            jax.nn.softmax,
            jax.nn.log_softmax,
            jax.nn.elu,
            jax.nn.selu,
            jax.nn.mish,
            jax.nn.squareplus,
            jax.nn.log_sigmoid,
            jax.nn.logsumexp,
            jnp.sinc,
            jnp.i0,
            s.i0,
            s.i1,
            s.i0e,
            s.i1e,
            s.log_ndtr,
            s.ndtr,
            s.expi,
            s.dawsn,
            s.erfcx,
            s.wofz,
            s.fresnel,
            s.sici,
            s.gammaln,
            s.digamma,
            s.erf,
            jnp.frexp,
        )
    )
)
tried(*(functools.partial(f, positive) for f in (s.expi, s.log_ndtr, s.spence, jnp.log1p, s.gammaln)))
tried(lambda: s.logit(unit), lambda: s.ndtri(unit), lambda: jax.nn.log1mexp(positive), lambda: s.entr(unit))
tried(
    lambda: jnp.logaddexp(x, x[::-1]),
    lambda: jnp.logaddexp2(x, x[::-1]),
    lambda: s.xlogy(x, positive),
    lambda: s.xlog1py(x, positive),
    lambda: s.zeta(positive + 1.5, positive),
    lambda: s.expn(2, positive),
    lambda: s.betainc(positive, positive + 1, unit),
    lambda: s.poch(positive, positive / 2),
    lambda: s.hyp1f1(positive, positive + 0.5, x),
    lambda: s.hyp2f1(unit, unit + 0.3, unit + 2.0, unit / 2),
    lambda: s.owens_t(x, unit),
    lambda: s.rel_entr(unit, unit[::-1]),
    lambda: s.logsumexp(x, b=jnp.arange(6.0)),
    lambda: s.multigammaln(positive + 2, 2),
    lambda: s.polygamma(1, positive),
)
tried(
    lambda: jnp.linalg.det(S),
    lambda: jnp.linalg.det(S[:2, :2]),
    lambda: jnp.linalg.slogdet(S),
    lambda: jnp.linalg.slogdet(S[:3, :3]),
    lambda: jnp.linalg.slogdet(S, method="qr"),
    lambda: jnp.linalg.pinv(A),
    lambda: jax.scipy.linalg.expm(S / 5),
    lambda: jnp.linalg.norm(A),
    lambda: jax.scipy.linalg.sqrtm(S),
)
tried(
    lambda: odeint(lambda y, t, k: -k * y, jnp.ones(2), jnp.linspace(0.0, 1.0, 3), 2.0),
    lambda: jax.lax.custom_root(lambda y: y**2 - 2, 1.0, lambda f, y: jnp.sqrt(2.0), lambda g, y: y / g(1.0)),
    lambda: jax.scipy.sparse.linalg.cg(S, jnp.ones(4)),
)
