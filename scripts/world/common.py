"""Arguments for the programs beside this file, and how they call."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

warnings.simplefilter("ignore")
key = jax.random.key(0)


def normal(*shape: int, seed: int = 0) -> Any:
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def within(low: float, high: float, n: int = 6) -> Any:
    """Numbers from low to high."""
    return jnp.linspace(low, high, n)


def tried(*calls: Callable[[], Any]) -> None:
    """Each is called; one that fails is said, and leaves out no other."""
    for call in calls:
        try:
            call()
        except Exception as error:
            print(type(error).__name__, str(error).splitlines()[:1])


A, B, v = normal(4, 3), normal(3, 4, seed=1), normal(5, seed=2)
S = A @ A.T + jnp.eye(4)
