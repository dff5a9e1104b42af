"""YAML 1.2 read strictly: plain values only, each with the place that it came from.

In YAML 1.2 `1e-3` is a number and `off` is a string. Refused here: a key given twice, a tag that would build
a Python object, and an alias.
"""

import io
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mlp_jax.errors import InputError
from mlp_jax.files import Place

KeyPath = tuple[str | int, ...]
_LARGEST = 2**19  # letters of a file, of which a thousand take up to 15 ms to read
_LONGEST_NUMBER = 400  # letters: those of the largest float64 and more
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # the others are bytes of a path
PlaceOf = Callable[[int], str]  # line number, from 1 -> what to call that place

_PLAIN_TAGS = {
    ScalarNode: {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")},
    SequenceNode: {"tag:yaml.org,2002:seq"},
    MappingNode: {"tag:yaml.org,2002:map"},
}


class Document:
    """The plain values of a file, the place of each, and the problems found while reading.

    Attributes:
        values: mappings as dict, sequences as tuple, and numbers, strings, booleans, None.
        problems: what reading refused, as (path of keys, message).
    """

    def __init__(self, text: str, place_of: PlaceOf) -> None:
        self.problems: list[tuple[KeyPath, str]] = []
        self._places: dict[KeyPath, str] = {}
        self._seen: set[Node] = set()
        self._constructor = YAML(typ="safe", pure=True).constructor  # which looks for files when it is made
        self.values = self._parse(text, (), place_of)

    @classmethod
    def of_values(cls, values: Any) -> "Document":
        """A document of Python's values, which stand nowhere; lists become tuples, numpy's numbers Python's."""
        document = cls("", lambda line: "")
        document.values = as_plain(values)
        return document

    def place(self, path: KeyPath) -> str:
        """Where this value stands, or the nearest one around it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places[path]

    def set(self, assignment: str) -> None:
        """Apply `a.b=value`, the value in YAML, over what stands there.

        Raises:
            InputError: not of this form, a key set twice, or a path through a value that has no keys.
        """
        key, equals, text = assignment.partition("=")
        path: KeyPath = tuple(key.strip().split("."))
        label = f"--set {key.strip()}"
        if not equals or not all(path):
            raise InputError(f"--set takes KEY=VALUE, as in optimizer.learning_rate=0.05; got {assignment!r}")
        if self._places.get(path) == label:
            raise InputError(f"{label} is given twice")
        section = self.values
        for i, part in enumerate(path[:-1], start=1):
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                raise InputError(f"{label}: {'.'.join(map(str, path[:i]))} is a value, it has no keys")
            self._places.setdefault(path[:i], label)
        self._places = {p: place for p, place in self._places.items() if p[: len(path)] != path}
        self.problems = [(p, message) for p, message in self.problems if p[: len(path)] != path]
        section[path[-1]] = self._parse(text, path, lambda line: label)

    def sweep(self, assignment: str) -> None:
        """Let a key take each value of `a.b=value,value`, in YAML.

        Raises:
            InputError: not of this form, or a key given twice.
        """
        key, equals, text = assignment.partition("=")
        path, label = ("sweep", key.strip()), f"--sweep {key.strip()}"
        if not equals or not all(path):
            raise InputError(f"--sweep takes KEY=VALUE,VALUE, as in seed=0..9; got {assignment!r}")
        if self._places.get(path) == label:
            raise InputError(f"{label} is given twice")
        before = self.values.get("sweep")
        self._places.setdefault(("sweep",), label)
        values = self._parse(f"[{text}]", path, lambda line: label)
        self.values["sweep"] = {**(before if isinstance(before, dict) else {}), path[1]: values}

    def _parse(self, text: str, path: KeyPath, place_of: PlaceOf) -> Any:
        try:
            node = (_composed if len(text) <= _REMEMBERED else _composed.__wrapped__)(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise InputError(f"{place_of(mark.line + 1 if mark else 1)}: not YAML: {error.problem}") from None
        except YAMLError as error:
            raise InputError(f"{place_of(1)}: not YAML: {error}".splitlines()[0]) from None
        except RecursionError:
            raise InputError(f"{place_of(1)}: nested too deeply") from None
        if node is None:
            self._places[path] = place_of(1)
            return None
        self._seen.clear()  # an alias is one within a text; equal texts are one node
        return self._plain(node, path, place_of)

    def _plain(self, node: Node, path: KeyPath, place_of: PlaceOf) -> Any:
        self._places.setdefault(path, place_of(node.start_mark.line + 1))
        if node.tag not in _PLAIN_TAGS[type(node)]:
            return self._refuse(path, f"the tag {node.tag} is refused: a configuration holds plain values")
        if node in self._seen:
            return self._refuse(path, "an alias is refused: write the value out")
        self._seen.add(node)
        if isinstance(node, MappingNode):
            return self._mapping(node, path, place_of)
        if isinstance(node, SequenceNode):
            return tuple(self._plain(item, (*path, i), place_of) for i, item in enumerate(node.value))
        if len(node.value) <= _LONGEST_NUMBER or node.tag.endswith(":str"):
            if bad := _NO_TEXT.search(node.value):
                return self._refuse(path, f"must be text without {bad[0]!r}")
            with suppress(ValueError, KeyError):  # !!int abc
                return self._constructor.construct_object(node)
        return self._refuse(path, f"{node.value[:40]!r} cannot be read as {node.tag.rpartition(':')[2]}")

    def _mapping(self, node: MappingNode, path: KeyPath, place_of: PlaceOf) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = place_of(key_node.start_mark.line + 1)
            if not isinstance(key_node, ScalarNode):
                self._refuse(path, f"a key must be a name, at {place}")
                continue
            key = str(key_node.value)
            if key in values:
                self._refuse((*path, key), f"this key is given twice, the second time at {place}")
                continue
            self._places[(*path, key)] = place
            values[key] = self._plain(value_node, (*path, key), place_of)
        return values

    def _refuse(self, path: KeyPath, message: str) -> None:
        self.problems.append((path, message))


_REMEMBERED = 2**14  # letters: a command reads the configuration of a run up to eight times


@lru_cache(64)
def _composed(text: str) -> Node | None:
    node: Node | None = YAML(typ="safe", pure=True).compose(text)
    return node


def read(path: Path | Place, overrides: Iterable[str] = (), sweep: Iterable[str] = ()) -> Document:
    """Read a file whose top is a mapping, then apply the overrides `a.b=value` in order, and what a sweep varies.

    Raises:
        InputError: no such file, not text, not YAML, not a mapping, or an override that cannot be applied.
    """
    try:
        with path.open("rb") as file, io.TextIOWrapper(file, encoding="utf-8") as words:
            text = words.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read the configuration {path}: it is not text in UTF-8") from None
    if len(text) > _LARGEST:
        raise InputError(f"cannot read the configuration {path}: it has more than {_LARGEST:,} letters")
    if text.startswith("%"):
        raise InputError(f"{path}:1: a YAML directive is refused: a configuration is YAML 1.2")
    document = Document(text, lambda line: f"{path}:{line}")
    if not isinstance(document.values, dict):
        found = document.problems[0][1] if document.problems else f"got {document.values!r}"
        raise InputError(f"{path}: a configuration is a mapping of keys to values; {found}")
    for assignment in overrides:
        document.set(assignment)
    for assignment in sweep:
        document.sweep(assignment)
    return document


def as_plain(value: Any) -> Any:
    """With tuples in place of lists, and Python's numbers in that of numpy's."""
    if isinstance(value, dict):
        return {key: as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(as_plain, value))
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def as_text(values: dict[str, Any]) -> str:
    """Plain values as YAML, in the order in which they stand."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
