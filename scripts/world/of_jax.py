"""Public functions of jax, called: its gradient rules are audited where they are used."""

import functools

import jax
import jax.numpy as jnp
import jax.scipy.special as s
from common import A, S, normal, tried, within
from jax import export
from jax.experimental.ode import odeint
from jax.scipy.optimize import minimize

jax.config.update("jax_softmax_custom_jvp", True)
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


def of_kernels():
    """Rules of Pallas' kernels, interpreted."""
    from jax.experimental.pallas.ops.gpu import attention, layer_norm, rms_norm
    from jax.experimental.pallas.ops.tpu import flash_attention
    from jax.experimental.pallas.ops.tpu.megablox import ops
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    heads, rows, ones = normal(1, 2, 16, 16), normal(1, 16, 16), jnp.ones(16)

    def masked_attention():
        mask = masks.MultiHeadMask([masks.CausalMask((128, 128))])
        kernel = splash.make_splash_mha_single_device(mask, interpret=True)
        kernel(*(normal(1, 128, 128, seed=seed) for seed in range(3)))

    tried(
        lambda: layer_norm.layer_norm(rows, ones, 0 * ones, interpret=True),
        lambda: rms_norm.rms_norm(rows, ones, 0 * ones, interpret=True),
        lambda: attention.mha(*[heads.swapaxes(1, 2)] * 3, None, interpret=True),
        lambda: flash_attention.mha_reference(heads, heads, heads, None),
        lambda: ops.gmm(normal(8, 8), normal(2, 8, 8), jnp.array([3, 5]), tiling=(8, 8, 8), interpret=True),
        lambda: splash._attention_reference(
            jnp.ones((16, 16), bool), *[rows[0]] * 3, None, None, -1e9, False, "vanilla", None
        ),
        masked_attention,
    )


def of_exchange():
    """Rules around programs from elsewhere: exported ones, and TensorFlow's."""
    import tensorflow as tf
    from jax.experimental import jax2tf

    tried(
        lambda: export.export(jax.jit(jnp.sin))(x).call(x),
        lambda: jax2tf.call_tf(tf.math.sin)(x),
    )


of_kernels()
tried(of_exchange)
tried(
    lambda: jax.nn.log1mexp(positive),
    lambda: jax.nn.gelu(x, approximate=False),
    lambda: jax.nn.glu(jnp.stack([x, x])),
    lambda: jax.nn.dot_product_attention(normal(1, 3, 2, 4), normal(1, 3, 2, 4, seed=1), normal(1, 3, 2, 4, seed=2)),
    lambda: s.expn(3, positive),
    lambda: s.xlogy(unit, unit),
    lambda: s.kl_div(unit, unit[::-1]),
    lambda: s.entr(positive),
    lambda: s.gammainc(positive, unit),
    lambda: s.lpmn_values(3, 3, unit, is_normalized=False),
    lambda: s.bernoulli(4),
    lambda: s.exp1(positive),
    lambda: s.factorial(positive),
    lambda: jax.scipy.stats.norm.logcdf(x),
    lambda: jax.scipy.linalg.funm(S, jnp.exp),
    lambda: jax.scipy.sparse.linalg.gmres(S, jnp.ones(4)),
    lambda: jax.scipy.sparse.linalg.bicgstab(S, jnp.ones(4)),
    lambda: minimize(lambda y: jnp.sum((y - 1) ** 2), jnp.zeros(2), method="BFGS"),
    lambda: jax.random.gamma(jax.random.key(0), positive),
    lambda: jax.random.beta(jax.random.key(0), positive, 1.5),
    lambda: jnp.unwrap(x),
    lambda: jnp.linalg.cond(S),
    lambda: jax.grad(lambda a: jax.checkpoint(lambda b: jnp.sin(jax.nn.silu(b)).sum())(a))(x),
)
