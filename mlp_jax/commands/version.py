"""`mlp-jax --version --verbose`: what a report of a fault needs: versions, device and flags."""

import os
import platform
from importlib.metadata import distributions

from mlp_jax.terminal import put
from mlp_jax.training.environment import processors

_PACKAGES = (  # what is needed, what extras bring, and whose frames and devices are used
    "jax", "jaxlib", "jax-cuda12-plugin", "numpy", "optax", "pydantic", "rich", "ruamel.yaml", "safetensors",
    "flatbuffers", "matplotlib", "onnx", "pandas", "polars", "pyarrow", "scikit-learn", "scipy", "tensorboardX",
)  # fmt: skip


def run() -> None:
    """Print a line each; a device that cannot be used, the fault itself perhaps, is a line, too."""
    installed: dict[str, str] = {}
    for found in distributions():  # of two of a name the first is imported
        if found.name in _PACKAGES:
            installed.setdefault(found.name, found.version)
    flags = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(("XLA_", "JAX_"))]
    put(f"python {platform.python_version()}, {platform.platform()}, {processors()} processors")
    put(f"installed: {', '.join(f'{name} {found}' for name, found in sorted(installed.items()))}")
    put(f"device: {_device()}")
    put(f"flags: {' '.join(flags) or 'none'}")


def _device() -> str:
    try:
        import jax

        devices = jax.devices()
        kind = f"{len(devices)} × {devices[0].platform}: {devices[0].device_kind}"
        return f"{kind}, float64 {'on' if jax.dtypes.canonicalize_dtype('float64') == 'float64' else 'off'}"
    except Exception as error:  # whatever it is, it is what the report is about
        return f"none, {type(error).__name__}: {error}"
