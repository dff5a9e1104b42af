"""Branches: one of several functions of operations, chosen by a number that is computed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.control.body import Body, as_array, closed, leaves_of
from mlp_jax.autodiff.inference import as_type
from mlp_jax.autodiff.operation import Operation
from mlp_jax.autodiff.operations.adapter import pull_back
from mlp_jax.autodiff.tracing import trace
from mlp_jax.autodiff.transforms import vjp
from mlp_jax.autodiff.variable import Variable


def _switch_rule(g: Any, out: Any, index: Any, *inputs: Any, branches: tuple[Body, ...]) -> tuple[Any, ...]:
    """The pullback of the branch that was taken."""

    def pullback(branch: Body) -> Callable[..., Any]:
        return lambda g, inputs: pull_back(vjp, branch, inputs, g)

    return (None, *switch(index, [pullback(branch) for branch in branches], g, inputs))


_switch = Operation("switch", lambda index, *inputs, branches: jax.lax.switch(index, branches, *inputs), _switch_rule)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`, as `jax.lax.switch`; the branches, of operations, return values of one type.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: switch(1, [lambda x: x, lambda x: x * x], x))(3.0))
    6.0
    """
    leaves, tree = leaves_of(operands)
    each = [closed(f, [*map(as_type, leaves)], tree) for f in branches]
    structures = [structure for *_, structure in each]
    if len({str(structure) for structure in structures}) != 1:
        raise TypeError(f"branches must return one structure, got {[*map(str, structures)]}")
    outer = list({u: None for _, read, _ in each for u in read})
    place = {u: k for k, u in enumerate(outer, start=len(leaves))}
    types = [*map(as_type, leaves), *map(as_type, outer)]

    def of_all(body: Body, read: list[Variable]) -> Body:
        """A branch as a function of what any of them reads."""
        places = [*range(len(leaves)), *(place[u] for u in read)]
        return Body(trace(lambda *xs: body(*(xs[k] for k in places)), *types))

    bodies = tuple(of_all(body, read) for body, read, _ in each)
    return structures[0].unflatten(_switch(as_array(index), *leaves, *outer, branches=bodies))


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """true_fun(*operands) where pred holds, else false_fun(*operands), as `jax.lax.cond`; see `switch`.

    >>> from mlp_jax.autodiff import grad
    >>> float(grad(lambda x: cond(x > 0, lambda x: x * x, lambda x: -x, x))(3.0))
    6.0
    """
    return switch(ops.asarray(pred).astype("int32"), (false_fun, true_fun), *operands)
