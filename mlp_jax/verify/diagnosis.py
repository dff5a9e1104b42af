"""What is wrong, in words: causes that are fitted to the errors, and said only where they predict the wrong numbers.

The hypotheses are tested at two points, the arguments and a step aside. Those on a network's layers and on single
examples come after, and the place of the error last.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mlp_jax.verify import examples, hypotheses, layers
from mlp_jax.verify.findings import Judgement, Where, Why
from mlp_jax.verify.hypotheses import Facts, cause, factor, largest
from mlp_jax.verify.report import Verdict
from mlp_jax.verify.table import Arrays, Table, for_all

MOST_SLOPES = 64  # in a leaf of so many entries slopes stand in for a reference


def causes(checked: Any, table: Table, judgement: Judgement) -> list[str]:
    """A sentence for each wrong leaf, those with the same cause together, and for each wrong output.

    What shows elsewhere alone than in exact arithmetic at the arguments has its words already.
    """
    points = Points(checked, table)
    said: dict[str, list[str]] = {}
    with np.errstate(all="ignore"):
        for f in judgement.leaves:
            is_wrong = f.verdict in (Verdict.WRONG, Verdict.ZERO_EVERYWHERE) and f.where is Where.EXACTLY
            if is_wrong and Why.JAX_IS_WRONG not in f.why and (sentence := points.cause(f.about)):
                said.setdefault(sentence, []).append(points.names[f.about])
        for f in judgement.outputs:
            if f.verdict is Verdict.PRIMAL and f.where is Where.EXACTLY and (value := points.of_the_value(f.about)):
                said.setdefault(value, []).append(checked.output_names[f.about])
    return [f"{', '.join(names)}: {sentence}" for sentence, names in said.items()]


class Points:
    """The table at the arguments, and the one a step aside, as facts for hypotheses."""

    def __init__(self, checked: Any, table: Table) -> None:
        self.checked, self.table, self.names = checked, table, checked.arguments.names
        self.pulled: dict[Any, Arrays] = {}

    def cause(self, i: int) -> str:
        """What is wrong with a leaf; nothing is said where no right numbers are known."""
        if self.table.reference is None and self.table.leaves[i].size > MOST_SLOPES:
            return ""
        facts = self._facts(i)
        if self.checked.hypotheses:
            return cause(facts, self.checked.hypotheses) or "no simple cause fits."
        found = cause(facts, hypotheses.HYPOTHESES)
        if found is None and self.table.reference is not None:
            found = self._of_the_network(i, facts)
        yours = self.table.leaf(i).yours
        is_linear = np.allclose(yours, for_all(self.table, yours[: self.table.base]), hypotheses.NAMED, 0)
        otherwise = "no simple cause fits." if is_linear else "not linear in the gradient that arrives."
        return found or cause(facts, [hypotheses.place_alone]) or otherwise

    def of_the_value(self, k: int) -> str | None:
        """What the forward rule returns, if that is a multiple of the function's value."""
        yours, right = (np.stack(v) for v in zip(*((t.your_values[k], t.values[k]) for t in self._both), strict=True))
        c = factor(yours, right)
        is_off = largest(yours - right) > 1e-8 * largest(right)
        return f"the forward rule returns {hypotheses.number(c)} × the function's value." if c and is_off else None

    @cached_property
    def _both(self) -> list[Table]:
        """The tables; only the first where the rule is right for arguments as these alone, say probabilities."""
        table = self.table
        moved = tuple(k for k, x in enumerate(table.leaves) if examples.is_free(x) and table.reference is not None)
        try:
            other = table.ask("beside", moved, 1) if moved else None
        except Exception:  # a function that calls back into Python may refuse other arguments
            other = None
        right = (k for k in range(len(self.names)) if not _is_off(table, k))
        return [table] if other is None or any(_is_off(other, k) for k in right) else [table, other]

    @cached_property
    def _of_the_network(self) -> Callable[[int, Facts], str | None]:
        """The fault of a layer, for every leaf, or what is said of single examples."""
        if fault := layers.fault(self.checked, self.table):
            return lambda i, facts: f"{fault}."
        of_examples = examples.hypotheses(self.checked, self.table)
        return lambda i, facts: cause(facts, of_examples(i))

    def _facts(self, i: int) -> Facts:
        base = self.table.base
        arriving = [c[None, :base] for c in self.table.cotangents]
        known = [t.reference for t in self._both if t.reference is not None]
        right = {k: np.stack([r[k] for r in known]) for k in range(len(self.names)) if known}
        return Facts(
            self.names[i],
            np.stack([t.yours[i][:base] for t in self._both]),
            right.pop(i) if known else self._slopes(i),
            self._arguments(),
            {n: np.stack([t.values[k] for t in self._both])[:, None] for k, n in enumerate(self.checked.output_names)},
            arriving,
            {self.names[k]: gradient for k, gradient in right.items()},
            lambda changed: self._pulled({}, changed)[i] if known else None,
            lambda moved: self._pulled(moved, arriving)[i] if known else None,
        )

    def _slopes(self, i: int) -> np.ndarray:
        """Slopes of the function in place of a reference; values know them to half the digits of float64."""
        slopes = self.table.ask("entries", i, tuple(range(self.table.leaves[i].size)))
        yours = self.table.yours[i][None, : self.table.base]
        right = slopes.middle.T.reshape(yours.shape)
        return np.where(np.abs(yours - right) <= 1e-6 * largest(right), yours, right)

    def _arguments(self) -> dict[str, np.ndarray]:
        """All numbers that the function is given: leaves as (points, 1, *shape), constants as (1, 1, *shape)."""
        found = {n: np.stack([t.leaves[k] for t in self._both])[:, None] for k, n in enumerate(self.names)}
        for name, x in zip(self.checked.arguments.all_names, self.checked.arguments.everything, strict=True):
            kind = (
                getattr(getattr(x, "dtype", None), "kind", "") if hasattr(x, "shape") else ""
            )  # jnp.float32 has one, too
            is_real = isinstance(x, int | float) or kind in ("i", "u", "f")
            if name not in found and is_real and np.size(x):
                found[name] = np.asarray(x, np.float64)[None, None]
        return found

    def _pulled(self, moved: dict[str, np.ndarray], cotangents: Sequence[np.ndarray]) -> Arrays:
        """The reference (points, cotangents, *shape) for all leaves, for other cotangents or at other arguments."""
        key = (*moved, *(a.tobytes() for a in (*moved.values(), *cotangents)))
        if key not in self.pulled:
            found = []
            for p, table in enumerate(self._both):
                leaves = [moved[n][p, 0] if n in moved else x for n, x in zip(self.names, table.leaves, strict=True)]
                found.append(self.checked.experiment.function.reference.exact(leaves, [c[0] for c in cotangents])[1])
            self.pulled[key] = [np.stack(leaf) for leaf in zip(*found, strict=True)]
        return self.pulled[key]


def _is_off(table: Table, k: int) -> bool:
    leaf = table.leaf(k)
    return table.reference is not None and largest((leaf.yours - leaf.reference)[: table.base]) > 1e-6 * leaf.size
