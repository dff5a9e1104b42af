"""Hidden units (section 6.3): the nonlinearity h = f(a) of a layer and the initializer that suits it.

| unit            | f(a)                              | f'(a)               | f' at a kink            |
|-----------------|-----------------------------------|---------------------|-------------------------|
| relu            | max{0, a}                         | 1 where a > 0       | 0 at a = 0              |
| absolute        | abs(a)                            | sign a              | 0 at a = 0              |
| leaky_relu      | max{0, a} + s min{0, a}, s = 0.01 | 1 or s              | s at a = 0              |
| parametric_relu | the same, s learned for each unit | 1 or s              | s at a = 0              |
| maxout          | the largest of k pre-activations  | 1 for the largest   | an equal share at a tie |
| sigmoid         | 1 / (1 + e^−a)                    | h σ(−a)             | smooth                  |
| tanh            | tanh a                            | 1 − h²              | smooth                  |
| hard_tanh       | max{−1, min{1, a}}                | 1 where abs(a) < 1  | 0 at a = ±1             |
| softplus        | log(1 + e^a)                      | σ(a)                | smooth                  |
| rbf             | exp(−mean (h − C)² e^b)           | of the exponent: h  | smooth                  |
| softmax         | softmax(a) over the layer's units | h_i (δ_ij − h_j)    | smooth                  |
| cosine          | cos a                             | −sin a              | smooth                  |
| linear          | a                                 | 1                   | smooth                  |
| elu             | a, or s (e^a − 1) where a < 0     | 1 or s e^a, s = 1   | s at a = 0              |
| gelu            | ½ a (1 + tanh u(a))               | of that             | smooth                  |
| silu            | a σ(a)                            | σ(a) (1 + a σ(−a))  | smooth                  |

In gelu, u = √(2/π) (a + 0.044715 a³), as in `ops.gelu`, `jax.nn.gelu` and flax. What it approximates, a Φ(a), differs
by 5e-4 at most and is `gelu(approximate=False)`, in a configuration `{name: gelu, approximate: false}`. Plain `gelu`
meant that one until it had this argument: runs of that time need it in their configuration.

A radial basis unit measures how far the inputs h are from a centre C, a column of the layer's W; b is the log of
its precision, so that σ² of the book is n_in e^−b.

`HIDDEN_UNITS` is the one list of them: configurations take their names and arguments from it. To add one, write its
operation in `autodiff/operations/activations.py` if there is none yet, and a line here.

Sources: the book, section 6.3; He et al. 2015 (parametric_relu); Goodfellow et al. 2013 (maxout); Clevert et al. 2016
(elu); Hendrycks & Gimpel 2016 (gelu); Elfwing et al. 2018 (silu).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlp_jax.lazily import jnp, ops
from mlp_jax.mlp.checks import finite, whole

if TYPE_CHECKING:
    from mlp_jax.autodiff.operation import Array, Operation


@dataclass(frozen=True)
class HiddenUnit:
    """A hidden unit: h = operation(a, *theta, **attributes), and what a layer of it needs.

    Attributes:
        name: what it is called in configurations.
        operation: of the pre-activations (n, pieces · units) and the unit's own parameters, to (n, units): the name of
            one in `ops`, or an `Operation`.
        initializer: the name of the one that suits the layer's weights.
        pieces: pre-activations for each unit.
        theta: the initial value of the parameter that each unit has of its own, or None if it has none.
        attributes: of the operation, as pairs, so that a unit can be hashed.
        radial: whether the pre-activation is a distance to centres, and not affine.
    """

    name: str
    operation: str | Operation
    initializer: str
    pieces: int = 1
    theta: float | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    radial: bool = False

    @property
    def f(self) -> Operation:
        """The operation itself."""
        return getattr(ops, self.operation) if isinstance(self.operation, str) else self.operation

    def __call__(self, a: Array, *theta: Array) -> Any:
        """The activations f(a), (n, pieces · units) -> (n, units)."""
        return self.f(a, *theta, **dict(self.attributes))

    @property
    def is_elementwise(self) -> bool:
        """Whether h is a function of a alone, entry by entry."""
        return self.pieces == 1 and self.theta is None and not self.radial and self.f is not ops.softmax

    def gradients(self, g: Array, h: Array, a: Array, *theta: Array) -> list[Any]:
        """∇_a J, and that of the unit's own parameters if it has them, for g = ∇_h J."""
        return self.f.gradients(tuple(range(1 + len(theta))), g, h, (a, *theta), dict(self.attributes))

    def pre_activation(self, h: Array, W: Array, b: Array) -> tuple[Operation, tuple[Any, ...]]:
        """The operation that gives the pre-activations of a layer, and its inputs h, W and, if there is one, b."""
        if self.radial:
            return ops.radial, (h, W, jnp.zeros(W.shape[1], W.dtype) if b is None else b)
        return (ops.matmul, (h, W)) if b is None else (ops.affine, (h, W, b))


def leaky_relu(slope: float = 0.01) -> HiddenUnit:
    """The unit max{0, a} + slope · min{0, a}.

    >>> import jax.numpy as jnp
    >>> leaky_relu(0.5)(jnp.array([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """
    return HiddenUnit("leaky_relu", "leaky_relu", "he", attributes=(("negative_slope", finite("slope", slope)),))


def elu(slope: float = 1.0) -> HiddenUnit:
    """The exponential linear unit: a, or slope · (e^a − 1) where a < 0."""
    return HiddenUnit("elu", "elu", "he", attributes=(("alpha", finite("slope", slope)),))


def gelu(approximate: bool = True) -> HiddenUnit:
    """The Gaussian error linear unit: a Φ(a), or its approximation by tanh.

    >>> import jax.numpy as jnp
    >>> [round(float(unit(jnp.array(1.0))), 4) for unit in (gelu(), gelu(approximate=False))]
    [0.8412, 0.8413]
    """
    return HiddenUnit("gelu", "gelu", "he", attributes=(("approximate", bool(approximate)),))


def maxout(pieces: int = 2) -> HiddenUnit:
    """The largest of `pieces` pre-activations: a layer of n units has n · pieces columns in W, a unit's side by side.

    >>> import jax.numpy as jnp
    >>> maxout(2)(jnp.array([[1.0, 4.0, 3.0, 2.0]])).tolist()
    [[4.0, 3.0]]
    """
    pieces = whole("the pieces of maxout", pieces)
    return HiddenUnit("maxout", "maxout", "he", pieces=pieces, attributes=(("pieces", pieces),))


# Those that are made with arguments, which all have defaults.
MADE: dict[str, Callable[..., HiddenUnit]] = {"leaky_relu": leaky_relu, "maxout": maxout, "elu": elu, "gelu": gelu}

HIDDEN_UNITS = {
    unit.name: unit
    for unit in (
        HiddenUnit("relu", "relu", "he"),
        HiddenUnit("absolute", "abs", "he"),
        leaky_relu(),
        HiddenUnit("parametric_relu", "parametric_relu", "he", theta=0.25),
        maxout(),
        HiddenUnit("sigmoid", "sigmoid", "glorot"),
        HiddenUnit("tanh", "tanh", "glorot"),
        HiddenUnit("hard_tanh", "hard_tanh", "glorot"),
        HiddenUnit("softplus", "softplus", "he"),
        HiddenUnit("rbf", "exp", "unit_normal", radial=True),
        HiddenUnit("softmax", "softmax", "glorot"),
        HiddenUnit("cosine", "cos", "glorot"),
        HiddenUnit("linear", "identity", "glorot"),
        elu(),
        gelu(),
        HiddenUnit("silu", "silu", "he"),
    )
}
