"""The audit of whole programs: from the command line, and from pytest."""

import json
import sys
from xml.etree import ElementTree

import jax
import pytest
from test_verify_doors import KERNELS, run

from mlp_jax.verify.auditing import known
from mlp_jax.verify.auditing.watch import Watch, watching

PROGRAM = """
import os
import sys
import jax
import jax.numpy as jnp
import kernels

print(jax.jit(jax.vmap(jax.grad(lambda x: kernels.good(x) + kernels.bad(x))))(jnp.arange(3.0)))
print("to the end", flush=True)
match sys.argv[1:]:
    case ["exit"]:
        os._exit(3)
    case ["kill"]:
        os.kill(os.getpid(), 9)
    case ["raise"]:
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os.chdir("/")
        os.environ.clear()
        raise ValueError("a mistake")
"""
TESTS = """
import jax
import jax.numpy as jnp
import kernels
import pytest


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_kernel(n):
    assert jax.grad(kernels.good)(jnp.ones(n)).shape == (n,)


def test_another():
    jax.jit(kernels.bad)(jnp.ones(2))
"""
HEAD = "2 gradient rules of 1 package reached, at arguments of"


@pytest.fixture
def package(tmp_path):
    (tmp_path / "kernels.py").write_text(KERNELS)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "test_kernels.py").write_text(TESTS)
    return tmp_path


def audit(*arguments, cwd, status=0):
    return run("-m", "mlp_jax", "audit", *arguments, cwd=cwd, status=status).stdout


def test_a_program_is_run_unchanged_and_its_rules_are_checked_at_their_arguments(package):
    text = audit("--", sys.executable, "program.py", cwd=package, status=1)
    assert text.startswith("[-0. ") or text.startswith("[0. ")
    assert "to the end" in text
    assert f"{HEAD} 2 kinds: 1 ok, 1 WRONG" in text
    assert "WRONG  kernels.bad  (kernels.py:14)  called from program.py:8 with float32[]" in text
    assert "x: yours = -1 × reference in every entry: a sign." in text
    (kept,) = (package / "audit").glob("*.npz")
    assert f"Reproduce: mlp-jax verify --replay audit/{kept.name}" in text
    assert json.loads((package / "audit" / "report.json").read_text())["passed"] is False

    again = run("-m", "mlp_jax", "verify", "--replay", kept, cwd=package, status=1).stdout
    assert "check_vjp(bad): WRONG" in again
    listed = run("-m", "mlp_jax", "verify", "kernels", cwd=package).stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["WRONG", "kernels.bad"], ["ok", "kernels.good"]]


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("exit", 3, ["1 ok, 1 WRONG", "the command ended with exit status 3"]),
        ("kill", 137, ["2 not checked", "not checked, its process ended before the checks: kernels.bad, kernels.good"]),
        ("raise", 1, ["1 ok, 1 WRONG", "the command ended with exit status 1"]),
    ],
)
def test_however_the_program_ends(package, how, status, said):
    command = [sys.executable, "program.py", how]
    text = run("-m", "mlp_jax", "audit", "--", *command, cwd=package, status=status, traceback=how == "raise").stdout
    assert all(words in text for words in ("gradient rules of 1 package reached", *said)), text


def test_pytest_has_an_item_for_each_rule_also_from_workers(package):
    arguments = ["test_kernels.py", "-p", "no:cacheprovider", "-q", "--audit-gradients", "-n2", "--junitxml=found.xml"]
    text = run("-m", "pytest", *arguments, cwd=package, status=1).stdout
    assert f"audit of the tests: {HEAD} 5 kinds: 1 ok, 1 WRONG" in text
    assert "FAILED gradient rules::kernels.bad" in text
    cases = ElementTree.parse(package / "found.xml").getroot().iter("testcase")
    rules = {case.get("name"): case.find("failure") for case in cases if case.get("classname") == "gradient rules"}
    assert rules.keys() == {"kernels.good", "kernels.bad"}
    assert rules["kernels.good"] is None
    assert "a sign" in rules["kernels.bad"].text


@pytest.mark.slow  # by this door an ordinary run has a test fail, below; workers by the other one, above
def test_pytest_as_a_command(package):
    text = audit("--", sys.executable, "-m", "pytest", "-q", "-n2", "test_kernels.py", cwd=package, status=1)
    assert "5 passed" in text
    assert f"{HEAD} 5 kinds: 1 ok, 1 WRONG" in text


WITH_TAPS = """
import jax
import jax.numpy as jnp
import kernels

PROGRAM = jax.jit(kernels.good)


def test_of_the_program_itself(tmp_path):
    (tmp_path / "once").touch(exist_ok=False)
    assert "tap" not in str(jax.make_jaxpr(PROGRAM)(jnp.ones(2)))


def test_that_fails_in_any_case():
    assert PROGRAM(jnp.ones(2)) < 0


def test_after_them():
    assert PROGRAM(jnp.ones(3)) > 0
"""


DOORS = [["audit", "--", sys.executable, "-m", "pytest"], ["--audit-gradients", "-n2"]]


@pytest.mark.parametrize("door", DOORS, ids=len)
def test_a_test_that_fails_under_the_audit_alone_is_run_again_exactly(package, door):
    (package / "test_kernels.py").unlink()
    (package / "test_taps.py").write_text(WITH_TAPS)
    command = ["mlp_jax", *door, "-q"] if door[0] == "audit" else ["pytest", "-q", *door]
    text = run("-m", *command, "-p", "no:cacheprovider", "test_taps.py", cwd=package, status=1).stdout
    assert "FAILED test_taps.py::test_that_fails_in_any_case" in text
    assert text.count("FAILED") == 1
    named = "failed, and passed when it was run again with --exact: test_taps.py::test_of_the_program_itself"
    assert named in text
    assert text.count("run again") == 1
    assert "1 gradient rule of 1 package reached" in text


def test_what_passed_is_not_checked_again_until_something_changes(package):
    program = "import jax, kernels\nprint(jax.grad(kernels.good)(0.5), jax.grad(kernels.bad)(0.5))"
    (package / "program.py").write_text(program)
    again = "not checked again, as in an earlier audit: nothing that it depends on has changed: 1 rule, at 1 kind"

    def audited():
        return audit("--", sys.executable, "program.py", cwd=package, status=1)

    first, second = audited(), audited()
    assert again not in first
    assert again in second
    assert all("1 ok, 1 WRONG" in text for text in (first, second))
    (package / "kernels.py").write_text(KERNELS.replace("(g * jnp.cos(x),)", "(g * jnp.sin(x),)"))
    assert "kind: 2 WRONG" in audited() or "kinds: 2 WRONG" in audited()
    (package / "kernels.py").write_text(KERNELS)
    (file,) = package.glob("cache/mlp_jax/*-audited.json")
    file.write_text('{"a": 1')
    assert again not in audited()
    assert again in audited()
    file.parent.chmod(0o777)  # others could have said there what is right
    assert again not in audited()


@jax.custom_jvp
def plain_square(x):
    return x * x


@jax.custom_jvp
def square_with_a_rule_for_batches(x):
    return of_batches(x)


@jax.custom_batching.custom_vmap
def of_batches(x):
    return x * x


of_batches.def_vmap(lambda size, is_batched, x: (x * x, True))
plain_square.defjvps(lambda t, out, x: 2 * x * t)
square_with_a_rule_for_batches.defjvps(lambda t, out, x: 2 * x * t)


def test_what_no_program_at_these_arguments_shows_is_not_remembered(monkeypatch):
    def digest_of(rule):
        watch = Watch(exact=False)
        with watching(watch):
            jax.grad(rule)(3.0)
        (signature,) = watch.signatures.values()
        known._surroundings.cache_clear()
        return known.digest(signature)

    before = digest_of(plain_square)
    assert before == digest_of(plain_square) != ""
    assert digest_of(square_with_a_rule_for_batches) == ""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert digest_of(plain_square) not in ("", before)
    known._surroundings.cache_clear()


def test_what_a_project_declares_is_accepted(package):
    (package / "pyproject.toml").write_text(
        '[tool.mlp_jax.audit.intended]\n"kernels.b*" = "a reversal of the gradient"'
    )
    text = audit("--", sys.executable, "program.py", cwd=package)
    assert "1 ok, 1 as intended (accepted)" in text
    assert "as intended (accepted)  kernels.bad: a reversal of the gradient" in text


def test_a_sitecustomize_that_the_audit_hides_is_run(package):
    (package / "sitecustomize.py").write_text("print('mine')")
    environment = {"PYTHONPATH": str(package)}
    done = run("-m", "mlp_jax", "audit", "--", sys.executable, "-c", "pass", cwd=package, **environment)
    assert done.stdout.count("mine") == 2  # of mlp-jax itself, and of the program
    assert "no process of the command imported JAX where the audit could see it" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "audit needs a command, as in: mlp-jax audit -- pytest tests/"),
        (["--", "nowhere"], "there is no command 'nowhere' to audit"),
    ],
)
def test_no_command(package, arguments, message):
    assert message in run("-m", "mlp_jax", "audit", *arguments, cwd=package, status=2).stderr
