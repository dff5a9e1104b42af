"""Public functions of ejkernel, called: its gradient rules are audited where they are used."""

import jax
import jax.numpy as jnp
from common import A, B, normal, tried, within
from ejkernel.kernels import _xla as xla
from ejkernel.kernels._pallas.tpu.blocksparse_attention import _kernel as blocksparse
from ejkernel.kernels._pallas.tpu.flash_attention import _utils as flash
from ejkernel.kernels._xla.gated_delta_rule import _xla_impl_fwd as delta
from ejkernel.xla_utils import utils

q, k, w = normal(1, 8, 2, 4), normal(1, 8, 2, 4, seed=1), normal(1, 8, 2, 4, seed=2)
gate = -jnp.abs(normal(1, 8, 2, 4, seed=3))
labels, one = jnp.array([0, 1, 2, 0]), jnp.ones(3)
x, steps = normal(1, 8, 4), jax.nn.softplus(normal(1, 8, 4, seed=1))


def split(f, n):
    """The function of n matrices whose columns are spread over an axis."""
    jax.vmap(f, axis_name="i")(*(normal(2, 4, 3, seed=seed) for seed in range(n)))


tried(
    lambda: xla.flash_attention(q, k, w),
    lambda: xla.flash_attention(q, k, w, causal=True),
    lambda: xla.recurrent(q, k, w, gk=gate),
    lambda: xla.recurrent(q, k, w),
    lambda: xla.recurrent_gla(q, k, w, g=gate),
    lambda: xla.gated_delta_rule(q, k, w, jax.nn.sigmoid(q[..., 0]), gate[..., 0], chunk_size=4),
    lambda: xla.mean_pooling(q, chunk_size=4),
    lambda: xla.apply_native_sparse_attention(
        q, k, w, jnp.zeros((1, 8, 2, 1), jnp.int32), block_counts=1, block_size=4
    ),
    lambda: xla.native_sparse_attention.native_sparse_attention(
        q, k, w, block_indices=jnp.zeros((1, 8, 2, 1), jnp.int32), block_counts=1, block_size=4
    ),
    lambda: xla.ring_attention(q, k, w),
    lambda: xla.rwkv4(-within(0.5, 1.5, 4), within(0.1, 0.5, 4), x, x[:, ::-1]),
    lambda: xla.rwkv6(q, k, w, gate, normal(2, 4)),
    lambda: xla.rwkv7(q, gate, k, w, q / 4, k / 4),
)
tried(
    lambda: xla.fused_cross_entropy(normal(4, 6), labels),
    lambda: xla.fused_cross_entropy(normal(4, 6), labels, label_smoothing=0.1, z_loss=0.01),
    lambda: xla.fused_cross_entropy(normal(4, 6), soft_targets=jax.nn.softmax(normal(4, 6))),
    lambda: xla.fused_kl_divergence(normal(4, 6), normal(4, 6, seed=1)),
    lambda: xla.fused_kl_divergence(normal(4, 6), normal(4, 6, seed=1), direction="reverse"),
    lambda: xla.fused_kl_divergence(normal(4, 6), normal(4, 6, seed=1), direction="jsd"),
    lambda: xla.grouped_matmul(A, normal(2, 3, 5), jnp.array([1, 3])),
    lambda: xla.grouped_matmulv3(A, normal(2, 3, 5), jnp.array([1, 3])),
    lambda: xla.state_space_v1(x, -jnp.exp(normal(4, 3)), normal(1, 8, 3), normal(1, 8, 3, seed=1), jnp.ones(4), steps),
    lambda: xla.state_space_v2(
        q, -jnp.exp(normal(2)), normal(1, 8, 1, 3), normal(1, 8, 1, 3, seed=1), jnp.ones(2), steps[..., :2]
    ),
    lambda: xla.deepseek_attn(
        q, normal(1, 8, 3), normal(3, 2, 4), normal(3, 2, 4, seed=1), q, k[:, :, 0], q[..., 0], index_topk=4
    ),
    lambda: jax.vmap(lambda a: xla.all_gather_matmul(a, B, "i"), axis_name="i")(A[None]),
)
rows, heads = normal(8, 4), normal(1, 2, 8, 4)
gates = jax.nn.sigmoid(heads[..., 0])
tried(
    lambda: jax.vmap(lambda a: xla.reduce_scatter_matmul(a, a, axis_name="i"), axis_name="i")(A[None]),
    lambda: split(lambda a: xla.fused_cross_entropy(a, labels, vocab_parallel_axis="i"), 1),
    lambda: split(lambda a, b: xla.fused_cross_entropy(a, soft_targets=b, vocab_parallel_axis="i"), 2),
    lambda: split(lambda a, b: xla.fused_kl_divergence(a, b, vocab_parallel_axis="i"), 2),
    lambda: utils.identity_dtype_convert(jnp.float32)(rows),
    lambda: delta._chunk_gdr_fwd_neumann(heads, heads + 1, heads / 2, gates, jnp.log(gates), 4, None, True),
    lambda: flash.mha_reference(heads, heads + 1, heads / 2, None),
    lambda: blocksparse.attention_reference_custom(jnp.ones((8, 8), bool), rows, rows + 1, rows / 2, None),
)
