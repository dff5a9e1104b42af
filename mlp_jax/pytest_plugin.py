"""For pytest: the fixture `gradients`, and `--grad-report`, a table of all checks of a run.

    def test_my_kernel(gradients):
        gradients.check_vjp(my_custom_vjp_function, params, x)

The fixture's functions are those of `mlp_jax.verify`, and raise GradientError where those return a report that did not
pass. With `--grad-report`, checks without the fixture are reported, too; `--grad-report=FILE` writes them as JSON, and
`--junitxml` has them as properties of their tests. Nothing is imported unless it is asked for.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PROPERTY = "gradient check"


def _checked(name: str) -> Any:
    def check(self: Any, *args: Any, **options: Any) -> Any:
        from mlp_jax import verify

        return getattr(verify, name)(*args, **options).check()

    check.__doc__ = f"`verify.{name}(...).check()`."
    return check


class Gradients:
    """The checks of `mlp_jax.verify`; each raises GradientError if it does not pass, else returns its report."""

    check_vjp, check_grad, check_transforms = map(_checked, ("check_vjp", "check_grad", "check_transforms"))


@pytest.fixture
def gradients() -> Gradients:
    """The checks of `mlp_jax.verify`, which raise where a gradient is wrong."""
    return Gradients()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --grad-report."""
    parser.getgroup("gradients").addoption(
        "--grad-report",
        nargs="?",
        const="",
        metavar="FILE",
        help="a table of all gradient checks by mlp_jax.verify; to a JSON file by --grad-report=FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the reports of a run that asks for them."""
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
