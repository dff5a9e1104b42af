"""Initial weights (section 6.2): small and random, from jax.nn.initializers.

| name        | distribution of W (n_in, n_out)                        | source               |
| ----------- | ------------------------------------------------------ | -------------------- |
| normal      | N(0, 0.01²)                                            | book, section 6.2    |
| unit_normal | N(0, 1), for the centres of radial basis units         |                      |
| glorot      | uniform, variance 2 / (n_in + n_out)                   | Glorot & Bengio 2010 |
| he          | normal truncated at 2σ, variance 2 / n_in              | He et al. 2015       |
| lecun       | normal truncated at 2σ, variance 1 / n_in              | LeCun et al. 1998    |
| orthogonal  | uniform over matrices with orthonormal rows or columns | Saxe et al. 2014     |
"""

from jax.nn import initializers as _jax

INITIALIZERS = {
    "normal": _jax.normal(0.01),
    "unit_normal": _jax.normal(1.0),
    "glorot": _jax.glorot_uniform(),
    "he": _jax.he_normal(),
    "lecun": _jax.lecun_normal(),
    "orthogonal": _jax.orthogonal(),
}
