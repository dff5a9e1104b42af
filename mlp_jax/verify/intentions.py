"""What a rule is meant to be, where that is not the derivative of its function: declared once, beside the rule."""

import weakref
from typing import Any

from mlp_jax.verify.arguments import AnyFunction, name_of
from mlp_jax.verify.report import CannotCheck

_meant: "weakref.WeakKeyDictionary[Any, AnyFunction]" = weakref.WeakKeyDictionary()


def intended(rule: AnyFunction, reference: AnyFunction) -> AnyFunction:
    """Declare that a rule is meant to give the gradient of another function: every check then holds it to that one.

    The values stay those of the rule's own function, as a surrogate's do; `reference=` of a check, if given, comes
    first. A declaration is of this object, not of functions that call it, and ends with it.

    Args:
        rule: the function that will be checked, as a `custom_vjp`.
        reference: a function of the same arguments, with outputs of the same shapes; its `jax.vjp` is what is meant.

    Returns:
        The rule.

    Raises:
        CannotCheck: one is no function, or Python cannot remember anything about the rule.

    >>> import jax, jax.numpy as jnp
    >>> from mlp_jax import verify
    >>> @jax.custom_vjp
    ... def spike(x):
    ...     return jnp.heaviside(x, 0.0)
    >>> spike.defvjp(lambda x: (spike(x), x), lambda x, g: (g * jax.nn.sigmoid(4 * x) * jax.nn.sigmoid(-4 * x) * 4,))
    >>> report = verify.check_vjp(verify.intended(spike, reference=lambda x: jax.nn.sigmoid(4 * x)), jnp.array([0.3]))
    >>> report.passed, report.leaves[0].verdict.name
    (True, 'OK')
    """
    if not (callable(rule) and callable(reference)):
        raise CannotCheck("a rule and its reference must be functions, as in intended(rule, reference=smooth)")
    try:
        _meant[rule] = reference
    except TypeError as error:
        raise CannotCheck(
            f"nothing can be declared of {name_of(rule)}: {error}; give check_vjp the reference"
        ) from error
    return rule


def declared(rule: AnyFunction) -> AnyFunction | None:
    """The function whose gradient a rule is meant to give, if that was declared."""
    try:
        return _meant.get(rule)
    except TypeError:  # it cannot be declared of
        return None
