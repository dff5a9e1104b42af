"""A model card: what an exported model takes and gives, how good it is, and where it comes from."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlp_jax.exchange.program import Input, Program
from mlp_jax.tables.text import listed
from mlp_jax.terminal import escaped
from mlp_jax.training import config as configuration
from mlp_jax.training.run import Run

_USE = {
    ".onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{file}")
predictions = session.run(None, {inputs})""",
    ".stablehlo": """from jax import export

model = export.deserialize(bytearray(open("{file}", "rb").read()))
predictions = model.call({inputs})""",
    ".py": """from {name} import predict

predictions = predict({inputs})""",
}
# What begins some in Markdown, or makes a link of a name: names are none.
_MARKUP = re.compile(r"[\\`*\[<&|$~@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.")
_SHOWN = 12  # categories of a column, and columns in the example


def card_of(run: Run, program: Program, file: str, name: str, form: str) -> str:
    """The card of a run's program that is in a file, as Markdown.

    Args:
        run: the run, whose records say all of it.
        program: the program.
        file: its name.
        name: of the model, as a word of Python.
        form: what the file is, in words.
    """
    suffix = file.rpartition(".")[2]
    missing = {
        column.name: column.missing for column in (run.model and run.model.schema and run.model.schema.used) or ()
    }
    rows = [
        (key, *_described(of, f".{suffix}", program.missing), missing.get(key, ""))
        for key, of in program.inputs.items()
    ]
    sections = {
        "Use": f"```python\n{_USE[f'.{suffix}'].format(file=file, name=name, inputs=_example(program, suffix))}\n```",
        "Takes": _table(("name", "type", "what", "missing in training"), rows),
        "Gives": _table(("name", "what"), [(key, _meaning(program, key)) for key in program.outputs]),
        "Results": _results(run.results),
        "Comes from": _table(("", ""), _origin(run)),
    }
    body = "\n\n".join(f"## {heading}\n\n{content}" for heading, content in sections.items())
    return escaped(f"# {name}\n\n{form}\n\n{body}\n")


def _described(of: Input, suffix: str, missing: Iterable[str]) -> tuple[str, str]:
    """Type and meaning of an input; of the words that mean a missing cell, those that are numbers must be told."""
    numbers = [word for word in missing if word.lstrip("+-").replace(".", "", 1).isdigit()]
    number = {".onnx": "double", ".py": "number"}.get(suffix, "float32")
    if of.kind == "array":
        return f"{number} (n, {of.width})", "the inputs, as they were before any scaling"
    if of.codes is None:
        days = f"{of.format}, or days since 1970" if suffix == ".py" else "days since 1970"
        return (
            f"{number} (n,)",
            f"{days if of.kind == 'date' else 'a number; 1 and 0 for true and false'}; NaN where it is missing"
            + "".join(f", which a cell of {word} is" for word in (() if suffix == ".py" else numbers)),
        )
    words = [word for word, code in of.codes.items() if word and code != of.other]
    shown = listed([f"{word} = {of.codes[word]}" if suffix == ".stablehlo" else word for word in words], _SHOWN)
    lost = f"{of.codes['']}" if suffix == ".stablehlo" else "empty"
    return ("int32 (n,)" if suffix == ".stablehlo" else "string (n,)"), f"{shown}; {lost} where it is missing"


def _example(program: Program, suffix: str) -> str:
    names = list(program.inputs)
    if names == ["x"] and suffix == "py":
        return "x"
    entries = [f"{json.dumps(name, ensure_ascii=False)}: …" for name in names[:_SHOWN]]
    return "{" + ", ".join(entries) + ", …" * (len(names) > _SHOWN) + "}"


def _meaning(program: Program, output: str) -> str:
    classes = program.classes.get(output)
    if classes:
        return f"the class: {', '.join(f'{k} = {word}' for k, word in enumerate(classes[:_SHOWN]))}"
    kinds = {"class": "the number of the class", "p(": "a probability", "margin(": "a margin", "sd": "a deviation"}
    return next((what for start, what in kinds.items() if output.startswith(start)), "in the units of the data")


def _results(results: dict[str, dict[str, Any]]) -> str:
    names = list(next(iter(results.values()), {}))
    rows = [(part, *(f"{values[name]:.4g}" for name in names)) for part, values in results.items()]
    return _table(("", *names), rows)


def _origin(run: Run) -> Iterable[tuple[str, Any]]:
    config, summary = configuration.as_values(run.config), run.summary
    path: Any = getattr(run.config.data, "path", None) or config["data"]["source"]
    files = ", ".join(Path(file).name for file in (path if isinstance(path, tuple) else (path,)))
    yield "data", f"{files}, SHA-256 {summary['data']}"
    yield "examples", ", ".join(f"{n:,} {part}" for part, n in summary["examples"].items())
    for section in ("network", "optimizer", "training"):
        yield section, ", ".join(f"{key} {value}" for key, value in config[section].items())
    yield "seeds", f"{config['seed']}; of the split {config['data']['split'].get('seed')}"
    yield "epochs", summary["epochs"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    yield "device", summary["device"]
    for finding in summary.get("said", ()):
        yield "finding", finding


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    cells = [[_MARKUP.sub(r"\\\g<0>", str(cell)).replace("\n", " ") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{'---|' * len(cells[0])}", *lines[1:]])
