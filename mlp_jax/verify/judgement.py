"""From numbers to verdicts: one for each leaf and each output."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.kinks import NEAR, Kinks
from mlp_jax.verify.precision import FLOAT32, largest, limits
from mlp_jax.verify.references import as_numbers
from mlp_jax.verify.report import Leaf, Verdict
from mlp_jax.verify.sensitivity import Sensitivity
from mlp_jax.verify.tolerance import FACTOR, FACTOR_IN_HALF

AS_THE_REFERENCE = " (so is the reference)"
# Differences decide where their error is at most this part of the leaf's largest entry.
DECIDED = 0.03
# Where they do not decide, so many neighbours at which slopes along directions confirm the rule do.
CONFIRMED = 12


class Judge:
    """Judges the gradients of one comparison, leaf by leaf."""

    def __init__(self, comparison: Comparison, own: tuple[Arrays, Arrays], names: Sequence[str]) -> None:
        """A judge of the rule's outputs and gradients, `own`, in the arguments' own dtype."""
        self.c = comparison
        self.kinks = Kinks(comparison)
        self.sensitivity = Sensitivity(comparison)
        self.own_outputs, self.own = own
        self.names = names
        self.unseen: list[str] = []  # leaves whose gradient is too small for differences

    # --- gradients ------------------------------------------------------------------------------------------

    def gradients(self) -> list[Leaf]:
        """A verdict for each leaf."""
        return [self._gradient(k) for k in range(len(self.names))]

    def _gradient(self, k: int) -> Leaf:
        shape = np.shape(self.c.leaves[k])
        if 0 in shape or not self.c.cotangents:
            return self._leaf(k, Verdict.OK, reason="no entries")
        if self.c.truth is None:
            return self._with_witness(k, self._by_probes(k))
        leaf = self._formulas[k] if self._formulas else None
        if leaf is None or leaf.verdict.passes:
            own = self._in_own_dtype(k, trusted=leaf is not None)
            leaf = own if leaf is None or not own.passed else self._shown(leaf, own)
        return self._with_witness(k, leaf)

    @cached_property
    def _formulas(self) -> list[Leaf]:
        """The verdicts in float64, if the rule and a reference run there."""
        if isinstance(self.c.yours, Exception) or self.c.values is None:
            return []
        return [self.in_float64(k, g) if g.size else self._leaf(k, Verdict.OK) for k, g in enumerate(self.c.yours[1])]

    @staticmethod
    def _shown(formula: Leaf, own: Leaf) -> Leaf:
        """The verdict on the formula with the error of the user's own dtype."""
        return own if own.verdict is not Verdict.OK else own if formula.verdict is Verdict.OK else formula

    def in_float64(self, k: int, yours: np.ndarray) -> Leaf:
        """The verdict on gradients (cotangents, *shape) for leaf k as its formula gives them."""
        truth = self.c.truth
        assert truth
        reference, error = truth.gradients[k], truth.error[k]
        precision = self.c.formula_precision
        in_half = precision > FLOAT32 and not self.c.program.loops
        factor = FACTOR_IN_HALF if in_half else FACTOR
        allowed = (
            factor * precision * (np.abs(reference) + self.sensitivity.conditioning[k])
            + self.sensitivity.rounding[k]
            + error
        )
        if in_half and self._own_reference is not None and self.same_function_in_float64:
            allowed = allowed + 4 * largest(self._own_reference[k] - reference)
        if self.c.own_precision[0] > FLOAT32:  # a constant that half precision rounds is none of the rule's errors
            allowed = allowed + self.c.own_precision[0] * np.abs(reference) + FACTOR * self._tiny
        if (error > DECIDED * largest(reference)).any():
            self.unseen.append(self.names[k])
        undecided = error > np.maximum(DECIDED * largest(reference), truth.unseen[k])
        leaf = self._compare(k, yours, reference, truth.low[k], truth.high[k], allowed, NEAR)
        if leaf.verdict is Verdict.OK and in_half and self._is_biased(k, yours, reference, precision):
            return self._leaf(k, Verdict.WRONG, leaf)
        if leaf.verdict.passes and (found := self._not_linear(k, yours, allowed)):
            return found
        if leaf.verdict is Verdict.OK and undecided.any() and len(self.kinks.neighbours(NEAR)) < CONFIRMED:
            return self._leaf(
                k, Verdict.UNRESOLVED, reason=f"{int(undecided.sum())} entries on which {truth.source} cannot decide"
            )
        return leaf

    def _in_own_dtype(self, k: int, trusted: bool) -> Leaf:
        """The gradient as the user gets it, rounding and all."""
        truth = self.c.truth
        assert truth
        own_eps, dtype = self.c.own_precision
        yours, reference = self.own[k], truth.gradients[k]
        twin = self.same_function_in_float64
        if not twin:
            native = self.c.own_reference()
            if native is None:
                return self._leaf(
                    k, Verdict.UNRESOLVED, reason=f"the function does not run in float64 and {dtype} alike"
                )
            reference = native[k]
        size = float(largest(reference))
        allowed = FACTOR * own_eps * (np.abs(reference) + (self.sensitivity.conditioning[k] if twin else size))
        allowed = allowed + self.sensitivity.rounding[k] + truth.error[k] + FACTOR * self._tiny
        if trusted:
            allowed = allowed + np.sqrt(own_eps) * size + FACTOR * own_eps * self.sensitivity.resolution[k]
        with np.errstate(all="ignore"):
            fits = (np.abs(yours - reference) <= allowed).all()
        if not fits and twin and (native := self._own_reference) is not None:
            with np.errstate(all="ignore"):
                allowed = allowed + 8 * largest(native[k] - reference)
        intervals = (truth.low[k], truth.high[k]) if twin else (reference, reference)
        leaf = self._compare(k, yours, reference, *intervals, allowed, max(NEAR, 4 * own_eps))
        limit = max(0.01, 4 * own_eps)
        smooth = all(formula.verdict is not Verdict.KINK for formula in self._formulas)
        if trusted and twin and smooth and leaf.verdict is Verdict.OK and self._is_biased(k, yours, reference, limit):
            return self._leaf(k, Verdict.WRONG, leaf, f"right in float64, but not in {dtype}")
        if trusted and leaf.verdict is Verdict.WRONG:
            leaf = self._leaf(
                k, leaf.verdict, leaf, f"right in float64, but {dtype} loses more than half of its digits here"
            )
        return leaf

    def _is_biased(self, k: int, yours: np.ndarray, reference: np.ndarray, limit: float) -> bool:
        """Whether yours is the reference times another factor than 1, where rounding would average out."""

        def off(gradients: np.ndarray) -> float:
            return abs(float(np.sum(gradients * reference) / np.sum(reference * reference)) - 1)

        if reference[0].size < 8 or not (np.isfinite(yours).all() and np.isfinite(reference).all() and reference.any()):
            return False
        if (bias := off(yours)) <= limit:
            return False
        native = self._own_reference
        return native is None or not np.isfinite(native[k]).all() or bias > limit + 2 * off(native[k])

    def _not_linear(self, k: int, yours: np.ndarray, allowed: np.ndarray) -> Leaf | None:
        """A leaf that says so, where the gradient does not grow and shrink with the one that arrives."""
        for factor, scaled in self.c.scaled:
            fits = (np.abs(scaled[k] - yours[:1]) <= allowed[:1]) | (scaled[k] == yours[:1])
            if np.isfinite(yours[:1]).all() and not fits.all():
                error, worst = _worst(scaled[k], yours[:1], fits, allowed[:1])
                numbers = {
                    "error": error,
                    "index": worst[1:],
                    "yours": scaled[k][worst].item(),
                    "reference": yours[worst].item(),
                }
                what = f"not linear in the gradient that arrives: compared where that is {factor:g} times as long"
                return self._leaf(k, Verdict.WRONG, numbers, what)
        return None

    @cached_property
    def _own_reference(self) -> Arrays | None:
        return self.c.own_reference()

    @cached_property
    def _tiny(self) -> float:
        # below its normal numbers float16 goes on, less precisely; what runs in float32 is set to 0 there
        return max(
            float(limits(dtype).smallest_subnormal if str(dtype) == "float16" else limits(dtype).tiny)
            for dtype in self.c.dtypes
        )

    @cached_property
    def same_function_in_float64(self) -> bool:
        """Whether the function has about the same value there: one that draws random numbers by dtype has not."""
        if self.c.values is None:
            return False
        limit = np.sqrt(self.c.own_precision[0])
        for own, value, change in zip(
            self.c.case.values, self.c.values, self.sensitivity.value_conditioning, strict=True
        ):
            own = as_numbers(own)
            both = np.isfinite(own) & np.isfinite(value)
            size = largest(np.abs(value[both]) + limit * change[both])
            if np.any(np.abs(own[both] - value[both]) > 4 * limit * size + FACTOR * self._tiny):
                return False
        return True

    def _compare(
        self,
        k: int,
        yours: np.ndarray,
        reference: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        allowed: np.ndarray,
        near: float,
    ) -> Leaf:
        """The verdict on (cotangents, *shape) entries, each of which may lie from low − allowed to high + allowed."""
        allowed = np.where(np.isfinite(allowed), allowed, 0)  # it is not where the reference is not
        with np.errstate(all="ignore"):
            fits = (yours >= low - allowed) & (yours <= high + allowed)
            fits |= np.isinf(reference) & (yours == reference)
            kink = fits & (high - low > allowed) & ~(np.abs(yours - reference) <= allowed)
        if kink.any(axis=0).sum() > 1:
            fits &= ~kink | self.kinks.in_the_span(k, yours, kink, near)
        if not fits.all():
            at_kink = self.kinks.between_slopes(k, yours, fits, near, allowed)
            kink, fits = kink | at_kink, fits | at_kink
        error, worst = _worst(yours, reference, fits, allowed)
        numbers: dict[str, Any] = {
            "error": error,
            "index": worst[1:],
            "yours": float(yours[worst]),
            "reference": float(reference[worst]),
            "tolerance": _relative(float(allowed[worst]), reference),
        }
        if fits.all():
            if kink.any():
                entries = int(kink.any(axis=0).sum())
                what = "1 entry sits" if entries == 1 else f"{entries} entries sit"
                reason = f"{what} at a kink; your values lie between the one-sided slopes"
                return self._leaf(k, Verdict.KINK, numbers, reason)
            return self._leaf(k, Verdict.OK, numbers, self._why(numbers["tolerance"]))
        if (~np.isfinite(yours) & ~fits).any():
            bad = int((~np.isfinite(yours)).any(axis=0).sum())
            both = AS_THE_REFERENCE if not np.isfinite(reference[~np.isfinite(yours)]).any() else ""
            return self._leaf(k, Verdict.NONFINITE, numbers, f"{bad} entries of yours are not finite{both}")
        if not np.isfinite(reference[~fits]).all():
            return self._leaf(
                k, Verdict.UNRESOLVED, numbers, "the reference is not finite here, and differences cannot decide"
            )
        if not yours.any():
            return self._leaf(k, Verdict.ZERO_EVERYWHERE, numbers, f"you return no gradient for {self.names[k]}")
        return self._leaf(k, Verdict.WRONG, numbers)

    def _why(self, allowed: float | None) -> str:
        dtype = self.c.own_precision[1]
        return f"up to {allowed:.1e} allowed: 16 ε of {dtype} and the conditioning of the entry" if allowed else ""

    # --- a second witness, or the only one ----------------------------------------------------------------------

    def _with_witness(self, k: int, leaf: Leaf) -> Leaf:
        """The leaf, and what differences say: a stop_gradient is one, or JAX's derivative of the function is wrong."""
        if isinstance(self.c.yours, Exception):
            return leaf
        yours = self.c.yours[1][k]
        if leaf.passed and self.c.program.stops and self.c.witness.get(k) and not yours.any():
            return self._leaf(k, Verdict.STOPPED, None, "a stop_gradient: zero, though the function depends on it")
        if not leaf.passed and self.c.is_contradicted and self.c.reference:
            jaxs = self.c.pull(self.c.reference[1], self.c.leaves, self.c.cotangents)[k]
            if np.allclose(yours, jaxs, rtol=1e-6, atol=1e-9 * largest(jaxs)):
                what = f"JAX's derivative of the function is as yours: a rule inside it is wrong; {leaf.reason}"
                return self._leaf(k, leaf.verdict, leaf, what)
        return leaf

    def _by_probes(self, k: int) -> Leaf:
        """The verdict where only slopes along random directions are known."""
        probes = [p for p in self.c.probes if p.leaf == k]
        yours = self.own[k] if isinstance(self.c.yours, Exception) else self.c.yours[1][k]
        precision = self.c.own_precision[0] if isinstance(self.c.yours, Exception) else self.c.formula_precision
        if not probes:
            return self._leaf(k, Verdict.UNRESOLVED, None, "there is no reference: name one with reference=")
        if not np.isfinite(yours).all():
            return self._leaf(k, Verdict.NONFINITE, None, f"{int((~np.isfinite(yours)).sum())} entries are not finite")
        verdict, worst = Verdict.OK, 0.0
        for p in probes:
            y, terms, found = p.along(yours), _size_along(yours, p.direction), p.slope
            low, high = np.minimum(found.left, found.right), np.maximum(found.left, found.right)
            allowed = FACTOR * precision * (terms + np.abs(found.middle)) + 4 * found.error + found.unseen
            size = np.maximum(np.abs(found.middle), np.abs(y))
            with np.errstate(all="ignore"):
                off = np.maximum(np.maximum(low - y, y - high), 0)
                worst = max(worst, float(np.max(np.where(size > 0, off / size, 0))))
            if (off > allowed).any():
                kink = found.kink.any() and bool(self.kinks.neighbours(NEAR))
                verdict = Verdict.KINK if kink else Verdict.WRONG if yours.any() else Verdict.ZERO_EVERYWHERE
                if not kink:
                    break
            elif not ((found.error <= DECIDED * size) | (found.error <= found.unseen)).all():
                verdict = Verdict.UNRESOLVED
        if verdict in (Verdict.WRONG, Verdict.ZERO_EVERYWHERE, Verdict.UNRESOLVED) and self.c.program.stops:
            return self._leaf(
                k, Verdict.UNRESOLVED, None, "a stop_gradient: differences see past it; name a reference="
            )
        reason = {
            Verdict.UNRESOLVED: "differences cannot decide: the function is too rough or too small here",
            Verdict.KINK: "the arguments sit at a kink; about it, differences confirm your gradient",
            Verdict.ZERO_EVERYWHERE: f"you return no gradient for {self.names[k]}",
        }.get(verdict, f"along {len(probes)} random directions")
        return self._leaf(k, verdict, {"error": worst}, reason)

    # --- outputs --------------------------------------------------------------------------------------------------

    def outputs(self) -> list[Leaf]:
        """A verdict for each output of the forward rule: it must be the function's own."""
        return [self._output(j, name) for j, name in enumerate(self.c.case.output_names)]

    def _output(self, j: int, name: str) -> Leaf:
        plain = as_numbers(self.c.case.values[j])
        dtype = str(np.asarray(self.c.case.values[j]).dtype)
        if not plain.size:
            return Leaf(name, plain.shape, dtype, Verdict.OK, reason="no entries")
        pairs = [(self.own_outputs[j], plain, self.c.own_precision[0])]
        change = np.abs(plain)
        if self.c.values is not None:
            change = self.sensitivity.value_conditioning[j]
            if not isinstance(self.c.yours, Exception):
                pairs.append((self.c.yours[0][j], self.c.values[j], self.c.formula_precision))
        numbers: dict[str, Any] = {}
        for yours, right, precision in pairs:
            if yours.shape != right.shape:
                reason = f"the forward rule's output has shape {yours.shape}, the function's {right.shape}"
                return Leaf(name, plain.shape, dtype, Verdict.PRIMAL, reason=reason)
            with np.errstate(all="ignore"):
                allowed = 4 * precision * (np.abs(right) + change + largest(right) / 4) + FACTOR * self._tiny
                # where the function overflows, a stable forward rule may do better
                fits = (np.abs(yours - right) <= allowed) | (yours == right) | ~np.isfinite(right)
                if not fits.all() and right is plain:
                    fits |= np.abs(yours - right) <= allowed + self._error_of_value(j)
            error, worst = _worst(yours, right, fits, allowed)
            if not fits.all():
                numbers = {
                    "error": error,
                    "index": worst,
                    "yours": yours[worst].item(),
                    "reference": right[worst].item(),
                }
                reason = "the forward rule's output is not the function's"
                return Leaf(name, plain.shape, dtype, Verdict.PRIMAL, reason=reason, **numbers)
            numbers = numbers or {"error": error}
        return Leaf(name, plain.shape, dtype, Verdict.OK, **numbers)

    def _error_of_value(self, j: int) -> float:
        """How far off the function's own value may be: as compiled from as it is, and both from that in float64."""
        plain, compiled = as_numbers(self.c.case.values[j]), as_numbers(self.c.own_values_compiled[j])
        error = np.abs(plain - compiled)
        if self.c.values is not None and self.same_function_in_float64:
            right = self.c.values[j]
            error = np.maximum(error, np.maximum(np.abs(plain - right), np.abs(compiled - right)))
        return 4 * float(largest(error))

    def _leaf(self, k: int, verdict: Verdict, numbers: Any = None, reason: str = "") -> Leaf:
        if isinstance(numbers, Leaf):
            numbers = {key: getattr(numbers, key) for key in ("error", "tolerance", "index", "yours", "reference")}
        x = self.c.own_leaves[k]
        return Leaf(
            self.names[k], tuple(np.shape(x)), str(np.asarray(x).dtype), verdict, reason=reason, **numbers or {}
        )


def _worst(
    yours: np.ndarray, reference: np.ndarray, fits: np.ndarray, allowed: np.ndarray
) -> tuple[float, tuple[int, ...]]:
    """The largest error relative to the largest entry of the reference, and where: among what does not fit, if any."""
    with np.errstate(all="ignore"):
        error = np.abs(yours - reference)
        error = np.where(np.isnan(error) | (yours == reference), np.where(yours == reference, 0, np.inf), error)
        if not error.size:
            return 0.0, ()
        candidates = np.where(fits, -1.0, error) if not fits.all() else error
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(candidates), error.shape))
        return _relative(float(error[worst]), reference) or 0.0, worst


def _relative(value: float, reference: np.ndarray) -> float | None:
    size = float(largest(reference))
    return value / size if size else (0.0 if value == 0 else float("inf"))


def _size_along(gradients: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(gradients * direction).reshape(len(gradients), -1), axis=1))
