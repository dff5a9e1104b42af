"""The checker from the command line, from pytest, and where JAX is all that is installed."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
from test_readme import ROOT

KERNELS = """
import jax
import jax.numpy as jnp


@jax.custom_vjp
def good(x):
    return jnp.sum(jnp.sin(x))


good.defvjp(lambda x: (good(x), x), lambda x, g: (g * jnp.cos(x),))


@jax.custom_vjp
def bad(x):
    return jnp.sum(jnp.sin(x))


bad.defvjp(lambda x: (bad(x), x), lambda x, g: (-g * jnp.cos(x),))


def gradient(x):
    return 2 * jnp.cos(x)


def example_args():
    return (jnp.arange(3.0),)


def broken_args():
    raise ValueError("no file")
"""


def run(*arguments, cwd, status=0, python=sys.executable, traceback=False, **environment):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), "PYTHONPATH": "", **environment}
    done = subprocess.run(
        [python, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("Traceback" in done.stderr) == traceback, done.stderr
    return done


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "kernels.py").write_text(KERNELS)
    monkeypatch.setattr(sys, "path", sys.path[:])  # a command adds its folder
    yield tmp_path
    sys.modules.pop("kernels", None)


def test_a_function_of_a_module(package, command):
    assert "check_vjp(good): ok" in command("verify", "kernels:good", "--args", "kernels:example_args").out
    done = command("verify", "kernels:bad", "--json", "bad.json")
    assert done.status == 1
    assert "x: yours = -1 × reference in every entry: a sign." in done.out
    (report,) = json.loads((package / "bad.json").read_text())
    assert report["leaves"][0]["verdict"] == "WRONG"
    done = command("verify", "kernels:good", "--grad", "kernels:gradient")
    assert done.status == 1
    assert "check_grad(good, gradient): WRONG" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:f"], "cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'; for example, in"),
        (["kernels:fused"], "kernels has no 'fused'; it has good, bad, gradient, example_args, broken_args"),
        (["kernels:"], "'kernels:' must have the form module:name, or end in .yaml; for example, in"),
        (["math:sin"], "sin needs arguments to be checked at: name them with --args; for example, in"),
        (["kernels:good", "--args", "kernels:broken_args"], "kernels:broken_args raised ValueError: no file"),
        (["math:pi"], "math:pi must be a function, got float"),
        (["nothing.yaml"], "nothing.yaml"),
    ],
)
def test_a_wrong_target_exits_with_2_and_shows_how(package, command, arguments, message):
    done = command("verify", *arguments)
    assert message in done.err
    assert (done.status, done.out) == (2, "")


def test_the_network_of_a_configuration(command):
    done = command("verify", ROOT / "configs" / "xor.yaml")
    assert done.status == 0
    assert "check_grad(cost, algorithm_6_4): ok" in done.out
    assert "check_grad(cost, tracer): ok" in done.out


TESTS = """
import kernels
from mlp_jax import verify


def test_with_the_fixture(gradients):
    gradients.check_vjp(kernels.bad, *kernels.example_args())


def test_without():
    assert verify.check_vjp(kernels.good, *kernels.example_args()).check().passed
"""


@pytest.mark.parametrize("workers", [["-n0"], ["-n2"]], ids=str)
def test_the_report_of_a_run_of_pytest(package, workers):
    (package / "test_kernels.py").write_text(TESTS)
    options = ["--grad-report=found.json", "--junitxml=junit.xml", "-q", *workers]
    done = run("-m", "pytest", *options, cwd=package, status=1)
    assert "= gradient checks =" in done.stdout
    assert "1 of 2 gradient checks passed" in done.stdout
    assert "x: yours = -1 × reference in every entry: a sign." in done.stdout
    found = {entry["test"]: entry["passed"] for entry in json.loads((package / "found.json").read_text())}
    assert found == {"test_kernels.py::test_with_the_fixture": False, "test_kernels.py::test_without": True}
    assert '<property name="gradient check"' in (package / "junit.xml").read_text()


def test_the_plugin_imports_no_jax_unless_asked(tmp_path):
    (tmp_path / "test_nothing.py").write_text("import sys\n\n\ndef test_it():\n    assert 'jax' not in sys.modules\n")
    run("-m", "pytest", "-q", "-n0", cwd=tmp_path)


ALONE = """
import sys
from importlib.machinery import PathFinder

THERE = {*sys.stdlib_module_names, "mlp_jax", "kernels", "jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum"}


class Alone(PathFinder):
    @classmethod
    def find_spec(cls, name, *args):
        top = name.partition(".")[0]
        return super().find_spec(name, *args) if top in THERE or top.startswith("_sysconfigdata") else None


sys.meta_path = [Alone if finder is PathFinder else finder for finder in sys.meta_path]
import kernels
from mlp_jax import verify

print(verify.check_vjp(kernels.bad, *kernels.example_args()))
try:
    import optax
except ModuleNotFoundError:
    print("and nothing else is installed")
"""


def test_jax_and_numpy_are_all_that_it_needs(package):
    done = run("-c", ALONE, cwd=package)
    assert "x: yours = -1 × reference in every entry: a sign." in done.stdout
    assert done.stdout.endswith("and nothing else is installed\n")


def test_it_loads_nothing_else(tmp_path):
    loaded = run("-c", "import sys, mlp_jax.verify; print(*sys.modules)", cwd=tmp_path).stdout.split()
    packages = {name.partition(".")[0] for name in loaded}
    assert packages >= {"jax", "numpy", "mlp_jax"}
    assert not packages & {"optax", "pydantic", "ruamel", "rich", "safetensors", "sklearn"}
    ours = {name for name in loaded if name.startswith("mlp_jax.") and not name.startswith("mlp_jax.verify")}
    assert ours <= {"mlp_jax.lazily", "mlp_jax.forks"}


def test_one_file_knows_the_rest_of_the_package():
    knowing = set()
    for file in (ROOT / "mlp_jax" / "verify").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else modules
            if any(re.match(r"mlp_jax(?!\.(verify|forks)\b)", module) for module in modules):
                knowing.add(file.name)
    assert knowing == {"ours.py"}
