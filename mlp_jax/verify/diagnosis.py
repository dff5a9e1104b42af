"""What is wrong, in words: causes that are fitted to the errors, and said only where they fit every entry.

Each cause is a formula for your gradient Y in terms of the reference R, of other leaves and of single examples. A cause
is named if it gives Y to a relative 1e-4 for every cotangent; where none does, the report says so. The order is from
the simplest to the most special.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import examples, layers
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.precision import float64
from mlp_jax.verify.report import Leaf, Verdict

FIT = 1e-4


def causes(comparison: Comparison, leaves: Sequence[Leaf]) -> list[str]:
    """A sentence for each wrong leaf, those with the same cause together."""
    found = _Diagnosis(comparison, leaves).sentences() if comparison.truth else []
    return found + list(_primal_causes(comparison, leaves))


def _primal_causes(comparison: Comparison, leaves: Sequence[Leaf]) -> Iterator[str]:
    outputs = [leaf for leaf in leaves if leaf.name in comparison.case.output_names]
    if isinstance(comparison.yours, Exception) or comparison.values is None:
        return
    for leaf, yours, plain in zip(outputs, comparison.yours[0], comparison.values, strict=True):
        if leaf.verdict is Verdict.PRIMAL and yours.shape == plain.shape:
            factor = _factor(yours, plain)
            if factor is None or np.isclose(factor, 1, rtol=FIT):
                continue
            if yours.size > 1 or np.isclose(factor, [-1, 2, 0.5], rtol=FIT).any():
                yield f"{leaf.name}: the forward rule returns {_number(factor)} × the function's value."


class _Diagnosis:
    def __init__(self, comparison: Comparison, leaves: Sequence[Leaf]) -> None:
        self.c = comparison
        assert comparison.truth
        self.reference = comparison.truth.gradients
        self.names = comparison.case.arguments.names
        self.wrong = [
            k
            for k, leaf in enumerate(leaves[: len(self.names)])
            if leaf.verdict in (Verdict.WRONG, Verdict.ZERO_EVERYWHERE)
        ]
        self.leaves = leaves

    def sentences(self) -> list[str]:
        if isinstance(self.c.yours, Exception) or not self.wrong:
            return []
        self.yours = self.c.yours[1]
        fitting = [k for k in self.wrong if self._misses(self.yours[k], self.reference[k])]
        by_cause: dict[str, list[int]] = {}
        for k in fitting:
            cause = self._cause(k)
            if cause:
                by_cause.setdefault(cause, []).append(k)
        explained = {k for ks in by_cause.values() for k in ks}
        for k in fitting:
            if k not in explained and (cause := self._cause_beside_others(k, by_cause)):
                by_cause.setdefault(cause, []).append(k)
                explained.add(k)
        lines = [f"{', '.join(self.names[k] for k in ks)}: {cause}" for cause, ks in by_cause.items()]
        rest = [k for k in fitting if k not in explained]
        if rest and (fault := layers.fault(self.c)):
            lines.append(f"{', '.join(self.names[k] for k in rest)}: {fault}.")
        elif rest:
            lines.append(self._place(rest) or f"{', '.join(self.names[k] for k in rest)}: no simple cause fits.")
        return lines

    def _cause(self, k: int) -> str | None:
        Y, R = self.yours[k], self.reference[k]
        if not Y.any():
            return "zero in every entry: no gradient is returned."
        for test in (
            self._constant_factor,
            self._cotangent_ignored,
            self._transposed,
            self._another_leaf,
            self._part_of_entries,
            self._permuted,
            self._term_of_the_parameter,
            self._elementwise,
            self._single_examples,
        ):
            if cause := test(k, Y, R):
                return cause
        return None

    # --- causes, each of one leaf ------------------------------------------------------------------------------

    def _constant_factor(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        factor = _factor(Y, R)
        if factor is None:
            return None
        name = self._factor_name(factor)
        # with one number alone, any error is a factor
        if np.count_nonzero(np.abs(R).max(axis=0) > 0) < 2 and not name:
            return None
        return f"yours = {_number(factor)} × reference in every entry: {name or 'a constant factor'}."

    def _factor_name(self, factor: float) -> str | None:
        if np.isclose(factor, -1, rtol=FIT):
            return "a sign"
        if np.isclose(abs(factor), [2, 0.5], rtol=FIT).any():
            what = "a factor 2 too much" if abs(factor) > 1 else "a factor 2 is missing"
            return what + (", and a sign" if factor < 0 else "")
        for n, where in self._lengths():
            for value, what in ((n, "a sum where a mean is meant"), (1 / n, "a mean where a sum is meant")):
                if np.isclose(abs(factor), value, rtol=FIT):
                    sign = ", and a sign" if factor < 0 else ""
                    return f"{'' if value > 1 else '1/'}{n} is {where}: {what}{sign}"
        for name, value in self._scalars():
            if value not in (0.0, 1.0) and np.isclose(factor, value, rtol=FIT):
                return f"the value of {name}"
            if value not in (0.0, 1.0) and np.isclose(factor, 1 / value, rtol=FIT):
                return f"1 / {name}"
        return None

    def _lengths(self) -> list[tuple[int, str]]:
        """Lengths of axes and numbers of entries, the last arguments first: those are the batch."""
        found: dict[int, str] = {}
        arguments = self.c.case.arguments
        named = [
            (name, np.shape(x)) for name, x in zip(arguments.all_names, arguments.everything, strict=True) if np.ndim(x)
        ]
        named += list(zip(self.c.case.output_names, (np.shape(z) for z in self.c.case.values), strict=True))
        for name, shape in reversed(named):
            for axis, n in enumerate(shape):
                if n > 2:
                    found.setdefault(n, f"the length of axis {axis} of {name}")
        for name, shape in named:
            if len(shape) > 1 and np.prod(shape) > 2:
                found.setdefault(int(np.prod(shape)), f"the number of entries of {name}")
        return list(found.items())

    def _scalars(self) -> list[tuple[str, float]]:
        return [(name, float(x)) for name, x in zip(self.names, self.c.leaves, strict=True) if np.ndim(x) == 0]

    def _cotangent_ignored(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        if len(Y) < 2:
            return None
        if all(self._fits_beside(k, Y[j : j + 1], Y[:1]) for j in range(1, len(Y))):
            return "the same for every cotangent: the gradient that arrives is not used."
        if (scalars := self.c.g_of_scalar) is None:
            return None
        g = scalars.reshape(-1, *[1] * (Y.ndim - 1))
        if _fits(Y, g * R, R):
            return "the reference times the cotangent once more: its square is used."
        if _fits(Y, np.sign(g) * R, R):
            return "the absolute value of the cotangent is used."
        return None

    def _transposed(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        if R.ndim < 3 or R.shape[-1] != R.shape[-2]:
            return None
        factor = _factor(Y, np.swapaxes(R, -1, -2))
        if factor is None:
            return None
        extra = "" if np.isclose(factor, 1, rtol=FIT) else f", times {_number(factor)}"
        return f"yours is the transpose of the reference{extra}."

    def _another_leaf(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        for j, other in enumerate(self.reference):
            if j != k and other.shape == R.shape and _fits(Y, other, R):
                return f"yours is the gradient for {self.names[j]}: the two are swapped, or one is returned twice."
        return None

    def _part_of_entries(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        off = (np.abs(Y - R) > FIT * np.max(np.abs(R))).any(axis=0)
        if off.ndim == 0 or off.all():
            return None
        touched = [np.unique(place) for place in np.nonzero(off)]
        whole = [len(t) == n for t, n in zip(touched, off.shape, strict=True)]
        box: Any = np.ix_(*touched)
        inside: Any = (slice(None), *box)
        # the errors fill a box: a row, a column, some entries; where the reference is 0, none shows
        filled = off[box] | (np.abs(R[inside]).max(axis=0) <= FIT * np.max(np.abs(R)))
        if not filled.all() or sum(len(t) for t, w in zip(touched, whole, strict=True) if not w) > 8:
            return None
        factor = _factor(Y[inside], R[inside])
        what = (
            "yours is 0: dropped"
            if not Y[inside].any()
            else f"yours = {_number(factor)} × reference"
            if factor is not None and R[inside][0].size * len(R) > 1
            else "yours differs"
        )
        return f"right but for {_place_name(touched, whole)}, where {what}."

    def _permuted(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        for axis in range(1, R.ndim):
            n = R.shape[axis]
            rows = np.moveaxis(R, axis, 0).reshape(n, -1)
            yours = np.moveaxis(Y, axis, 0).reshape(n, -1)
            if not 1 < n <= 2048 or rows.shape[1] * n < 3:
                continue
            key = np.random.default_rng(0).normal(size=rows.shape[1])
            order = np.empty(n, int)
            order[np.argsort(yours @ key)] = np.argsort(rows @ key)
            if (order == np.arange(n)).all() or not _fits(yours, rows[order], rows):
                continue
            shift = (order[0]) % n
            if (order == (np.arange(n) + shift) % n).all():
                how = f"shifted by {int(n - shift) if shift > n // 2 else int(-shift)}"
            else:
                how = "in reverse order" if (order == np.arange(n)[::-1]).all() else "permuted"
            return f"the right numbers, {how} along axis {axis - 1}."
        return None

    def _term_of_the_parameter(self, k: int, Y: np.ndarray, R: np.ndarray, scale: float = 1.0) -> str | None:
        """Y = scale · R + c θ or + c sign θ: a penalty that is missing, or there twice."""
        x = np.asarray(self.c.leaves[k])
        if x.size < 3 or not x.any():
            return None
        D = Y - scale * R
        for basis, what, norm in ((x, "the parameter", "L2"), (np.sign(x), "its signs", "L1")):
            c = (D * basis).reshape(len(D), -1).sum(axis=1) / np.sum(basis * basis)
            fitted = c.reshape(-1, *[1] * x.ndim) * basis
            # the term itself must fit, not only be small beside the rest
            if not np.any(np.abs(c) > 0) or np.max(np.abs(D - fitted)) > 1e-3 * np.max(np.abs(fitted)):
                continue
            if np.max(np.abs(fitted)) <= 1e-9 * np.max(np.abs(R)):
                continue
            rate = float(np.mean(c / self.c.g_of_scalar)) if self.c.g_of_scalar is not None else float(c[0])
            term = f"{_number(abs(rate))} × {what}"
            factor = "" if scale == 1 else f"{_number(scale)} × reference, and "
            state = "lacks" if rate < 0 else "has too much of"
            return f"{factor}yours {state} the term {term}: the derivative of an {norm} penalty."
        return None

    def _elementwise(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        """For y = f(x) of the input's shape: f' at the output, f' left out, f' twice."""
        values = self.c.values
        if not values or len(values) != 1 or values[0].shape != R.shape[1:] or not self.c.reference:
            return None
        g = np.stack([z[0] for z in self.c.cotangents])
        if _fits(Y, g, R):
            return "yours is the gradient that arrives: f' is left out."
        if _fits(Y * g, R * R, R * R):
            return "f' is multiplied twice."
        moved = list(self.c.leaves)
        with float64():
            moved[k] = jnp.asarray(values[0])
        if _fits(Y, self.c.pull(self.c.reference[1], moved, self.c.cotangents)[k], R):
            return "the derivative is taken at the output f(x), not at the input."
        return None

    # --- single examples ------------------------------------------------------------------------------------------

    def _single_examples(self, k: int, Y: np.ndarray, R: np.ndarray) -> str | None:
        for i, shares in enumerate(self._shares):
            share = shares[k]
            if not share.any():
                continue
            for fitted, what in (
                (R - share, f"example {i} does not count."),
                (R + share, f"example {i} counts twice."),
                (share, f"example {i} alone counts: the sum over examples is missing."),
            ):
                if self._fits_beside(k, Y, fitted):
                    return what
        return None

    def _fits_beside(self, k: int, Y: np.ndarray, fitted: np.ndarray) -> bool:
        """Whether a formula gives Y, but for a multiple of the parameter itself, as a penalty adds."""
        R, x = self.reference[k], np.asarray(self.c.leaves[k])
        if _fits(Y, fitted, R):
            return True
        if x.size < 4 or not x.any():
            return False
        D = Y - fitted
        c = (D * x).reshape(len(D), -1).sum(axis=1) / np.sum(x * x)
        return _fits(D, c.reshape(-1, *[1] * x.ndim) * x, R)

    @cached_property
    def _shares(self) -> list[Arrays]:
        return examples.shares(self.c)

    # --- across leaves --------------------------------------------------------------------------------------------

    def _cause_beside_others(self, k: int, known: dict[str, list[int]]) -> str | None:
        """The factor of other leaves, beside a term of the parameter itself that has not that factor."""
        Y, R = self.yours[k], self.reference[k]
        for ks in known.values():
            factor = _factor(self.yours[ks[0]], self.reference[ks[0]])
            if factor is not None and (cause := self._term_of_the_parameter(k, Y, R, factor)):
                return cause
        return None

    def _place(self, rest: list[int]) -> str | None:
        """Where in a chain of layers the fault must be, if the right leaves and the wrong ones show it."""
        right = [k for k in range(len(self.names)) if k not in self.wrong]
        if len(rest) == 1 and len(self.wrong) == 1 and self.reference[rest[0]].ndim == 3:
            (k,) = rest
            parent = self.names[k].rpartition("[")[0] or self.names[k].rpartition(".")[0]
            siblings = [j for j in right if parent and self.names[j].startswith(parent)]
            if any(self.reference[j].shape[1:] == self.reference[k].shape[2:] for j in siblings):
                return (
                    f"{self.names[k]}: alone wrong, and its bias is right: so is the gradient that arrives at this "
                    "layer; look at the activation that it is multiplied with."
                )
        first_argument = [
            k for k, name in enumerate(self.names) if name[: len(_root(self.names[0]))] == _root(self.names[0])
        ]
        border = max((k for k in rest if k in first_argument), default=-1)
        after = [k for k in first_argument if k > border]
        before = [k for k in first_argument if k <= border]
        if len(before) >= 2 and len(after) >= 2 and set(before) <= set(self.wrong) and set(after) <= set(right):
            return (
                f"{', '.join(self.names[k] for k in rest)}: no simple cause fits. All from {self.names[after[0]]} on "
                f"are right and all up to {self.names[border]} are wrong: look at how the gradient passes from one to "
                "the other (f' there, and the product with the weights)."
            )
        return None

    def _misses(self, Y: np.ndarray, R: np.ndarray) -> bool:
        return bool(np.isfinite(Y).all() and np.isfinite(R).all() and R.any())


def _root(name: str) -> str:
    return name.partition("[")[0].partition(".")[0]


def _fits(Y: np.ndarray, fitted: np.ndarray, scale: np.ndarray) -> bool:
    return Y.shape == fitted.shape and bool(np.max(np.abs(Y - fitted)) <= FIT * np.max(np.abs(scale)))


def _factor(Y: np.ndarray, R: np.ndarray) -> float | None:
    """The c with Y = c R in every entry, or None."""
    square = float(np.sum(R * R))
    if not square or Y.shape != R.shape:
        return None
    c = float(np.sum(Y * R)) / square
    return c if c and np.max(np.abs(Y - c * R)) <= FIT * abs(c) * np.max(np.abs(R)) else None


def _number(value: float | None) -> str:
    assert value is not None
    if np.isclose(value, round(value), rtol=1e-6):
        return f"{round(value)}"
    return f"{value:.4g}" if abs(value - 1) > 1e-3 else f"{value:.7g}"


def _place_name(touched: list[np.ndarray], whole: list[bool]) -> str:
    """A row, a column, entries, by the indices that errors touch on each axis."""
    partial = [(axis, t) for axis, (t, w) in enumerate(zip(touched, whole, strict=True)) if not w]
    if len(partial) == len(touched):
        places = list(itertools.islice(itertools.product(*(t.tolist() for t in touched)), 4))
        if all(len(t) == 1 for t in touched):
            return f"entry {list(places[0])}"
    names = {0: "row", 1: "column"} if len(touched) == 2 else {}
    parts = []
    for axis, t in partial:
        plural = "s" * (len(t) > 1)
        what = (
            f"{names[axis]}{plural}" if axis in names else f"index {'' if len(touched) == 1 else f'of axis {axis}, '}"
        )
        parts.append(f"{what} {', '.join(map(str, t.tolist()))}".replace("  ", " "))
    return " and ".join(parts)
