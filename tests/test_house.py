"""The house: which room may import which, said once; arrows point down, and no two files import each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mlp_jax"

# What each room may import beside itself. A room is a folder or a file; of two that fit, the longer name is meant.
ROOMS = {
    "errors": "",
    "files": "",
    "sections": "",
    "autodiff": "",
    "lazily": "autodiff",
    "mlp": "autodiff lazily",
    "verify": "",
    "verify.ours": "autodiff mlp",
    "tables": "errors files sections mlp",
    "training.step": "autodiff mlp",
    "training.config": "errors sections mlp tables",
    "training.store": "errors files mlp tables training.config training.moment",
    "training.moment": "training.step",
    "training": "errors sections autodiff mlp tables training.step training.config training.store training.moment",
    "commands": "errors files autodiff mlp tables training training.step training.config training.store verify",
    "cli": "errors tables training.config training.store commands",
    "__main__": "cli",
    "pytest_plugin": "verify",
}
DOORS = ("", "training")  # their __init__ names what others offer, and no file below them imports it


def modules():
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in PACKAGE.rglob("*.py")
    }


MODULES = modules()


def imports_of(path):
    """The modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mlp_jax":
            base = node.module.removeprefix("mlp_jax").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES else base)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("mlp_jax").lstrip(".") for a in node.names if a.name.startswith("mlp_jax.")}
    return found


IMPORTS = {name: imports_of(path) for name, path in MODULES.items() if name not in DOORS}


def room_of(module):
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def test_every_file_stands_in_a_room():
    assert {room_of(module) for module in IMPORTS} == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    allowed = {room, *ROOMS[room].split()}
    if room == "verify":
        allowed.add("verify.ours")
    if room == "verify.ours":
        allowed.discard("verify")
    beyond = [
        f"{module} imports {other or 'mlp_jax'}"
        for module in IMPORTS
        if room_of(module) == room
        for other in IMPORTS[module] - {""}  # the version
        if room_of(other) not in allowed
    ]
    assert not beyond


def test_rooms_and_files_have_no_circles():
    rooms = {room: {other for other in allowed.split() if other != room} for room, allowed in ROOMS.items()}
    for graph in (
        rooms,
        {module: {other for other in others if other in IMPORTS} for module, others in IMPORTS.items()},
    ):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"a circle: {' → '.join(error.args[1])}")


def test_a_room_that_imports_upwards_would_be_seen():
    assert "training.step" in {room_of(other) for other in IMPORTS["training.trainer"]}
    assert room_of("training.step.epochs") == "training.step"
    assert room_of("verify.ours") == "verify.ours"
    assert "training.step" not in ROOMS["mlp"].split()
