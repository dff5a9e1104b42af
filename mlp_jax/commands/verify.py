"""`mlp-jax verify TARGET`: check a function of a module, the network of a configuration, or a call that was kept.

Of a package it lists the gradient rules.
"""

import importlib
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from mlp_jax import autodiff
from mlp_jax.errors import InputError
from mlp_jax.files import Place, written_where_told
from mlp_jax.mlp import network
from mlp_jax.tables import npy
from mlp_jax.terminal import put
from mlp_jax.training.build import batch_size, build_network, initial_params, prepare, resolve
from mlp_jax.training.config import Config
from mlp_jax.verify import CannotCheck, Report, check_grad, check_transforms, check_vjp
from mlp_jax.verify.arguments import first_lines
from mlp_jax.verify.auditing.calls import stored_in
from mlp_jax.verify.auditing.checking import as_the_program, checked
from mlp_jax.verify.auditing.findings import local, of_json
from mlp_jax.verify.auditing.rules import discover

HOW = """for example, in mypackage/kernels.py:
    def example_args():
        return jnp.ones((4, 3)), jnp.arange(4)
and then: mlp-jax verify mypackage.kernels:fused_loss --args mypackage.kernels:example_args"""


def run(config: Config | None, options: Namespace) -> int:
    """Print the reports; 1 if a check did not pass."""
    ignored = ["args", "grad", "reference", "transforms", "seed"] if config else ["set"]
    ignored += ["transforms"] if options.grad else []
    for name in ignored:
        if getattr(options, name):
            of = "a configuration" if config else "a function with --grad" if name == "transforms" else "a function"
            raise InputError(f"--{name} is not for the check of {of}")
    if bool(options.target) == bool(options.replay):
        raise InputError("give a target, or --replay FILE")
    if options.target and not config and ":" not in options.target:
        return list_rules(options.target)
    reports = (
        verify_config(config) if config else replayed(options.replay) if options.replay else verify_function(options)
    )
    put("\n\n".join(map(str, reports)))
    if options.json:
        with written_where_told(options.json) as file:
            file.write(f"[{','.join(report.to_json() for report in reports)}]\n".encode())
    return 0 if all(report.passed for report in reports) else 1


def verify_function(options: Namespace) -> list[Report]:
    """Check `module:function` at the arguments that `module:name` holds, or returns when called.

    Raises:
        InputError: something cannot be imported, there are no arguments, or nothing can be checked.
    """
    f = imported(options.target)
    if not callable(f):
        raise InputError(f"{options.target} must be a function, got {type(f).__name__}")
    values = _example_args(options.target, options.args)
    reference = imported(options.reference) if options.reference else None
    others: dict[str, Any] = {"reference": reference, "seed": options.seed}
    try:
        if options.grad:
            return [check_grad(f, imported(options.grad), *values, **others)]
        checks = [check_vjp, check_transforms] if options.transforms else [check_vjp]
        return [check(f, *values, **others) for check in checks]
    except CannotCheck as error:
        raise InputError(f"{options.target}: {error}") from None


def replayed(path: Path) -> list[Report]:
    """Check a call of a rule that an audit has kept.

    Raises:
        InputError: the file holds none, or the rule is not where it was.
    """
    _search_this_folder()
    try:
        x64, call = stored_in(npy.load(path))
        with as_the_program(x64):
            return [checked(call())]
    except (ValueError, LookupError, CannotCheck) as error:
        raise InputError(f"{path}: {error}") from None


def list_rules(package: str) -> int:
    """Print the gradient rules of a package, and what the last audit in this folder found of each.

    Raises:
        InputError: it cannot be imported.
    """
    _search_this_folder()
    try:
        found = discover(package)
    except Exception as error:  # a module may raise anything
        raise InputError(f"cannot import {package}: {type(error).__name__}: {first_lines(error)}") from None
    report = Place("audit") / "report.json"
    verdicts: dict[str, list[str]] = {}
    try:
        for finding in of_json(report.read().decode()).findings if report.exists() else ():
            verdicts.setdefault(str(finding.place), []).append(str(finding.verdict))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f"{report} is no report of an audit; remove it, or audit again") from None
    put(f"{package}: {len(found.rules)} gradient rules, and {len(found.made_later)} places that make some when called")
    for rule in found.rules:
        seen = ", ".join(dict.fromkeys(verdicts.get(local(rule.place), [])))
        put(f"  {seen or 'not reached':24} {rule.name}  ({local(rule.place)})")
    for place in found.made_later:
        put(f"  {'made when called':24} {local(place)}")
    for module, why in found.failed.items():
        put(f"  cannot import {module}: {why}")
    if not report.exists():
        put("  what a program uses is checked by: mlp-jax audit -- COMMAND")
    return 0


def _search_this_folder() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def imported(target: str) -> Any:
    """What `module:name` names; the folder in which the command runs is searched, too.

    Raises:
        InputError: there is no such module, it raises, or it has no such name.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise InputError(f"{target!r} must have the form module:name, or end in .yaml; {HOW}")
    _search_this_folder()
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything
        raise InputError(f"cannot import {module_name}: {type(error).__name__}: {first_lines(error)}; {HOW}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            names = [k for k, v in getattr(found, "__dict__", {}).items() if callable(v) and not k.startswith("_")]
            raise InputError(f"{module_name} has no {name!r}; it has {', '.join(names) or 'no functions'}")
        found = getattr(found, part)
    return found


def _example_args(target: str, args: str | None) -> tuple[Any, ...]:
    if args is None:
        module_name, _, name = target.partition(":")
        if not hasattr(importlib.import_module(module_name), "example_args"):
            raise InputError(f"{name} needs arguments to be checked at: name them with --args; {HOW}")
        args = f"{module_name}:example_args"
    values = imported(args)
    if callable(values):
        try:
            values = values()
        except Exception as error:
            raise InputError(f"{args} raised {type(error).__name__}: {first_lines(error)}") from None
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def verify_config(config: Any) -> list[Report]:
    """Check the gradients of a configuration's network on a batch of its data: Algorithm 6.4, and the tracer.

    Each is held to `jax.grad` of the cost in float64, with differences as a witness.

    Raises:
        InputError: the data cannot be read or do not fit.
    """
    prepared = prepare(config)
    config = resolve(config, prepared)
    examples = prepared.parts["train"]
    net = build_network(config.network, prepared)
    params = initial_params(config.network, net, config.seed)
    rows = slice(batch_size(config, len(examples.x)))
    x = jnp.asarray(examples.x[rows], config.network.dtype)
    y = jnp.asarray(examples.y[rows], None if examples.y.ndim == 1 else config.network.dtype)

    def cost(params: Any, x: Any, y: Any) -> Any:
        return network.loss(net, params, x, y)

    def algorithm_6_4(params: Any, x: Any, y: Any) -> Any:
        return network.backward(net, params, network.forward(net, params, x), y)

    def tracer(params: Any, x: Any, y: Any) -> Any:
        return autodiff.grad(cost)(params, x, y)

    return [check_grad(cost, gradient, params, x, y, seed=config.seed) for gradient in (algorithm_6_4, tracer)]
