"""What is wrong in the backward pass of a multilayer perceptron, from the gradients of one example.

For one example all is plain to see. With pre-activations a = h W + b, activations h = f(a) and δ for ∇_a J,

    ∇_b = δ,    ∇_W = hᵀ δ + c W,    δ below = (δ Wᵀ) ∘ f'(a below)

so the gradient for a bias is δ itself, that for W divided by δ is the activation, and δ below divided by δ Wᵀ is f'.
Of the reference these give the unit f; of yours, what you have in place of f', of the activation or of Wᵀ.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.comparison import Comparison
from mlp_jax.verify.compiling import compiled, jit_soon, on_device
from mlp_jax.verify.ours import ELEMENTWISE
from mlp_jax.verify.precision import float64
from mlp_jax.verify.references import as_numbers, evaluate
from mlp_jax.verify.subject import by_jax, first_rows, outputs_of

CLOSE = 1e-4


class Chain(NamedTuple):
    """The layers of a network among the leaves: numbers of weights and biases, first layer first, and the input."""

    W: list[int]
    b: list[int]
    x: np.ndarray


class Step(NamedTuple):
    """One layer at one example: what came in, its pre-activation, δ by the reference and by yours."""

    h: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    yours: np.ndarray


def fault(comparison: Comparison) -> str | None:
    """What the backward pass does in place of the right thing, or None if that is not seen."""
    try:
        return next(_faults(comparison), None)
    except Exception:  # a function that takes no single example, or is no such network
        return None


def _faults(c: Comparison) -> Iterator[str]:
    arguments = c.case.arguments
    args = first_rows(jax.tree.unflatten(arguments.tree, arguments.everything), c.case.values[0], 1)
    single = arguments.at(args)
    with float64():
        leaves = single.upcast()
        outs = compiled(outputs_of(c.case.function, single), c.jit)(leaves)
        rng = np.random.default_rng([c.case.seed, 13])
        g = [on_device(np.asarray(rng.normal(size=np.shape(z)) + 2)) for z in outs]
        g = [on_device(np.ones(()))] if c.case.scalar else g
        right = [x[0] for x in evaluate(compiled(by_jax(c.case.function, single), c.jit), leaves, [g])[1]]
        yours = [x[0] for x in evaluate(compiled(c.case.rule_for(single), c.jit), leaves, [g])[1]]
    numbers = [as_numbers(x) for x in leaves]
    chain = _chain(numbers, [as_numbers(x) for x in single.everything if _is_matrix(x)])
    if chain is None:
        return
    units, steps = _forward(chain, numbers, right, yours)
    for k in reversed(range(len(steps))):
        if k + 1 < len(steps) and not _close(steps[k].yours, steps[k].delta):
            if _close(steps[k + 1].yours, steps[k + 1].delta):
                yield from _back_to(k, chain, numbers, units, steps)
            return
        if k > 0 and not _close(yours[chain.W[k]], right[chain.W[k]]):
            yield from _activation(k, chain, numbers, right, yours, steps)


def _is_matrix(x: Any) -> bool:
    return np.ndim(x) == 2


def _chain(numbers: list[np.ndarray], matrices: list[np.ndarray]) -> Chain | None:
    """Weights that follow upon each other, a bias for each, and rows that enter the first."""
    W = [k for k, x in enumerate(numbers) if x.ndim == 2]
    while len(W) > 1 and numbers[W[-2]].shape[1] != numbers[W[-1]].shape[0]:
        W.pop()  # x and y come last
    if len(W) < 2 or any(numbers[j].shape[1] != numbers[k].shape[0] for j, k in itertools.pairwise(W)):
        return None
    b = [k for k, x in enumerate(numbers) if x.ndim == 1][: len(W)]
    if [numbers[k].shape[0] for k in b] != [numbers[k].shape[1] for k in W]:
        return None
    rows = [x for x in matrices if x.shape == (1, numbers[W[0]].shape[0])]
    return Chain(W, b, rows[0][0]) if rows else None


def _forward(
    chain: Chain, numbers: list[np.ndarray], right: list[np.ndarray], yours: list[np.ndarray]
) -> tuple[list[str], list[Step]]:
    """Go forward with the unit whose f' the reference shows at each hidden layer."""
    h, units, steps = chain.x, [], []
    for k, (w, b) in enumerate(zip(chain.W, chain.b, strict=True)):
        a = h @ numbers[w] + numbers[b]
        steps.append(Step(h, a, right[b], yours[b]))
        if k + 1 == len(chain.W):
            break
        arriving = right[chain.b[k + 1]] @ numbers[chain.W[k + 1]].T
        unit = next(unit for unit in ELEMENTWISE if _close(arriving * _slope(unit, a), right[b]))
        units.append(unit)
        h = _value(unit, a)
    return units, steps


def _back_to(k: int, chain: Chain, numbers: list[np.ndarray], units: list[str], steps: list[Step]) -> Iterator[str]:
    """What stands for f'(a) or for Wᵀ in the step from layer k + 2 back to layer k + 1, counted from 1."""
    yours, W = steps[k].yours, numbers[chain.W[k + 1]]
    arriving = steps[k + 1].delta @ W.T
    unit, a = units[k], steps[k].a
    layer = f"hidden layer {k + 1} ({unit})"
    slope, value = _slope(unit, a), _value(unit, a)
    for instead, what in (
        (np.ones_like(a), f"f' of {layer} is left out"),
        (slope**2, f"f' of {layer} is multiplied twice"),
        (_slope(unit, value), f"f' of {layer} is taken at its activation h, not at its pre-activation a"),
        (value, f"the activation of {layer} stands in place of its f'"),
        (a, f"the pre-activation of {layer} stands in place of its f'"),
        *(
            (_slope(units[j], steps[j].a), f"f' of hidden layer {j + 1} stands in place of that of {layer}")
            for j in range(len(units))
            if j != k and steps[j].a.shape == a.shape
        ),
    ):
        if _close(yours, arriving * instead):
            yield what
    if W.shape[0] == W.shape[1] and _close(yours, (steps[k + 1].delta @ W) * slope):
        yield f"the weights of layer {k + 2} are not transposed on the way back"
    for j, w in enumerate(chain.W):
        if j != k + 1 and numbers[w].shape == W.shape and _close(yours, (steps[k + 1].delta @ numbers[w].T) * slope):
            yield f"the weights of layer {j + 1} stand in place of those of layer {k + 2} on the way back"


def _activation(
    k: int, chain: Chain, numbers: list[np.ndarray], right: list[np.ndarray], yours: list[np.ndarray], steps: list[Step]
) -> Iterator[str]:
    """What stands for the activation in the gradient for the weights of layer k + 1."""
    W, delta = numbers[chain.W[k]], steps[k].delta
    term = right[chain.W[k]] - np.outer(steps[k].h, delta)  # of a penalty
    h = (yours[chain.W[k]] - term) @ delta / (delta @ delta)
    if not _close(np.outer(h, delta), yours[chain.W[k]] - term) or W.size < 2:
        return
    if _close(h, steps[k - 1].a):
        yield f"the gradient for the weights of layer {k + 1} has the pre-activation of layer {k}, not its activation"
    for j, step in enumerate(steps):
        if j != k and step.h.shape == h.shape and _close(h, step.h):
            which = "the input x" if j == 0 else f"the activation of layer {j}"
            yield f"the gradient for the weights of layer {k + 1} has {which}, not the activation of layer {k}"


def _value(unit: str, a: np.ndarray) -> np.ndarray:
    return _units(a)[unit][0]


def _slope(unit: str, a: np.ndarray) -> np.ndarray:
    return _units(a)[unit][1]


def _units(a: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """f(a) and f'(a) of each unit."""
    with float64():
        found = _program()(on_device(a))
    return {unit: (as_numbers(h), as_numbers(slope)) for unit, (h, slope) in found.items()}


@cache
def _program() -> Callable[[jax.Array], dict[str, tuple[jax.Array, jax.Array]]]:
    return jit_soon(lambda a: {unit: jax.jvp(f, (a,), (jnp.ones_like(a),)) for unit, f in ELEMENTWISE.items()})


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= CLOSE * np.max(np.abs(b), initial=0))
