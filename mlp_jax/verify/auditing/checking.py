"""The check of one use of a rule, as the program had it: its arguments, its precision, its transformations."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from mlp_jax.verify.arguments import first_lines
from mlp_jax.verify.auditing.calls import Call, calls_of
from mlp_jax.verify.auditing.findings import BESIDE, KINK, MEANT, NOT_CHECKED, OK, RAISES, UNDECIDED, WRONG, Finding
from mlp_jax.verify.auditing.watch import Signature
from mlp_jax.verify.checks import check_vjp
from mlp_jax.verify.forward import check_jvp
from mlp_jax.verify.report import ON_PURPOSE, CannotCheck, Report, Verdict
from mlp_jax.verify.transforms import rows_of

_SECONDS_EACH, _AGAIN, _OTHERS = 30.0, 5.0, 3
_WITHOUT_A_GRADIENT = {Verdict.RAISED, Verdict.STRUCTURE, Verdict.NO_REVERSE_MODE, Verdict.UNRESOLVED}


# What was found of a use of a rule, and of which call; both None if it was not checked.
Result = tuple[Finding, Report | None, Call | None]


def check(signature: Signature, finding: Finding, end: float, budget: float) -> Result:
    """The report on a use of a rule, and what it amounts to."""

    def left_out(reason: str) -> Result:
        return dataclasses.replace(finding, verdict=NOT_CHECKED, reason=reason), None, None

    if not signature.values:
        return left_out(signature.note or "never run: only its shapes were asked for")
    left = end - time.monotonic()
    if left <= 0:
        return left_out(f"the {budget:g} seconds for checks were used up")
    started = time.monotonic()
    try:
        with as_the_program(signature.x64), time_limit(min(left, _SECONDS_EACH)):
            call = calls_of(signature)[0]
            report = checked(call)
    except TimeUp:
        return left_out(f"it took more than {min(left, _SECONDS_EACH):.0f} seconds")
    except CannotCheck as error:
        return left_out(first_lines(error, 120))
    except Exception as error:  # a rule may not go alone: within a collective, over an object's traced value
        return left_out(f"alone it raises {type(error).__name__}: {first_lines(error, 120)}")
    took = time.monotonic() - started
    return _judged(finding, report, seconds=took), report, call


def look_further(signature: Signature, finding: Finding, end: float) -> Result | None:
    """What fails of a rule that passed: at other calls, under the transformations used, or at special points.

    Raises:
        TimeUp: there is no time for it.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeUp
    with as_the_program(signature.x64), time_limit(min(left, _SECONDS_EACH)):
        first, *others = calls_of(signature)
        used = rows_used(signature)
        calls = [call for call in others if call.is_finite()][:_OTHERS]
        calls += [dataclasses.replace(first, rows=used)] if used else []
        for call in (*calls, dataclasses.replace(first, special=True)):
            report = checked(call)
            if not report.passed:
                judged = _judged(finding, report)
                return dataclasses.replace(judged, verdict=BESIDE) if call.special else judged, report, call
    return None


def _judged(finding: Finding, report: Report, **more: Any) -> Finding:
    return dataclasses.replace(finding, verdict=verdict_of(report), text=str(report), **more)


def rows_used(signature: Signature) -> tuple[str, ...]:
    """The rows of `check_transforms` about what the program did with the rule, by how their names begin."""
    paths = [values.path for values in signature.values]
    by = {passed.by for path in paths for passed in path}
    rows = {"vmap": ("vmap over",), "compiled": ("jit",)}
    used = tuple(name for word, names in rows.items() if word in by for name in names)
    if any(sum(passed.by == "jvp" for passed in path) > 1 for path in paths):
        used += ("second order", "forward over", "reverse over")
    return used


def checked(call: Call) -> Report:
    """The report on a call.

    JAX transposes a forward rule, which is linear: what holds of its gradient holds of it. Where it cannot, the rule is
    checked as it is.
    """
    if call.rows:
        return rows_of(call.rule, call.args, argnums=call.argnums, wanted=lambda name: name.startswith(call.rows))
    report = check_vjp(call.rule, *call.args, argnums=call.argnums, special=call.special)
    failed = {leaf.verdict for leaf in report.leaves if not leaf.passed}
    if isinstance(call.rule, jax.custom_jvp) and failed and failed <= _WITHOUT_A_GRADIENT:
        return check_jvp(call.rule, None, *call.args, argnums=call.argnums)
    return report


def verdict_of(report: Report) -> str:
    """In a word."""
    verdicts = {leaf.verdict for leaf in report.leaves}
    if report.passed:
        return MEANT if verdicts & ON_PURPOSE else KINK if Verdict.KINK in verdicts else OK
    failed = {leaf.verdict for leaf in report.leaves if not leaf.passed}
    if all(leaf.verdict is Verdict.NONDETERMINISTIC and leaf.name == "primal" for leaf in report.leaves):
        return UNDECIDED  # the function itself is not the same twice, as in a module that notes its calls
    if failed == {Verdict.RAISED}:
        return RAISES
    return UNDECIDED if failed <= {Verdict.UNRESOLVED, Verdict.NO_REVERSE_MODE} else WRONG


# --- around a check ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_the_program(x64: bool) -> Iterator[None]:
    """With the program's precision, and without what it may have set to find its own faults."""
    with (
        jax.enable_x64(x64),
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.transfer_guard("allow"),
    ):
        yield


class TimeUp(BaseException):
    """A check takes too long; no code of the user's catches it by mistake."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp when the time is over, and again if that is lost, where the system and the thread permit it.

    What is raised while an object is finalised is lost.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    started, (own, interval) = time.monotonic(), signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if own:  # the program's, which goes on
            signal.setitimer(signal.ITIMER_REAL, max(own - (time.monotonic() - started), 1e-3), interval)
