"""The function: its values in float64, and its reference, reverse mode of it. Traced by JAX, or called as Python.

What JAX can trace is traced once, in the user's own mode; the reference is reverse mode of that program without any
gradient rules inside it. What it cannot trace is called; there is no reference then, and values stand in.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import Leaves
from mlp_jax.verify.compiled import Compiled, Outputs, Rule, arrays, as_numbers, by_vjp, compiled_soon, float64
from mlp_jax.verify.disturbances import Held
from mlp_jax.verify.interpreter import Program, calls, in_float64, is_float, stops_within, without_rules
from mlp_jax.verify.policy import FLOAT64, STEPS, Precision
from mlp_jax.verify.rule import TracedRule
from mlp_jax.verify.slopes import times
from mlp_jax.verify.table import Arrays


class TracedFunction(Compiled):
    """A program of JAX."""

    kind = "function"
    most_entries, staircase = policy.ENTRIES_WITHOUT_REFERENCE, policy.STAIRCASE

    def __init__(self, program: Program, leaves: Leaves, named: Rule | None = None) -> None:
        """Trace reverse mode at leaves in the user's precision, or the values and gradients that the user named."""
        super().__init__(program)
        self.all_outputs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in program.out_avals]
        self.outputs = [z for z in self.all_outputs if is_float(z.dtype)]
        self.stops, self.stops_within = calls(program, "stop_gradient"), stops_within(program)
        self.noise = max(policy.VALUE_NOISE * FLOAT64.eps, self.typed)  # relative, of a value in float64
        self.reference: TracedRule | None
        if named is not None:
            self.reference = TracedRule(named, leaves, self.outputs)
        else:
            self.reference = self.once("reference", lambda: self._reverse_mode(leaves))

    def _reverse_mode(self, leaves: Leaves) -> TracedRule | None:
        """Of the plain function, or None if it cannot go through it."""
        plain = without_rules(self.program)
        try:
            return TracedRule(by_vjp(lambda xs: plain(*xs), jax.vjp), leaves, self.outputs)
        except (ValueError, NotImplementedError, TypeError):  # what JAX raises for loops and callbacks
            return None

    def values(self, leaves: Arrays) -> Arrays:
        """Its floating-point outputs, in float64."""
        program = in_float64(self.program)
        run = self.once("values", lambda: compiled_soon(lambda xs: program(*xs), self.program))
        with float64():
            return [as_numbers(v) for v in self._numbers(run(leaves))]

    def _numbers(self, outs: Leaves) -> Leaves:
        return [v for v, z in zip(outs, self.all_outputs, strict=True) if is_float(z.dtype)]

    def all_values(self, leaves: Leaves) -> list[Any]:
        """The outputs as they are, whole numbers among them."""
        return list(self.once("as they are", lambda: jax.jit(without_rules(self.program)))(*leaves))

    def line(
        self, leaves: Arrays, direction: Arrays, times: np.ndarray, cotangents: Arrays, held: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """⟨g, f(x + t d)⟩ (times, cotangents), and the sum of the sizes of its terms; stopped gradients held fast."""
        run = self.once(f"line {held}", lambda: compiled_soon(functools.partial(self._along, held), self.program))
        with float64():
            phi, terms = run(leaves, direction, times, cotangents)
            return np.asarray(phi), np.asarray(terms)

    def _along(self, held: bool, leaves: Leaves, direction: Leaves, times: jax.Array, cotangents: Leaves) -> Any:
        at_0 = Held()
        if held:
            in_float64(self.program, at_0)(*leaves)

        def at(t: jax.Array) -> Any:
            xs = [x + t * d for x, d in zip(leaves, direction, strict=True)]
            values = in_float64(self.program, Held(at_0.values) if held else None)(*xs)
            return _projected(jnp, cotangents, self._numbers(values))

        return lax.map(at, times)


class CalledFunction:
    """A function of numpy, or one whose Python code needs the values."""

    reference = None
    stops = stops_within = False
    typed = 0.0
    staircase = policy.STAIRCASE_OF_CALLS

    def __init__(self, outputs: Outputs, leaves: Leaves, on_jax: bool) -> None:
        """Call it once, with JAX's arrays or numpy's."""
        self.function, self.leaves, self.on_jax = outputs, leaves, on_jax
        started = time.perf_counter()
        values = outputs(leaves)
        seconds = (time.perf_counter() - started) * len(times(STEPS))
        self.most_entries = int(min(policy.ENTRIES_WITHOUT_REFERENCE, policy.SECONDS_OF_CALLS / max(seconds, 1e-9)))
        self.outputs = self.all_outputs = [jax.ShapeDtypeStruct(np.shape(z), np.asarray(z).dtype) for z in values]
        coarsest = max((Precision.of(z.dtype).eps for z in self.outputs), default=0.0)
        lost = coarsest > FLOAT64.eps and all(np.asarray(x).dtype == np.float64 for x in leaves)
        self.noise = max(policy.VALUE_NOISE * FLOAT64.eps, coarsest if lost else 0.0)

    def values(self, leaves: Arrays) -> Arrays:
        """By a call."""
        with float64():
            return [as_numbers(z) for z in self.function(arrays(leaves, self.on_jax))]

    def line(
        self, leaves: Arrays, direction: Arrays, at: np.ndarray, cotangents: Arrays, held: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """By a call for each time."""
        found = []
        for t in at:
            try:
                values = self.values([x + t * d for x, d in zip(leaves, direction, strict=True)])
            except Exception:  # a user's function may refuse what is outside of its domain
                values = [np.full(z.shape, np.nan) for z in self.outputs]
            found.append(_projected(np, cotangents, values))
        phi, terms = zip(*found, strict=True)
        return np.asarray(phi), np.asarray(terms)


Function = TracedFunction | CalledFunction


def _projected(xp: Any, cotangents: Leaves, values: Leaves) -> tuple[Any, Any]:
    """⟨g, y⟩ for each cotangent, and Σ |g y|; what a cotangent leaves out may be NaN."""
    terms = [xp.where(g == 0, 0, g * y).reshape(len(g), -1) for g, y in zip(cotangents, values, strict=True)]
    return sum(xp.sum(t, axis=1) for t in terms), sum(xp.sum(xp.abs(t), axis=1) for t in terms)
