"""Values and gradients of a function, by a rule: in float64, and as the user has them. Traced by JAX, or called.

Both the rule under test and the reference are such rules.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from mlp_jax.verify.arguments import Leaves
from mlp_jax.verify.compiled import Compiled, Rule, arrays, as_numbers, compiled_soon, float64, for_each, typed
from mlp_jax.verify.disturbances import Exactly
from mlp_jax.verify.interpreter import in_float64, is_float, trace, without_rules
from mlp_jax.verify.table import Arrays


class TracedRule(Compiled):
    """A rule that JAX can trace."""

    def __init__(self, rule: Rule, leaves: Leaves, outputs: Sequence[Any]) -> None:
        """Trace it at leaves in the user's precision, for these floating-point outputs; its errors are raised."""
        self.rule, self.outputs = rule, outputs
        super().__init__(trace(rule, leaves, list(outputs)))
        avals = list(self.program.out_avals)
        self.values, self.gradients = avals[: len(avals) - len(leaves)], avals[len(avals) - len(leaves) :]

    def _parted(self, outs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Floating-point outputs, and gradients."""
        floats = [z for z, a in zip(outs, self.values, strict=False) if is_float(a.dtype)]
        return floats, list(outs[len(self.values) :])

    def exact(self, leaves: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays]:
        """Outputs and gradients (cotangents, *shape), in float64."""
        program = in_float64(self.program)
        each = lambda xs, gs: for_each(lambda g: program(*xs, *g), gs)  # noqa: E731
        run = self.once("exact", lambda: compiled_soon(each, self.program))
        with float64():
            values, gradients = self._parted(run(leaves, cotangents))
            return [as_numbers(v[0]) for v in values], [as_numbers(g) for g in gradients]

    def disturbed(
        self, name: str, how: Callable[[Any], Exactly], leaves: Arrays, cotangents: Arrays, seeds: np.ndarray
    ) -> tuple[Arrays, Arrays]:
        """Outputs (seeds, …) and gradients (seeds, cotangents, …) in float64, disturbed by each seed in a way."""
        program = self.program

        def each(xs: Leaves, gs: Leaves, seeds: jax.Array) -> Any:
            return lax.map(lambda s: for_each(lambda g: in_float64(program, how(s))(*xs, *g), gs), seeds)

        run = self.once(name, lambda: compiled_soon(each, program))
        with float64():
            values, gradients = self._parted(run(leaves, cotangents, seeds))
            return [as_numbers(v[:, 0]) for v in values], [as_numbers(g) for g in gradients]

    def _own(self, leaves: Leaves, cotangents: Leaves) -> list[Any]:
        run = self.once("own", lambda: jax.jit(without_rules(self.program)))
        return list(run(*leaves, *typed(cotangents, self.outputs)))

    def own(self, leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        """Outputs and gradients for one cotangent, in the user's precision, as under jit."""
        return self._parted(self._own(leaves, cotangents))

    def all_values(self, leaves: Leaves) -> list[Any]:
        """The outputs as they are, whole numbers among them."""
        return self._own(leaves, [np.zeros(z.shape) for z in self.outputs])[: len(self.values)]

    def outside_jit(self, leaves: Leaves, cotangents: Leaves) -> Leaves | None:
        """Gradients as Python runs the rule."""
        return list(self.rule(leaves, typed(cotangents, self.outputs))[1])


class CalledRule:
    """A rule of numpy, or one whose Python code needs the values."""

    typed = 0.0

    def __init__(self, rule: Rule, outputs: Sequence[Any], on_jax: bool) -> None:
        self.rule, self.outputs, self.on_jax = rule, outputs, on_jax

    def exact(self, leaves: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays]:
        """By a call for each cotangent."""
        with float64():
            rows = [
                self.rule(arrays(leaves, self.on_jax), arrays([g[k] for g in cotangents], self.on_jax))
                for k in range(len(cotangents[0]))
            ]
        gradients = [np.stack([as_numbers(row[1][i]) for row in rows]) for i in range(len(leaves))]
        return [as_numbers(z) for z in rows[0][0]], gradients

    def own(self, leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        """As it is."""
        given = [np.asarray(g).astype(z.dtype) for g, z in zip(cotangents, self.outputs, strict=True)]
        return self.rule(leaves, arrays(given, self.on_jax))

    def outside_jit(self, leaves: Leaves, cotangents: Leaves) -> Leaves | None:
        """That is how it always runs."""
        return None


RuleUnderTest = TracedRule | CalledRule
