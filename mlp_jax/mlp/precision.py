"""Matrix products of a layer with rounded factors: for processors that multiply bfloat16 faster than float32."""

from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation


def _matmul(a: Any, b: Any) -> Any:
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=a.dtype)


def _over_rows(h: Any, g: Any) -> Any:
    """hᵀ g. XLA takes a product by rows of both back to float32 on a CPU, but not where h has one axis more."""
    if h.ndim > 2:
        return _matmul(h.mT, g)
    rows = (((0,), (0,)), ((), ()))
    of_h = jnp.expand_dims(h.astype(jnp.bfloat16), 1)
    return jax.lax.dot_general(of_h, g.astype(jnp.bfloat16), rows, preferred_element_type=h.dtype)[0]


# The gradients' products have rounded factors, too: of g as it arrives, of h and of W.
matmul_bfloat16: Operation = Operation(
    "matmul_bfloat16",
    _matmul,
    (lambda g, out, h, W: matmul_bfloat16(g, W.mT), lambda g, out, h, W: matmul_over_rows_bfloat16(h, g)),
)

matmul_over_rows_bfloat16: Operation = Operation(
    "matmul_over_rows_bfloat16",
    _over_rows,
    (lambda G, out, h, g: matmul_bfloat16(g, G.mT), lambda G, out, h, g: matmul_bfloat16(h, G)),
)

affine_bfloat16 = Operation(
    "affine_bfloat16",
    lambda h, W, b: _matmul(h, W) + jnp.expand_dims(b, 0),
    (
        lambda g, out, h, W, b: matmul_bfloat16(g, W.mT),
        lambda g, out, h, W, b: matmul_over_rows_bfloat16(h, g),
        lambda g, out, h, W, b: g,
    ),
)

# What takes the place of an operation where `MLP.products` is "bfloat16". JAX's own setting for it,
# `jax.default_matmul_precision("BF16_BF16_F32")`, is silently without effect on a CPU.
IN_BFLOAT16: dict[Operation, Operation] = {ops.matmul: matmul_bfloat16, ops.affine: affine_bfloat16}
