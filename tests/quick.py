"""Compiled soon instead of well: for programs that a test runs a few times."""

from functools import partial

import jax

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
