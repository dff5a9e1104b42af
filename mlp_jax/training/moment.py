"""Where a training stands between two steps."""

from typing import Any, NamedTuple

from mlp_jax.training.step import State
from mlp_jax.training.step.early_stopping import Best


class Moment(NamedTuple):
    """All that going on needs.

    Attributes:
        state: parameters, optimizer's state, average.
        best: the best parameters so far, with early stopping.
        step: the number of the next step, from 0 over all epochs.
        under_way: what the steps of the epoch under way gave so far, an `OfStep` of arrays (steps, …).
    """

    state: State
    best: Best | None
    step: int
    under_way: Any
