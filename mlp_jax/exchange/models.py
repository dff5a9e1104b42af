"""A trained run as a file that runs elsewhere, with a model card beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlp_jax.errors import InputError
from mlp_jax.exchange import onnx
from mlp_jax.exchange.card import card_of
from mlp_jax.exchange.program import Program, program_of
from mlp_jax.exchange.stablehlo import as_stablehlo
from mlp_jax.files import write_atomically, written_where_told
from mlp_jax.training.run import Run


def _missing(data: Any) -> tuple[str, ...]:
    """The words that mean a missing cell: of text files the usual ones, of frames those that were said."""
    dialect = getattr(data, "dialect", None)
    words = dialect.missing if dialect else getattr(data, "missing", None) or ()
    return tuple(dict.fromkeys(("", *words)))


def _as_source(program: Program, name: str) -> bytes:
    return program.source.encode()


# How a program is written, by the suffix of the file, and what that is in words.
_FORMS: dict[str, tuple[Callable[[Program, str], bytes], str]] = {
    ".onnx": (onnx.as_onnx, f"An ONNX graph, opset {onnx.OPSET} (ai.onnx.ml {onnx.ML_OPSET}), with its preprocessing."),
    ".stablehlo": (as_stablehlo, "Serialised StableHLO of jax.export, for any number of rows, with its preprocessing."),
    ".py": (_as_source, "A Python file that needs NumPy alone, with its preprocessing."),
}


def export(run: Run, path: str | Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Write a run's model to a file, by its suffix .onnx, .stablehlo or .py, and a model card beside it.

    Preprocessing is in the file: it takes columns by name, or inputs (n, d) of a run that was trained on arrays, and
    gives the columns that `run.predict` gives.

    Args:
        run: of one seed, finished.
        path: where to write; the card is PATH.md.
        overwrite: whether to replace what is there.

    Returns:
        The two files.

    Raises:
        InputError: the run did not finish or is several, the target exists, a package is missing, or the form cannot
            hold the network.
    """
    path = Path(path)
    card = path.with_name(f"{path.name}.md")
    if path.suffix not in _FORMS:
        raise InputError(f"a model is exported to a file that ends in {', '.join(_FORMS)}; got {path}")
    if run.model is None:
        raise InputError(f"this run has {len(run.seeds)} seeds or folds, each a run of its own: export one of them")
    if (status := run.summary["status"]) != "finished":
        raise InputError(f"only a run that has finished is exported; this one is {status}: go on with resume=True")
    if run.config.network.products or run.config.network.dtype == "bfloat16":
        raise InputError("a network that computes in bfloat16 is not exported: NumPy and ONNX Runtime round otherwise")
    if folders := [file for file in (path, card) if file.is_dir()]:
        raise InputError(f"{folders[0]} is a directory: name a file")
    if not overwrite and (there := [file for file in (path, card) if file.exists()]):
        raise InputError(f"{there[0]} exists; replace it (overwrite=True), or name another file")
    name = path.stem if path.stem.isidentifier() else "model"  # it stands in programs
    program = program_of(run.net, run.model, _missing(run.config.data), name)
    if path.suffix == ".onnx" and run.config.network.dtype == "float64" and "erf(" in program.source:
        raise InputError("ONNX Runtime has no erf of doubles, which gelu needs: export to .py, or train in float32")
    write, form = _FORMS[path.suffix]
    try:
        with written_where_told(path) as file:
            file.write(write(program, name))
        write_atomically(card, card_of(run, program, path.name, name, form).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    return path, card
