"""One training on several devices: parameters and examples on each, the rows of a minibatch divided among them.

The devices may be those of several processes, each of which holds its own.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlp_jax.errors import InputError
from mlp_jax.training.config.records import Config, Training
from mlp_jax.training.step import run_steps

AXIS = "examples"
WHOLE, OWN_ROWS = PartitionSpec(), PartitionSpec(None, None, AXIS)


def devices_of(training: Training) -> int:
    """On how many devices a training runs, those of all processes.

    Raises:
        InputError: a process has not so many.
    """
    there, processes = jax.local_device_count(), jax.process_count()
    if training.devices == "all":
        return there * processes
    if training.devices > there:
        kind = jax.devices()[0].platform
        more = "; JAX makes several of a processor by XLA_FLAGS=--xla_force_host_platform_device_count=N"
        raise InputError(
            f"training.devices is {training.devices}, and there {'is' if there == 1 else 'are'} {there} ({kind})"
            f"{more if kind == 'cpu' else ''}"
        )
    return int(training.devices) * processes


def alone(config: Config) -> Config:
    """The same on one device of one process, for what takes no steps, or to the same bits."""
    return config.model_copy(update={"training": config.training.model_copy(update={"devices": 1, "processes": None})})


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
        what = f"training.reproducible_over is {parts}" if training.reproducible_over else f"there are {parts} devices"
        raise InputError(f"{what}, more than the {batch_size} examples of a minibatch")
    return parts


@cache
def mesh(devices: int) -> Mesh:
    """The first devices of each process as one axis."""
    of_each = devices // jax.process_count()
    chosen = [jax.local_devices(process)[:of_each] for process in range(jax.process_count())]
    return Mesh(np.concatenate(chosen), (AXIS,))


def everywhere(values: Any, devices: int) -> Any:
    """Arrays that each of several devices holds whole."""
    return values if devices == 1 else jax.tree.map(lambda value: _put(value, devices, WHOLE), values)


def spread(batches: Any, devices: int) -> Any:
    """A table of minibatches (E, S, batch size) of which each device holds its own rows."""
    return batches if devices == 1 else _put(batches, devices, OWN_ROWS)


def _put(value: Any, devices: int, spec: PartitionSpec) -> jax.Array:
    value = np.asarray(value)
    return jax.make_array_from_callback(value.shape, NamedSharding(mesh(devices), spec), lambda index: value[index])


def here(values: Any) -> Any:
    """Arrays that each device holds whole, as those of this process alone, which it may use without the others."""
    return values if jax.process_count() == 1 else jax.tree.map(jnp.asarray, jax.device_get(values))


def on_devices(function: Callable[..., Any], devices: int, specs: Any = WHOLE) -> Callable[..., Any]:
    """The function on each of the devices, of arrays by these specifications; what it gives, all have."""
    if devices == 1:
        return function
    # what each device holds is equal by construction, which shard_map cannot see
    return jax.shard_map(function, mesh=mesh(devices), in_specs=specs, out_specs=WHOLE, check_vma=False)


@cache
def run_steps_on(devices: int) -> Callable[..., Any]:
    """`run_steps` on one device; or on several, each of which takes all steps, and of each step its parts."""
    if devices == 1:
        return run_steps

    def run(program: Any, measure: Any, *arguments: Any, **named: Any) -> Any:
        def on_each(arguments: Any, named: Any) -> Any:
            return run_steps(program, measure, *arguments, **named)

        of_arguments = (WHOLE, WHOLE, WHOLE, WHOLE, OWN_ROWS, WHOLE, WHOLE, WHOLE)
        return on_devices(on_each, devices, (of_arguments, WHOLE))(arguments, named)

    return run
