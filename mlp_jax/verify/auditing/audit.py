"""The checks of an audit: each rule at each kind of arguments once, within a budget of seconds."""

import contextlib
import dataclasses
import functools
import time
import tomllib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax

from mlp_jax.verify.auditing.calls import Call, NotStorable, store
from mlp_jax.verify.auditing.checking import TimeUp, as_the_program, check, look_further
from mlp_jax.verify.auditing.findings import ACCEPTED, INTENDED, UNCHANGED, Audit, Finding, local
from mlp_jax.verify.auditing.known import digest, read
from mlp_jax.verify.auditing.rules import addresses, alive, described
from mlp_jax.verify.auditing.watch import Signature, Watch, watching
from mlp_jax.verify.report import Report

SECONDS = 120.0  # for all checks


@contextlib.contextmanager
def audit(*, seconds: float = SECONDS, exact: bool = False) -> Iterator[Audit]:
    """Check every gradient rule that is called within the block, at the arguments that it is called with.

    Rules are functions of `jax.custom_vjp`, `jax.custom_jvp` and `jax.custom_gradient`. JAX's caches of compiled
    functions are cleared before and after, since what was traced before would not call them again.

    Args:
        seconds: for the checks, which are made when the block ends; what is left over is listed as not checked.
        exact: leave compiled programs as they are, equal bit for bit; the values then come from eager calls alone.

    Yields:
        What is found, complete after the block: `found.passed`, `found.reports`, `str(found)`, `found.check()`.

    >>> import jax.numpy as jnp
    >>> @jax.custom_jvp
    ... def cube(x):
    ...     return x**3
    >>> cube.defjvps(lambda t, out, x: 2 * x**2 * t)
    >>> with audit() as found:
    ...     _ = jax.jit(jax.grad(cube))(2.0)
    >>> found.passed, [(f.verdict, f.arguments) for f in found.findings]
    (False, [('WRONG', '~float32[]')])
    """
    found, watch = Audit(), Watch(exact)
    jax.clear_caches()
    try:
        with watching(watch):
            yield found
    finally:
        jax.clear_caches()
        complete(found, watch, seconds, None)


def complete(found: Audit, watch: Watch, seconds: float, folder: Path | None, remembered: Path | None = None) -> None:
    """Add to what is found by checking what was seen, as far as the seconds go.

    Calls that did not pass are written to a folder, if there is one, to be checked again; what passed earlier, by the
    file in which that is remembered, is not checked. First each use is, then of each rule that passed the
    transformations that the program used it under, and special points beside its arguments.
    """
    where, meant = addresses({id(signature.rule) for signature in watch.signatures.values()}), intentions(found)
    end = time.monotonic() + seconds
    uses = [(signature, _finding(signature, where)) for signature in _in_order(watch.signatures.values())]
    first = len(found.findings)
    found.findings += [dataclasses.replace(finding, reason="the checks were interrupted") for _, finding in uses]

    def keep(k: int, finding: Finding, report: Report | None, call: Call | None) -> None:
        if report is not None and call is not None and not report.passed:
            finding = _stored(uses[k - first][0], finding, call, where, folder)
            report = dataclasses.replace(report, reproduce=finding.reproduce)
            reason = next((why for rule, why in meant.items() if fnmatchcase(finding.rule, rule)), "")
            verdict = INTENDED if reason else finding.verdict
            finding = dataclasses.replace(finding, verdict=verdict, reason=reason, text=str(report))
        found.findings[k] = finding
        found.reports += [report] if report is not None else []

    found.not_reached += _not_reached(watch)
    found.problems += watch.problems
    found.said += watch.said
    if any(passed.by == "compiled" for s in watch.signatures.values() for v in s.values for passed in v.path):
        found.said.append(
            "compiled programs gave out values: their results may differ in the last digit from those without the audit"
        )
    before = read(remembered)
    for k, (signature, finding) in enumerate(uses, first):
        finding = dataclasses.replace(finding, key=digest(signature) if remembered and time.monotonic() < end else "")
        if finding.key in before:
            verdict, further = before[finding.key]
            found.findings[k] = dataclasses.replace(finding, verdict=verdict, further=further, reason=UNCHANGED)
        else:
            keep(k, *check(signature, finding, end, seconds))
    _look_further(found, uses, first, end, keep)


def _look_further(
    found: Audit, uses: list[Any], first: int, end: float, keep: Callable[[int, Finding, Any, Any], None]
) -> None:
    """Of each rule that passed, one use under transformations and at special points."""
    seen, left = set(), 0
    for k, (signature, _) in enumerate(uses, first):
        finding = found.findings[k]
        if finding.verdict not in ACCEPTED or finding.rule in seen:
            continue
        seen.add(finding.rule)
        if finding.further:
            continue
        try:
            if more := look_further(signature, finding, end):
                keep(k, *more)
            else:
                found.findings[k] = dataclasses.replace(finding, further=True)
        except (TimeUp, Exception):  # it passed where the program uses it
            left += 1
    if left:
        found.said.append(
            f"could not be looked at under transformations and at special points, or not in time: {left} rules"
        )


def intentions(found: Audit) -> dict[str, str]:
    """The rules that a project means as they are, and why: of `[tool.mlp_jax.audit.intended]` in pyproject.toml."""
    file = None
    try:
        here = Path.cwd()
        file = next((f for f in (p / "pyproject.toml" for p in (here, *here.parents)) if f.is_file()), None)
        said = tomllib.loads(file.read_text(encoding="utf-8")) if file else {}
        intended = said.get("tool", {}).get("mlp_jax", {}).get("audit", {}).get("intended", {})
        return {str(rule): str(reason) for rule, reason in intended.items()}
    except (OSError, ValueError, AttributeError) as error:  # the folder may be gone, the file may be no TOML
        found.problems.append(f"cannot read [tool.mlp_jax.audit.intended] of {file}: {error}")
        return {}


def _in_order(signatures: Iterable[Signature]) -> list[Signature]:
    """First one kind of arguments of each rule, small ones before large ones."""
    count: Counter[Any] = Counter()
    order: list[tuple[int, Signature]] = []
    for signature in sorted(signatures, key=_size):
        order.append((count[signature.about], signature))
        count[signature.about] += 1
    return [signature for _, signature in sorted(order, key=lambda entry: (entry[0], _size(entry[1])))]


def _size(signature: Signature) -> int:
    return sum(getattr(leaf, "nbytes", 8) for values in signature.values[:1] for leaf in values.leaves)


def _finding(signature: Signature, where: dict[int, str]) -> Finding:
    """A use, not checked yet; of a rule that was made in a function, the name is what it is called there."""
    address = where.get(id(signature.rule))
    name = address.replace(":", ".") if address else signature.about.name
    name = name.replace("__mp_main__", "__main__")  # of a process that was spawned
    return Finding(name, local(signature.about.place), local(signature.caller), signature.arguments, signature.times)


def _stored(signature: Signature, finding: Finding, call: Call, where: dict[int, str], folder: Path | None) -> Finding:
    """With the command that checks the call again, if it can be written."""
    address = where.get(id(signature.rule))
    if folder is None:
        return finding
    if address is None or any(values.closed_over for values in signature.values):
        again = "the rule is made within a function"
    elif address.startswith(("__main__:", "__mp_main__:")):
        again = "the rule is in the main file"
    else:
        name = f"{address.partition(':')[2]}-{zlib.crc32(f'{address} {finding.arguments}'.encode()):08x}.npz"
        try:
            with as_the_program(signature.x64):
                store(call, address, functools.cache(addresses), folder / name)
            return dataclasses.replace(finding, reproduce=f"mlp-jax verify --replay {local(str(folder / name))}")
        except NotStorable as error:
            again = f"no file can hold {error}"
        except OSError as error:
            again = f"cannot write {folder / name}: {error.strerror}"
    return dataclasses.replace(finding, reproduce=f"the audit again: {again}")


def _not_reached(watch: Watch) -> list[str]:
    """The rules of the project in this folder that nothing called."""
    reached = {signature.about for signature in watch.signatures.values()}
    found = []
    for rule in {described(rule) for rule in alive()} - reached:
        place = local(rule.place)
        if place != rule.place and "site-packages" not in place:
            found.append(f"{rule.name} ({place})")
    return sorted(found)
