"""The page of every key of a configuration, made from its schema; meanings are the comments beside the keys."""

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from mlp_jax.sections import LARGEST, Section
from mlp_jax.training.config import Config

Schema = dict[str, Any]  # JSON Schema, as pydantic makes it

HOMES = ("mlp_jax.training.config.records", "mlp_jax.training.config.optimizers", "mlp_jax.tables.sources")
# Where a section stands in the file, by the name of its record; all others are the choices of a key.
PLACES = {
    "Config": "The file",
    "TableData": "`data`: a table",
    "FrameData": "`data`: a frame in Python",
    "SklearnData": "`data`: a set of scikit-learn",
    "ArrayData": "`data`: arrays in Python",
    "NPZData": "`data`: one .npz file",
    "NPYData": "`data`: two .npy files",
    "TableSplit": "`data.split` of a table",
    "Split": "`data.split` of others",
    "Network": "`network`",
    "Penalty": "`network.penalty`",
    "StartFrom": "`network.start_from`",
    "Training": "`training`",
    "EarlyStopping": "`training.early_stopping`",
    "ReduceOnPlateau": "`optimizer.reduce_on_plateau`",
}
_INTRODUCTION = """\
# Configuration

Every key of a YAML file, or of the dict that `fit` takes, with its type, its default and what it means. Nothing is
coerced: 0.5 is no whole number, "1" is no number. An unknown key is an error that names the nearest known one. On the
command line, `--set optimizer.learning_rate=0.05` overrides a key. Where no default stands, the key may be left out,
and its meaning says what holds then.
"""


def page() -> str:
    """The page in MyST."""
    parts = [_INTRODUCTION]
    for name, section in sections():
        title = PLACES.get(name) or f"{_choice_of(section)}: `{name}`"
        parts += [f"## {title}", "", section.get("description", ""), "", *_table(name, section), ""]
    return "\n".join(parts)


@cache
def sections() -> list[tuple[str, Schema]]:
    """Name and schema of each section: those of the file first, then the choices of optimizer, schedule and unit."""
    schema = Config.model_json_schema()
    named = {"Config": schema, **schema["$defs"]}
    places = [(name, named[name]) for name in PLACES]
    choices = [(name, section) for name, section in named.items() if name not in PLACES and not _is_plain(name)]
    return places + sorted(choices, key=lambda choice: _choice_of(choice[1]))


def _is_plain(name: str) -> bool:
    """Whether a section has nothing but a name, so that the name will do."""
    return name.startswith("mlp_jax__")


def _choice_of(section: Schema) -> str:
    keys = section["properties"]
    if "schedule" in keys:
        return "`optimizer.learning_rate`"
    return "`optimizer`" if "learning_rate" in keys or "memory_size" in keys else "`network` unit"


def meaning(name: str, section: Schema, key: str) -> str:
    """The comment beside a key; of the arguments of optax and of units, whose they are."""
    if name in PLACES:
        return _comments(name).get(key, "")
    if key in ("name", "schedule"):
        return "its name"
    if key == "learning_rate":
        return "a number, or a section with a `schedule`"
    if key == "reduce_on_plateau":
        return "smaller steps where the cost does not fall"
    if _choice_of(section) == "`network` unit":
        return f"as in the [unit](units.md)'s argument `{key}`"
    ours = "`lr = init / (1 + rate · step / transition_steps)^power`" if name == "inverse_power_decay" else None
    return ours or f"as in `optax.{name}`, whose default holds"


@cache
def _comments(name: str) -> dict[str, str]:
    homes = (vars(importlib.import_module(home)) for home in HOMES)
    record = next(home[name] for home in homes if name in home)
    bases = [base for base in record.__mro__ if issubclass(base, Section) and base is not Section]
    return {key: words for base in reversed(bases) for key, words in _comments_in(base).items()}


def _comments_in(record: type) -> dict[str, str]:
    """A comment stands at the end of its key's line, or in lines of its own above it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(record).splitlines():
        if key := re.match(r"    ([a-z]\w*): ", line):
            beside = [words for words in line.split("  # ")[1:] if not words.startswith(("type:", "noqa"))]
            if words := " ".join(beside or above):
                found[key[1]] = words
        above = [*above, line.strip("# ")] if line.startswith("    # ") else []
    return found


def _table(name: str, section: Schema) -> Iterator[str]:
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for key, value in section["properties"].items():
        default = "required" if key in section.get("required", ()) else _default(value.get("default"))
        cells = (f"`{key}`", kind(value), default, meaning(name, section, key))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: Any) -> str:
    if value is None:
        return ""
    if value in ({}, [], ()):
        return "none"
    if isinstance(value, dict):
        return "its own"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def kind(value: Schema) -> str:
    """A type in words."""
    if not value:
        return "any value"
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return PLACES.get(name, f"a section `{name}`")
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " · ".join(f"`{word}`" for word in value["enum"])
    if "discriminator" in value:
        chosen = value["discriminator"]
        names = [name for name, of in chosen["mapping"].items() if not _is_plain(of.rpartition("/")[2])]
        return f"a section with `{chosen['propertyName']}`: {', '.join(f'`{name}`' for name in names)}"
    if choices := value.get("oneOf") or value.get("anyOf"):
        words = [kind(choice) for choice in choices if choice.get("type") != "null"]
        return ", or ".join(dict.fromkeys(words))
    if value.get("type") == "array":
        inner = kind(value["items"])
        return f"a list of {'such' if len(inner) > 60 else inner}"
    if value.get("type") == "object":
        of = value.get("additionalProperties")
        return f"a section, by name {kind(of)}" if isinstance(of, dict) else "a section"
    return _plain(value)


_WORDS = {"integer": "whole number", "number": "number", "boolean": "`true` · `false`", "string": "text"}


def _plain(value: Schema) -> str:
    word = "path" if value.get("format") == "path" else _WORDS[value["type"]]
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {value[key]:g}" for key, sign in limits.items() if key in value and abs(value[key]) < LARGEST]
    return f"{word} {', '.join(said)}".strip()
