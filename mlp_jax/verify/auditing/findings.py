"""What an audit says: a finding for each use of a rule, and all of them as one report."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mlp_jax.verify.report import Passes, Report

_SHOWN = 12
# From the best to the worst, as one rule is summed up.
OK, KINK, NOT_CHECKED, WRONG = "ok", "at a kink (accepted)", "not checked", "WRONG"
MEANT, INTENDED = "on purpose (accepted)", "as intended (accepted)"  # as it looks; as the project says
RAISES, UNDECIDED = "RAISES", "UNDECIDED"  # a rule may refuse to be differentiated: that is no wrong answer
BESIDE = "wrong at special points"  # beside the arguments that the program has, where nobody may ever be
ACCEPTED = (OK, KINK, MEANT)
UNCHANGED = "as in an earlier audit: nothing that it depends on has changed"
_ORDER = (NOT_CHECKED, OK, KINK, MEANT, INTENDED, BESIDE, RAISES, UNDECIDED, WRONG)


@dataclass(frozen=True)
class Finding:
    """What was found of a rule at arguments of certain shapes."""

    rule: str  # its qualified name
    place: str  # where it is written, as file:line
    caller: str  # file:line of its first call
    arguments: str  # their shapes and dtypes
    times: int = 1  # how often it was called
    # ok; at a kink, on purpose, or as intended, which are accepted; RAISES, UNDECIDED or WRONG; not checked
    verdict: str = NOT_CHECKED
    reason: str = ""  # why it was not checked, or what else should be known
    text: str = ""  # of the report, where there is one
    reproduce: str = ""  # the command that checks it again
    seconds: float = 0.0  # that the check took
    key: str = ""  # a digest of all that this depends on, if it is to be remembered
    further: bool = False  # whether the rule was looked at under transformations and at special points, too


@dataclass
class Audit(Passes):
    """All that an audit found. `str(audit)` is for people, `audit.to_json()` has everything."""

    of: str = "program"  # what was audited
    findings: list[Finding] = field(default_factory=list)  # a finding for each use
    reports: list[Report] = field(default_factory=list)  # those of the checks, in this process
    # rules of the audited project that nothing called, as name (place)
    not_reached: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what went wrong in watching
    said: list[str] = field(default_factory=list)  # what else should be known

    @property
    def passed(self) -> bool:
        """Whether no rule is wrong. What was not checked, or could not be decided, is not."""
        return not any(f.verdict == WRONG for f in self.findings)

    def of_rules(self) -> dict[str, str]:
        """The worst that was found of each rule, by name."""
        worst: dict[str, str] = {}
        for f in self.findings:
            worst[f.rule] = max(worst.get(f.rule, NOT_CHECKED), f.verdict, key=_ORDER.index)
        return worst

    def to_json(self) -> str:
        """All but the reports, as JSON."""
        parts = {name: value for name, value in vars(self).items() if name not in ("findings", "reports")}
        return json.dumps({**parts, "passed": self.passed, "findings": [asdict(f) for f in self.findings]}, indent=1)

    def __str__(self) -> str:
        """The head, each wrong rule with its report, then what was not checked and what was not reached."""
        lines = [self.head()]
        for f in self.findings:
            if f.verdict in (WRONG, UNDECIDED, RAISES, BESIDE):
                lines.append(f"  {f.verdict}  {f.rule}  ({f.place})  called from {f.caller} with {f.arguments}")
                lines += [f"    {line}" for line in f.text.splitlines()[1:]]
        return "\n".join([*lines, *self.rest()])

    def head(self) -> str:
        """How many rules were reached, and what was found."""
        rules = self.of_rules()
        counts = Counter(rules.values())
        packages = len({f.rule.partition(".")[0] for f in self.findings})
        verdicts = ", ".join(f"{counts[v]} {v}" for v in (*_ORDER[1:], NOT_CHECKED) if counts[v])
        return (
            f"audit of {self.of}: {_many(len(rules), 'gradient rule')} of {_many(packages, 'package')} reached, at "
            f"arguments of {_many(len(self.findings), 'kind')}: {verdicts or 'none'}"
        )

    def rest(self) -> list[str]:
        """What was not checked, what was not reached, and what else should be known."""
        lines = [f"  {f.verdict}  {f.rule}: {f.reason}" for f in self.findings if f.verdict == INTENDED]
        for reason in dict.fromkeys(f.reason for f in self.findings if f.verdict == NOT_CHECKED):
            rules = [f.rule for f in self.findings if f.verdict == NOT_CHECKED and f.reason == reason]
            names = list(dict.fromkeys(rules))
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            uses = _many(len(rules), "use")
            lines.append(f"  not checked, {reason}: {', '.join(names[:_SHOWN])}{more} ({uses})")
        if unchanged := [f.rule for f in self.findings if f.reason == UNCHANGED]:
            many = _many(len(set(unchanged)), "rule")
            lines.append(f"  not checked again, {UNCHANGED}: {many}, at {_many(len(unchanged), 'kind')} of arguments")
        if self.not_reached:
            shown, others = self.not_reached[:_SHOWN], len(self.not_reached) - _SHOWN
            lines.append(f"  not reached: {'; '.join(shown)}{f'; and {others} more' if others > 0 else ''}")
        lines += [f"  {line}" for line in self.said]
        return [*lines, *(f"  in watching, an error: {problem}" for problem in self.problems[:3])]


def of_json(text: str) -> Audit:
    """What `Audit.to_json` wrote."""
    parts = json.loads(text)
    del parts["passed"]
    return Audit(**{**parts, "findings": [Finding(**f) for f in parts["findings"]]})


def together(of: str, audits: Iterable[Audit], seen: Iterable[Finding]) -> Audit:
    """The audits of all processes of a program, and what processes saw that did not live to check it."""
    found = Audit(of)
    by_use: dict[tuple[str, ...], Finding] = {}
    for audit in audits:
        found.problems += audit.problems
        found.said += [line for line in audit.said if line not in found.said]
        found.not_reached += audit.not_reached
        for f in audit.findings:  # of two findings of one use, the worse one, with all of its calls counted
            other = by_use.get(use := (f.place, f.rule, f.arguments))
            worse = max(other or f, f, key=lambda f: _ORDER.index(f.verdict))
            by_use[use] = replace(worse, times=other.times + f.times) if other else f
    for f in seen:
        by_use.setdefault((f.place, f.rule, f.arguments), f)
    found.findings = sorted(by_use.values(), key=lambda f: (-_ORDER.index(f.verdict), f.rule, f.arguments))
    reached = {f.place for f in found.findings}
    found.not_reached = sorted({line for line in found.not_reached if line.split("(")[-1].rstrip(")") not in reached})
    return found


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def local(path: str) -> str:
    """A place relative to the folder in which the program runs, where it is in there."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):  # the folder may be gone
        return path
