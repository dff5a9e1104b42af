"""What is fixed when a training step is compiled."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_jax.mlp.parameters import Params
from mlp_jax.mlp.structure import MLP


class Program(NamedTuple):
    """What is fixed when the training step is compiled; hashable.

    Attributes:
        net: the network.
        optimizer: of optax, with support for extra arguments.
        frozen: the layers, counted from 0, that keep their parameters; no gradient is computed for them.
        microbatches: in how many parts the gradient of a minibatch is computed, one after the other.
        ema: the decay of an exponential moving average of the parameters, which is what the run then gives.
        watch: whether each step says how healthy each layer is.
    """

    net: MLP
    optimizer: optax.GradientTransformationExtraArgs
    frozen: tuple[int, ...] = ()
    microbatches: int = 1
    ema: float | None = None
    watch: bool = False

    def trained(self, layers: Params) -> Any:
        """The entries of the layers that are trained; None for the others."""
        return tuple(None if k in self.frozen else layer for k, layer in enumerate(layers))

    def chosen(self, state: Any) -> Params:
        """The parameters that are evaluated and given: the moving average if there is one, else the last."""
        if state.average is None:
            return state.params
        return jax.tree.map(lambda a, p: a.astype(p.dtype), state.average.params, state.params)


# Options of XLA for single programs on a CPU, with what they gain in docs/speed.md. Its flags, which are the process's,
# stay as they are.
SOONER_COMPILED = (("xla_backend_optimization_level", 1),)
FOR_SMALL_PRODUCTS = (*SOONER_COMPILED, ("xla_cpu_multi_thread_eigen", False))


@cache
def jitted(function: Callable[..., Any], static: tuple[str, ...], options: tuple[tuple[str, Any], ...] = ()) -> Any:
    """`jax.jit` of a function, one for each; with the options where this is a CPU whose XLA knows them."""
    plain = jax.jit(function, static_argnames=static)
    if not options or jax.default_backend() != "cpu":
        return plain
    try:
        jax.jit(lambda: 0, compiler_options=dict(options))()
    except jax.errors.JaxRuntimeError:
        return plain
    return jax.jit(function, static_argnames=static, compiler_options=dict(options))


class Average(NamedTuple):
    """An exponential moving average of parameters, and of how many steps."""

    params: Any
    steps: jax.Array

    @classmethod
    def start(cls, params: Params) -> "Average":
        """Before the first step; in float32 at least."""
        wide = jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params)
        return cls(wide, jnp.array(0))

    def with_next(self, params: Params, decay: float) -> "Average":
        """a_t = Σ_i d^(t−i) p_i / Σ_i d^(t−i), by what p_t adds to a_(t−1): (1 − d) / (1 − d^t) of the difference."""
        steps = self.steps + 1
        share = (1 - decay) / -jnp.expm1(steps * math.log(decay))
        average = jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p.astype(a.dtype) - a), self.params, params)
        return Average(average, steps)


def merged(trained: Any, params: Params) -> Params:
    """The parameters with the entries of the trained layers in their places."""
    return tuple(old if new is None else new for new, old in zip(trained, params, strict=True))
