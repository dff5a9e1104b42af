"""A program as serialised StableHLO, by `jax.export`: its function `model`, with JAX's NumPy in place of NumPy."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.scipy.special import erf

from mlp_jax.exchange.program import Program


def as_stablehlo(program: Program, name: str) -> bytes:
    """The program for any number of rows, on CPU, GPU and TPU; `jax.export.deserialize(…).call` runs it.

    It takes a dict of the inputs by name and returns the predictions likewise, (n,) each. XLA knows no text: numbers and
    days are float32, NaN where one is missing; categories, and classes that are predicted, are int32, by their numbers.
    """
    space: dict[str, Any] = {"__name__": name}
    exec(compile(program.source, f"{name}.py", "exec"), space)
    space |= {"np": jnp, "erf": erf}
    (n,) = export.symbolic_shape("n")
    types = {
        key: jax.ShapeDtypeStruct(
            (n, of.width) if of.kind == "array" else (n,), "int32" if of.kind == "category" else "float32"
        )
        for key, of in program.inputs.items()
    }
    with warnings.catch_warnings(action="ignore"):  # float64 is float32 where x64 is off
        exported = export.export(jax.jit(space["model"]), platforms=("cpu", "cuda", "rocm", "tpu"))(types)
    return bytes(exported.serialize())
