"""Examples of a batch: fewer and more of them; what is said of one that does not count, by what changes with it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.arguments import is_number
from mlp_jax.verify.hypotheses import FIT, Facts, Guesses, Hypothesis, largest
from mlp_jax.verify.report import CannotCheck
from mlp_jax.verify.table import Table

MOST = 64  # so many examples at most are looked at one by one,
MANY = 2e7  # if that makes no more than so many numbers


def is_free(x: np.ndarray) -> bool:
    """Whether other numbers may stand in an argument: what has few different ones, as labels have, may need these."""
    return bool(len(np.unique(x)) > min(x.size // 2, 2))


def hypotheses(checked: Any, table: Table) -> Callable[[int], list[Hypothesis]]:
    """For a leaf that has not a row for each example itself, the hypothesis on single examples."""
    n, rows = rows_of_a_batch(checked, table)
    inputs = [k for k in rows if is_free(table.leaves[k])]
    if not inputs or not 1 < n <= MOST or n * table.base * sum(x.size for x in table.leaves) > MANY:
        return lambda i: []
    yours, right = [], []
    for example in range(n):
        leaves = [x.copy() for x in table.leaves]
        for j in inputs:
            leaves[j][example] = 0.75 * leaves[j][example] + 0.1 * np.std(leaves[j])
        yours.append([y[: table.base] for y in checked.experiment.rule.exact(leaves, table.cotangents)[1]])
        right.append(checked.experiment.function.reference.exact(leaves, table.base_cotangents)[1])
    changed = [[np.stack(leaf) for leaf in zip(*gradients, strict=True)] for gradients in (yours, right)]
    return lambda i: [] if i in rows else [partial(of_changes, yours=changed[0][i], right=changed[1][i])]


def rows_of_a_batch(checked: Any, table: Table) -> tuple[int, list[int]]:
    """How many examples there are, and which leaves have one in each row: as the output, or as the last argument."""
    arguments = checked.arguments
    everything = zip(arguments.all_names, arguments.everything, strict=True)
    lengths = {name: np.shape(x)[0] for name, x in everything if name.isidentifier() and np.ndim(x)}
    n = table.values[0].shape[0] if table.values[0].ndim else next(reversed(lengths.values()), 0)
    return n, [k for k, name in enumerate(arguments.names) if lengths.get(name) == n]


def of_changes(f: Facts, yours: np.ndarray, right: np.ndarray) -> Guesses:
    """Gradients (examples, cotangents, *shape) where one example is changed: in yours one has no effect, or all others.

    What yours is itself is then predicted but for a constant.
    """
    mine, effects = yours - f.yours[0], right - f.reference[0]
    for k in range(len(effects)):
        for what, all_others, itself in (
            ("does not count", 1, 0),
            ("counts twice", 1, 2),
            ("alone counts: the sum over examples is missing", 0, 1),
        ):
            predicted = all_others * effects
            predicted[k] = itself * effects[k]
            if largest(effects[k]) > 0.01 * largest(effects) and largest(mine - predicted) <= FIT * largest(effects):
                yield f.yours, f"example {k} {what}."


def first_rows(args: tuple[Any, ...], out: tuple[int, ...], n: int) -> tuple[Any, ...]:
    """The arguments with the first n examples: rows of what is as long as an output of shape `out`, or the last array.

    Raises:
        CannotCheck: no argument has rows.
    """
    length, lengths = _batch(args, out)
    return tuple(x[:n] if k == length else x for x, k in zip(args, lengths, strict=True))


def more_rows(args: tuple[Any, ...], out: tuple[int, ...]) -> tuple[Any, ...]:
    """The arguments with two examples more, whose numbers are others; errors as of `first_rows`."""
    length, lengths = _batch(args, out)

    def longer(x: Any) -> Any:
        rows = jnp.asarray(x)[jnp.arange(length + 2) % max(length, 1)]
        if not is_number(x):
            return rows
        return rows.at[-2:].multiply(jnp.asarray([0.75, 0.5], rows.dtype).reshape(2, *[1] * (rows.ndim - 1)))

    return tuple(longer(x) if k == length else x for x, k in zip(args, lengths, strict=True))


def _batch(args: tuple[Any, ...], out: tuple[int, ...]) -> tuple[int, list[int | None]]:
    """The number of examples, and the first length of each argument."""
    lengths = [np.shape(x)[0] if hasattr(x, "shape") and np.ndim(x) > 0 else None for x in args]
    arrays = [k for k in lengths if k is not None]
    if not arrays:
        raise CannotCheck("no argument has an axis")
    length = out[0] if out else arrays[-1]
    if length not in arrays:
        raise CannotCheck(f"no argument has {length} rows, as the output has")
    return length, lengths
