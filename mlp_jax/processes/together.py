"""What processes that run the same program must agree on: what clocks, signals, files and errors say to one alone.

Of one process alone all of it is for nothing, and costs nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlp_jax.errors import InputError

T = TypeVar("T")
_BYTES = 600  # of a message


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def everyones(number: int) -> list[int]:
    """The numbers that the processes give, each below 2³¹, in their order."""
    if jax.process_count() == 1:
        return [number]
    numbers: list[int] = multihost_utils.process_allgather(np.array([number], np.int32)).reshape(-1).tolist()
    return numbers


def everyone_says(text: str) -> list[str]:
    """What the processes say, in their order; long texts are cut."""
    if jax.process_count() == 1:
        return [text]
    mine = np.frombuffer(text.encode()[:_BYTES].ljust(_BYTES, b"\0"), np.uint8)
    rows = multihost_utils.process_allgather(mine)
    return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]


def together(act: Callable[[], T]) -> T:
    """What `act` gives in this process, once all have done it.

    Raises:
        InputError: in all of them, where it was raised in one; says in which.
    """
    if jax.process_count() == 1:
        return act()
    own: InputError | None = None
    try:
        result = act()
    except InputError as error:
        own = error
    errors = everyone_says(str(own or ""))
    if own:
        raise own
    for index, message in enumerate(errors):
        if message:
            raise InputError(message if index == 0 else f"process {index} of {len(errors)}: {message}")
    return result


def in_turn(act: Callable[[], T]) -> T:
    """The same, where the others use what the first has made: it goes first."""
    if jax.process_count() == 1:
        return act()
    made = together(lambda: [act()] if is_first() else [])
    return together(lambda: made[0] if made else act())


def require_equal(**checksums: str) -> None:
    """Raise an InputError unless all processes have the same of each; names what, and a process that has another."""
    of_all = everyone_says("\n".join(checksums.values()))
    for index, text in enumerate(of_all):
        for what, mine, theirs in zip(checksums, of_all[0].split("\n"), text.split("\n"), strict=True):
            if mine != theirs:
                raise InputError(
                    f"process {index} of {len(of_all)} has another {what} than process 0: {theirs[:60]}, and not "
                    f"{mine[:60]}; give all of them the same"
                )


def from_first(tree: Any) -> Any:
    """The arrays of process 0, to the bit, in a tree that has the same structure, shapes and dtypes in each."""
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.device_get(tree))
    arrays = [np.asarray(leaf) for leaf in leaves]
    own = np.frombuffer(b"".join(array.tobytes() for array in arrays), np.uint8)
    found = np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
    received, start = [], 0
    for array in arrays:
        part = np.frombuffer(found[start : start + array.nbytes], array.dtype)
        received.append(part.reshape(array.shape))
        start += array.nbytes
    return jax.tree.unflatten(structure, received)
