"""The site: its reference is complete, what other pages show runs, and what the project says of itself is true.

Cells of notebooks run when the site is built, by `scripts/run docs`, which also follows every link.
"""

import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from ruamel.yaml import YAML
from site_pages import api, commands, keys

import mlp_jax
from mlp_jax import cli
from mlp_jax.autodiff import ops
from mlp_jax.training.config import from_values
from mlp_jax.verify import cost, hypotheses, transforms, wording
from mlp_jax.verify.findings import Why
from mlp_jax.verify.report import Verdict

ROOT = Path(__file__).parent.parent
PAGES = {
    str(page.relative_to(ROOT / "docs")): page.read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if not {"_build", "made"} & set(page.parts)
}
NOTEBOOKS = [name for name, text in PAGES.items() if text.startswith("---\nfile_format: mystnb")]
API = {name: api.page(*entry) for name, entry in api.PAGES.items()}


def blocks(text, language):
    fenced = re.findall(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in fenced if its_language == language]


# --- the reference ------------------------------------------------------------------------------------

# Names that users rely on, beside those that modules list.
CONTRACT = {
    "mlp_jax": "MLP L2 init forward backward loss_and_grad loss predict",
    "mlp_jax.autodiff": "Operation trace vjp grad value_and_grad jvp jacobian hvp hessian stop_gradient Graph",
    "mlp_jax.autodiff.ops": "matmul exp relu",
    "mlp_jax.autodiff.scalar": "ScalarGraph Node forward backward path_sum",
    "mlp_jax.training": "fit load Run take_step",
    "mlp_jax.training.config": "load",
    "mlp_jax.verify": "check_vjp check_grad check_transforms GradientError Report",
    "mlp_jax.errors": "InputError TrainingDiverged TrainingInterrupted",
    "mlp_jax.hidden_units": "HIDDEN_UNITS HiddenUnit leaky_relu elu gelu maxout",
}
METHODS = {
    "autodiff": "operation_of inputs_of consumers_of evaluate gradient to_text to_mermaid to_dot to_svg variables",
    "training": "predict params",
    "verify": "check passed to_json",
}


SHOWN = {name for text in API.values() for name in re.findall(r"\{py:\w+\} ([\w.]+)", text)}
# Where the lists of public names are, by the name under which users import them.
LISTS = {
    "mlp_jax": "mlp_jax",
    "mlp_jax.output_units": "mlp_jax.mlp.output_units",
    "mlp_jax.autodiff.ops.linalg": "mlp_jax.autodiff.operations.linalg",
    **{name: name for name in ("mlp_jax.autodiff", "mlp_jax.estimators", "mlp_jax.exchange", "mlp_jax.training")},
    **{name: name for name in ("mlp_jax.training.config", "mlp_jax.verify")},
}
ROOMS = ["mlp_jax.autodiff.control"]  # whose names `ops` offers
ROOMS += [
    f"mlp_jax.autodiff.operations.{file.stem}"
    for file in sorted((ROOT / "mlp_jax" / "autodiff" / "operations").glob("*.py"))
    if file.stem not in ("__init__", "linalg", "adapter")
]


@pytest.mark.parametrize(("public", "home"), [*LISTS.items(), *(("mlp_jax.autodiff.ops", room) for room in ROOMS)])
def test_every_public_name_has_an_entry(public, home):
    module = importlib.import_module(home)
    wanted = {f"{public}.{name}" for name in module.__all__ if not hasattr(getattr(module, name), "__file__")}
    assert len(wanted) >= 1
    assert not wanted - SHOWN


@pytest.mark.parametrize("public", CONTRACT)
def test_names_of_the_contract_have_an_entry(public):
    assert not {f"{public}.{name}" for name in CONTRACT[public].split()} - SHOWN


@pytest.mark.parametrize("page", METHODS)
def test_methods_and_properties_of_the_contract_have_an_entry(page):
    shown = re.findall(r"\{py:(?:method|property)\} (\w+)", API[page])
    assert not set(METHODS[page].split()) - set(shown)


def test_every_entry_says_something():
    for text in API.values():
        for entry in re.findall(r"^(`{5,6})\{py:\w+\} ([^\n]*)\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL):
            assert len(entry[2].strip()) > 10, entry[1]


def test_every_key_has_a_type_and_a_meaning():
    found = keys.sections()
    assert len(found) > 40
    for name, section in found:
        for key, value in section["properties"].items():
            assert keys.kind(value), (name, key)
            assert keys.meaning(name, section, key), f"{name}.{key}: write a comment beside it"


def test_every_command_and_argument_is_shown():
    page = commands.page()
    for name, (takes, _) in cli.COMMANDS.items():
        assert f"## `mlp-jax {name}`" in page
        assert all(f"| `{flag}" in page for flag in re.findall(r"--[\w-]+", takes))


# --- messages of checks -------------------------------------------------------------------------------

MESSAGES = " ".join(PAGES["reference/messages.md"].split())


def sentences(source):
    """The constant parts of what code says, of three words at least; no docstrings."""
    tree = ast.parse(source)
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners)]
    docs = {id(statement.value) for statement in first if hasattr(statement, "value")}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value.strip() for node in constants if id(node) not in docs and node.value.strip().count(" ") > 1]


def refusals():
    for file in sorted((ROOT / "mlp_jax" / "verify").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CannotCheck":
                yield from sentences(ast.unparse(node))


def test_every_verdict_has_a_row():
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \| .+ \| .+ \|$", PAGES["reference/messages.md"], re.MULTILINE)
    assert rows == [(verdict.value, "yes" if verdict.passes else "no") for verdict in Verdict]


NOTES = [*wording.WHERE.values(), *(why.value for why in Why), transforms.ONE_DEVICE, cost.SAYS]


@pytest.mark.parametrize("said", NOTES)
def test_every_note_has_a_row(said):
    assert re.sub(r"\{\w*(:g)?\}", "…", said) in MESSAGES


@pytest.mark.parametrize("room", ["hypotheses", "layers", "examples"])
def test_every_cause_has_a_row(room):
    said = sentences((ROOT / "mlp_jax" / "verify" / f"{room}.py").read_text(encoding="utf-8"))
    assert len(said) > 1
    assert not [words for words in said if words.strip(" ,.:") not in MESSAGES]
    assert len(hypotheses.HYPOTHESES) == 11, "a new hypothesis: say in messages.md what to look for"


def test_every_refusal_has_a_row():
    said = list(refusals())
    assert len(said) > 20
    assert not [words for words in said if words.strip("; ") not in MESSAGES]


# --- what other pages show ----------------------------------------------------------------------------


def _names_of(page):
    """What a fragment takes for granted."""
    net = mlp_jax.MLP((2, 3, 1), "tanh")
    params, x, y = mlp_jax.init(net, jax.random.key(0)), jnp.ones((4, 2)), jnp.zeros((4, 1))
    tape = {"net": net, "params": params, "x": x, "y": y, "damping": 0.1, "jnp": jnp}
    everywhere = {"jax": jax, "mlp_jax": mlp_jax, "ad": mlp_jax.autodiff, "ops": ops, "my_program": lambda: None}
    return {**everywhere, **(tape if page == "tape.md" else {})}


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_python_on_pages_that_are_no_notebooks_runs(page):
    names = _names_of(page)
    exec("from typing import Any", names)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # JAX's defaults
        for block in blocks(PAGES[page], "python"):
            imported = re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)
            if missing := [name for name in imported if importlib.util.find_spec(name) is None]:
                assert page == "audit.md", f"{missing} is not installed"  # its findings in packages of others
                continue
            exec(block, names)


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "yaml")])
def test_yaml_on_pages_is_a_configuration(page):
    for block in blocks(PAGES[page], "yaml"):
        given = YAML(typ="safe").load(block)
        whole = {"data": {"source": "digits"}, "network": {"widths": [64, 10]}, **given}
        from_values(whole)


def test_commands_on_pages_are_commands():
    text = "\n".join(block for page in PAGES.values() for language in ("", "bash") for block in blocks(page, language))
    cells = "\n".join(re.findall(r"^!?(?:scripts/run )?(mlp-jax [^#\n|;&]*)", "\n".join(PAGES.values()), re.MULTILINE))
    found = re.findall(r"^(?:scripts/run )?mlp-jax ([^#\n]*)", f"{text}\n{cells}", re.MULTILINE)
    assert len(found) > 30
    for command in found:
        words = shlex.split(command.partition(" 2>")[0])
        if not {"$seed", "RUN_DIR", "..."} & set(words):
            cli._parser().parse_args(words)
    for script in re.findall(r"scripts/\w+\.py", text):
        assert (ROOT / script).exists(), script


KINDS_IN_NOTEBOOKS = ("{code-cell} python", "bash", "{image}", "{literalinclude}")  # files of the last are tried


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebooks_have_cells_that_the_build_runs(page):
    languages = set(re.findall(r"^```(\S.*)$", PAGES[page], re.MULTILINE))
    assert "{code-cell} python" in languages
    assert not [language for language in languages if not language.startswith(KINDS_IN_NOTEBOOKS)]


# --- the project --------------------------------------------------------------------------------------

WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "docs" / "start" / "gradients.yml"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_pin_their_actions_and_may_do_little(file):
    workflow = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    allowed = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    assert all(permissions in ({"contents": "read"}, {"id-token": "write"}) for permissions in allowed)
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step


def test_the_same_action_is_pinned_to_one_version():
    pins = {pin for file in WORKFLOWS for pin in re.findall(r"uses: (\S+) # v[\d.]+", file.read_text(encoding="utf-8"))}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins) >= 5


def test_the_version_is_said_once_and_repeated_right():
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mlp_jax.__version__
    assert f"## {mlp_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:mlp_jax|tests|docs|scripts)/[\w/.]+\.\w+|CITATION\.cff|CHANGELOG\.md)`", text)
    assert len(named) > 15
    assert not [path for path in named if "NAME" not in path and not (ROOT / path).exists()]


@pytest.mark.parametrize("template", ["fault", "verdict"])
def test_templates_ask_for_versions(template):
    file = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{template}.yml"
    labels = [field["attributes"]["label"] for field in YAML(typ="safe").load(file.read_text(encoding="utf-8"))["body"]]
    assert "The output of mlp-jax --version --verbose" in labels


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert not [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]


def test_every_extra_is_on_the_page_of_installation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"benchmark", "dev", "docs"}  # for work on the project itself
    assert extras == set(re.findall(r"^\| `(\w+)` \|", PAGES["start/install.md"], re.MULTILINE))
