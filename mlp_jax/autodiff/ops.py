"""All operations under the names of jax.numpy, jax.nn and jax.lax: those of `operations`, and loops and branches."""

from mlp_jax.autodiff.control import checkpoint, cond, fori_loop, scan, switch
from mlp_jax.autodiff.operations import *

__all__ = ["checkpoint", "cond", "fori_loop", "scan", "switch"]
