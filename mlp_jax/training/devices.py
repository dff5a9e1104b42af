"""One training on several devices: parameters and examples on each, the rows of a minibatch divided among them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlp_jax.errors import InputError
from mlp_jax.training.config.records import Training
from mlp_jax.training.step import run_steps

AXIS = "examples"


def devices_of(training: Training) -> int:
    """On how many devices a training runs.

    Raises:
        InputError: there are not so many.
    """
    there = jax.device_count()
    if training.devices == "all":
        return there
    if training.devices > there:
        kind = jax.devices()[0].platform
        more = "; JAX makes several of a processor by XLA_FLAGS=--xla_force_host_platform_device_count=N"
        raise InputError(
            f"training.devices is {training.devices}, and there {'is' if there == 1 else 'are'} {there} ({kind})"
            f"{more if kind == 'cpu' else ''}"
        )
    return int(training.devices)


def parts_of(training: Training, batch_size: int | None = None) -> int:
    """In how many parts the gradient of a minibatch is computed.

    Raises:
        InputError: they cannot be divided among the devices, or there are more than examples.
    """
    devices = devices_of(training)
    parts = training.reproducible_over or devices
    if parts % devices:
        raise InputError(f"training.reproducible_over is {parts}, which {devices} devices cannot share equally")
    if batch_size is not None and parts > batch_size:
        what = "reproducible_over" if training.reproducible_over else "devices"
        raise InputError(f"training.{what} is {parts}, more than the {batch_size} examples of a minibatch")
    return parts


@cache
def mesh(devices: int) -> Mesh:
    """The first devices as one axis."""
    return Mesh(jax.devices()[:devices], (AXIS,))


def everywhere(values: Any, devices: int) -> Any:
    """Arrays that each of several devices holds whole."""
    return values if devices == 1 else jax.device_put(values, NamedSharding(mesh(devices), PartitionSpec()))


@cache
def run_steps_on(devices: int) -> Callable[..., Any]:
    """`run_steps` on one device; or on several, each of which takes all steps, and of each step its parts."""
    if devices == 1:
        return run_steps

    def run(program: Any, measure: Any, *arguments: Any, **named: Any) -> Any:
        def on_each(arguments: Any, named: Any) -> Any:
            return run_steps(program, measure, *arguments, **named)

        whole = PartitionSpec()
        # what each device holds is equal by construction, which shard_map cannot see
        spread = jax.shard_map(on_each, mesh=mesh(devices), in_specs=whole, out_specs=whole, check_vma=False)
        return spread(arguments, named)

    return run
