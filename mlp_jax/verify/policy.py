"""Every number that a verdict depends on, and its reason.

The sentence that they serve:

*Your gradient is right if it agrees with the derivative of the function, up to what rounding at your precision can
change and what a kink leaves open.*

docs/verify.md derives the verdicts from it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

VERSION = 2

# --- rounding ---------------------------------------------------------------------------------------------------------

# A result may differ by so many units of its last place, whatever was measured: a reference that is exact has no
# spread, and two or three operations, each rounded correctly, are off by that.
ULPS = 4.0
# So many spreads of the reference under rounding are allowed: of 50 functions at half, single and double precision,
# 99.9 % of all entries are inside at 8, 99.2 % at 4; more than 8 gains nothing, for the rest are kinks.
SPREADS = 8.0
# The spread is the root mean square over so many random roundings, and three cotangents: 18 samples, known to 17 %.
ROUNDINGS = 6
# And so many of the largest entry of its leaf, in the run in the user's precision: a sum is rounded as its terms are.
# Of float32 and float64 more: a softmax from its logarithm, as in every attention without a matrix, was off by 6.
TOP_ULPS, TOP_ULPS_OF_MANY_BITS = 2.0, 8.0
# Beside the largest entry of its leaf, float64 itself leaves this many units of 2⁻⁵² open in any entry: a handful of
# sums in another order.
FLOAT64_ULPS = 16.0
# An error of this part of a unit of the last place of the leaf's largest entry changes nothing that anybody computes
# in that precision: it passes, with a note.
NEGLIGIBLE = 2.0**-6
# A constant with fewer bits than this, or than half of its type's, is taken for exact, as 0.5, 2, 3 and 1000 are;
# another may have been rounded when it was written, and is tried half a unit larger and smaller, equal ones alike, with
# signs at random so many times. An array of more than so many is data, and none of coefficients.
CONSTANT_BITS, COEFFICIENTS = 6, 64
OTHER_CONSTANTS = 6
# In exact arithmetic an error above this part of the entry is none of a rounded constant; no rounding is measured.
GROSS = 0.01
# The reference in the user's own precision tells how large rounding errors are, as long as they are small as that:
# where they are larger it may itself stand still in a long sum, and results are rounded at random instead.
USUAL_SPREAD = 0.01
# Where rounding alone may change an entry by this part of itself, its precision shows nothing about the rule.
BLIND = 0.5
# What has no reverse mode is mostly a loop that ends by its own criterion, or code of numpy: a rule by the implicit
# function, say, is as near to the derivative of what is computed as the loop is to its limit.
UNTIL_CONVERGED = 2.0**-13
# A transformation of JAX changes the order of sums, and no more; in float64 that is far below this part of the leaf.
ALIKE = 1e-9

# --- slopes from values -----------------------------------------------------------------------------------------------

# Steps, in the size of what is moved: 1/4 … 2⁻³². Longer ones leave the domains of most functions, shorter ones drown.
STEPS = 4.0 ** -np.arange(1.0, 17.0)
# A first look at smooth functions needs only these; what they do not decide is looked at with all.
FEW_STEPS = STEPS[1:9]
# Values that stand still for the shortest steps have few digits. The smallest change that they show is their noise, if
# it is this small beside them, or beside the largest change: larger ones are pieces of the function.
STAIRCASE = 2.0**-20
# And this small where the function is called, not traced: whoever rounds to so many levels has a tolerance, not pieces.
STAIRCASE_OF_CALLS = 2.0**-10
# Steps so short that nothing but noise makes the values differ from a line; they show the noise of values that cancel.
NOISE_STEPS = 2.0**-44 * np.arange(1.0, 9.0)
# The relative noise of a value without cancellation: a few roundings of 2⁻⁵³.
VALUE_NOISE = 4.0
# An estimate by Neville's scheme uses at most so many steps more than two: later columns amplify noise.
COLUMNS = 6
# A slope is decided where its error is at most this part of it. The estimate of an error is itself good to a factor.
DECIDED = 0.05
ERROR_FACTOR = 10.0
# The values need to know a slope along a direction only so well, to say that reverse mode is wrong there; and so well
# to bear out a gradient where nothing else is known of an entry, as of a solver's result with its tolerance.
DECIDED_ALONG = 0.3

# --- the plan ---------------------------------------------------------------------------------------------------------

# The first cotangent comes also so many powers of two larger and smaller: rules that clip or flush show it.
SCALE = 20
# Of a matrix written by hand so many rows are looked at one by one, evenly; and all of them together at random.
UNITS = 96
SCALE_IN_FEW_BITS = 6  # where the outputs have fewer than 8 bits of exponent
# So many entries of a leaf are looked at one by one where yours and the reference differ: half of them the worst, half
# evenly. Of 74 calls made for developing, 12 and 48 gave the same verdicts.
ENTRIES = 24
# The worst few first: a gross fault shows in each.
FIRST_ENTRIES = 4
# Where there is no reference at all, so many entries are taken in turn; beyond, directions decide.
ENTRIES_WITHOUT_REFERENCE = 1024
DIRECTIONS = 4
# A loop that waits for convergence may wait for ever where values are asked for outside of its domain: NaN after that.
MOST_ITERATIONS = 20_000
# A function that JAX cannot trace is called for each value; so many seconds of that, and directions decide.
SECONDS_OF_CALLS = 10.0
# Of an approximation by a polynomial of degree 8 the derivative is off by up to so many units of the last place of what
# the values are off by one. Integrals of yours are by Gauss's formula with so many nodes, over half of an entry's size
# to either side: an approximation may end at the entry.
MARKOV, NODES, CHORD = 64.0, 24, 0.5
# Neighbours at these parts of an entry's size are on the other side of any kink at the point, and of nothing else:
# curvature over 2⁻³⁰ is below every allowance.
NEAR = (2.0**-30, 2.0**-22)
NEIGHBOURS = 7
# Each kink inside the function is taken to one of its sides: all up, all down, and so often at random.
OTHER_PIECES = 6
# What a function is like beyond these arguments is seen at these multiples of an entry's size: a step has the slope 0
# at each of them, and what hands its argument through has its value.
FAR = (1.0, 1.0, 8.0, 8.0, 64.0, 1024.0)
# A rule that scales or clips on purpose does exactly that, but for the 1e-6 that people add to a norm.
AS_MEANT = 1e-4
# Special points: so many numbers that something in the program is compared with are tried, none of them larger.
MOST_CONSTANTS, FARTHEST = 12, 1e6
# A derivative is another at a single point if it is one thing at this part of its size, and twice that, on both sides:
# over this the curvature is below 1 %, and formulas that lose digits at the point have them again.
ASIDE = 2.0**-12
# The rule is tried beside a kink, too: near enough to keep to the same pieces elsewhere, far enough for its own dtype.
BESIDE = 2.0**-5
# A rule costs clearly more than none if it is so many times as dear, and that by more than so many bytes, or flops.
COSTLY, NO_COST = 2.0, (2.0**12, 2.0**14)
# The slope of a power xᵖ with p < 0.9 grows by this factor from the far neighbours to the near ones.
GROWTH = 1.7
# The limit of slopes beside a point counts where the near ones are closer to it than the far ones by this factor.
APPROACH = 0.3


class Precision(NamedTuple):
    """What a dtype can hold."""

    name: str
    eps: float
    tiny: float
    max: float
    exponent_bits: int

    @classmethod
    def of(cls, dtype: Any) -> "Precision":
        """That of a floating-point dtype, of complex parts, too."""
        info = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
        return cls(str(np.dtype(dtype)), float(info.eps), float(info.tiny), float(info.max), int(info.nexp))


FLOAT64 = Precision.of(np.float64)
FLOAT32_EPS = 2.0**-23


def half_the_digits(precision: Precision) -> float:
    """The relative error that a right formula may have in a precision: half of its digits must survive.

    Sums that stand still lose 36 to 46 % in bfloat16, log Σ exp by hand 13 %: all above √ε, and no right rule near it.
    """
    return float(np.sqrt(precision.eps))
