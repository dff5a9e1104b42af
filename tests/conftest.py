"""Strict JAX for all tests: nothing promotes ranks or dtypes in silence; float64 where a test asks for it."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """Float64 for one test; the process is left as it was."""
    with jax.enable_x64(True):
        yield
