"""All operations under the names of jax.numpy, jax.nn and jax.lax: those of `operations`, and loops and branches."""

from mlp_jax.autodiff.control import *
from mlp_jax.autodiff.operations import *
