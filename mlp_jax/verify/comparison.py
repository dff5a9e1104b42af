"""Run the rule under test and its references on the same numbers: what `judgement` judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import references, tolerance
from mlp_jax.verify.compiling import Jit, compiled, jit_soon, on_device
from mlp_jax.verify.precision import FLOAT64, Program, eps, float64, inspect_program, is_float, same_program
from mlp_jax.verify.references import Function, Probe, Truth, as_numbers, evaluate, scale_of
from mlp_jax.verify.subject import Arguments, Leaves, Rule, outputs_of

RANDOM_COTANGENTS = 3
# The Jacobian is checked row by row, too, up to so many outputs.
ROW_BY_ROW = 16

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """What is compared with what.

    Attributes:
        arguments: the leaves and constants.
        rule_for: the gradient under test, at arguments.
        function: the function itself, without a rule of its own where that is known.
        values: its outputs at the arguments.
        repeated: the same of a second call.
        references: rules to hold it to, strongest first, each with what it is called.
        named: whether the user named the reference, so that nothing doubts it.
        scalar: whether the gradient is of one number, so that its only cotangent is 1.
        on_jax: whether JAX can trace the function; if not, it runs on numpy arrays.
        output_names: what a report calls the outputs.
        seed: of cotangents and directions.
    """

    arguments: Arguments
    rule_for: Callable[[Arguments], Rule]
    function: Callable[..., Any]
    values: tuple[Any, ...]
    repeated: tuple[Any, ...]
    references: tuple[tuple[str, Rule], ...]
    named: bool
    scalar: bool
    on_jax: bool
    output_names: tuple[str, ...]
    seed: int

    @cached_property
    def rule(self) -> Rule:
        """The gradient under test."""
        return self.rule_for(self.arguments)

    def plain(self, leaves: Leaves) -> Leaves:
        """The function from its leaves to its outputs."""
        return outputs_of(self.function, self.arguments)(leaves)


class Comparison:
    """Values and gradients of a case in its own precision and in float64, each computed when first asked for."""

    def __init__(self, case: Case) -> None:
        """Nothing runs yet."""
        self.case = case

    # --- in the arguments' own dtype ------------------------------------------------------------------

    @cached_property
    def own_leaves(self) -> Leaves:
        """The leaves as the user's function gets them."""
        return [jnp.asarray(x) if self.case.on_jax else np.asarray(x) for x in self.case.arguments.leaves]

    @cached_property
    def dtypes(self) -> list[Any]:
        """Those of all leaves and outputs."""
        return [dtype for x in (*self.own_leaves, *self.case.values) if is_float(dtype := np.asarray(x).dtype)]

    @cached_property
    def own_precision(self) -> tuple[float, str]:
        """ε of the coarsest dtype among arguments, outputs and what the function computes, and its name."""
        own, name = tolerance.coarsest(self.dtypes)
        return (own, name) if self.program.eps <= own else (self.program.eps, "what the function computes in")

    @cached_property
    def cotangents(self) -> list[Arrays]:
        """What is pulled back, in float64: random numbers that the outputs' dtypes have, then unit vectors."""
        outputs = self.case.values
        if self.case.scalar:
            return [[np.ones(np.shape(outputs[0]))]]
        drawn = []
        for k in range(RANDOM_COTANGENTS):
            rng = np.random.default_rng([self.case.seed, k])
            drawn.append([_representable(self._scale * rng.normal(size=np.shape(z)), z) for z in outputs])
        return drawn + [[self._scale * u for u in units] for units in _unit_vectors(outputs)]

    @property
    def g_of_scalar(self) -> np.ndarray | None:
        """The cotangents of an output that is one number, the only one."""
        if sum(int(np.size(z)) for z in self.case.values) != 1:
            return None
        return np.array([float(np.ravel(z[0])[0]) for z in self.cotangents])

    @cached_property
    def _scale(self) -> float:
        """A power of two that keeps gradients within the range of half precision, where 1 does not."""
        if not self.reference or self.own_precision[0] < eps(jnp.float16) or "float16" not in map(str, self.dtypes):
            return 1.0
        rng = np.random.default_rng(self.case.seed)
        g = [rng.normal(size=np.shape(z)) for z in self.case.values]
        with float64():
            _, grads = evaluate(self.reference[1], self.leaves, [[on_device(z) for z in g]])
        largest = max((float(np.max(np.abs(leaf), initial=0)) for leaf in grads), default=1.0)
        fits = not 0 < largest < np.inf or 1e-3 < largest < 1e3
        return 1.0 if fits else float(2.0 ** np.clip(-np.round(np.log2(largest)), -10, 10))

    def own_run(self) -> tuple[Leaves, list[Leaves]]:
        """Outputs and gradients of the rule under test, as arrays of its own, for each cotangent."""
        runs = [self._own_rule(self.own_leaves, self._own_cotangent(g)) for g in self.cotangents]
        return runs[0][0], [grads for _, grads in runs]

    def own_run_again(self) -> Leaves:
        """The gradients for the first cotangent once more, traced anew if a new trace is another program."""
        args = self.own_leaves, self._own_cotangent(self.cotangents[0])
        if self.case.on_jax and same_program(self.case.rule, *args):
            return self._own_rule(*args)[1]
        anew = self.case.rule_for(self.case.arguments)
        return (compiled(anew) if self.case.on_jax else anew)(*args)[1]

    @cached_property
    def _own_rule(self) -> Rule:
        return compiled(self.case.rule) if self.case.on_jax else self.case.rule

    @cached_property
    def own_values_compiled(self) -> Leaves:
        """The outputs of the function in the arguments' own dtype, under jit where that is possible."""
        return compiled(lambda leaves: self.case.plain(leaves))(self.own_leaves)

    def own_reference(self) -> Arrays | None:
        """The gradients of the reference in the arguments' own dtype: how far rounding alone takes it."""
        for _, rule in self.case.references:
            try:
                return evaluate(compiled(rule), self.own_leaves, [self._own_cotangent(g) for g in self.cotangents])[1]
            except Exception:  # it is the user's function, in a dtype that it may not take
                continue
        if not self.case.on_jax or sum(int(np.size(x)) for x in self.own_leaves) > references.ENTRY_BY_ENTRY:
            return None
        try:
            return references.entry_by_entry(replace(self.function, leaves=self.own_leaves), forward=True).gradients
        except Exception:  # likewise
            return None

    def _own_cotangent(self, g: Arrays) -> Leaves:
        if not self.case.on_jax:
            return list(g)
        return [on_device(z.astype(jnp.asarray(out).dtype)) for z, out in zip(g, self.case.values, strict=True)]

    # --- in float64 -------------------------------------------------------------------------------------

    @cached_property
    def leaves(self) -> Leaves:
        """The leaves in float64."""
        if not self.case.on_jax:
            return [as_numbers(x) for x in self.own_leaves]
        with float64():
            return self.case.arguments.upcast()

    @cached_property
    def program(self) -> Program:
        """What the function does, as far as JAX can see."""
        if not self.case.on_jax:
            return Program()
        return inspect_program(self.case.plain, self.leaves) or Program(
            max(FLOAT64, tolerance.coarsest(self.dtypes)[0])
        )

    @property
    def jit(self) -> Jit:
        """How functions in float64 are compiled."""
        return jax.jit if self.program.convolves else jit_soon

    @cached_property
    def plain(self) -> Callable[[Leaves], Leaves]:
        return compiled(self.case.plain, self.jit) if self.case.on_jax else self.case.plain

    @cached_property
    def values(self) -> Arrays | None:
        """The outputs of the function itself; None if it does not run in float64."""
        try:
            with float64():
                values = [as_numbers(z) for z in self.plain(self.leaves)]
        except Exception:
            return None
        return values if [z.shape for z in values] == [np.shape(z) for z in self.case.values] else None

    @cached_property
    def reference(self) -> tuple[str, Rule] | None:
        """The first reference that JAX can run in float64, if possible with finite gradients: its name, and itself."""
        found: tuple[str, Rule] | None = None
        for source, rule in self.case.references:
            fast = compiled(rule, self.jit)
            try:
                with float64():
                    _, grads = fast(self.leaves, [on_device(np.ones(np.shape(z))) for z in self.case.values])
            except Exception:  # a loop that has no reverse mode, or a dtype of its own
                continue
            if all(np.isfinite(as_numbers(x)).all() for x in grads):
                return source, fast
            found = found or (source, fast)
        return found

    @cached_property
    def truth(self) -> Truth | None:
        """All gradients, if a reference gives them or the leaves are few; else None, and `probes` decide."""
        if self.is_exact:
            assert self.reference
            return Truth.exact(self.reference[0], self.pull(self.reference[1], self.leaves, self.cotangents))
        if self.values is None:
            return self._truth_in_own_dtype()
        if not self.function.is_small:
            return None
        try:
            with float64():
                return references.entry_by_entry(self.function, forward=self.has_forward_mode)
        except Exception:  # a callback with a dtype of its own, say
            return self._truth_in_own_dtype()

    def _truth_in_own_dtype(self) -> Truth | None:
        """For a function that does not run in float64: JAX's gradient, or differences as they are."""
        if (own := self.own_reference()) is not None:
            return Truth.exact("JAX's gradient in the arguments' dtype, as it does not run", own)
        function = replace(self.function, leaves=self.own_leaves, eps=self.own_precision[0])
        try:
            return references.entry_by_entry(function, forward=False) if function.is_small else None
        except Exception:  # the user's function, at arguments that it may not take
            return None

    @property
    def is_exact(self) -> bool:
        """Whether a reference gives the truth in float64, and differences do not contradict it."""
        return self.reference is not None and not self.is_contradicted

    @property
    def is_contradicted(self) -> bool:
        """Whether differences show that JAX's own derivative of the function is another one: a rule inside is wrong."""
        return not self.program.stops and any(self.witness.values())

    @cached_property
    def witness(self) -> dict[int, bool]:
        """For each leaf, whether differences contradict the reference along a random direction.

        At a point nearby, where the reference must be right as well, and where kinks are left behind.
        """
        if self.case.named or self.reference is None or self.values is None:
            return {}
        for step in (1e-2, 1e-4, 0.0):
            rng = np.random.default_rng([self.case.seed, 7])
            moved = [as_numbers(x) + step * scale_of(x) * rng.normal(size=np.shape(x)) for x in self.leaves]
            with float64():
                function = replace(self.function, leaves=[on_device(x) for x in moved])
                grads = self.pull(self.reference[1], function.leaves, self.cotangents)
                if not all(np.isfinite(leaf).all() for leaf in grads):
                    continue
                probes = references.along_directions(function, forward=False, rng=rng, count=1)
                suspects = {p.leaf for p in probes if p.contradicts(grads[p.leaf])}
                again = references.along_directions(function, forward=False, rng=rng, count=2) if suspects else []
            sure = {k: all(p.contradicts(grads[k]) for p in again if p.leaf == k) for k in suspects}
            return {k: sure.get(k, False) for k in range(len(moved))}
        return {}

    @cached_property
    def has_forward_mode(self) -> bool:
        """Whether JAX can push tangents forward through the function, by rules of its own alone."""
        if not self.case.on_jax or self.program.custom or self.is_contradicted:
            return False
        try:
            with float64():
                references.along_directions(self.function, forward=True, rng=np.random.default_rng(0), count=1)
        except Exception:
            return False
        return True

    @cached_property
    def probes(self) -> list[Probe]:
        """Slopes along random directions in each leaf, where there is no `truth`."""
        if self.values is None:
            return []
        rng = np.random.default_rng([self.case.seed, 7])
        with float64():
            return references.along_directions(self.function, self.has_forward_mode, rng)

    @cached_property
    def yours(self) -> tuple[Arrays, Arrays] | Exception:
        """Outputs and gradients of the rule under test, or why it does not run in float64."""
        try:
            with float64():
                return evaluate(self.fast_rule, self.leaves, self._on_device(self.cotangents))
        except Exception as error:
            return error

    @cached_property
    def fast_rule(self) -> Rule:
        """The rule under test, compiled for float64."""
        return compiled(self.case.rule, self.jit) if self.case.on_jax else self.case.rule

    @cached_property
    def formula_precision(self) -> float:
        """ε of the comparison in float64."""
        own = self.own_precision[0]
        inside = self.program.eps
        if self.case.on_jax:
            with float64():
                rule = inspect_program(self.case.rule, self.leaves, self._on_device(self.cotangents)[0])
            inside = max(inside, rule.eps if rule and rule.eps <= own else 0.0)
        return tolerance.formula_precision(own, inside, self.program.loops)

    @cached_property
    def function(self) -> Function:
        """The projections of the outputs on all cotangents."""

        def projections(leaves: Leaves) -> Any:
            np_ = jnp if self.case.on_jax else np
            outs = self.case.plain(leaves)
            return np_.stack([sum(np_.sum(gi * z) for gi, z in zip(g, outs, strict=True)) for g in self.cotangents])

        return Function.of(projections, self.leaves, self.case.on_jax, self.program.eps, self.jit)

    def pull(self, rule: Rule, leaves: Leaves, cotangents: list[Arrays]) -> Arrays:
        """The gradients that a rule gives for each cotangent, in float64."""
        with float64():
            return evaluate(rule, leaves, self._on_device(cotangents))[1]

    def _on_device(self, cotangents: Sequence[Arrays]) -> list[Leaves]:
        return [[on_device(z) if self.case.on_jax else z for z in g] for g in cotangents]

    @cached_property
    def scaled(self) -> list[tuple[float, Arrays]]:
        """Yours for the first cotangent, far longer and far shorter, over its length: the same for a linear rule."""
        if self.case.scalar or self.case.named or isinstance(self.yours, Exception):
            return []
        reach = 6 if "float16" in map(str, self.dtypes) else 10
        return [
            (
                factor,
                [
                    x / factor
                    for x in self.pull(self.fast_rule, self.leaves, [[factor * z for z in self.cotangents[0]]])
                ],
            )
            for factor in (2.0**reach, 2.0**-reach)
        ]


def _representable(g: np.ndarray, z: Any) -> np.ndarray:
    """Numbers that the dtype of z has, so that both precisions pull back the same."""
    return as_numbers(g.astype(np.asarray(z).dtype))


def _unit_vectors(outputs: Sequence[Any]) -> list[Arrays]:
    sizes = [int(np.size(z)) for z in outputs]
    if not 1 < sum(sizes) <= ROW_BY_ROW:
        return []
    rows = np.eye(sum(sizes))
    splits = np.cumsum(sizes)[:-1]
    return [[part.reshape(np.shape(z)) for part, z in zip(np.split(row, splits), outputs, strict=True)] for row in rows]
