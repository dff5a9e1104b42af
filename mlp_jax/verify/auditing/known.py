"""What an earlier audit found to be right, known again by a digest of all that it depends on."""

import functools
import hashlib
import inspect
import json
import os
import secrets
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from mlp_jax.verify.auditing.calls import calls_of
from mlp_jax.verify.auditing.checking import TimeUp, as_the_program, time_limit
from mlp_jax.verify.auditing.findings import ACCEPTED, Finding
from mlp_jax.verify.auditing.rules import beneath, functions_of
from mlp_jax.verify.auditing.watch import Key, Signature
from mlp_jax.verify.checks import prepared
from mlp_jax.verify.interpreter import calls, fingerprint, trace, without_rules

_MOST, _SECONDS = 10_000, 30.0  # uses that are remembered, and for the digest of one


def digest(signature: Signature) -> str:
    """Of a use: the files of the rule, what it computes with all that it closes over, arguments, settings, versions.

    It is empty where these cannot be told: of what JAX cannot trace, of callbacks, of functions in no file, of those
    that have a rule of their own for batches.
    """
    try:
        files = {inspect.getsourcefile(beneath(f)): None for f in functions_of(signature.rule)}
        parts: list[Any] = [_surroundings(), signature.x64, [Path(str(file)).read_bytes() for file in files]]
        parts += [(values.path, list(map(_told, values.leaves))) for values in signature.values]
        with as_the_program(signature.x64), time_limit(_SECONDS):
            call = calls_of(signature)[0]
            experiment: Any = prepared(call.rule, call.args, None, call.argnums, 0).experiment
            programs = (experiment.function.program, experiment.rule.program)
            if any(calls(p, "custom_vmap") for p in programs):
                return ""  # what it does to a batch, no program at these arguments shows
            parts += [fingerprint(trace(without_rules(p), *p.in_avals)) for p in programs]
    except (TimeUp, Exception):  # whatever anybody's object or function raises
        return ""
    said = repr(parts)
    return "" if " at 0x" in said else hashlib.sha256(said.encode()).hexdigest()


def _told(leaf: Any) -> Any:
    if isinstance(leaf, Key):
        return leaf.impl, _told(leaf.data)
    if isinstance(leaf, bool | int | float | complex):
        return leaf
    return str(leaf.dtype), leaf.shape, hashlib.sha256(leaf.tobytes()).hexdigest()


@functools.cache
def _surroundings() -> str:
    """The Python, what is installed, JAX's settings and devices, and the checker itself."""
    installed = sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))
    own = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    settings, devices = sorted(map(repr, jax.config.values.items())), [d.device_kind for d in jax.devices()]
    versions = sys.version, jax.__version__, version("jaxlib"), os.environ.get("XLA_FLAGS")
    return hashlib.sha256(repr((versions, installed, settings, devices, own)).encode()).hexdigest()


def read(file: Path | None) -> dict[str, Any]:
    """By digest the verdict, and whether the rule was looked at further; nothing where the file is damaged, or none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads(file.read_text(encoding="utf-8")) if file else {}
        return {key: (verdict, bool(further)) for key, (verdict, further) in found.items() if verdict in ACCEPTED}
    return {}


def remember(file: Path, findings: Iterable[Finding]) -> None:
    """Add what passed."""
    new = {f.key: (f.verdict, f.further) for f in findings if f.key and f.verdict in ACCEPTED}
    known = {key: value for key, value in read(file).items() if key not in new} | new
    part = file.with_name(f"{secrets.token_hex(8)}.part")
    with suppress(OSError):
        part.write_text(json.dumps(dict(list(known.items())[-_MOST:])), encoding="utf-8")
        part.replace(file)
