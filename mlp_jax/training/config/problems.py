"""What is wrong with a configuration, in words: where it stands, what was required, the nearest valid key."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mlp_jax.training.config.yaml import Document, KeyPath

# What other programs call it, or have and this has not.
_MEANT = {
    "lr": "did you mean learning_rate?",
    "dropout": "there is no dropout; penalty, label_smoothing and training.early_stopping are against overfitting",
    "test": "a file for the test is data.split.test: FILE",
    "validation": "a file for the validation is data.split.validation: FILE",
    "ignore": "did you mean drop?",
    "features": "did you mean inputs?",
    "label": "did you mean target?",
    "na_values": "did you mean missing?",
    "sep": "did you mean delimiter?",
    "separator": "did you mean delimiter?",
    "labels": "did you mean target?",
    "index": "a column that is no input is named in data.drop",
    "class_weight": "did you mean network.class_weights?",
    "validation_split": "the fraction that is held out is data.split.validation",
    "sample_weight": "did you mean weights?",
    "layers": "did you mean hidden_widths?",
    "activation": "did you mean hidden?",
}
_MOST = 100  # problems that are shown
_LONGEST_LINE, _LONGEST_VALUE = 2000, 300  # letters
Problem = tuple[KeyPath, str]
Record = type[BaseModel]


def in_words(error: ValidationError, root: Record, values: Any, before: list[Problem]) -> list[Problem]:
    """Pydantic's errors, without those about values that reading had refused before."""
    refused = [path for path, _ in before]
    found = [(_key_path(detail, values), _message(detail, root)) for detail in error.errors()]
    return [problem for problem in found if not any(problem[0][: len(path)] == path for path in refused)]


def listed(path: str | Path, problems: list[Problem], document: Document) -> str:
    """All problems in the order of the file, a line each; of very many the first."""
    lines = [(document.place(where), ".".join(map(str, where)), message) for where, message in problems]
    lines.sort(key=lambda line: _line_number(line[0]))
    shown = [_cut(f"  {_where(place, key)}: {message}", _LONGEST_LINE) for place, key, message in lines[:_MOST]]
    more = [f"  and {len(lines) - _MOST:,} more"] if len(lines) > _MOST else []
    return "\n".join([f"{path}: {len(lines)} problem{'s' * (len(lines) != 1)}", *shown, *more])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _got(value: Any) -> str:
    try:
        return _cut(repr(value), _LONGEST_VALUE)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"


def _where(place: str, key: str) -> str:
    said = place in (f"--set {key}", f"--sweep {key.removeprefix('sweep.')}")
    return place if key == "" or said else ": ".join(filter(None, (place, key)))


def _line_number(place: str) -> int:
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _key_path(detail: Any, values: Any) -> KeyPath:
    """Pydantic's location without the tags of unions, which are no keys of the file."""
    path: KeyPath = ()
    for i, part in enumerate(detail["loc"]):
        inside = part in values if isinstance(values, dict) else isinstance(values, tuple) and isinstance(part, int)
        missing = detail["type"] == "missing" and i == len(detail["loc"]) - 1
        if inside or missing:
            path = (*path, part)
            values = values[part] if inside else None
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path = (*path, detail["ctx"]["discriminator"].strip("'"))
    return path


def _message(detail: Any, root: Record) -> str:
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        keys = _keys_at(detail["loc"][:-1], root)
        word = detail["loc"][-1]
        hint = f"; {_MEANT[word]}" if word in _MEANT else _did_you_mean(word, keys)
        return f"unknown key{hint} (valid keys: {', '.join(keys)})"
    if kind in ("missing", "union_tag_not_found"):
        return "this key is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        known = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        word = got.get(context["discriminator"].strip("'")) if "discriminator" in context else got
        return f"must be one of {', '.join(known)}; got {_got(word)}{_did_you_mean(word, known)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short":
        return f"must have at least {context['min_length']} entries; got {_got(got)}"
    if kind in ("model_type", "model_attributes_type"):
        return f"must be a section with keys of its own; got {_got(got)}"
    return f"{detail['msg'].replace('Input should be', 'must be').replace('a valid tuple', 'a list')}; got {_got(got)}"


def _did_you_mean(word: Any, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if isinstance(word, str) else []
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _keys_at(location: tuple[Any, ...], root: Record) -> list[str]:
    """The keys of the record at pydantic's location, whose parts are keys and tags of unions."""
    records = [root]
    for part in location:
        fields = [record.model_fields[part] for record in records if part in record.model_fields]
        if fields:
            records = [found for field in fields for found in _records_in((field.annotation, *field.metadata))]
        else:
            records = [record for record in records if _has_tag(record, part)] or records
    return list(dict.fromkeys(key for record in records for key in record.model_fields))


def _records_in(annotations: Iterable[Any]) -> list[Record]:
    found: list[Record] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        else:
            found += _records_in(get_args(annotation))
    return found


def _has_tag(record: Record, tag: Any) -> bool:
    return any(tag in get_args(field.annotation) for field in record.model_fields.values())
