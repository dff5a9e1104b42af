"""A good guest in a process: what is set there stays as it is, and does not change what is computed here."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.forks import require_no_fork

# What a result depends on besides, and a configuration does not say: recorded with each run.
SETTINGS = ("default_matmul_precision", "default_device", "disable_jit", "random_seed_offset", "allow_f16_reductions",
            "softmax_custom_jvp", "optimization_level")  # fmt: skip


@contextmanager
def as_guest() -> Iterator[None]:
    """JAX as trainings and predictions need it, in this thread, whatever variables or the process have set.

    Keys are those of threefry, dtypes are promoted as usual (optax needs it), a number that is not finite is looked for
    by the trainer, and arrays may come and go.

    Raises:
        InputError: JAX has no device, or a function is being traced.
        RuntimeError: the process was forked.
    """
    require_no_fork()
    with (
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.transfer_guard("allow"),
    ):
        if isinstance(_number(), jax.core.Tracer):
            raise InputError("fit and predict run programs of their own: call them outside of jit, scan and vmap")
        yield


def _number() -> jax.Array:
    try:
        return jax.device_put(np.float32(0))  # which compiles nothing
    except (RuntimeError, AssertionError) as error:  # the latter of a platform that this JAX was built without
        reason = (str(error).splitlines() or [f"there is none of jax_platforms={jax.config.jax_platforms}"])[0]  # type: ignore[attr-defined]
        raise InputError(f"JAX has no device: {reason}") from None


def settings() -> dict[str, str | int | bool | None]:
    """The values in force of JAX's settings that a result depends on."""
    found = {name: getattr(jax.config, f"jax_{name}", None) for name in SETTINGS}
    return {name: value if isinstance(value, bool | int | None) else str(value) for name, value in found.items()}
