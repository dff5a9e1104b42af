"""What the README shows is run."""

import re
import shlex
from pathlib import Path

import jax
import pytest

import mlp_jax
from mlp_jax import cli, verify
from mlp_jax.errors import TrainingDiverged
from mlp_jax.training import config as configuration
from mlp_jax.training import fit

ROOT = Path(__file__).parent.parent
PACKAGE = Path(mlp_jax.__file__).parent  # which may be installed, from a wheel
README = (ROOT / "README.md").read_text()


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for its_language, text in fenced if its_language == language]


def verdicts_and_causes(report):
    """The lines of a report without what differs between versions of JAX: times, and errors of rounding."""
    lines = [re.sub(r"(ok +)\S+$", r"\1", line).rstrip() for line in report.splitlines()]
    return [line for line in lines if line.startswith("  ")]


def test_the_python_snippets_run_in_order():
    names = {}
    snippets = blocks("python")
    assert len(snippets) == 5
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # JAX's defaults
        for snippet in snippets:
            exec(snippet, names)
        with pytest.raises(verify.GradientError) as failure:
            names["test_network"]()
    (report,) = (block for block in blocks("") if block.startswith("check_vjp("))
    assert verdicts_and_causes(report) == verdicts_and_causes(str(failure.value))
    assert names["J"].shape == ()
    assert names["per_example"][0].W.shape == (32, 64, 128)


def test_the_located_failure_is_a_real_one():
    def words(message):
        text = re.sub(r"-?[\d.]+e[+\d]+", "#", " ".join(message.split()))
        # in which order XLA adds what overflows, and so what comes out, depends on the processor
        return re.sub("NaN", "infinite", text.replace("has no value", "overflowed"))

    changes = ["optimizer={name: sgd, learning_rate: 1e30}", "network.hidden=linear"]
    with jax.numpy_rank_promotion("allow"), pytest.raises(TrainingDiverged) as failure:
        fit(configuration.load(ROOT / "configs" / "diabetes.yaml", changes))
    (shown,) = (block for block in blocks("") if block.startswith("mlp-jax: epoch"))
    assert words(shown).removeprefix("mlp-jax: ").startswith(words(str(failure.value)))


def test_the_table_of_the_chapter_is_that_of_the_package_and_names_files_that_exist():
    page = (ROOT / "docs" / "start" / "chapter.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| section .*?\n\n", page, re.MULTILINE | re.DOTALL)
    assert table.strip() in mlp_jax.__doc__
    for row in table.strip().splitlines()[2:]:
        named = re.findall(r"`([^`]+)`", row)
        folder = named[0].partition("/")[0]
        for path in named:
            assert (PACKAGE / path).exists() or (PACKAGE / folder / path).exists(), path


def test_the_commands_are_commands():
    commands = re.findall(r"^scripts/run mlp-jax ([^#\n]*)", "\n".join(blocks("")), re.MULTILINE)
    assert len(commands) == 12
    for command in commands:
        cli._parser().parse_args(shlex.split(command))
    assert all((ROOT / path).exists() for path in re.findall(r"configs/\w+\.yaml", README))
