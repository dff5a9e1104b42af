"""What is wrong in the backward pass of a multilayer perceptron, from the gradients of one example.

For one example all is plain to see. With pre-activations a = h W + b, activations h = f(a) and δ for ∇_a J,

    ∇_b = δ,    ∇_W = hᵀ δ + c W,    δ below = (δ Wᵀ) ∘ f'(a below)

so the gradient for a bias is δ itself, that for W divided by δ is the activation, and δ below divided by δ Wᵀ is f'.
Of the reference these give the unit f; of yours, what you have in place of f', of the activation or of Wᵀ.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify.compiled import as_numbers, compiled_soon, float64
from mlp_jax.verify.examples import first_rows
from mlp_jax.verify.ours import elementwise_units
from mlp_jax.verify.table import Table

CLOSE = 1e-4


class Unit(NamedTuple):
    """A unit at a pre-activation a: h = f(a), and f'(a)."""

    name: str
    value: np.ndarray
    slope: np.ndarray


class Layer(NamedTuple):
    """One layer at one example: weights, what comes in, gradients (those for b are δ), and the unit behind it."""

    W: np.ndarray
    h: np.ndarray
    a: np.ndarray
    right_W: np.ndarray
    right_b: np.ndarray
    your_W: np.ndarray
    your_b: np.ndarray
    unit: Unit | None = None


def fault(checked: Any, table: Table) -> str | None:
    """What the backward pass does in place of the right thing, or None if that is not seen."""
    places = _weights(table.leaves)
    if len(places) < 2:
        return None
    arguments = checked.arguments
    try:
        args = first_rows(jax.tree.unflatten(arguments.tree, arguments.everything), table.values[0].shape, 1)
        alone = checked.again(args).experiment
        single = alone.table(alone.leaves)
    except Exception:  # the user's function may take no single example
        return None
    inputs = [x for x in jax.tree.leaves(args) if np.shape(x) == (1, single.leaves[places[0][0]].shape[0])]
    if single.reference is None or not inputs:
        return None
    return next(faults(_forward(single, np.asarray(inputs[0], float)[0], places)), None)


def _weights(leaves: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Numbers of the weights that follow upon each other, each with that of its bias."""
    matrices, vectors = ([k for k, x in enumerate(leaves) if x.ndim == ndim] for ndim in (2, 1))
    places: list[tuple[int, int]] = []
    for W, b in zip(matrices, vectors, strict=False):
        follows = not places or leaves[W].shape[0] == leaves[places[-1][1]].size
        if not follows or leaves[W].shape[1] != leaves[b].size:
            break
        places.append((W, b))
    return places


def _forward(table: Table, x: np.ndarray, places: Sequence[tuple[int, int]]) -> list[Layer]:
    """Go forward with the unit whose f' the reference shows at each hidden layer; nothing if one is not known."""
    assert table.reference
    layers: list[Layer] = []
    h = x
    for (W, b), above in itertools.zip_longest(places, places[1:]):
        gradients = [of[k][0] for of in (table.reference, table.yours) for k in (W, b)]
        layer = Layer(table.leaves[W], h, h @ table.leaves[W] + table.leaves[b], *gradients)
        if above is not None:
            arriving = table.reference[above[1]][0] @ table.leaves[above[0]].T
            fitting = (u for u in units(layer.a) if _close(arriving * u.slope, layer.right_b))
            if (unit := next(fitting, None)) is None:
                return []
            layer, h = layer._replace(unit=unit), unit.value
        layers.append(layer)
    return layers


def faults(layers: Sequence[Layer]) -> Iterator[str]:
    """What fits, from the last layer to the first: only where all behind is right."""
    for k in reversed(range(len(layers))):
        if not _close(layers[k].your_b, layers[k].right_b):
            if k + 1 < len(layers):
                yield from _back_to(k, layers)
            return
        if k > 0 and not _close(layers[k].your_W, layers[k].right_W):
            yield from _activation(k, layers)


def _back_to(k: int, layers: Sequence[Layer]) -> Iterator[str]:
    """What stands for f'(a) or for Wᵀ in the step from layer k + 2 back to layer k + 1, counted from 1."""
    yours, unit, a = layers[k].your_b, layers[k].unit, layers[k].a
    delta, W = layers[k + 1].right_b, layers[k + 1].W
    assert unit
    layer = f"hidden layer {k + 1} ({unit.name})"
    at_value = next(u for u in units(unit.value) if u.name == unit.name)
    instead = [
        (np.ones_like(a), f"f' of {layer} is left out"),
        (unit.slope**2, f"f' of {layer} is multiplied twice"),
        (at_value.slope, f"f' of {layer} is taken at its activation h, not at its pre-activation a"),
        (unit.value, f"the activation of {layer} stands in place of its f'"),
        (a, f"the pre-activation of {layer} stands in place of its f'"),
    ]
    for j, other in enumerate(layers):
        if j != k and other.unit and other.a.shape == a.shape:
            instead.append((other.unit.slope, f"f' of hidden layer {j + 1} stands in place of that of {layer}"))
    instead += [(u.slope, f"f' of {u.name} stands in place of that of {layer}") for u in units(a)]
    yield from (what for slope, what in instead if _close(yours, (delta @ W.T) * slope))
    if W.shape[0] == W.shape[1] and _close(yours, (delta @ W) * unit.slope):
        yield f"the weights of layer {k + 2} are not transposed on the way back"


def _activation(k: int, layers: Sequence[Layer]) -> Iterator[str]:
    """What stands for the activation in the gradient for the weights of layer k + 1."""
    layer, delta = layers[k], layers[k].right_b
    yours = layer.your_W - (layer.right_W - np.outer(layer.h, delta))  # without the term of a penalty
    h = yours @ delta / (delta @ delta)
    if not _close(np.outer(h, delta), yours):
        return
    if _close(h, layers[k - 1].a):
        yield f"the gradient for the weights of layer {k + 1} has the pre-activation of layer {k}, not its activation"
    for j, other in enumerate(layers):
        if j != k and _close(h, other.h):
            which = "the input x" if j == 0 else f"the activation of layer {j}"
            yield f"the gradient for the weights of layer {k + 1} has {which}, not the activation of layer {k}"


def units(a: np.ndarray) -> list[Unit]:
    """All units at a; compiled once for vectors of up to 64 entries, once for those of up to 128, and so on."""
    with float64():
        found = _all_units()(jnp.asarray(np.pad(a, (0, -a.size % 64), mode="edge")))
        return [Unit(name, *(as_numbers(part)[: a.size] for part in parts)) for name, parts in found.items()]


@functools.cache
def _all_units() -> Callable[[jax.Array], dict[str, tuple[jax.Array, jax.Array]]]:
    return compiled_soon(
        lambda a: {name: jax.jvp(f, (a,), (jnp.ones_like(a),)) for name, f in elementwise_units().items()}
    )


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= CLOSE * np.max(np.abs(b), initial=0))
