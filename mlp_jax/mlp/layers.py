"""A layer, and a stack of equal layers: each knows its two directions, which are a step of Algorithms 6.3 and 6.4."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operation import Operation, Traced
from mlp_jax.autodiff.variable import named
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, HiddenUnit
from mlp_jax.mlp.lookup import lookup
from mlp_jax.mlp.params import Layer, LayerWithTheta, Params, stacked_layers
from mlp_jax.mlp.precision import IN_BFLOAT16
from mlp_jax.mlp.structure import MLP

Array = Any  # of JAX, or a variable of the tracer
Own = Layer | LayerWithTheta  # a layer's own parameters W, b and those of its units, or the gradient for them


@dataclass(frozen=True)
class Dense:
    """Hidden layer k, counted from 0: a = h W + b and h ← f(a), or f(a) + h with a skip connection.

    Shapes: h (n, n_in), a (n, pieces · units), f(a) (n, units).
    """

    net: MLP
    k: int
    unit: HiddenUnit

    def forward(self, own: Own, h: Array) -> tuple[tuple[Array, Array], Array]:
        """From h^(k): a^(k+1) and h^(k+1) for the tape, and what goes into the next layer, h^(k+1)."""
        operation, inputs = self.pre_activation(own, h)
        a = named(operation(*inputs), f"a{self.k + 1}")
        h = named(self._activations(own, a, h), f"h{self.k + 1}")
        return (a, h), h

    def backward(
        self, own: Own, a: Array, h: Array, h_in: Array, g: Array, to_inputs: bool = True
    ) -> tuple[Array, Own]:
        """From g = ∇_h^(k+1) J: ∇_h^(k) J, if wanted, and the gradient of the data cost for the layer's parameters.

        Args:
            own: the layer's parameters.
            a: the pre-activations a^(k+1).
            h: the activations h^(k+1).
            h_in: those that went in, h^(k).
            g: the gradient that arrives.
            to_inputs: whether the gradient for h^(k) is wanted.
        """
        g_a, *g_theta = self.through_unit(own, a, h, g)
        operation, inputs = self.pre_activation(own, h_in)
        g_W, *g_b = (operation.gradient(i, g_a, a, *inputs) for i in range(1, len(inputs)))  # h_inᵀ g and Σ_i g_i
        grad = type(own)(g_W, g_b[0] if own.b is not None else None, *g_theta)
        return self.through_inputs(own, a, h_in, g_a, g) if to_inputs else None, grad

    def through_unit(self, own: Own, a: Array, h: Array, g: Array) -> list[Array]:
        """From g = ∇_h^(k+1) J: ∇_a^(k+1) J, and the gradient for the parameters that the units have of their own."""
        f = self.unit(a, *own[2:]) if self.skips else h
        return self.unit.gradients(g, f, a, *own[2:])  # g ∘ f'(a)

    def through_inputs(self, own: Own, a: Array, h_in: Array, g_a: Array, g: Array) -> Array:
        """From ∇_a^(k+1) J and g = ∇_h^(k+1) J: ∇_h^(k) J."""
        operation, inputs = self.pre_activation(own, h_in)
        g_in = operation.gradient(0, g_a, a, *inputs)  # g Wᵀ
        return g_in + g if self.skips else g_in

    def pre_activation(self, own: Own, h: Array) -> tuple[Operation, Sequence[Array]]:
        """The operation that gives a^(k+1), and its inputs: h^(k), W and, if there is one, b."""
        operation, inputs = self.unit.pre_activation(h, own.W, own.b)
        if self.k == 0 and self.net.categories:
            operation = lookup(self.net.categories)
        return (IN_BFLOAT16.get(operation, operation) if self.net.products else operation), inputs

    @property
    def skips(self) -> bool:
        """Whether h^(k) is added to what the units put out."""
        return self.net.skip[self.k]

    def last(self, h: Array) -> Array:
        """What goes into the next layer, of the activations on a tape."""
        return h

    def inputs(self, h: Array, h_in: Array) -> Array:
        """What goes into the layer, of the activations on a tape and those of the layer before."""
        return h_in

    def penalised(self, own: Own) -> dict[str, Array]:
        """Those of its parameters that the network's penalty is on."""
        penalty = self.net.penalty
        leaves = own._asdict().items() if penalty else ()
        return {name: leaf for name, leaf in leaves if leaf is not None and penalty and penalty.touches(self.k, name)}

    def _activations(self, own: Own, a: Array, h: Array) -> Array:
        f = self.unit(a, *own[2:])
        return f + h if self.skips else f


@dataclass(frozen=True)
class Output(Dense):
    """The output layer: a are the logits z, those of linear units, from which the output unit predicts ŷ."""

    def through_unit(self, own: Own, a: Array, h: Array, g: Any) -> list[Array]:
        """g itself, which is what `cost.gradient` gives: ∇_a J, and that for the unit's parameters."""
        return g

    @property
    def skips(self) -> bool:
        """Never."""
        return False

    def _activations(self, own: Own, a: Array, h: Array) -> Array:
        return self.net.output_unit.predict(a)


@dataclass(frozen=True)
class Stacked:
    """A run of m equal hidden layers as one loop: their parameters, a and h have a leading axis of length m."""

    layer: Dense

    def forward(self, own: Own, h: Array) -> tuple[tuple[Array, Array], Array]:
        """From what goes into the first, a and h of each for the tape, (m, n, …), and what the last puts out."""

        def step(h: Array, own: Any) -> tuple[Array, tuple[Array, Array]]:
            a_and_h, h = self.layer.forward(own, h)
            return h, a_and_h

        is_traced = any(isinstance(x, Traced) for x in (h, *jax.tree.leaves(own)))
        h, a_and_h = (ops.scan if is_traced else jax.lax.scan)(step, h, own)
        return a_and_h, h

    def backward(
        self, own: Own, a: Array, h: Array, h_in: Array, g: Array, to_inputs: bool = True
    ) -> tuple[Array, Own]:
        """From the gradient for what the last put out, that for what went into the first and for all parameters.

        One step of the loop is like another: also the first layer has the gradient for its inputs.
        """

        def step(g: Array, of_layer: Any) -> tuple[Array, Own]:
            own, a, h_here, i = of_layer
            before = jnp.where(i > 0, h[jnp.maximum(i - 1, 0)], h_in)  # in place of a copy of h, shifted by one
            return self.layer.backward(own, a, h_here, before, g)

        return jax.lax.scan(step, g, (own, a, h, jnp.arange(len(h))), reverse=True)

    def last(self, h: Array) -> Array:
        """What goes into the next layer, of the activations of all."""
        return h[-1]

    def inputs(self, h: Array, h_in: Array) -> Array:
        """What goes into each layer, (m, n, …)."""
        return jnp.concatenate([h_in[None], h[:-1]])

    def penalised(self, own: Own) -> dict[str, Array]:
        """Those of their parameters that the network's penalty is on."""
        return self.layer.penalised(own)


def layers(net: MLP, params: Params) -> list[Dense | Stacked]:
    """The network's layers, one for each entry of its parameters."""
    units = (*net.hidden_units, HIDDEN_UNITS["linear"])
    found: list[Dense | Stacked] = []
    k = 0
    for own in params:
        m = stacked_layers(own)
        layer = (Output if k == len(net.hidden) else Dense)(net, k, units[k])
        found.append(layer if m is None else Stacked(layer))
        k += m or 1
    return found
