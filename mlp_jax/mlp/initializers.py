"""Initial weights (section 6.2): small and random, from jax.nn.initializers.

| name        | distribution of W (n_in, n_out)                        | source               |
| ----------- | ------------------------------------------------------ | -------------------- |
| normal      | N(0, 0.01²)                                            | book, section 6.2    |
| unit_normal | N(0, 1), for the centres of radial basis units         |                      |
| glorot      | uniform, variance 2 / (n_in + n_out)                   | Glorot & Bengio 2010 |
| he          | normal truncated at 2σ, variance 2 / n_in              | He et al. 2015       |
| lecun       | normal truncated at 2σ, variance 1 / n_in              | LeCun et al. 1998    |
| orthogonal  | uniform over matrices with orthonormal rows or columns | Saxe et al. 2014     |

Which of them suits a unit stands with the unit, in `hidden_units.py` and `output_units/`; `params.init` draws by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlp_jax.lazily import jax, jnp

# Each makes an initializer of JAX, (key, shape, dtype) -> W, when it is called: the names alone need no JAX.
INITIALIZERS: dict[str, Callable[[], jax.nn.initializers.Initializer]] = {
    "normal": lambda: jax.nn.initializers.normal(0.01),
    "unit_normal": lambda: jax.nn.initializers.normal(1.0),
    "glorot": lambda: jax.nn.initializers.glorot_uniform(),
    "he": lambda: jax.nn.initializers.he_normal(),
    "lecun": lambda: jax.nn.initializers.lecun_normal(),
    "orthogonal": lambda: jax.nn.initializers.orthogonal(),
}


def draw(name: str, key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Weights W (n_in, n_out) by the initializer of this name."""
    # In float32 at least: a QR decomposition has no bfloat16 form.
    W = INITIALIZERS[name]()(key, shape, jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype)
    return W.astype(dtype)
