"""What a check found: a verdict for each leaf, with numbers, causes, and the way to see it again."""

import contextlib
import enum
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Self

from mlp_jax.verify.policy import VERSION


class CannotCheck(ValueError):
    """The function or its arguments are such that nothing can be checked: says why, and what to do."""


class GradientError(AssertionError):
    """A gradient did not pass its check; the text is the report."""


class Verdict(enum.StrEnum):
    """What is said of one leaf. The first six pass, and the last."""

    OK = "ok"
    KINK = "KINK"  # one-sided slopes differ, and yours lies between them
    STOPPED = "STOPPED"  # zero by stop_gradient, as it should be
    SURROGATE = "SURROGATE"  # of a step, whose derivative is 0 almost everywhere, and yours is not
    SCALED = "SCALED"  # the function hands its argument through, and the rule multiplies what comes back
    CLIPPED = "CLIPPED"  # the same, and the rule clips it
    WRONG = "WRONG"
    ZERO_EVERYWHERE = "ZERO-EVERYWHERE"  # yours is 0, the reference is not
    NONFINITE = "NONFINITE"
    NONDETERMINISTIC = "NONDETERMINISTIC"  # two runs differ
    STRUCTURE = "STRUCTURE"  # shape, dtype or tree
    PRIMAL = "PRIMAL"  # the forward rule's output is not the function's
    RAISED = "RAISED"  # the rule raised an exception
    UNRESOLVED = "UNRESOLVED"  # nothing here could decide
    NO_REVERSE_MODE = "NO-REVERSE-MODE"  # JAX cannot go backwards through the function, and it has no rule
    UNSUPPORTED = "not supported"  # of a transformation: the rule says no, which is no wrong answer

    @property
    def passes(self) -> bool:
        """Whether a leaf with this verdict is as it should be."""
        return self in _PASSING


ON_PURPOSE = {Verdict.SURROGATE, Verdict.SCALED, Verdict.CLIPPED}
_PASSING = {Verdict.OK, Verdict.KINK, Verdict.STOPPED, Verdict.UNSUPPORTED} | ON_PURPOSE


@dataclass(frozen=True)
class Leaf:
    """The verdict on the gradient for one array, or on one output of the forward rule."""

    name: str  # the path from the function's parameters, as in `params[0].W`
    shape: tuple[int, ...] | None  # of the array; None in a table of transformations
    dtype: str  # of the array
    verdict: Verdict  # what was found
    error: float | None = None  # the largest error, relative to the largest entry of the reference
    tolerance: float | None = None  # the largest error that would have passed at the worst entry, relative to the same
    index: tuple[int, ...] | None = None  # the worst entry
    yours: float | None = None  # your value there
    reference: float | None = None  # the right one
    reason: str = ""  # what the tolerance consists of, or what is special

    @property
    def passed(self) -> bool:
        """Whether the leaf is as it should be."""
        return self.verdict.passes


class Passes:
    """What passes or not, and says why."""

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        raise NotImplementedError

    def __bool__(self) -> bool:
        """Whether it passed: `assert check_vjp(f, x)` asserts."""
        return self.passed

    def check(self) -> Self:
        """Itself, if it passed.

        Raises:
            GradientError: it did not; the message is the whole report.
        """
        __tracebackhide__ = True  # pytest then shows the line of the test
        if not self.passed:
            raise GradientError(f"\n{self}")
        return self


@dataclass(frozen=True, repr=False)
class Report(Passes):
    """All that a check found. `str(report)` is for people, `report.to_json()` has every number."""

    title: str  # which check of which function
    leaves: tuple[Leaf, ...]  # a verdict for each floating-point leaf of the arguments, then for each output
    causes: tuple[str, ...] = ()  # what fits the errors, a sentence for each wrong leaf
    notes: tuple[str, ...] = ()  # against what was compared, and what was special
    reproduce: str = ""  # the call that gives this report again
    seed: int = 0  # of the cotangents and directions
    seconds: float = 0.0  # that it took
    policy: int = VERSION  # the version of the policy of tolerances

    def __post_init__(self) -> None:
        for seen in _observers:
            seen.append(self)

    @property
    def passed(self) -> bool:
        """Whether every leaf is ok, sits at a kink with a value between the slopes, is stopped, or lies on purpose."""
        return all(leaf.passed for leaf in self.leaves)

    def to_json(self, indent: int | None = 1) -> str:
        """All as JSON. A number that JSON has not (NaN, infinity) is a string."""
        return json.dumps(_finite({"passed": self.passed, **asdict(self)}), indent=indent)

    def __str__(self) -> str:
        """The table of leaves, then causes, notes, and how to see it again."""
        lines = [self._heading(), *_table(self.leaves)]
        lines += [f"  {sentence}" for sentence in (*self.causes, *self.notes)]
        if not self.passed and self.reproduce:
            lines.append(f"  Reproduce: {self.reproduce}")
        return "\n".join(lines)

    __repr__ = __str__

    def _heading(self) -> str:
        failed = [leaf.verdict for leaf in self.leaves if not leaf.passed]
        undecided = {Verdict.UNRESOLVED, Verdict.NO_REVERSE_MODE}
        verdict = "ok" if not failed else failed[0].value if undecided.issuperset(failed) else "WRONG"
        seconds = f"{1000 * self.seconds:.0f} ms" if self.seconds < 1 else f"{self.seconds:.1f} s"
        return f"{f'{self.title}: {verdict}':<60} seed {self.seed} · {seconds}"

    def _repr_html_(self) -> str:
        """The same in a notebook: a row for each leaf, a wrong one in bold."""
        used = _used(self.leaves)
        table = "".join(f"<th>{_HEAD[k]}</th>" for k in used)
        for leaf in self.leaves:
            cells = map(escape, (*(_row(leaf)[k] for k in used), leaf.reason))
            table += "</tr><tr>" + "".join(f"<td>{cell if leaf.passed else f'<b>{cell}</b>'}</td>" for cell in cells)
        again = [f"Reproduce: {self.reproduce}"] if not self.passed and self.reproduce else []
        words = (f"<p>{escape(sentence)}</p>" for sentence in (*self.causes, *self.notes, *again))
        return f"<div><p>{escape(self._heading())}</p><table><tr>{table}</tr></table>{''.join(words)}</div>"


def reported(title: str, leaves: Sequence[Leaf], seed: int, started: float, **more: Any) -> Report:
    """A report with how to see it again, and how long it took."""
    reproduce = f"verify.{title[:-1]}, ..., seed={seed})"
    seconds = time.perf_counter() - started
    return Report(title, tuple(leaves), reproduce=reproduce, seed=seed, seconds=seconds, **more)


_HEAD = ("leaf", "shape", "verdict", "rel. error", "worst entry", "yours", "reference")
_observers: list[list[Report]] = []


@contextlib.contextmanager
def observed() -> Iterator[list[Report]]:
    """All reports that are made within the block."""
    seen: list[Report] = []
    _observers.append(seen)
    try:
        yield seen
    finally:
        _observers.remove(seen)


def _table(leaves: Sequence[Leaf]) -> list[str]:
    rows, used = [_HEAD, *map(_row, leaves)], _used(leaves)
    widths = {k: max(len(row[k]) for row in rows) for k in used}
    lines = []
    for leaf, row in zip((None, *leaves), rows, strict=True):
        cells = [row[k].rjust(widths[k]) if k >= 5 else row[k].ljust(widths[k]) for k in used]
        line = "  " + "  ".join(cells).rstrip()
        if leaf and leaf.reason and leaf.verdict is not Verdict.OK:
            if leaf.index is None and leaf.error is None:
                line = f"{line}  {leaf.reason}"
            elif leaf.verdict is Verdict.KINK:
                line = "  " + "  ".join([*cells[: used.index(2) + 1], "-".ljust(widths.get(3, 1)), leaf.reason])
            else:
                line = f"{line}\n    {leaf.reason}"
        lines.append(line)
    return lines


def _used(leaves: Sequence[Leaf]) -> list[int]:
    """The columns in which something stands."""
    return [k for k in range(len(_HEAD)) if k == 0 or any(_row(leaf)[k] for leaf in leaves)]


def _row(leaf: Leaf) -> tuple[str, ...]:
    shape = "" if leaf.shape is None else str(leaf.shape)
    error = "" if leaf.error is None else "0" if leaf.error == 0 else f"{leaf.error:.1e}"
    worst = leaf.index is not None and leaf.verdict is not Verdict.OK
    index = str(list(leaf.index)) if worst and leaf.index else ""
    yours, reference = (f"{v:.4g}" if worst and v is not None else "" for v in (leaf.yours, leaf.reference))
    return leaf.name, shape, leaf.verdict.value, error, index, yours, reference


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
