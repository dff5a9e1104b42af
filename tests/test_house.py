"""The house: which room may import which, said once; arrows point down, and no two files import each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mlp_jax"

# What each room may import beside itself. A room is a folder or a file; of two that fit, the longer name is meant.
ROOMS = {
    "errors": "",
    "files": "errors",
    "forks": "",
    "guest": "errors forks",
    "caches": "",
    "terminal": "",
    "processes": "errors terminal",
    "sections": "errors",
    "autodiff": "",
    "lazily": "autodiff",
    "mlp": "autodiff lazily",
    "verify": "forks verify.ours",
    "verify.ours": "autodiff mlp",
    "tables": "errors files caches sections terminal mlp",
    "training.step": "autodiff mlp",
    "training.config": "errors files sections mlp tables",
    "training.store": "errors files sections mlp tables training.config training.moment",
    "training.moment": "training.step",
    "training": (
        "errors files guest sections terminal processes autodiff mlp tables exchange.weights "
        "training.step training.config training.store training.moment"
    ),
    "estimators": "errors guest mlp tables training training.step",
    "exchange": "errors files terminal autodiff mlp tables training training.config training.store",
    "exchange.weights": "errors files mlp",
    "commands": (
        "errors files caches sections terminal processes autodiff mlp tables exchange exchange.weights verify "
        "training training.step training.config training.store"
    ),
    "cli": "errors caches guest terminal processes tables training.config training.store commands",  # by name
    "__main__": "cli",
    "pytest_plugin": "caches verify",
}
# Their __init__ names what others offer. No file imports from them, but for the version, which the first has.
DOORS = ("", "training", "exchange")
SAY_THE_VERSION = ("cli", "training.environment", "exchange.onnx", "exchange.program")


def modules():
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in PACKAGE.rglob("*.py")
    }


MODULES = modules()


def imports_in(code):
    """The modules of the package that a file imports, wherever in it; "" is the package's own door."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            if node.module.split(".")[0] == "mlp_jax":
                base = node.module.removeprefix("mlp_jax").lstrip(".")
                inner = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
                found |= {name if name in MODULES else base for name in inner}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "mlp_jax"]
            found |= {name.removeprefix("mlp_jax").lstrip(".") for name in names}
    return found


IMPORTS = {name: imports_in(path.read_text(encoding="utf-8")) for name, path in MODULES.items() if name not in DOORS}


def room_of(module):
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def forbidden(module, imports):
    """What a file imports that its room may not."""
    room = room_of(module)
    allowed = {room, *ROOMS[room].split()}
    doors = {""} if module in SAY_THE_VERSION else set()
    return {name for name in imports - doors if name in DOORS or room_of(name) not in allowed}


def circle(graph):
    """A circle of a graph, if it has one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " → ".join(error.args[1])
    return None


def test_every_file_stands_in_a_room():
    assert {room_of(module) for module in IMPORTS} == ROOMS.keys()


@pytest.mark.parametrize("module", IMPORTS)
def test_a_file_imports_only_what_its_room_may(module):
    assert not forbidden(module, IMPORTS[module])


def test_rooms_and_files_have_no_circles():
    assert circle({room: set(allowed.split()) for room, allowed in ROOMS.items()}) is None
    assert circle({module: imports & IMPORTS.keys() for module, imports in IMPORTS.items()}) is None


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("autodiff.graph", "from mlp_jax.mlp.network import loss"),
        ("autodiff.graph", "def later():\n    from mlp_jax import MLP"),
        ("mlp.network", "import mlp_jax"),
        ("training.step.step", "from mlp_jax.training import metrics"),
        ("verify.checks", "from mlp_jax.autodiff import ops"),
        ("verify.ours", "from mlp_jax.verify import checks"),
        ("tables.reading", "from mlp_jax.training import fit"),
    ],
)
def test_an_arrow_upwards_would_be_seen(module, code):
    assert forbidden(module, imports_in(code))


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"a"}}) == "a → b → a"
