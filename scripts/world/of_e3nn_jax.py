"""Public functions of e3nn-jax, called: its gradient rules are audited where they are used."""

import e3nn_jax as e3nn
import jax
from common import A, B, key, normal, tried, v
from e3nn_jax._src.utils.einsum import einsum

tried(
    lambda: e3nn.spherical_harmonics(2, e3nn.IrrepsArray("1o", normal(4, 3)), True),
    lambda: e3nn.spherical_harmonics("0e+1o+2e", normal(3), False),
    lambda: e3nn.tensor_product(e3nn.normal("1o", key), e3nn.normal("1o", jax.random.key(1))),
    lambda: e3nn.sus(v),
    lambda: einsum("ij,jk->ik", A, B),
    lambda: e3nn.norm(e3nn.normal("2x1o", key)),
)
