"""The page of every key of a configuration, made from its schema; meanings are the comments beside the keys."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from mlp_jax.sections import LARGEST, Section
from mlp_jax.training.config import Config

HOMES = ("mlp_jax.training.config.records", "mlp_jax.training.config.optimizers", "mlp_jax.tables.sources")
_TABLES = {
    "network.hidden": "one that takes arguments is a section, as in `{name: maxout, pieces: 3}`",
    "network.output": "one that takes arguments is a section, as in `{name: mixture, components: 5}`",
    "optimizer": "the arguments are those of `optax.NAME`, whose defaults hold; `learning_rate` is a number or a schedule",
    "optimizer.learning_rate": "the arguments are those of `optax.NAME`; they count steps, not epochs",
}


def page() -> str:
    """The page in MyST."""
    schema = Config.model_json_schema()
    parts = ["# Configuration", "", _INTRODUCTION, ""]
    seen: dict[str, str] = {}
    for title, section in sections(schema):
        parts += [f"## {title}", "", section.get("description", ""), "", *_table(section, schema, seen), ""]
    return "\n".join(parts)


_INTRODUCTION = """\
Every key of a YAML file, or of the dict that `fit` takes, with its type, its default and what it means. Nothing is
coerced: 0.5 is no whole number, "1" is no number. An unknown key is an error that names the nearest known one. On the
command line, `--set optimizer.learning_rate=0.05` overrides a key."""


def sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and schema of each section, each once."""
    named = schema["$defs"]
    yield "The file", schema
    for key, names in _ORDER.items():
        for name in names:
            yield (f"`{key}`" if len(names) == 1 else f"`{key}`: {name}"), named[name]
    rest = [name for name in named if name not in {n for names in _ORDER.values() for n in names}]
    yield from ((f"`{_kind(named[name])}: {name}`", named[name]) for name in rest if not name.startswith("mlp_jax__"))


_ORDER = {
    "data": ("TableData", "FrameData", "SklearnData", "ArrayData", "NPZData", "NPYData"),
    "data.split": ("TableSplit", "Split"),
    "network": ("Network",),
    "network.penalty": ("Penalty",),
    "network.start_from": ("StartFrom",),
    "training": ("Training",),
    "training.early_stopping": ("EarlyStopping",),
    "optimizer.reduce_on_plateau": ("ReduceOnPlateau",),
}


def _kind(section: dict[str, Any]) -> str:
    """Which choice a section with a name of its own is one of."""
    properties = section["properties"]
    if "schedule" in properties:
        return "learning_rate.schedule"
    return "optimizer.name" if "learning_rate" in properties or "memory_size" in properties else "network unit"


def meanings() -> dict[str, dict[str, str]]:
    """Of each section of the schema, the comment beside each of its keys."""
    found: dict[str, dict[str, str]] = {}
    for home in HOMES:
        for name, record in vars(importlib.import_module(home)).items():
            if inspect.isclass(record) and issubclass(record, Section) and record is not Section:
                bases = [base for base in record.__mro__ if issubclass(base, Section) and base is not Section]
                found[name] = {k: v for base in reversed(bases) for k, v in _comments(base).items()}
    return found


def _comments(record: type) -> dict[str, str]:
    """A key's comment stands at the end of its line, or in lines of its own above it."""
    found, above = {}, []
    for line in inspect.getsource(record).splitlines():
        if key := re.match(r"    ([a-z]\w*): .*?(?:  # (?!type:|noqa)(.*?))?(?:  # (?:type|noqa):?.*)?$", line):
            words = key[2] or " ".join(above)
            if words:
                found[key[1]] = words
        above = [*above, line.strip("# ")] if line.startswith("    # ") else []
    return found


def _table(section: dict[str, Any], schema: dict[str, Any], seen: dict[str, str]) -> Iterator[str]:
    name = section.get("title", "Config")
    known = meanings().get(name, {})
    required = section.get("required", ())
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for key, value in section["properties"].items():
        default = "required" if key in required else _default(value.get("default"))
        words = known.get(key, "") or ("" if name in meanings() else f"as in optax" if "optimizer" in _kind(section) or "sched" in _kind(section) else "its argument")
        yield f"| `{key}` | {kind(value, schema)} | {default} | {_escaped(words)} |"


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "see its section" if value else "none"
    return "none" if value in ([], ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def kind(value: dict[str, Any], schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return "a name" if name.startswith("mlp_jax__") else f"section `{name}`"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " · ".join(f"`{word}`" for word in value["enum"])
    if choices := value.get("oneOf") or value.get("anyOf"):
        if "discriminator" in value and len(choices) > 6:
            return f"a section with `{value['discriminator']['propertyName']}`: " + ", ".join(
                f"`{name}`" for name in value["discriminator"]["mapping"]
            )
        words = [kind(choice, schema) for choice in choices if choice.get("type") != "null"]
        return ", or ".join(dict.fromkeys(words))
    if value.get("type") == "array":
        return f"list of {kind(value.get('items', {}), schema)}"
    if value.get("type") == "object":
        return f"section of {kind(value.get('additionalProperties', {}), schema)}"
    return _plain(value)


def _plain(value: dict[str, Any]) -> str:
    word = {"integer": "whole number", "number": "number", "boolean": "`true` · `false`", "string": "text"}[value["type"]]
    word = "path" if value.get("format") == "path" else word
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {value[key]:g}" for key, sign in limits.items() if key in value and abs(value[key]) < LARGEST]
    return f"{word} {', '.join(said)}".strip()


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("*", "\\*")
