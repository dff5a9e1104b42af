"""What `mlp-jax verify` is pointed at: a function of a module, or the network, cost and data of a configuration."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.training.errors import InputError
from mlp_jax.verify.checks import check_grad, check_vjp
from mlp_jax.verify.report import CannotCheck, Report
from mlp_jax.verify.subject import first_lines
from mlp_jax.verify.transforms import check_transforms

HOW = """for example, in mypackage/kernels.py:
    def example_args():
        return jnp.ones((4, 3)), jnp.arange(4)
and then: mlp-jax verify mypackage.kernels:fused_loss --args mypackage.kernels:example_args"""


def verify_function(
    target: str, args: str | None, grad: str | None, reference: str | None, transforms: bool, seed: int
) -> list[Report]:
    """Check `module:function` at the arguments that `module:name` holds, or returns when called.

    Raises:
        InputError: something cannot be imported, there are no arguments, or nothing can be checked.
    """
    f = imported(target)
    if not callable(f):
        raise InputError(f"{target} must be a function, got {type(f).__name__}")
    values = _example_args(target, args)
    others: dict[str, Any] = {"reference": imported(reference) if reference else None, "seed": seed}
    try:
        if grad:
            return [check_grad(f, imported(grad), *values, **others)]
        reports = [check_vjp(f, *values, **others)]
        return [*reports, check_transforms(f, *values, **others)] if transforms else reports
    except CannotCheck as error:
        raise InputError(f"{target}: {error}") from None


def imported(target: str) -> Any:
    """What `module:name` names; the folder in which the command runs is searched, too.

    Raises:
        InputError: there is no such module, it raises, or it has no such name.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise InputError(f"{target!r} must have the form module:name, or end in .yaml; {HOW}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything
        raise InputError(f"cannot import {module_name}: {type(error).__name__}: {first_lines(error)}; {HOW}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module_name} has no {name!r}; it has {', '.join(_public(found)) or 'no functions'}")
        found = getattr(found, part)
    return found


def _public(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


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
    from mlp_jax import autodiff
    from mlp_jax.mlp import network
    from mlp_jax.mlp.parameters import init
    from mlp_jax.training import data

    prepared = data.prepare(config)
    examples = prepared.parts["train"]
    net = data.network_for(config.network, prepared)
    params = init(
        net,
        jax.random.key(config.seed),
        initializer=config.network.initializer,
        bias=config.network.initial_bias,
        dtype=config.network.dtype,
    )
    rows: Callable[[Any], Any] = lambda values: np.asarray(values)[: config.training.batch_size]  # noqa: E731
    x, y = jnp.asarray(rows(examples.x), config.network.dtype), rows(examples.y)
    y = jnp.asarray(y) if np.issubdtype(y.dtype, np.integer) else jnp.asarray(y, config.network.dtype)

    def cost(params: Any, x: Any, y: Any) -> Any:
        return network.loss(net, params, x, y)

    def algorithm_6_4(params: Any, x: Any, y: Any) -> Any:
        return network.backward(net, params, network.forward(net, params, x), y)

    def tracer(params: Any, x: Any, y: Any) -> Any:
        return autodiff.grad(cost)(params, x, y)

    return [check_grad(cost, gradient, params, x, y, seed=config.seed) for gradient in (algorithm_6_4, tracer)]
