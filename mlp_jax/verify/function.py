"""The function: its values in float64, and reverse mode of it, the reference. Traced by JAX, or called as Python.

What JAX can trace is traced once, in the user's own mode; the reference is reverse mode of that program without any
gradient rules inside it. What it cannot trace is called; there is no reference then, and values stand in.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlp_jax.verify.arguments import Leaves
from mlp_jax.verify.compiled import (
    Outputs,
    Rule,
    as_numbers,
    by_vjp,
    compiled_soon,
    disturbed,
    float64,
    for_each,
    remembered,
)
from mlp_jax.verify.disturbances import Exactly, Held, OtherConstants, OtherPieces, Rounding
from mlp_jax.verify.interpreter import (
    Program,
    fingerprint,
    in_float64,
    is_float,
    stops_gradients,
    trace,
    typed_precision,
    without_rules,
)
from mlp_jax.verify.policy import (
    ENTRIES_WITHOUT_REFERENCE,
    FLOAT64,
    ROUNDINGS,
    SECONDS_OF_CALLS,
    STAIRCASE,
    STAIRCASE_OF_CALLS,
    STEPS,
    VALUE_NOISE,
    Precision,
)
from mlp_jax.verify.slopes import times
from mlp_jax.verify.table import Arrays


class TracedFunction:
    """A program of JAX.

    Attributes:
        outputs: shape and dtype of each floating-point output.
        has_reference: whether reverse mode can go through it.
        stops: whether it has a stop_gradient.
        noise: relative, of a value in float64.
        typed: the coarsest ε of what keeps its type in float64.
    """

    most_entries, staircase = ENTRIES_WITHOUT_REFERENCE, STAIRCASE

    def __init__(self, program: Program, leaves: Leaves, named: Rule | None = None) -> None:
        """Reverse mode is traced here.

        Args:
            program: of the function.
            leaves: JAX arrays, in the user's precision.
            named: the values and gradients of a reference that the user named.
        """
        self.program = program
        self.all_outputs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in program.out_avals]
        self.floats = [k for k, z in enumerate(self.all_outputs) if is_float(z.dtype)]
        self.outputs = [self.all_outputs[k] for k in self.floats]
        self.stops = stops_gradients(program)
        self.typed = typed_precision(program)
        self.noise = max(VALUE_NOISE * FLOAT64.eps, self.typed)
        self._memory = remembered("function", fingerprint(program))
        if named is not None:
            reverse = trace(named, leaves, self.outputs)
            self._memory = remembered("reference", fingerprint(program), fingerprint(reverse))
            self._memory["reverse mode"] = reverse
        elif "reverse mode" not in self._memory:
            self._memory["reverse mode"] = self._reverse_mode(leaves)
        self.reverse = self._memory["reverse mode"]
        self.has_reference = self.reverse is not None

    def _reverse_mode(self, leaves: Leaves) -> Program | None:
        """The program of values and gradients, or None if reverse mode cannot go through the function."""
        plain = without_rules(self.program)
        try:
            return trace(by_vjp(lambda xs: plain(*xs), jax.vjp), leaves, self.outputs)
        except (ValueError, NotImplementedError, TypeError):  # what JAX raises for loops and callbacks
            return None

    def _parted(self, outs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Floating-point outputs and gradients."""
        return [outs[k] for k in self.floats], list(outs[len(self.all_outputs) :])

    def _once(self, name: str, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
        if name not in self._memory:
            self._memory[name] = make()
        found: Callable[..., Any] = self._memory[name]
        return found

    def values(self, leaves: Arrays) -> Arrays:
        """Its outputs, in float64."""
        program = in_float64(self.program)
        run = self._once("values", lambda: compiled_soon(lambda xs: program(*xs), self.program))
        with float64():
            return [as_numbers(v) for v in self._parted(run(leaves))[0]]

    def reference(self, leaves: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays]:
        """Outputs and gradients (cotangents, *shape), in float64."""
        program = in_float64(self.reverse)
        run = self._once(
            "reference", lambda: compiled_soon(lambda xs, gs: for_each(lambda g: program(*xs, *g), gs), self.reverse)
        )
        with float64():
            values, gradients = self._parted(run(leaves, cotangents))
            return [as_numbers(v[0]) for v in values], [as_numbers(g) for g in gradients]

    def native(self, leaves: Leaves, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        """Outputs and gradients for one cotangent, in the user's precision."""
        run = self._once("native", lambda: jax.jit(without_rules(self.reverse)))
        return self._parted(run(*leaves, *typed(cotangents, self.outputs)))

    def whole_numbers(self, leaves: Leaves) -> list[Any]:
        """The outputs that are no floating-point numbers."""
        run = self._once("whole numbers", lambda: jax.jit(without_rules(self.program)))
        others = [k for k in range(len(self.all_outputs)) if k not in self.floats]
        return [z for k, z in enumerate(run(*leaves)) if k in others] if others else []

    def rounded(self, leaves: Arrays, cotangents: Arrays, to_float64: bool) -> tuple[Arrays, Arrays]:
        """Outputs and gradients (1 + roundings, …), each result rounded at random, but exact in the first."""
        dtype = np.float64 if to_float64 else None
        seeds = np.arange(ROUNDINGS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15 >> 1)
        run = self._once(f"rounded {dtype}", lambda: self.disturbed(lambda seed: Rounding(seed, dtype)))
        return self._numbers(run, leaves, cotangents, seeds)

    def with_other_constants(self, leaves: Arrays, cotangents: Arrays, signs: np.ndarray) -> tuple[Arrays, Arrays]:
        """The same for constants that are half a unit off, by signs (samples, n); 0 for none."""
        run = self._once("other constants", lambda: self.disturbed(OtherConstants))
        return self._numbers(run, leaves, cotangents, signs)

    def with_other_pieces(self, leaves: Arrays, cotangents: Arrays, seeds: np.ndarray) -> Arrays:
        """Gradients (seeds, cotangents, *shape) for each kink taken to one of its sides."""
        run = self._once("other pieces", lambda: self.disturbed(OtherPieces))
        return self._numbers(run, leaves, cotangents, seeds)[1]

    def disturbed(self, how: Callable[[Any], Exactly]) -> Callable[..., Any]:
        """(leaves, cotangents, seeds) -> what the reference gives for each seed."""
        return compiled_soon(disturbed(self.reverse, how), self.reverse)

    def _numbers(self, run: Callable[..., Any], *args: Any) -> tuple[Arrays, Arrays]:
        with float64():
            values, gradients = self._parted(run(*args))
            return [as_numbers(v[:, 0]) for v in values], [as_numbers(g) for g in gradients]

    def line(
        self, leaves: Arrays, direction: Arrays, times: np.ndarray, cotangents: Arrays, held: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """⟨g, f(x + t d)⟩ (times, cotangents), and the sum of the sizes of its terms; stopped gradients held fast."""
        run = self._once(f"line {held}", lambda: compiled_soon(functools.partial(self._along, held), self.program))
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
            return _projected(jnp, cotangents, self._parted(values)[0])

        return lax.map(at, times)


class CalledFunction:
    """A function of numpy, or one whose Python code needs the values."""

    has_reference = False
    stops = False
    typed = 0.0
    staircase = STAIRCASE_OF_CALLS

    def __init__(self, outputs: Outputs, leaves: Leaves, on_jax: bool) -> None:
        """Calls the function once.

        Args:
            outputs: the function.
            leaves: the arguments as the user's function gets them.
            on_jax: whether it takes JAX's arrays; else numpy's.
        """
        self.function, self.leaves, self.on_jax = outputs, leaves, on_jax
        started = time.perf_counter()
        values = outputs(leaves)
        seconds = (time.perf_counter() - started) * len(times(STEPS))
        self.most_entries = int(min(ENTRIES_WITHOUT_REFERENCE, SECONDS_OF_CALLS / max(seconds, 1e-9)))
        self.outputs = self.all_outputs = [jax.ShapeDtypeStruct(np.shape(z), np.asarray(z).dtype) for z in values]
        coarsest = max((Precision.of(z.dtype).eps for z in self.outputs), default=0.0)
        lost = coarsest > FLOAT64.eps and all(np.asarray(x).dtype == np.float64 for x in leaves)
        self.noise = max(VALUE_NOISE * FLOAT64.eps, coarsest if lost else 0.0)

    def values(self, leaves: Arrays) -> Arrays:
        """By a call."""
        with float64():
            return [as_numbers(z) for z in self.function(arrays(leaves, self.on_jax))]

    def reference(self, *_: Any) -> Any:
        """There is none: not to be called."""
        raise NotImplementedError

    native = rounded = with_other_constants = with_other_pieces = reference

    def line(
        self, leaves: Arrays, direction: Arrays, at: np.ndarray, cotangents: Arrays, held: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """By a call for each time."""
        del held
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


def typed(cotangents: Leaves, outputs: Sequence[Any]) -> Leaves:
    """The cotangents in the outputs' dtypes."""
    return [jnp.asarray(g, z.dtype) for g, z in zip(cotangents, outputs, strict=True)]


def arrays(leaves: Sequence[Any], on_jax: bool) -> Leaves:
    """Arrays of JAX or of numpy, as a function takes them."""
    return [jnp.asarray(x) if on_jax else np.array(x) for x in leaves]
