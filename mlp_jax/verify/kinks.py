"""Kinks: which entries may lie anywhere between the slopes about the arguments, and where those lie."""

from dataclasses import replace

import numpy as np

from mlp_jax.verify import differences, references
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.compiling import on_device
from mlp_jax.verify.precision import float64, largest
from mlp_jax.verify.references import as_numbers, scale_of
from mlp_jax.verify.subject import Leaves

# How far about the arguments their neighbours are, relative to each leaf.
NEAR = 1e-6
# Up to so many entries that vary about a kink are held to the space that their neighbours span.
JOINTLY = 16
# Where several kinks meet, how far beyond what a few neighbours show their slopes may add up, in widths of that.
SEVERAL_KINKS = 10.0
FEW_KINKS = 1.0


class Kinks:
    """The gradients, yours and the reference's, at points about the arguments, and what they allow at a kink."""

    def __init__(self, comparison: Comparison) -> None:
        """Nothing runs yet."""
        self.c = comparison
        self._found: dict[float, list[tuple[Arrays, Arrays]]] = {}

    def neighbours(self, near: float) -> list[tuple[Arrays, Arrays]]:
        """Yours and the reference at points about the arguments, where kinks that they sit at are left behind.

        Each leaf moves by `near` of its size: all up, all down, each leaf alone up and down, and at random. Where there
        is no reference, yours stands for it at those points where slopes along directions confirm it.
        """
        if near not in self._found:
            self._found[near] = self._at_neighbours(near)
        return self._found[near]

    def _at_neighbours(self, step: float) -> list[tuple[Arrays, Arrays]]:
        if isinstance(self.c.yours, Exception):
            return []
        found = []
        for signs in _moves(self.c.leaves, np.random.default_rng([self.c.case.seed, 11]), few=not self.c.is_exact):
            moved = [as_numbers(x) + step * scale_of(x) * s for x, s in zip(self.c.leaves, signs, strict=True)]
            with float64():
                leaves = [on_device(x) for x in moved] if self.c.case.on_jax else moved
            yours = self.c.pull(self.c.fast_rule, leaves, self.c.cotangents)
            if self.c.is_exact:
                assert self.c.reference
                found.append((yours, self.c.pull(self.c.reference[1], leaves, self.c.cotangents)))
            elif self._is_confirmed(leaves, yours):
                found.append((yours, yours))
        return found

    def _is_confirmed(self, leaves: Leaves, yours: Arrays) -> bool:
        """Whether the slopes along a direction in each leaf are those of yours."""
        function = replace(self.c.function, leaves=leaves)
        with float64():
            probes = references.along_directions(function, self.c.has_forward_mode, np.random.default_rng(0), count=1)
        return all(p.confirms(yours[p.leaf]) for p in probes)

    def between_slopes(
        self, k: int, yours: np.ndarray, fits: np.ndarray, near: float, allowed: np.ndarray
    ) -> np.ndarray:
        """Which of the entries that do not fit lie between the slopes about them, where the rule itself is right."""
        neighbours = self.neighbours(near)
        if not neighbours:
            return np.zeros_like(fits)
        low, high, inside, agree = self._surroundings(k, neighbours)
        no_reference = ~np.isfinite(self.c.truth.gradients[k]) if self.c.truth else ~fits
        if (no_reference & ~fits & np.isfinite(yours)).any():
            self._widen_by_differences(k, no_reference & ~fits, low, high)
        reach = self._reach(k, neighbours)
        with np.errstate(all="ignore"):
            reach = np.where(no_reference, FEW_KINKS, reach)
            width = np.where(inside & np.isfinite(high - low), reach * (high - low), 0)
            between = (yours >= low - width - allowed) & (yours <= high + width + allowed)
            varies = high - low > allowed
        mixture = varies & self.in_the_span(k, yours, varies, near)
        return ~fits & agree & between & (mixture | no_reference)

    @staticmethod
    def _reach(k: int, neighbours: list[tuple[Arrays, Arrays]]) -> np.ndarray:
        """How far beyond what the neighbours show kinks may add up: by how many different gradients there are."""
        nearby = np.sort(np.stack([reference[k] for _, reference in neighbours]), axis=0)
        with np.errstate(all="ignore"):
            steps = np.diff(nearby, axis=0) > 1e-3 * (nearby[-1] - nearby[0])
        return np.where(steps.sum(axis=0) + 1 <= 5, FEW_KINKS, SEVERAL_KINKS)

    def in_the_span(self, k: int, yours: np.ndarray, varies: np.ndarray, near: float) -> np.ndarray:
        """Whether all entries that vary, together, are a mixture of the gradients nearby: (cotangents, 1, …).

        A maximum of two that tie may give its gradient to either or share it, but not give it to both.
        """
        within = np.ones((len(varies), *[1] * (varies.ndim - 1)), bool)
        neighbours = self.neighbours(near)
        for j, which in enumerate(varies if neighbours else ()):
            nearby = np.stack([reference[k][j][which] for _, reference in neighbours])
            if not 1 < which.sum() <= min(JOINTLY, len(nearby) - 8) or not np.isfinite(nearby).all():
                continue
            middle = nearby.mean(axis=0)
            off = yours[j][which] - middle
            mixture = np.linalg.lstsq((nearby - middle).T, off, rcond=1e-6)[0]
            residual = off - (nearby - middle).T @ mixture
            within[j] = largest(residual) <= 1e-3 * largest(nearby - middle)
        return within

    @staticmethod
    def _surroundings(
        k: int, neighbours: list[tuple[Arrays, Arrays]]
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
            # the tolerance is not used here: at a kink it is large
            right = np.abs(mine - theirs) <= 1e-5 * (np.abs(theirs) + largest(theirs))
        agree = (right | ~known).sum(axis=0) > len(neighbours) / 2
        return low, high, inside, agree

    def _widen_by_differences(self, k: int, entries: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Where the reference is not finite, the slopes of differences instead, of up to 64 entries."""
        run = self.c.function.ladder
        for index in np.argwhere(entries.any(axis=0))[:64]:
            place = tuple(index)
            d = [np.zeros(np.shape(leaf)) for leaf in self.c.leaves]
            d[k][place] = 1.0
            with float64():
                at_0, values = run(self.c.leaves, d)
            for j, (lowest, highest) in enumerate(zip(*differences.bounds(at_0, values), strict=True)):
                at = (j, *place)
                low[at], high[at] = min(low[at], lowest), max(high[at], highest)


def _moves(leaves: Leaves, rng: np.random.Generator, few: bool) -> list[Arrays]:
    shapes = [np.shape(leaf) for leaf in leaves]
    moves = [[rng.normal(size=shape) for shape in shapes] for _ in range(16 if few else 20)]
    if few:
        return moves
    for sign in (1.0, -1.0):
        moves.append([np.full(shape, sign) for shape in shapes])
        if 1 < len(shapes) <= 8:
            moves += [[np.full(s, sign * (j == k)) for j, s in enumerate(shapes)] for k in range(len(shapes))]
    return moves
