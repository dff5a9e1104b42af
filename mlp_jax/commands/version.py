"""`mlp-jax --version --verbose`: what a report of a fault needs: versions, device and flags."""

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version

from mlp_jax.terminal import put
from mlp_jax.training.environment import processors


def run() -> None:
    """Print a line each; a device that cannot be used, the fault itself perhaps, is a line, too."""
    packages = sorted({name.partition("[")[0] for name in map(_name, _requirements()) if name != "mlp_jax"})
    installed = {name: found for name in packages if (found := _version(name))}
    flags = {name: value for name, value in sorted(os.environ.items()) if name.startswith(("XLA_", "JAX_"))}
    put(f"python {platform.python_version()}, {platform.platform()}, {processors()} processors")
    put(f"installed: {', '.join(f'{name} {found}' for name, found in installed.items())}")
    put(f"device: {_device()}")
    put(f"flags: {' '.join(f'{name}={value}' for name, value in flags.items()) or 'none'}")


def _requirements() -> list[str]:
    """Of the package and all its extras; of a checkout that is not installed, the needed ones."""
    try:
        return requires("mlp_jax") or []
    except PackageNotFoundError:
        return ["jax", "jaxlib", "numpy", "optax"]


def _name(requirement: str) -> str:
    return requirement.partition(";")[0].partition("[")[0].rstrip("=<>!~.0123456789 ")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> str:
    try:
        import jax

        devices = jax.devices()
        kind = f"{len(devices)} × {devices[0].platform}: {devices[0].device_kind}"
        return f"{kind}, float64 {'on' if jax.dtypes.canonicalize_dtype('float64') == 'float64' else 'off'}"
    except Exception as error:  # whatever it is, it is what the report is about
        return f"none, {type(error).__name__}: {error}"
