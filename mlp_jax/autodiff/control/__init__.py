"""Loops, branches, batches and checkpoints as operations.

What runs inside is a graph. The variables of outer runs that a function reads without being given them become arguments
of its graph, so that no gradient is lost. Each rule is written with these operations again: any order, either mode.
"""

from mlp_jax.autodiff.control.batching import vmap
from mlp_jax.autodiff.control.branches import cond, switch
from mlp_jax.autodiff.control.checkpointing import checkpoint
from mlp_jax.autodiff.control.loops import fori_loop, scan

__all__ = ["checkpoint", "cond", "fori_loop", "scan", "switch", "vmap"]
