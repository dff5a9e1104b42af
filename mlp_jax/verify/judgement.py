"""From numbers to verdicts: one for each leaf and each output."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mlp_jax.verify import differences
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.precision import float64, largest, limits
from mlp_jax.verify.references import as_numbers
from mlp_jax.verify.report import Leaf, Verdict
from mlp_jax.verify.tolerance import FACTOR

AS_THE_REFERENCE = " (so is the reference)"
# How far about the arguments their neighbours are, relative to each leaf.
NEAR = 1e-6


class Judge:
    """Judges the gradients of one comparison, leaf by leaf."""

    def __init__(self, comparison: Comparison, own: tuple[Arrays, Arrays], names: Sequence[str]) -> None:
        """A judge of the rule's outputs and gradients, `own`, in the arguments' own dtype."""
        self.c = comparison
        self.own_outputs, self.own = own
        self.names = names
        self.formula_is_right = not isinstance(comparison.yours, Exception)

    # --- gradients ------------------------------------------------------------------------------------------

    def gradients(self) -> list[Leaf]:
        """A verdict for each leaf."""
        return [self._gradient(k) for k in range(len(self.names))]

    def _gradient(self, k: int) -> Leaf:
        shape = np.shape(self.c.leaves[k])
        if 0 in shape or not self.c.cotangents:
            return self._leaf(k, Verdict.OK, reason="no entries")
        if self.c.truth is None:
            return self._by_probes(k)
        leaf = None
        if not isinstance(self.c.yours, Exception):
            leaf = self.in_float64(k, self.c.yours[1][k])
        if leaf is None or leaf.verdict.passes:
            own = self._in_own_dtype(k, trusted=leaf is not None)
            leaf = own if leaf is None or not own.passed else self._shown(leaf, own)
        return leaf if not leaf.passed else self._against_differences(k, leaf)

    @staticmethod
    def _shown(formula: Leaf, own: Leaf) -> Leaf:
        """The verdict on the formula with the error of the user's own dtype."""
        return own if own.verdict is not Verdict.OK else own if formula.verdict is Verdict.OK else formula

    def in_float64(self, k: int, yours: np.ndarray) -> Leaf:
        """The verdict on gradients (cotangents, *shape) for leaf k as its formula gives them."""
        truth = self.c.truth
        assert truth
        reference, error = truth.gradients[k], truth.error[k]
        allowed = FACTOR * self.c.formula_precision * (np.abs(reference) + self.c.conditioning[k])
        allowed = allowed + self.c.rounding[k] + error
        undecided = error > 1e-3 * max(largest(reference), 1e-300)
        leaf = self._compare(k, yours, reference, truth.low[k], truth.high[k], allowed, NEAR)
        if leaf.verdict is Verdict.OK and undecided.any():
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
        twin = self.same_functionin_float64
        if not twin:
            native = self.c.own_reference()
            if native is None:
                return self._leaf(
                    k, Verdict.UNRESOLVED, reason=f"the function does not run in float64 and {dtype} alike"
                )
            reference = native[k]
        size = float(largest(reference))
        allowed = FACTOR * own_eps * (np.abs(reference) + (self.c.conditioning[k] if twin else size))
        allowed = allowed + self.c.rounding[k] + truth.error[k] + FACTOR * self._tiny
        if trusted:
            allowed = allowed + np.sqrt(own_eps) * size + FACTOR * own_eps * self._resolution[k]
        with np.errstate(all="ignore"):
            fits = (np.abs(yours - reference) <= allowed).all()
        if not fits and twin and (native := self._own_reference) is not None:
            with np.errstate(all="ignore"):
                allowed = allowed + 8 * largest(native[k] - reference)
        intervals = (truth.low[k], truth.high[k]) if twin else (reference, reference)
        leaf = self._compare(k, yours, reference, *intervals, allowed, max(NEAR, 4 * own_eps))
        if trusted and leaf.verdict is Verdict.WRONG:
            leaf = self._leaf(
                k, leaf.verdict, leaf, f"right in float64, but {dtype} loses more than half of its digits here"
            )
        return leaf

    @cached_property
    def _own_reference(self) -> Arrays | None:
        return self.c.own_reference()

    @cached_property
    def _resolution(self) -> list[float]:
        assert self.c.truth
        return self.c.resolution(self.c.truth)

    @cached_property
    def _tiny(self) -> float:
        return max(float(limits(dtype).tiny) for dtype in self.c.dtypes)

    @cached_property
    def same_functionin_float64(self) -> bool:
        """Whether the function has about the same value there: one that draws random numbers by dtype has not."""
        if self.c.values is None:
            return False
        limit = np.sqrt(self.c.own_precision[0])
        for own, value, change in zip(self.c.case.values, self.c.values, self.c.value_conditioning, strict=True):
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
        if not fits.all():
            at_kink = self._between_slopes(k, yours, fits, near, allowed)
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

    # --- kinks ------------------------------------------------------------------------------------------------

    def _between_slopes(
        self, k: int, yours: np.ndarray, fits: np.ndarray, near: float, allowed: np.ndarray
    ) -> np.ndarray:
        """Which of the entries that do not fit lie between the slopes about them, where the rule itself is right."""
        neighbours = self._neighbours(near)
        if neighbours is None:
            return np.zeros_like(fits)
        low, high, inside, agree = self._surroundings(k, neighbours, allowed)
        no_reference = ~np.isfinite(self.c.truth.gradients[k]) if self.c.truth else ~fits
        if (no_reference & ~fits & np.isfinite(yours)).any():
            self._widen_by_differences(k, no_reference & ~fits, low, high)
            agree = agree | no_reference
        width = np.where(inside, high - low, 0)  # several kinks at once reach beyond what a few samples show
        with np.errstate(all="ignore"):
            between = (yours >= low - width - allowed) & (yours <= high + width + allowed)
        return ~fits & agree & between & (high - low > allowed)

    def _neighbours(self, near: float) -> list[tuple[Arrays, Arrays]] | None:
        if near not in self._found:
            self._found[near] = self.c.neighbours(near)
        return self._found[near]

    @cached_property
    def _found(self) -> dict[float, list[tuple[Arrays, Arrays]] | None]:
        return {}

    def _surroundings(
        self, k: int, neighbours: list[tuple[Arrays, Arrays]], allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The smallest and largest reference nearby, whether any lies well inside, whether the rule is right there."""
        mine = np.stack([ours[k] for ours, _ in neighbours])
        theirs = np.stack([reference[k] for _, reference in neighbours])
        known = np.isfinite(theirs)
        with np.errstate(all="ignore"):
            low = np.min(np.where(known, theirs, np.inf), axis=0)
            high = np.max(np.where(known, theirs, -np.inf), axis=0)
            width = high - low
            inside = ((theirs > low + 0.05 * width) & (theirs < high - 0.05 * width)).any(axis=0)
            # allowed is not used here: at a kink it is large
            right = np.abs(mine - theirs) <= 1e-5 * (np.abs(theirs) + largest(theirs))
        agree = (right | ~known).sum(axis=0) > len(neighbours) / 2
        return low, high, inside, agree

    def _widen_by_differences(self, k: int, entries: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Where the reference is not finite, the slopes of differences instead, of up to 64 entries."""
        run = differences.ladder(self.c.function.projections, self.c.case.on_jax)
        for index in np.argwhere(entries.any(axis=0))[:64]:
            place = tuple(index)
            d = [np.zeros(np.shape(leaf)) for leaf in self.c.leaves]
            d[k][place] = 1.0
            with float64():
                at_0, values = run(self.c.leaves, d)
            for j, (lowest, highest) in enumerate(zip(*differences.bounds(at_0, values), strict=True)):
                at = (j, *place)
                low[at], high[at] = min(low[at], lowest), max(high[at], highest)

    # --- a second witness, or the only one ----------------------------------------------------------------------

    def _against_differences(self, k: int, leaf: Leaf) -> Leaf:
        """The leaf as it was judged, unless differences contradict the reference that it was held to."""
        if not self.c.is_witnessed or isinstance(self.c.yours, Exception):
            return leaf
        yours = self.c.yours[1][k]
        for probe in [p for p in self.c.probes if p.leaf == k]:
            slopes, along = probe.slope, _along(yours, probe.direction)
            spread = slopes.right - slopes.left
            size = np.abs(slopes.middle) + np.abs(along)
            certain = slopes.error < 1e-4 * size
            margin = np.abs(spread) + 10 * slopes.error + 1e-3 * size
            contradicted = certain & (np.abs(along - slopes.middle) > margin)
            if not contradicted.any():
                continue
            if self.c.program.stops:
                if yours.any():
                    return leaf
                return self._leaf(k, Verdict.STOPPED, None, "a stop_gradient: zero, though the function depends on it")
            worst = int(np.argmax(contradicted))
            return self._leaf(
                k,
                Verdict.WRONG,
                {"error": float(abs(along[worst] - slopes.middle[worst]) / size[worst])},
                f"along a random direction differences give {slopes.middle[worst]:.6g}, your gradient and JAX's of the "
                f"function {along[worst]:.6g}: a rule inside the function is wrong, too",
            )
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
            y, terms = _along(yours, p.direction), _size_along(yours, p.direction)
            low, high = np.minimum(p.slope.left, p.slope.right), np.maximum(p.slope.left, p.slope.right)
            allowed = FACTOR * precision * (terms + np.abs(p.slope.middle)) + 4 * p.slope.error
            size = np.maximum(np.abs(p.slope.middle), np.abs(y))
            with np.errstate(all="ignore"):
                off = np.maximum(np.maximum(low - y, y - high), 0)
                worst = max(worst, float(np.max(np.where(size > 0, off / size, 0))))
            width = np.where(p.slope.kink, high - low, 0)
            if (off > allowed + width).any():
                verdict = Verdict.WRONG if yours.any() else Verdict.ZERO_EVERYWHERE
                break
            resolved = (p.slope.error <= 1e-3 * size) | (p.slope.error <= 1e-9 * self._projection_size)
            if not resolved.all():
                verdict = Verdict.UNRESOLVED
            elif p.slope.kink.any() and verdict is Verdict.OK and (np.abs(y - p.slope.middle) > allowed).any():
                verdict = Verdict.KINK
        if verdict is not Verdict.OK and verdict is not Verdict.KINK and self.c.program.stops:
            return self._leaf(
                k, Verdict.UNRESOLVED, None, "a stop_gradient: differences see past it; name a reference="
            )
        reason = {
            Verdict.UNRESOLVED: "differences cannot decide: the function is too rough or too small here",
            Verdict.KINK: "the arguments sit at a kink; your slope lies between those on both sides",
            Verdict.ZERO_EVERYWHERE: f"you return no gradient for {self.names[k]}",
        }.get(verdict, f"along {len(probes)} random directions")
        return self._leaf(k, verdict, {"error": worst}, reason)

    @cached_property
    def _projection_size(self) -> float:
        return max((float(np.max(np.abs(g * z), initial=0)) for g, z in self.c._terms()), default=1.0)

    # --- outputs --------------------------------------------------------------------------------------------------

    def outputs(self) -> list[Leaf]:
        """A verdict for each output of the forward rule: it must be the function's own."""
        leaves = []
        yours = None if isinstance(self.c.yours, Exception) else self.c.yours[0]
        own_eps, dtype = self.c.own_precision
        for j, name in enumerate(self.c.case.output_names):
            plain = as_numbers(self.c.case.values[j])
            if not plain.size:
                leaves.append(Leaf(name, plain.shape, dtype, Verdict.OK, reason="no entries"))
                continue
            change = self.c.value_conditioning[j] if self.c.values is not None else np.abs(plain)
            pairs = [(self.own_outputs[j], plain, own_eps)]
            if yours is not None and self.c.values is not None:
                pairs.append((yours[j], self.c.values[j], self.c.formula_precision))
            verdict = Verdict.OK
            numbers: dict[str, Any] = {}
            for mine, right, precision in pairs:
                if mine.shape != right.shape:
                    verdict, numbers = Verdict.PRIMAL, {}
                    break
                with np.errstate(all="ignore"):
                    allowed = 4 * FACTOR * precision * (np.abs(right) + change + largest(right)) + FACTOR * self._tiny
                    fits = (np.abs(mine - right) <= allowed) | (mine == right) | (np.isnan(mine) & np.isnan(right))
                    fits |= ~np.isfinite(right)  # a stable forward rule may do better than the function
                error, worst = _worst(mine, right, fits, allowed)
                numbers = numbers or {"error": error}
                if not fits.all():
                    numbers = {
                        "error": error,
                        "index": worst,
                        "yours": float(mine[worst]),
                        "reference": float(right[worst]),
                    }
                    verdict = Verdict.PRIMAL
            reason = "the forward rule's output is not the function's" if verdict is Verdict.PRIMAL else ""
            leaves.append(
                Leaf(name, plain.shape, str(np.asarray(self.c.case.values[j]).dtype), verdict, reason=reason, **numbers)
            )
        return leaves

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


def _along(gradients: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return np.sum((gradients * direction).reshape(len(gradients), -1), axis=1)


def _size_along(gradients: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(gradients * direction).reshape(len(gradients), -1), axis=1))
