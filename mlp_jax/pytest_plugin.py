"""For pytest: the fixture `gradients`; `--grad-report`, a table of all checks of a run; and `--audit-gradients`.

    def test_my_kernel(gradients):
        gradients.check_vjp(my_custom_vjp_function, params, x)

The fixture's functions are those of `mlp_jax.verify`, and raise GradientError where those return a report that did not
pass. With `--grad-report`, checks without the fixture are reported, too; `--grad-report=FILE` writes them as JSON, and
`--junitxml` has them as properties of their tests. With `--audit-gradients` every gradient rule that the tests call is
checked at the end, at the arguments that they call it with; each rule is an item of the report, and a wrong one fails
the run. Nothing is imported unless it is asked for.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

_PROPERTY = "gradient check"


@pytest.fixture
def gradients() -> Any:
    """The checks of `mlp_jax.verify`; each raises GradientError if it does not pass, else returns its report."""
    from mlp_jax import verify

    def raising(check: Any) -> Any:
        def checked(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True  # pytest then shows the line of the test
            return check(*args, **options).check()

        return checked

    checks = (verify.check_vjp, verify.check_grad, verify.check_transforms)
    return SimpleNamespace(**{check.__name__: raising(check) for check in checks})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --grad-report and --audit-gradients."""
    group = parser.getgroup("gradients")
    group.addoption(
        "--audit-gradients", action="store_true", help="check every gradient rule that the tests call, at the end"
    )
    group.addoption(
        "--audit-seconds", type=float, default=120.0, metavar="SECONDS", help="for these checks, in each process"
    )
    group.addoption(
        "--grad-report",
        nargs="?",
        const="",
        metavar="FILE",
        help="a table of all gradient checks by mlp_jax.verify; to a JSON file by --grad-report=FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the reports of a run that asks for them, and watch the rules of one that asks for that."""
    if config.getoption("audit_gradients"):
        config.pluginmanager.register(_Auditor(config), "mlp_jax-audit")
    if config.getoption("grad_report") is not None:
        config.pluginmanager.register(_Collector(config.getoption("grad_report")), "mlp_jax-gradients")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Attach the reports that a test makes to it."""
    if item.config.getoption("grad_report") is None:
        return (yield)
    from mlp_jax.verify.report import observed

    with observed() as seen:
        try:
            return (yield)
        finally:
            item.user_properties += [(_PROPERTY, report.to_json(indent=None)) for report in seen]


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Under an audit, run a test that failed again, with compiled programs as they are; if it passes then, it has."""
    if "MLP_JAX_AUDIT" not in os.environ:
        return None
    where = {"nodeid": item.nodeid, "location": item.location}
    item.ihook.pytest_runtest_logstart(**where)
    properties = list(item.user_properties)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    watch = getattr(sys.modules.get(_PROCESS), "current", None)
    if watch and watch.is_on and not watch.exact and any(report.failed for report in reports):
        item.user_properties = properties  # in the reports of the first run they stay
        with watch.exactly():
            again = runtestprotocol(item, log=False, nextitem=nextitem)
        if not any(report.failed for report in again):
            watch.said.append(f"failed, and passed when it was run again with --exact: {item.nodeid}")
            reports = again
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(**where)
    return True


_PROCESS = "mlp_jax.verify.auditing.process"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Under an audit this process checks now: pytest-xdist ends its workers before Python does."""
    if _PROCESS in sys.modules:
        sys.modules[_PROCESS].finish()


class _Auditor:
    """The rules that all tests call, also those that run in the workers of pytest-xdist, which inherit the variable."""

    def __init__(self, config: pytest.Config) -> None:
        import jax

        from mlp_jax.caches import file_of_user
        from mlp_jax.verify.auditing import process

        jax.clear_caches()  # what a conftest.py has traced would not call its rules again
        self.process, self.is_worker, self.text = process, hasattr(config, "workerinput"), ""
        if not self.is_worker:
            seconds, calls = config.getoption("audit_seconds"), config.rootpath / "audit"
            remembered, self.folder = file_of_user("audited.json"), tempfile.TemporaryDirectory()
            self.order = process.Order(Path(self.folder.name), False, seconds, calls, remembered)
            os.environ[process.VARIABLE] = self.order.to_json()
        process.start(os.environ[process.VARIABLE])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.process.finish()
        if self.is_worker:
            return
        del os.environ[self.process.VARIABLE]
        found = self.process.collected("the tests", self.order)
        self.folder.cleanup()
        self.text = "\n".join([found.head(), *found.rest()])  # wrong rules are among the failures
        for rule, verdict in found.of_rules().items():
            session.config.hook.pytest_runtest_logreport(report=_item(rule, verdict, found))
        if not found.passed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("gradient rules")
        terminalreporter.write_line(self.text)


def _item(rule: str, verdict: str, found: Any) -> pytest.TestReport:
    """A rule, as tests are reported."""
    uses = [finding for finding in found.findings if finding.rule == rule]
    text = "\n".join(finding.text or finding.reason for finding in uses if finding.verdict == verdict)
    file, _, line = uses[0].place.rpartition(":")
    outcome: Any = {"WRONG": "failed", "UNDECIDED": "skipped", "RAISES": "skipped", "not checked": "skipped"}.get(
        verdict, "passed"
    )
    where = (file, int(line or 0) if line.isdigit() else 0, rule)
    said: Any = {"failed": text, "skipped": (*where[:2], f"{verdict}: {text}")}.get(outcome)
    return pytest.TestReport(f"gradient rules::{rule}", where, {}, outcome, said, "call")


class _Collector:
    """The reports of all tests, also of those that ran in the workers of pytest-xdist."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            values = [value for name, value in report.user_properties if name == _PROPERTY]
            self.found += [{"test": report.nodeid, **json.loads(str(value))} for value in values]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("gradient checks")
        for found in self.found:
            verdict = "ok" if found["passed"] else "WRONG"
            kinds = ", ".join(sorted({leaf["verdict"] for leaf in found["leaves"]} - {"ok"}))
            what = f"{len(found['leaves'])} leaves{f' ({kinds})' if kinds else ''}"
            terminalreporter.line(f"{verdict:6} {found['title']:44} {what:28} {found['test']}")
        passed = sum(found["passed"] for found in self.found)
        terminalreporter.line(f"{passed} of {len(self.found)} gradient checks passed")
        if self.file:
            Path(self.file).write_text(json.dumps(self.found, indent=1), encoding="utf-8")
            terminalreporter.line(f"written to {self.file}")
