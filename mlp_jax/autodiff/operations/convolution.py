"""Convolutions, each as one operation: linear in either input, so that JAX's transpose serves as the rule."""

import jax
import jax.numpy as jnp

from mlp_jax.autodiff.operations.adapter import jax_operation

__all__ = ["conv", "conv_general_dilated", "convolve"]

conv = jax_operation(jax.lax.conv)
conv_general_dilated = jax_operation(jax.lax.conv_general_dilated)
convolve = jax_operation(jnp.convolve)
