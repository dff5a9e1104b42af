"""A function without the custom_vjp rules inside it, so that JAX differentiates what it computes.

The function is traced to a jaxpr, and the jaxpr is run again equation by equation, as JAX's documentation of custom
interpreters shows; a call with a rule of its own is replaced by what it calls, also in loops and branches.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mlp_jax.verify.subject import Arguments, Leaves, Rule, by_vjp, outputs_of


def by_jax_without_rules(f: Callable[..., Any], arguments: Arguments) -> Rule:
    """The gradients that JAX gives for what f computes, whatever rules of custom_vjp are inside it."""
    return by_vjp(without_rules(outputs_of(f, arguments)), jax.vjp)


def without_rules(outputs: Callable[[Leaves], Leaves]) -> Callable[[Leaves], Leaves]:
    """The same function of leaves, where JAX's own derivatives stand for the rules of custom_vjp."""

    def plain(leaves: Leaves) -> Leaves:
        program = jax.make_jaxpr(lambda *xs: outputs(list(xs)))(*leaves)
        return _run(program.jaxpr, program.consts, leaves)

    return plain


def has_rules(outputs: Callable[[Leaves], Leaves], arguments: Arguments) -> bool:
    """Whether a function calls one with a custom_vjp rule, as far as JAX can trace it."""
    leaves = [jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in arguments.numbers]
    try:
        return "custom_vjp_call" in str(jax.make_jaxpr(lambda *xs: outputs(list(xs)))(*leaves))
    except Exception:  # a function of numpy, or one that needs the values
        return False


def _run(jaxpr: Any, consts: list[Any], inputs: list[Any]) -> list[Any]:
    env = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, inputs, strict=True))

    def read(v: Any) -> Any:
        return v.val if hasattr(v, "val") else env[v]

    for equation in jaxpr.eqns:
        values = [read(v) for v in equation.invars]
        if equation.primitive.name.startswith("custom_vjp_call"):
            called = equation.params["call_jaxpr"]
            results = _run(called.jaxpr, called.consts, values)
        else:
            parameters = {name: _inlined(value) for name, value in equation.params.items()}
            bound = equation.primitive.get_bind_params(parameters)
            functions, parameters = ((), bound) if isinstance(bound, dict) else bound  # by the version of JAX
            results = equation.primitive.bind(*functions, *values, **parameters)
            results = results if equation.primitive.multiple_results else [results]
        env.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _inlined(parameter: Any) -> Any:
    """A jaxpr within an equation, as of a loop, without rules; other parameters as they are."""
    if isinstance(parameter, tuple):
        return tuple(_inlined(part) for part in parameter)
    if not (hasattr(parameter, "jaxpr") and hasattr(parameter, "consts") and "custom_vjp_call" in str(parameter)):
        return parameter
    return jax.make_jaxpr(lambda *xs: _run(parameter.jaxpr, parameter.consts, list(xs)))(*parameter.in_avals)
