"""Checkpoints: all that is needed to go on to the same bits, the newest two, each in a file of its own.

`single.Training.keep` writes one after `training.checkpoint_seconds`, and at the end.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.errors import InputError
from mlp_jax.files import Place
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training.config import Config, fingerprint
from mlp_jax.training.moment import Moment
from mlp_jax.training.store import tensors
from mlp_jax.training.store.directory import CHECKPOINTS
from mlp_jax.training.store.forms import CheckpointNotes
from mlp_jax.training.store.tensors import DamagedFile, kind_of


def save(path: Place, moment: Moment, config: Config, prepared: Prepared) -> None:
    """Write a moment: its arrays, and the number of the next step, whose configuration and data it belongs to."""
    notes = {"step": moment.step, "config": fingerprint(config), "data": prepared.fingerprint}
    tensors.write(path, _arrays(moment), notes)


def save_next(folder: Place, moment: Moment, config: Config, prepared: Prepared) -> None:
    """Write a moment beside the one before it; remove those that are older, and what a kill left unfinished."""
    folder.make_folder()
    path = folder / f"step-{moment.step:012d}.safetensors"
    before = [file for file in newest_first(folder) if file.name != path.name]
    save(path, moment, config, prepared)
    for file in (*before[1:], *(folder / CHECKPOINTS).unfinished()):
        file.remove()


def newest_first(folder: Place) -> list[Place]:
    """The checkpoints in a folder."""
    return folder.found(CHECKPOINTS)[::-1]


def load_newest(
    folder: Place, like: Moment, config: Config, prepared: Prepared, say: Callable[[str], None]
) -> Moment | None:
    """The newest moment that is whole; None if there is no checkpoint.

    It must belong to this configuration and these data, and have the structure, shapes and dtypes of `like`; `say` is
    told of a damaged checkpoint in whose place an older one is used.

    Raises:
        InputError: all are damaged, or one belongs to other data, another configuration, network or optimizer.
    """
    damaged: list[str] = []
    for path in newest_first(folder):
        try:
            moment = load(path, like, config, prepared)
        except DamagedFile as error:
            damaged.append(str(error))
            continue
        if damaged:
            say(f"{damaged[0]}; going on from the checkpoint before it, of step {moment.step}")
        return moment
    if damaged:
        raise InputError(f"{'; '.join(damaged)}. There is no other checkpoint: train anew with overwrite=True")
    return None


def load(path: Place, like: Moment, config: Config, prepared: Prepared) -> Moment:
    """Read a moment; a damaged file, and one of other data, another configuration, network or optimizer are refused."""
    found, notes = tensors.read(path, CheckpointNotes)
    require_same_data(notes["data"], prepared)
    expected = _arrays(like)
    for name in sorted(expected.keys() | found.keys()):
        kinds = kind_of(found.get(name)), kind_of(expected.get(name))
        if kinds[0] != kinds[1]:
            raise InputError(f"{path} does not fit this configuration: {name} is {kinds[0]}, needed is {kinds[1]}")
    if notes["config"] != fingerprint(config):
        raise InputError(f"{path} belongs to a run of another configuration; put the right file in its place")
    moment: Moment = tensors.filled(like, {**found, "step": notes["step"]})
    state, best = jax.tree.map(jnp.asarray, moment[:2])
    return moment._replace(state=state, best=best)


def require_same_data(checksum: Any, prepared: Prepared) -> None:
    """Raise an InputError unless these are the examples that a run was trained on."""
    if checksum != prepared.fingerprint:
        raise InputError(
            f"{prepared.name} has changed since this run was trained: which of its examples were for "
            "training cannot be known any more. `mlp-jax predict` and `evaluate` take files of new data"
        )


def _arrays(moment: Moment) -> tensors.Tensors:
    return {name: value for name, value in tensors.by_path(moment).items() if name != "step"}
