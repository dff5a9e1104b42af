"""Hypotheses on what is wrong with a rule: each is a formula that predicts your gradient from the right one.

What it says is said only if the formula gives yours in every entry, for every cotangent and at every point, and if it
explains the error itself: yours = 1 × reference fits where the error is small, and explains nothing. Constants are
fitted to all points at once, so that what fits by chance at one fails at the other.

In formulas Y is yours, R the reference, and g the gradient that arrives.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

FIT = 1e-4  # of the largest entry for a cotangent: so far may a prediction be off
EXPLAINED = 1e-2  # of the largest error: no more may be left of it
NOISE = 1e-10  # of the largest entry: less is no error in exact arithmetic
NAMED = 1e-5  # so near must a factor be to a number that has a name

Guesses = Iterator[tuple[np.ndarray | None, str]]  # what yours would be, and what would then be wrong


@dataclass(frozen=True)
class Facts:
    """One wrong leaf: arrays are (points, cotangents, *shape), with 1 where they depend on none."""

    name: str
    yours: np.ndarray
    reference: np.ndarray
    arguments: dict[str, np.ndarray] = field(default_factory=dict)  # all numbers that the function is given
    outputs: dict[str, np.ndarray] = field(default_factory=dict)  # the function's values
    arriving: Sequence[np.ndarray] = ()  # the cotangents, for each output
    others: dict[str, np.ndarray] = field(default_factory=dict)  # the reference for other leaves
    # the reference for other cotangents, and at other values of some arguments; None if it cannot be evaluated
    pull: Callable[[Sequence[np.ndarray]], np.ndarray | None] = lambda cotangents: None
    at: Callable[[dict[str, np.ndarray]], np.ndarray | None] = lambda arguments: None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the leaf."""
        return self.reference.shape[2:]

    @cached_property
    def known(self) -> dict[str, np.ndarray]:
        """Arguments and outputs that have the leaf's shape, or can be repeated to it; 0, 1 and -1 tell nothing."""
        told = {name: u for name, u in {**self.arguments, **self.outputs}.items() if not np.isin(u, (0, 1, -1)).all()}
        return {name: v for name, u in told.items() if (v := self._repeated(u)) is not None}

    @cached_property
    def g(self) -> np.ndarray | None:
        """The gradient that arrives at the only output, if that has the leaf's shape or can be repeated to it."""
        return self._repeated(self.arriving[0]) if len(self.arriving) == 1 else None

    def _repeated(self, u: np.ndarray) -> np.ndarray | None:
        missing = self.yours.ndim - u.ndim
        try:
            return np.broadcast_to(u.reshape(*u.shape[:2], *[1] * missing, *u.shape[2:]), self.yours.shape)
        except ValueError:
            return None

    def is_explained_by(self, predicted: np.ndarray | None) -> bool:
        """Whether a prediction is yours, and no less right where the error is small."""
        if predicted is None or predicted.shape != self.yours.shape:
            return False
        left, axes = np.abs(self.yours - predicted), tuple(range(2, predicted.ndim))
        size = np.maximum(np.max(np.abs(self.reference), axis=axes), np.max(np.abs(self.yours), axis=axes))
        fits = np.max(left, axis=axes) <= FIT * size + NOISE * largest(self.reference)
        return bool(fits.all() and largest(left) <= EXPLAINED * largest(self.yours - self.reference))


Hypothesis = Callable[[Facts], Guesses]


def cause(f: Facts, hypotheses: Sequence[Hypothesis]) -> str | None:
    """What the first hypothesis that predicts yours says."""
    if not NOISE * largest(f.reference) < largest(f.yours - f.reference) < np.inf:  # NaN neither
        return None
    with np.errstate(all="ignore"):
        guesses = itertools.chain.from_iterable(hypothesis(f) for hypothesis in hypotheses)
        return next((sentence for predicted, sentence in guesses if f.is_explained_by(predicted)), None)


# --- hypotheses -------------------------------------------------------------------------------------------------------


def constant_factor(f: Facts) -> Guesses:
    """Y = 0, or Y = c R."""
    yield np.zeros_like(f.yours), "zero in every entry: no gradient is returned."
    is_one_number = np.count_nonzero(f.reference.any(axis=1)) < 2  # times the cotangent: any factor fits
    if (c := factor(f.yours, f.reference)) is not None and not is_one_number:
        yield c * f.reference, f"yours = {number(c)} × reference in every entry: {_name_of_factor(f, c)}."


def _name_of_factor(f: Facts, c: float) -> str:
    if abs(c + 1) < NAMED:
        return "a sign"
    names = [(2.0, "a factor 2 too much"), (0.5, "a factor 2 is missing")]
    for name, u in reversed({**f.arguments, **f.outputs}.items()):  # the last arguments are the batch
        lengths = [(n, f"the length of axis {axis} of {name}") for axis, n in enumerate(u.shape[2:])]
        lengths.append((math.prod(u.shape[2:]), f"the number of entries of {name}"))
        names += [(n, f"{n} is {what}: a sum where a mean is meant") for n, what in lengths if n > 2]
        names += [(1 / n, f"1/{n} is {what}: a mean where a sum is meant") for n, what in lengths if n > 2]
    found = next((name for value, name in names if abs(abs(c) - value) < NAMED * value), None)
    return found + ", and a sign" * (c < 0) if found else "a constant factor"


def factor_of_an_argument(f: Facts) -> Guesses:
    """Y = R u or R / u."""
    for name, u in f.known.items():
        yield from _multiples(f, f.reference * u, f"the factor {name} is there once too often")
        yield from _multiples(f, f.reference / u, f"the factor {name} is missing")


def _multiples(f: Facts, basis: np.ndarray, what: str, why: str = "") -> Guesses:
    """Y = ± basis, twice or half of it."""
    c = factor(f.yours, basis)
    if c is not None and np.isclose(abs(c), (0.5, 1, 2), rtol=NAMED).any():
        times = "" if abs(c - 1) < NAMED else f", times {number(c)}"
        yield c * basis, f"{what}{times}{why}."


def cotangent_not_used(f: Facts) -> Guesses:
    """Y the same for every cotangent."""
    if any(np.ptp(g, axis=1).any() for g in f.arriving):
        yield f.yours[:, :1] + 0 * f.yours, "the same for every cotangent: the gradient that arrives is not used."


def changed_cotangent(f: Facts) -> Guesses:
    """Y = the reference for another cotangent than the one that arrives."""
    for change, what in (
        (np.square, "the reference times the cotangent once more: its square is used."),
        (np.abs, "the absolute value of the cotangent is used."),
        (np.sign, "only the sign of the cotangent is used."),
        (lambda g: np.maximum(g, 0), "the gradient that arrives is used only where it is positive."),
        (lambda g: np.clip(g, -1, 1), "the gradient that arrives is clipped to [-1, 1]."),
    ):
        changed = [change(g) for g in f.arriving]
        if any((a != b).any() for a, b in zip(changed, f.arriving, strict=True)):
            yield f.pull(changed), what


def of_the_cotangent_alone(f: Facts) -> Guesses:
    """For R = g f' and the like: Y = g, Y = g f'², or Y = g times the reference for ones."""
    if f.g is not None:
        yield from _multiples(f, f.g, "yours is the gradient that arrives", ": f' is left out")
        yield np.where(f.g == 0, 0, f.reference**2 / f.g), "f' is multiplied twice."
        if (ones := f.pull([np.ones_like(f.arriving[0])])) is not None:
            what = "the gradient for a cotangent of ones is multiplied by the cotangent"
            yield from _multiples(f, f.g * ones, what, ", entry by entry")


def transposed(f: Facts) -> Guesses:
    """Y = Rᵀ."""
    if len(f.shape) > 1 and f.shape[-1] == f.shape[-2] > 1:
        yield from _multiples(f, np.swapaxes(f.reference, -1, -2), "yours is the transpose of the reference")


def another_leaf(f: Facts) -> Guesses:
    """Y = R of another leaf."""
    for name, other in f.others.items():
        if other.shape == f.reference.shape:
            yield other, f"yours is the gradient for {name}: the two are swapped, or one is returned twice."


def permuted(f: Facts) -> Guesses:
    """Y has the rows of R, or the columns, in another order: they are told by their products with a random vector."""
    for axis, n in enumerate(f.shape if f.reference.size > 2 else ()):
        right, yours = (np.moveaxis(a, axis + 2, 0).reshape(n, -1) for a in (f.reference, f.yours))
        vector = np.random.default_rng(0).normal(size=right.shape[1])
        order = np.empty(n, int)
        order[np.argsort(yours @ vector)] = np.argsort(right @ vector)
        shifts = (np.arange(n) - order) % n
        how = f"shifted by {shifts[0]}" if (shifts == shifts[0]).all() else "in another order"
        yield np.take(f.reference, order, axis + 2), f"the right numbers, {how} along axis {axis}."


def another_point(f: Facts) -> Guesses:
    """Y = the reference at other arguments."""
    if len(f.others) > 3 or f.name not in f.arguments:
        return
    for y in f.outputs.values():
        if y.shape == f.arguments[f.name].shape:
            yield f.at({f.name: y}), "the derivative is taken at the output f(x), not at the input."
    for name in (f.name, *f.others):
        u = f.arguments[name]
        yield f.at({name: -u}), f"the sign of {name} is wrong: yours is right as if it were -{name}."
        if u.ndim == 4 and u.shape[2] == u.shape[3]:
            yield f.at({name: np.swapaxes(u, 2, 3)}), f"the transpose of {name} stands in its place."


def term(f: Facts) -> Guesses:
    """Y = a R + c t, with a term t that is missing or there twice, or has not the factor a that the others have."""
    if f.g is None or np.prod(f.shape) < 4:
        return
    terms = [(f.g, "the gradient that arrives")]
    if f.name in f.arguments and f.arriving[0].ndim == 2:  # the only output is a number, as a cost
        theta = f.arguments[f.name]
        terms.append((theta * f.g, "the parameter: the derivative of an L2 penalty"))
        terms.append((np.sign(theta) * f.g, "its signs: the derivative of an L1 penalty"))
    for t, what in terms:
        both = np.stack([f.reference.ravel(), np.nan_to_num(t).ravel()], axis=1)
        a, c = (float(v) for v in np.linalg.lstsq(both, f.yours.ravel(), rcond=None)[0])
        if abs(a) > FIT:
            times = "" if abs(a - 1) < NAMED else f"{number(a)} × reference, and "
            lacks = "lacks" if c < 0 else "has too much of"
            yield a * f.reference + c * t, f"{times}yours {lacks} the term {abs(c):.3g} × {what}."


# --- places -----------------------------------------------------------------------------------------------------------


def part_of_the_entries(f: Facts) -> Guesses:
    """Right but in a part of the entries, and there 0, or a multiple of R, or of g."""
    for where, mask in _places(f):
        if not f.yours[mask].any():
            yield np.where(mask, 0, f.reference), f"{where} yours is 0: dropped."
        for basis, shown in ((f.reference, "reference"), (f.g, "the gradient that arrives")):
            if basis is not None and (c := factor(f.yours[mask], basis[mask])) is not None:
                yield np.where(mask, c * basis, f.reference), f"{where} yours = {number(c)} × {shown}."


def place_alone(f: Facts) -> Guesses:
    """Right but in a part of the entries, and what yours is there is not known."""
    for where, mask in _places(f):
        yield np.where(mask, f.yours, f.reference), f"{where} no simple cause fits."


def _places(f: Facts) -> Iterator[tuple[str, np.ndarray]]:
    """In words, and as masks: where all errors are and nothing is right, but for what is 0 and shows no error."""
    error = np.abs(f.yours - f.reference)
    off = error > 1e-6 * largest(error) + NOISE * largest(f.reference)
    right = ~off & (np.abs(f.reference) > NOISE * largest(f.reference))
    arriving = {} if f.g is None else {"the gradient that arrives": f.g}
    for name, u in {**f.known, **arriving}.items():
        wrong, fine = (len(np.unique(u[0][part[0]])) for part in (off, right))  # the other point's are near to these
        if not fine or math.comb(wrong + fine, wrong) < 10:  # one of so few splits is a bound by chance
            continue
        for sign, mask in (("is 0", u == 0), ("> 0", u > 0), ("< 0", u < 0)):
            if not (off & ~mask).any() and not (right & mask).any():
                yield f"wrong only where {name} {sign}; there", mask
    # and by the numbers of entries: where any of their rows, columns, … is wrong
    off = np.atleast_1d(off.any(axis=(0, 1)))
    touched = [np.unique(numbers) for numbers in np.nonzero(off)]
    mask = np.zeros(off.shape, bool)
    mask[np.ix_(*touched)] = True
    parts = [(axis, numbers) for axis, numbers in enumerate(touched) if len(numbers) < off.shape[axis]]
    if not parts or sum(len(numbers) for _, numbers in parts) > 8 or (mask & ~off & f.reference.any(axis=(0, 1))).any():
        return
    axes = ["row", "column"] if off.ndim == 2 else [f"axis {axis} at" for axis in range(off.ndim)]
    where = " and ".join(f"{axes[axis]} {', '.join(map(str, numbers))}" for axis, numbers in parts)
    where = f"entry {[int(numbers[0]) for numbers in touched]}" if off.sum() == 1 else where
    yield f"right but for {where}, where", np.broadcast_to(mask, f.yours.shape)


HYPOTHESES: tuple[Hypothesis, ...] = (
    constant_factor, cotangent_not_used, transposed, another_leaf, permuted, term, changed_cotangent,
    part_of_the_entries, factor_of_an_argument, another_point, of_the_cotangent_alone,
)  # fmt: skip


# --- arithmetic -------------------------------------------------------------------------------------------------------


def factor(a: np.ndarray, b: np.ndarray) -> float | None:
    """The c ≠ 0 with a = c b in every entry, or None; also if that is one entry, for any c fits that."""
    square = float(np.sum(b * b))
    if np.count_nonzero(b) < 2 or not np.isfinite(square) or a.shape != b.shape:
        return None
    c = float(np.sum(a * b)) / square
    return c if c and largest(a - c * b) <= FIT * abs(c) * largest(b) else None


def number(c: float) -> str:
    """In a few digits, and as many more as tell it from 1."""
    if np.isfinite(c) and abs(c - round(c)) <= min(1e-6 * abs(c), 1e-3 * abs(c - 1)):
        return f"{round(c)}"
    return f"{c:.4g}" if abs(c - 1) > 1e-3 else f"{c:.7g}" if abs(c - 1) > 1e-6 else f"(1 + {c - 1:.2g})"


def largest(a: Any) -> float:
    """The size of the largest entry."""
    return float(np.max(np.abs(a), initial=0))
