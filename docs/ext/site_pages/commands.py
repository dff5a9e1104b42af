"""The page of every command, made from its parser."""

import argparse

from mlp_jax import cli


def page() -> str:
    """The page in MyST."""
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parts = ["# Commands", "", f"{parser.epilog}.", ""]
    for name, command in commands.choices.items():
        parts += [f"## `mlp-jax {name}`", "", f"{cli.COMMANDS[name][1][0].upper()}{cli.COMMANDS[name][1][1:]}.", ""]
        parts += ["```text", command.usage or "", "```", "", "| argument | meaning |", "|---|---|"]
        parts += [f"| `{_shown(action)}` | {_words(action)} |" for action in command._actions if action.dest != "help"]
        parts += [""]
    return "\n".join(parts)


def _shown(action: argparse.Action) -> str:
    words = [*action.option_strings[:1], *([str(action.metavar)] if action.metavar else [])]
    return " ".join(words).replace("|", "\\|")


def _words(action: argparse.Action) -> str:
    return (action.help or "the directory of a run").replace("|", "\\|")
