"""How much truth and outputs change with the arguments: what the policy of `tolerance` asks for."""

from functools import cached_property

import numpy as np

from mlp_jax.verify import tolerance
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.compiling import on_device
from mlp_jax.verify.precision import float64, largest
from mlp_jax.verify.references import as_numbers, scale_of
from mlp_jax.verify.subject import Leaves


class Sensitivity:
    """Conditioning, rounding and resolution of one comparison, each computed when first asked for."""

    def __init__(self, comparison: Comparison) -> None:
        """Nothing runs yet."""
        self.c = comparison

    @cached_property
    def conditioning(self) -> Arrays:
        """κ of each entry of the truth; for a truth without a reference in float64, the size of its leaf."""
        assert self.c.truth
        if not self.c.is_exact:
            return [np.full_like(leaf, largest(leaf)) for leaf in self.c.truth.gradients]
        step = tolerance.CONDITIONING_STEP
        return tolerance.conditioning(self.c.truth.gradients, [self._perturbed(step, seed) for seed in (1, 2)])

    @cached_property
    def rounding(self) -> Arrays:
        """ρ of each entry of the truth."""
        assert self.c.truth
        if not self.c.is_exact:
            return [np.zeros_like(leaf) for leaf in self.c.truth.gradients]  # differences tell their own error
        perturbed = [self._perturbed(tolerance.ROUNDING_STEP, seed) for seed in (3, 4, 5)]
        return tolerance.rounding(self.c.truth.gradients, perturbed, self.resolution)

    @cached_property
    def value_conditioning(self) -> Arrays:
        """κ of each entry of the outputs."""
        assert self.c.values is not None
        step = tolerance.CONDITIONING_STEP
        changed = []
        for seed in (1, 2):
            with float64():
                changed.append([as_numbers(z) for z in self.c.plain(self._near(step, seed))])
        return tolerance.conditioning(self.c.values, changed)

    @cached_property
    def resolution(self) -> list[float]:
        """For each leaf, the slope over the size of its entries that changes the projections by about themselves."""
        assert self.c.truth
        terms = [(gi, z) for g in self.c.cotangents for gi, z in zip(g, self.c.values or [], strict=False)]
        sizes = [float(np.sqrt(np.nansum(np.square(g * z)))) for g, z in terms]
        for leaf, grads in zip(self.c.leaves, self.c.truth.gradients, strict=True):
            with np.errstate(all="ignore"):
                sizes += [float(np.sqrt(np.nansum(np.square(as_numbers(leaf) * g)))) for g in grads]
        finite = [size for size in sizes if np.isfinite(size)]
        return [max(finite, default=0.0) / max(scale_of(leaf), 2.0**-10) for leaf in self.c.leaves]

    def _perturbed(self, step: float, seed: int) -> Arrays:
        """The reference where every number in leaves and cotangents has changed by a random relative step."""
        assert self.c.reference
        rng = np.random.default_rng([seed, 1])
        cotangents = [[z * (1 + step * rng.normal(size=z.shape)) for z in g] for g in self.c.cotangents]
        return self.c.pull(self.c.reference[1], self._near(step, seed), cotangents)

    def _near(self, step: float, seed: int) -> Leaves:
        rng = np.random.default_rng([seed, 0])
        moved = [as_numbers(x) * (1 + step * rng.normal(size=np.shape(x))) for x in self.c.leaves]
        with float64():
            return [on_device(x) for x in moved] if self.c.case.on_jax else moved
