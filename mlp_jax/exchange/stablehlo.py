"""A program as serialised StableHLO, by `jax.export`: its function `model`, with JAX's NumPy in place of NumPy."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.scipy.special import erf

from mlp_jax.errors import InputError
from mlp_jax.exchange.program import Program

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def as_stablehlo(program: Program, name: str) -> bytes:
    """The program for any number of rows, on CPU, GPU and TPU; `jax.export.deserialize(…).call` runs it.

    It takes a dict of the inputs by name and returns the predictions likewise, (n,) each. XLA knows no text: categories
    and predicted classes are int32, by their numbers. Other inputs are float32, NaN where one is missing; inside they
    are standardised in float64, as dates need it.

    Raises:
        InputError: the package flatbuffers is missing, with which JAX serialises.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError('a .stablehlo file needs the package flatbuffers: pip install "mlp_jax[export]"')
    space: dict[str, Any] = {"__name__": name}
    exec(compile(program.source, f"{name}.py", "exec"), space)
    space |= {"np": jnp, "erf": erf}
    number = jax.dtypes.canonicalize_dtype("float64")  # float32, but where this process computes in float64
    (n,) = export.symbolic_shape("n")
    types = {
        key: jax.ShapeDtypeStruct((n, of.width) if of.kind == "array" else (n,), "int32" if of.codes else number)
        for key, of in program.inputs.items()
    }

    def model(inputs: dict[str, Any]) -> dict[str, Any]:
        wide = {key: x if program.inputs[key].codes else x.astype("float64") for key, x in inputs.items()}
        found: dict[str, Any] = space["model"](wide)
        return {key: y.astype(number if jnp.issubdtype(y.dtype, jnp.floating) else "int32") for key, y in found.items()}

    # as NumPy promotes
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return bytes(export.export(jax.jit(model), platforms=_PLATFORMS)(types).serialize())
