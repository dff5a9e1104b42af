"""Public functions of aqtp, called: its gradient rules are audited where they are used."""

from aqt.jax.v2 import config
from aqt.jax_legacy.jax import fp_cast, primitives, quantization
from aqt.jax_legacy.jax.sparsity import sparsity_core_depr as sparsity
from common import A, B, S, tried, v

contraction = (((1,), (0,)), ((), ()))
tried(
    lambda: primitives.floor_with_gradient(v),
    lambda: primitives.round_with_gradient(v),
    lambda: fp_cast.downcast_sat_ftz(v, -4, 4, 3),
    lambda: quantization.dot_general_aqt(A, B, contraction, None, False),
    lambda: quantization.quantized_sum(A, 0, False, None),
    lambda: config.dot_general_make(8, 8)(A, B, contraction),
    lambda: sparsity.sr_ste(S, S > 0, True, True, sparsity.SparseHParams("STRUCTURED_NM", (2, 4)), 2, 4),
)
