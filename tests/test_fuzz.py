"""Malformed configurations: always exit status 2 and a place, never a traceback, never a hang."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from runs import CONFIGS

from mlp_jax import cli
from mlp_jax.commands import inspect
from mlp_jax.training.build import build_program
from mlp_jax.training.config import yaml

FUZZ = settings(max_examples=40, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
TEXTS = [path.read_text(encoding="utf-8") for path in CONFIGS]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["softmax", "adam", "all", "0..9", "1e-3", "relu", "csv", -1, 0, 1e400, 2**70]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def run(*arguments):
    """The command in this process, as far as the start of the training."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(list(map(str, arguments)))
    return status, err.getvalue()


def leaves(tree, path=()):
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))


@st.composite
def changed_configurations(draw):
    """A configuration of ours with a value replaced, or a key renamed, or text cut out or put in."""
    text = draw(st.sampled_from(TEXTS))
    if draw(st.booleans()):
        i = draw(st.integers(0, len(text)))
        j = draw(st.integers(i, min(len(text), i + 30)))
        return text[:i] + draw(st.text(max_size=10)) + text[j:]
    tree = json.loads(json.dumps(yaml.Document(text, lambda line: "").values))
    path = draw(st.sampled_from([path for path in leaves(tree) if path]))
    section = tree
    for key in path[:-1]:
        section = section[key]
    if draw(st.booleans()):
        section[path[-1]] = draw(values)
    else:
        section[draw(st.text(max_size=8))] = section.pop(path[-1])
    return json.dumps(tree)


@pytest.mark.usefixtures("usual_settings")
@FUZZ
@given(text=changed_configurations())
def test_configurations(text, tmp_path, monkeypatch):
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    status, message = run("inspect", file)
    assume(status != 0)
    assert status == 2
    assert str(tmp_path) in message or "network" in message or "training" in message or "optimizer" in message, message


@pytest.fixture
def usual_settings(monkeypatch, tmp_path):
    """The command sets up JAX for its own process, which this one is not; training itself is not the subject here."""
    monkeypatch.setattr(cli, "_set_up_jax", lambda dtype: None)
    monkeypatch.setattr(inspect, "_about_step", lambda net, config, prepared: build_program(config, net) and [])
    monkeypatch.chdir(tmp_path)
    assert Path.cwd() == tmp_path
