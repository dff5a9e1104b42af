"""What the README shows is run."""

import re
import shlex
from pathlib import Path

from mlp_jax import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_snippets_run_in_order():
    names = {}
    snippets = blocks("python")
    assert len(snippets) == 2
    for snippet in snippets:
        exec(snippet, names)
    assert names["J"].shape == ()
    assert names["per_example"][0].W.shape == (32, 64, 128)


def test_the_commands_are_commands():
    commands = re.findall(r"^scripts/run mlp-jax ([^#\n]*)", "\n".join(blocks("")), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        cli._parser().parse_args(shlex.split(command))
    assert all((ROOT / path).exists() for path in re.findall(r"configs/\w+\.yaml", README))
