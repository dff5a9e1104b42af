"""Operations of jax.numpy with adjoints and tangents written by hand, and with faults that people make in them.

They are what `generated` makes its programs of. A builder is given random numbers and the shapes of its inputs, and
returns an operation, or None where the shapes do not fit. No derivative here is JAX's own.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import erf

Rng = np.random.Generator
Shape = tuple[int, ...]
Function = Callable[..., Any]


class Op(NamedTuple):
    """An operation: y = f(*xs); adjoint(g, y, *xs) for each x; tangent(ts, y, *xs), or None; adjoints with a fault."""

    name: str
    f: Function
    adjoint: Function
    tangent: Function | None = None
    faults: dict[str, Function] = {}  # noqa: RUF012

    def fault(self, kind: str) -> Function:
        """One of the faulty adjoints."""
        return self.faults[kind]


# --- elementwise ---------------------------------------------------------------------------------------------


def fit(g: Any, x: Any, reduce: Function = jnp.sum) -> Any:
    """The cotangent of an input that was broadcast: summed over what it was broadcast along."""
    g = reduce(g, axis=tuple(range(g.ndim - x.ndim)))
    axes = tuple(k for k, n in enumerate(x.shape) if n == 1 and g.shape[k] != 1)
    return reduce(g, axis=axes, keepdims=True) if axes else g


def first(g: Any, axis: tuple[int, ...], keepdims: bool = False) -> Any:
    """A faulty sum: its first term alone."""
    for k in sorted(axis, reverse=True):
        g = g[(slice(None),) * k + (slice(0, 1) if keepdims else 0,)]
    return g


def elementwise(name: str, f: Function, partials: Function, *shapes: Shape) -> Op:
    """Of inputs that broadcast; partials(*xs) has df/dx for each."""

    def adjoint(change: Function = lambda ds, y, xs: ds, reduce: Function = jnp.sum) -> Function:
        def rule(g: Any, y: Any, *xs: Any) -> Any:
            ds = change(partials(*xs), y, xs)
            return tuple(fit(jnp.broadcast_to(g * d, g.shape), x, reduce) for d, x in zip(ds, xs, strict=True))

        return rule

    def wrong_axis(g: Any, y: Any, *xs: Any) -> Any:
        square = g.ndim == 2 and g.shape[0] == g.shape[1]
        g = [g.T if square and x.ndim == 1 else g for x in xs]
        return tuple(fit(jnp.broadcast_to(h * d, h.shape), x) for h, d, x in zip(g, partials(*xs), xs, strict=True))

    def tangent(ts: Any, y: Any, *xs: Any) -> Any:
        return jnp.broadcast_to(sum(t * d for t, d in zip(ts, partials(*xs), strict=True)), y.shape)

    faults = {
        "f' at the output": adjoint(lambda ds, y, xs: partials(y)),
        "f' left out": adjoint(lambda ds, y, xs: [1.0]),
        "f' squared": adjoint(lambda ds, y, xs: [ds[0] ** 2]),
    }
    if len(shapes) > 1:
        faults = {
            "partials swapped": adjoint(lambda ds, y, xs: ds[::-1]),
            "partials at swapped inputs": adjoint(lambda ds, y, xs: partials(*xs[::-1])),
        }
    if len(set(shapes)) > 1:
        faults = {
            "mean over what was broadcast": adjoint(reduce=jnp.mean),
            "sum over what was broadcast forgotten": adjoint(reduce=first),
            "broadcast along the other axis": wrong_axis,
        }
    return Op(name, f, adjoint(), tangent, faults)


# A function and its derivative, or its partial derivatives.
# fmt: off
UNARY: dict[str, tuple[Function, Function]] = {
    "tanh": (jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2),
    "sigmoid": (jax.nn.sigmoid, lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),
    "softplus": (jax.nn.softplus, jax.nn.sigmoid),
    "sin": (jnp.sin, jnp.cos),
    "cos": (lambda x: jnp.cos(2 * x), lambda x: -2 * jnp.sin(2 * x)),
    "exp": (lambda x: jnp.exp(x / 2), lambda x: jnp.exp(x / 2) / 2),
    "expm1": (lambda x: jnp.expm1(-x), lambda x: -jnp.exp(-x)),
    "square": (jnp.square, lambda x: 2 * x),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "root": (lambda x: jnp.sqrt(x**2 + 0.1), lambda x: x / jnp.sqrt(x**2 + 0.1)),
    "log": (lambda x: jnp.log(x**2 + 0.5), lambda x: 2 * x / (x**2 + 0.5)),
    "reciprocal": (lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2),
    "rsqrt": (lambda x: lax.rsqrt(1 + x**2), lambda x: -x / (1 + x**2) ** 1.5),
    "abs": (jnp.abs, jnp.sign),
    "relu": (lambda x: jnp.maximum(x, 0), lambda x: (x > 0).astype(x.dtype)),
    "relu with 1 at 0": (jax.nn.relu, lambda x: (x >= 0).astype(x.dtype)),
    "leaky relu": (lambda x: jnp.where(x > 0, x, 0.1 * x), lambda x: jnp.where(x > 0, 1, 0.1).astype(x.dtype)),
    "elu": (jax.nn.elu, lambda x: jnp.where(x > 0, 1, jnp.exp(jnp.minimum(x, 0)))),
    "gelu": (lambda x: x * _normal(x), lambda x: _normal(x) + x * jnp.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)),
    "silu": (jax.nn.silu, lambda x: jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(-x))),
    "arctan": (jnp.arctan, lambda x: 1 / (1 + x**2)),
    "clip": (lambda x: jnp.clip(x, -1, 1), lambda x: (jnp.abs(x) < 1).astype(x.dtype)),
    "softsign": (lambda x: x / (1 + jnp.abs(x)), lambda x: 1 / (1 + jnp.abs(x)) ** 2),
    "hinge": (lambda x: jnp.maximum(1 - x, 0), lambda x: -(x < 1).astype(x.dtype)),
    "huber": (lambda x: jnp.where(jnp.abs(x) < 1, x**2 / 2, jnp.abs(x) - 0.5), lambda x: jnp.clip(x, -1, 1)),
    "x |x|": (lambda x: x * jnp.abs(x), lambda x: 2 * jnp.abs(x)),
    "stopped": (lambda x: x * lax.stop_gradient(jnp.sin(x)), jnp.sin),
}
BINARY: dict[str, tuple[Function, Function]] = {
    "add": (lambda x, y: x + y, lambda x, y: (1.0, 1.0)),
    "subtract": (lambda x, y: x - y, lambda x, y: (1.0, -1.0)),
    "multiply": (lambda x, y: x * y, lambda x, y: (y, x)),
    "divide": (lambda x, y: x / (y**2 + 0.5), lambda x, y: (1 / (y**2 + 0.5), -2 * x * y / (y**2 + 0.5) ** 2)),
    "gate": (lambda x, y: x * jax.nn.sigmoid(y),
             lambda x, y: (jax.nn.sigmoid(y), x * jax.nn.sigmoid(y) * jax.nn.sigmoid(-y))),
    "maximum": (jnp.maximum, lambda x, y: ((x >= y).astype(x.dtype), (x < y).astype(x.dtype))),
    "minimum": (jnp.minimum, lambda x, y: (_share(x < y, x == y, x.dtype), _share(y < x, x == y, x.dtype))),
    "where": (lambda x, y: jnp.where(x > 0.123, y, x * y),
              lambda x, y: (jnp.where(x > 0.123, 0, y), jnp.where(x > 0.123, 1, x))),
    "logaddexp": (jnp.logaddexp, lambda x, y: (jax.nn.sigmoid(x - y), jax.nn.sigmoid(y - x))),
    "hypot": (lambda x, y: jnp.sqrt(x**2 + y**2 + 0.1),
              lambda x, y: (x / jnp.sqrt(x**2 + y**2 + 0.1), y / jnp.sqrt(x**2 + y**2 + 0.1))),
    "power": (lambda x, y: (x**2 + 0.5) ** y,
              lambda x, y: (2 * x * y * (x**2 + 0.5) ** (y - 1), jnp.log(x**2 + 0.5) * (x**2 + 0.5) ** y)),
    "arctan2": (lambda x, y: jnp.arctan2(x, y**2 + 0.5),
                lambda x, y: ((y**2 + 0.5) / (x**2 + (y**2 + 0.5) ** 2), -2 * x * y / (x**2 + (y**2 + 0.5) ** 2))),
    "squared difference": (lambda x, y: (x - y) ** 2 / 2, lambda x, y: (x - y, y - x)),
    "times a stopped": (lambda x, y: x * lax.stop_gradient(y), lambda x, y: (y, 0.0)),
}
TERNARY: dict[str, tuple[Function, Function]] = {
    "x y + z": (lambda x, y, z: x * y + z, lambda x, y, z: (y, x, 1.0)),
    "select": (lambda x, y, z: jnp.where(x > 0.123, y, jnp.sin(z)),
               lambda x, y, z: (0.0, x > 0.123, jnp.where(x > 0.123, 0, jnp.cos(z)))),
}
# fmt: on


def _normal(x: Any) -> Any:
    return (1 + erf(x / math.sqrt(2))) / 2


def _share(above: Any, tie: Any, dtype: Any) -> Any:
    return jnp.where(tie, 0.5, above).astype(dtype)


def broadcasts(*shapes: Shape) -> bool:
    """Whether shapes broadcast, to a size that is not large."""
    try:
        return math.prod(np.broadcast_shapes(*shapes)) <= LARGEST
    except ValueError:
        return False


LARGEST = 4000


def pointwise(r: Rng, *shapes: Shape) -> Op | None:
    """A function of one, two or three numbers."""
    table = (UNARY, BINARY, TERNARY)[len(shapes) - 1]
    name = str(r.choice(list(table)))
    f, slopes = table[name]
    partials = (lambda x: (slopes(x),)) if table is UNARY else slopes
    return elementwise(name, f, partials, *shapes) if broadcasts(*shapes) else None


# --- along axes ----------------------------------------------------------------------------------------------


def _winners(x: Any, y: Any) -> Any:
    return (x == y).astype(x.dtype)


def _others(x: Any, axis: int) -> Any:
    rows = [jnp.prod(jnp.delete(x, k, axis=axis), axis=axis) for k in range(x.shape[axis])]
    return jnp.stack(rows, axis=axis)


def _norm(x: Any, **how: Any) -> Any:
    return jnp.sqrt(jnp.sum(x**2, **how))


def _deviation(x: Any, **how: Any) -> Any:
    return jnp.sqrt(jnp.var(x, **how) + 0.01)


def _centred(x: Any, axes: Any) -> Any:
    return x - jnp.mean(x, axis=axes, keepdims=True)


def _positive(y: Any) -> Any:
    return jnp.where(y > 0, y, 1)


# A reduction, its partial derivatives at x with the result y (kept dimensions, n terms), and faulty ones.
# fmt: off
REDUCTIONS: dict[str, tuple[Function, Function, dict[str, Function]]] = {
    "sum": (jnp.sum, lambda x, y, n, a: jnp.ones_like(x), {"mean instead of sum": lambda x, y, n, a: 1 / n}),
    "mean": (jnp.mean, lambda x, y, n, a: jnp.ones_like(x) / n, {
        "sum instead of mean": lambda x, y, n, a: 1.0,
        "n − 1 for n": lambda x, y, n, a: 1 / max(n - 1, 1),
    }),
    "max": (jnp.max, lambda x, y, n, a: _winners(x, y) / jnp.sum(_winners(x, y), axis=a, keepdims=True), {
        "winner of all rows": lambda x, y, n, a: _winners(x, jnp.max(x)),
        "shared by all": lambda x, y, n, a: 1 / n,
    }),
    "min": (jnp.min, lambda x, y, n, a: _winners(x, y) / jnp.sum(_winners(x, y), axis=a, keepdims=True), {
        "the largest instead": lambda x, y, n, a: _winners(x, jnp.max(x, axis=a, keepdims=True)),
    }),
    "logsumexp": (jax.nn.logsumexp, lambda x, y, n, a: jnp.exp(x - y), {
        "softmax over everything": lambda x, y, n, a: jnp.exp(x - jax.nn.logsumexp(x)),
        "not normalised": lambda x, y, n, a: jnp.exp(x),
    }),
    "norm": (_norm, lambda x, y, n, a: x / _positive(y), {
        "norm of everything": lambda x, y, n, a: x / _positive(_norm(x)),
        "of the squared norm": lambda x, y, n, a: 2 * x,
        "divided twice": lambda x, y, n, a: x / _positive(y) ** 2,
    }),
    "variance": (jnp.var, lambda x, y, n, a: 2 * _centred(x, a) / n, {
        "not centred": lambda x, y, n, a: 2 * x / n,
        "n − 1 for n": lambda x, y, n, a: 2 * _centred(x, a) / max(n - 1, 1),
    }),
    "deviation": (_deviation, lambda x, y, n, a: _centred(x, a) / (n * y), {
        "of the variance": lambda x, y, n, a: 2 * _centred(x, a) / n,
        "not centred": lambda x, y, n, a: x / (n * y),
    }),
    "product": (jnp.prod, lambda x, y, n, a: _others(x, a[0]), {
        "all factors": lambda x, y, n, a: y,
        "of the neighbour": lambda x, y, n, a: jnp.roll(_others(x, a[0]), 1),
    }),
}
# fmt: on


def reduction(r: Rng, s: Shape) -> Op | None:
    """A reduction over one axis, some, or all."""
    if not s:
        return None
    name = r.choice(list(REDUCTIONS))
    f, partial, faults = REDUCTIONS[name]
    count = 1 if name == "product" or r.random() < 0.6 else int(r.integers(1, len(s) + 1))
    axes = tuple(int(k) for k in sorted(r.choice(len(s), count, replace=False)))
    keep, n = bool(r.random() < 0.3), math.prod(s[k] for k in axes)

    def kept(y: Any) -> Any:
        return y if keep else jnp.expand_dims(y, axes)

    def adjoint(partial: Function) -> Function:
        return lambda g, y, x: (jnp.broadcast_to(kept(g) * partial(x, kept(y), n, axes), x.shape),)

    return Op(
        f"{name} over {axes}",
        lambda x: f(x, axis=axes, keepdims=keep),
        adjoint(partial),
        lambda ts, y, x: jnp.sum(ts[0] * partial(x, kept(y), n, axes), axis=axes, keepdims=keep),
        {kind: adjoint(wrong) for kind, wrong in faults.items()},
    )


def _total(x: Any, a: int) -> Any:
    return jnp.sum(x, axis=a, keepdims=True)


def _sum_to(x: Any, a: int) -> Any:
    return jnp.cumsum(x, axis=a)


def _sum_from(x: Any, a: int) -> Any:
    return jnp.flip(jnp.cumsum(jnp.flip(x, a), axis=a), a)


def _normalised(x: Any, a: int) -> Any:
    return _centred(x, a) * lax.rsqrt(jnp.var(x, axis=a, keepdims=True) + 0.01)


def _layernorm(g: Any, y: Any, x: Any, a: int, mean: float = 1, spread: float = 1) -> Any:
    scale = lax.rsqrt(jnp.var(x, axis=a, keepdims=True) + 0.01)
    n = x.shape[a]
    return scale * (g - mean * _total(g, a) / n - spread * y * _total(g * y, a) / n)


# A normalisation along an axis, its adjoint (g, y, x, axis), its tangent where that is another, and faults.
# fmt: off
NORMALISATIONS: dict[str, tuple[Function, Function, Function | None, dict[str, Function]]] = {
    "softmax": (lambda x, a: jax.nn.softmax(x, axis=a), lambda g, y, x, a: y * (g - _total(g * y, a)), None, {
        "diagonal only": lambda g, y, x, a: g * y * (1 - y),
        "sum left out": lambda g, y, x, a: g * y,
    }),
    "log-softmax": (
        lambda x, a: jax.nn.log_softmax(x, axis=a),
        lambda g, y, x, a: g - jnp.exp(y) * _total(g, a), lambda t, y, x, a: t - _total(jnp.exp(y) * t, a), {
            "g − p": lambda g, y, x, a: g - jnp.exp(y),
            "softmax left out": lambda g, y, x, a: g - _total(g, a) / x.shape[a],
            "the tangent's": lambda g, y, x, a: g - _total(jnp.exp(y) * g, a),
        },
    ),
    "layernorm": (_normalised, _layernorm, None, {
        "mean's term left out": lambda g, y, x, a: _layernorm(g, y, x, a, mean=0),
        "variance's term left out": lambda g, y, x, a: _layernorm(g, y, x, a, spread=0),
        "x for the normalised x": lambda g, y, x, a: _layernorm(g, x, x, a),
    }),
    "unit vector": (
        lambda x, a: x / jnp.sqrt(_total(x**2, a) + 0.01),
        lambda g, y, x, a: (g - y * _total(g * y, a)) / jnp.sqrt(_total(x**2, a) + 0.01), None,
        {"length's term left out": lambda g, y, x, a: g / jnp.sqrt(_total(x**2, a) + 0.01)},
    ),
    "centred": (_centred, lambda g, y, x, a: _centred(g, a), None, {"mean's term left out": lambda g, y, x, a: g}),
    "sort": (
        lambda x, a: jnp.sort(x, axis=a),
        lambda g, y, x, a: jnp.take_along_axis(g, jnp.argsort(jnp.argsort(x, axis=a), axis=a), axis=a),
        lambda t, y, x, a: jnp.take_along_axis(t, jnp.argsort(x, axis=a), axis=a),
        {"not inverted": lambda g, y, x, a: jnp.take_along_axis(g, jnp.argsort(x, axis=a), axis=a)},
    ),
    "cumulative sum": (
        _sum_to, lambda g, y, x, a: _sum_from(g, a), lambda t, y, x, a: _sum_to(t, a), {
            "not reversed": lambda g, y, x, a: _sum_to(g, a),
            "without its own term": lambda g, y, x, a: _sum_from(g, a) - g,
        },
    ),
    "cumulative logsumexp": (
        lambda x, a: lax.cumlogsumexp(x, axis=a), lambda g, y, x, a: jnp.exp(x) * _sum_from(g * jnp.exp(-y), a),
        lambda t, y, x, a: jnp.exp(-y) * jnp.cumsum(jnp.exp(x) * t, axis=a),
        {"last step's softmax": lambda g, y, x, a: g * jnp.exp(x - y)},
    ),
}
# fmt: on


def normalisation(r: Rng, s: Shape) -> Op | None:
    """A function of each row or column that has its shape."""
    if not s:
        return None
    name, a = r.choice(list(NORMALISATIONS)), int(r.integers(len(s)))
    f, adjoint, tangent, faults = NORMALISATIONS[name]
    return Op(
        f"{name} along {a}",
        lambda x: f(x, a),
        lambda g, y, x: (adjoint(g, y, x, a),),
        lambda ts, y, x: (tangent or adjoint)(ts[0], y, x, a),
        {kind: lambda g, y, x, wrong=wrong: (wrong(g, y, x, a),) for kind, wrong in faults.items()},
    )


# --- moving numbers around -----------------------------------------------------------------------------------


def linear(name: str, f: Function, adjoint: Function, faults: dict[str, Function] | None = None) -> Op:
    """Linear in all inputs together; its adjoints need the cotangent alone."""
    wrong = {kind: lambda g, y, *xs, rule=rule: _tuple(rule(g)) for kind, rule in (faults or {}).items()}
    return Op(name, f, lambda g, y, *xs: _tuple(adjoint(g)), lambda ts, y, *xs: f(*ts), wrong)


def _tuple(x: Any) -> Any:
    return x if isinstance(x, tuple) else (x,)


def movement(r: Rng, s: Shape) -> Op | None:
    """A linear function of one array: its shape, its order, its rows."""
    if not s:
        return None
    n, order = s[0], tuple(int(k) for k in r.permutation(len(s)))
    inverse = tuple(int(k) for k in np.argsort(order))
    i, shift = int(r.integers(n)), int(r.integers(1, 4))
    weights = r.normal(size=s)
    tail = tuple(int(k) for k in r.permutation(s[1:])) if len(s) > 1 else (1,)

    def zeros(g: Any) -> Any:
        return jnp.zeros(s, g.dtype)

    def pad(g: Any, before: int) -> Any:
        return jnp.pad(g, [(before, n - before - g.shape[0])] + [(0, 0)] * (g.ndim - 1))

    def weighted(x: Any) -> Any:
        return x * jnp.asarray(weights, x.dtype)

    # fmt: off
    options = [
        linear(f"transpose {order}", lambda x: jnp.transpose(x, order), lambda g: jnp.transpose(g, inverse),
               {"not inverted": lambda g: jnp.reshape(jnp.transpose(g, order), s)}),
        linear("reshape", lambda x: jnp.reshape(x, (*tail, n)), lambda g: jnp.reshape(g, s),
               {"in the other order": lambda g: jnp.reshape(g, s, order="F")}),
        linear("flip", lambda x: x[::-1], lambda g: g[::-1], {"not flipped back": lambda g: g}),
        linear(f"roll {shift}", lambda x: jnp.roll(x, shift, 0), lambda g: jnp.roll(g, -shift, 0),
               {"the same way": lambda g: jnp.roll(g, shift, 0), "not rolled back": lambda g: g}),
        linear("pad", lambda x: jnp.pad(x, [(1, 2)] + [(0, 0)] * (len(s) - 1)), lambda g: g[1 : n + 1],
               {"off by one": lambda g: g[:n]}),
        linear(f"[{i}:]", lambda x: x[i:], lambda g: pad(g, i), {"off by one": lambda g: jnp.roll(pad(g, i), -1, 0)}),
        linear(f"[{i}]", lambda x: x[i], lambda g: zeros(g).at[i].set(g),
               {"off by one": lambda g: zeros(g).at[i - 1].set(g), "in each row": lambda g: zeros(g) + g}),
        linear("[::2]", lambda x: x[::2], lambda g: zeros(g).at[::2].set(g), {"without steps": lambda g: pad(g, 0)}),
        linear("repeat", lambda x: jnp.repeat(x, 3, 0), lambda g: jnp.sum(jnp.reshape(g, (n, 3, *s[1:])), 1), {
            "as if tiled": lambda g: jnp.sum(jnp.reshape(g, (3, n, *s[1:])), 0),
            "the first alone": lambda g: g[::3],
        }),
        linear("tile", lambda x: jnp.concatenate([x, x]), lambda g: g[:n] + g[n:],
               {"as if repeated": lambda g: g[::2] + g[1::2], "the first alone": lambda g: g[:n]}),
        linear("broadcast", lambda x: jnp.broadcast_to(x, (3, *s)), lambda g: jnp.sum(g, 0),
               {"mean": lambda g: jnp.mean(g, 0), "the last alone": lambda g: g[-1]}),
        linear("weighted", weighted, weighted, {"weights left out": lambda g: g}),
        linear("wide", lambda x: 2 * x.astype(jnp.promote_types(x.dtype, jnp.float32)), lambda g: 2 * g),
        linear("float32", lambda x: 2 * x.astype(jnp.float32), lambda g: 2 * g),
    ]
    if n > 1:
        options += [
            linear("moving sum", lambda x: x + 0.5 * jnp.roll(x, 1, 0), lambda g: g + 0.5 * jnp.roll(g, -1, 0),
                   {"the same way": lambda g: g + 0.5 * jnp.roll(g, 1, 0), "a term left out": lambda g: g}),
            linear("differences", lambda x: x[1:] - x[:-1], lambda g: pad(g, 1) - pad(g, 0),
                   {"sign": lambda g: pad(g, 0) - pad(g, 1), "a term left out": lambda g: pad(g, 1)}),
        ]
    if s == (n, n):
        options += [
            linear("tril", jnp.tril, jnp.tril, {"mask left out": lambda g: g, "triu": jnp.triu}),
            linear("diagonal", jnp.diagonal, jnp.diag, {"antidiagonal": lambda g: jnp.diag(g)[::-1]}),
            linear("x + xᵀ", lambda x: x + x.T, lambda g: g + g.T, {"a term left out": lambda g: g}),
        ]
    # fmt: on
    return options[r.integers(len(options))]


def joining(r: Rng, s: Shape, t: Shape) -> Op | None:
    """A linear function of two arrays side by side, or of one within the other."""
    options = []
    # fmt: off
    if s and t and s[1:] == t[1:]:
        n, m = s[0], t[0]
        options.append(linear("concatenate", lambda x, y: jnp.concatenate([x, y]), lambda g: (g[:n], g[n:]), {
            "the parts swapped": lambda g: (g[m:], g[:m]),
            "off by one": lambda g: (g[1 : n + 1], g[n:]),
        }))
        if m <= n:
            whole = r.choice(["int32", "int64"])
            k, other = r.choice(n, m, replace=False).astype(whole), r.integers(0, n, m).astype(whole)
            options += [
                linear(f".at[{k} {whole}].set", lambda x, y: x.at[k].set(y), lambda g: (g.at[k].set(0), g[k]), {
                    "what was overwritten": lambda g: (g, g[k]),
                    "off by one": lambda g: (g.at[k].set(0), g[k - 1]),
                    "not gathered": lambda g: (g.at[k].set(0), g[:m]),
                })._replace(tangent=None),  # which JAX cannot transpose
                linear(f".at[{other} {whole}].add", lambda x, y: x.at[other].add(y), lambda g: (g, g[other]), {
                    "as if set": lambda g: (g.at[other].set(0), g[other]),
                    "off by one": lambda g: (g, g[other - 1]),
                }),
            ]
    if s == t:
        a = int(r.integers(len(s) + 1))
        options.append(linear(
            f"stack along {a}", lambda x, y: jnp.stack([x, y], a), lambda g: (g.take(0, a), g.take(1, a)),
            {"swapped": lambda g: (g.take(1, a), g.take(0, a)), "one for both": lambda g: (g.take(0, a),) * 2},
        ))
    # fmt: on
    return options[r.integers(len(options))] if options else None


def cost(r: Rng, *shapes: Shape) -> Op:
    """A number of several arrays: the sum of their weighted means."""
    weights = [r.normal(size=s) for s in shapes]

    def f(*xs: Any) -> Any:
        return sum(jnp.mean(x * jnp.asarray(w, x.dtype)) for x, w in zip(xs, weights, strict=True))

    def adjoint(g: Any, mean: bool = True, squared: bool = False) -> Any:
        return tuple(g * jnp.asarray(w * w if squared else w, g.dtype) / (w.size if mean else 1) for w in weights)

    faults = {
        "sum instead of mean": lambda g: adjoint(g, mean=False),
        "weights squared": lambda g: adjoint(g, squared=True),
    }
    return linear("cost", f, adjoint, faults)


# --- indices, counts and keys, also as arguments -------------------------------------------------------------


def with_constant(r: Rng, s: Shape) -> tuple[Any, Callable[[Any], Op]] | None:
    """A constant, and the operation that it makes: it may be built in, or be one of the program's arguments."""
    if not s:
        return None
    n, p = s[0], s[-1]

    # fmt: off
    def take(k: Any) -> Op:
        def spread(g: Any, k: Any = k) -> Any:
            return jnp.zeros(s, g.dtype).at[k].add(g)

        return linear("take", lambda x: x[k], spread, {
            "the last one wins": lambda g: jnp.zeros(s, g.dtype).at[k].set(g),
            "off by one": lambda g: spread(g, (k + 1) % n),
            "indices reversed": lambda g: spread(g, k[::-1]),
        })

    def segments(k: Any) -> Op:
        return linear("segment sum", lambda x: jnp.zeros((3, *s[1:]), x.dtype).at[k].add(x), lambda g: g[k],
                      {"off by one": lambda g: g[k - 1], "not gathered": lambda g: g[jnp.arange(n) % 3]})

    def along(k: Any) -> Op:
        rows = jnp.arange(n)[:, None]

        def spread(g: Any, rows: Any = rows, k: Any = k) -> Any:
            return jnp.zeros(s, g.dtype).at[rows, k].add(g)

        return linear("take along", lambda x: jnp.take_along_axis(x, k, axis=1), spread, {
            "one row's indices": lambda g: spread(g, k=k[:1]),
            "one row for all": lambda g: spread(g, rows=0 * rows),
        })

    def cross_entropy(k: Any) -> Op:
        hot = jax.nn.one_hot(k, p)

        def adjoint(change: Function = lambda p, hot: p - hot, of_g: Function = lambda g: g) -> Function:
            return lambda g, y, z: (of_g(g)[:, None] * change(jax.nn.softmax(z), hot.astype(z.dtype)),)

        def tangent(ts: Any, y: Any, z: Any) -> Any:
            return jnp.sum(ts[0] * (jax.nn.softmax(z) - hot.astype(z.dtype)), axis=-1)

        return Op("cross-entropy", lambda z: -jax.nn.log_softmax(z)[jnp.arange(n), k], adjoint(), tangent, {
            "labels left out": adjoint(lambda p, hot: p),
            "labels of the next row": adjoint(lambda p, hot: p - jnp.roll(hot, 1, 0)),
            "averaged": adjoint(of_g=lambda g: g / n),
            "one cotangent for all": adjoint(of_g=lambda g: g[:1] + 0 * g),
        })

    def dropout(key: Any) -> Op:
        def masked(x: Any, key: Any = key, scale: float = 2) -> Any:
            half = jnp.float32(0.5)  # of this dtype, or float64 draws other numbers
            return jnp.where(jax.random.bernoulli(key, half, s), scale * x, 0)

        return linear("dropout", masked, masked, {
            "mask left out": lambda g: g,
            "another mask": lambda g: masked(g, jax.random.fold_in(key, 1)),
            "not scaled": lambda g: masked(g, scale=1),
        })
    # fmt: on

    def power(k: Any) -> Op:
        return elementwise("whole power", lambda x: x**k, lambda x: (k * x ** (k - 1),), s)

    options: list[tuple[Any, Callable[[Any], Op]]] = [
        (r.integers(0, n, int(r.integers(1, 6))).astype(r.choice(["int32", "int64"])), take),
        (r.integers(0, 3, n).astype(r.choice(["int32", "int64"])), segments),
        (jax.random.key(int(r.integers(1000))), dropout),
        (np.int32(r.integers(2, 4)), power),
    ]
    if len(s) == 2:
        options += [
            (r.integers(0, p, (n, 3)).astype(np.int32), along),
            (r.integers(0, p, n).astype(np.int32), cross_entropy),
        ]
    return options[r.integers(len(options))]


def as_argument(make: Callable[[Any], Op], constant: Any) -> Op:
    """The operation with its constant as another input, which has no cotangent."""

    def with_none(of: Callable[[Op], Function]) -> Function:
        return lambda g, y, x, k: (*of(make(k))(g, y, x), None)

    op = make(constant)
    return Op(
        f"{op.name} (argument)",
        lambda x, k: make(k).f(x),
        with_none(lambda op: op.adjoint),
        lambda ts, y, x, k: make(k).tangent(ts[:1], y, x),  # type: ignore[misc]
        {kind: with_none(operator.methodcaller("fault", kind)) for kind in op.faults},
    )


# --- matrices and loops --------------------------------------------------------------------------------------

PRODUCTS = (
    "ij,jk->ik", "ij,jk->ik", "ij,kj->ik", "ij,ik->jk", "ij,j->i", "ij,i->j", "i,j->ij", "i,i->", "ij,ij->i",
    "ij,ij->j", "bij,jk->bik", "bij,bjk->bik", "bij,bj->bi", "bij,ij->b", "bij,bij->ij",
)  # fmt: skip


def product(r: Rng, s: Shape, t: Shape) -> Op | None:
    """A matrix product or another contraction of two arrays."""
    specs = [spec for spec in PRODUCTS if _matches(spec, s, t)]
    if not specs:
        return None
    spec = str(r.choice(specs))
    (a, b), out = spec.split("->")[0].split(","), spec.split("->")[1]

    # fmt: off
    def f(x: Any, y: Any) -> Any:
        return x @ y if spec in ("ij,jk->ik", "ij,j->i") else jnp.einsum(spec, x, y)

    def adjoint(left: Function = lambda v: v, right: Function = lambda u: u) -> Function:
        return lambda g, y, u, v: (
            jnp.einsum(f"{out},{b}->{a}", g, left(v)), jnp.einsum(f"{out},{a}->{b}", g, right(u)))

    def transposed(v: Any) -> Any:
        return jnp.swapaxes(v, -1, -2) if v.ndim > 1 and v.shape[-1] == v.shape[-2] else v

    return Op(spec, f, adjoint(), lambda ts, y, u, v: f(ts[0], v) + f(u, ts[1]), {
        "not transposed, left": adjoint(left=transposed),
        "not transposed, right": adjoint(right=transposed),
        "the other factor left out": adjoint(left=jnp.ones_like),
        "the other factor's sign": adjoint(right=jnp.abs),
    })
    # fmt: on


def _matches(spec: str, s: Shape, t: Shape) -> bool:
    a, b = spec.split("->")[0].split(",")
    if len(a) != len(s) or len(b) != len(t):
        return False
    sizes: dict[str, int] = {}
    return all(sizes.setdefault(k, n) == n for k, n in zip(a + b, s + t, strict=True))


def matrix(r: Rng, s: Shape, t: Shape) -> Op | None:
    """Solutions of linear equations, with a matrix that is well conditioned, and a convolution."""
    if len(s) == len(t) == 1:
        return _convolution(r, s[0], t[0])
    if len(s) != 2 or s[0] != s[1] or t[:1] != s[:1] or len(t) > 2:
        return None
    n = s[0]

    def well(x: Any) -> Any:
        return jnp.tanh(x) + (n + 1) * jnp.eye(n, dtype=x.dtype)

    def outer(u: Any, y: Any, x: Any) -> Any:
        return -(jnp.outer(u, y) if u.ndim == 1 else u @ y.T) * (1 - jnp.tanh(x) ** 2)

    def solve(g: Any, y: Any, x: Any, b: Any, of: Function = lambda a: a.T, sign: float = 1) -> Any:
        u = jnp.linalg.solve(of(well(x)), g)
        return sign * outer(u, y, x), u

    def triangle(x: Any) -> Any:
        return jnp.tril(well(x))

    def back(g: Any, y: Any, x: Any, b: Any, mask: Function = jnp.tril) -> Any:
        u = solve_triangular(triangle(x), g, trans=1, lower=True)
        return mask(outer(u, y, x)), u

    def d(x: Any, t: Any) -> Any:
        return (1 - jnp.tanh(x) ** 2) * t

    if r.random() < 0.4:
        return Op(
            "triangular solve", lambda x, b: solve_triangular(triangle(x), b, lower=True), back,
            lambda ts, y, x, b: solve_triangular(triangle(x), ts[1] - jnp.tril(d(x, ts[0])) @ y, lower=True),
            {"mask left out": lambda g, y, x, b: back(g, y, x, b, mask=lambda a: a)},
        )  # fmt: skip
    return Op(
        "solve", lambda x, b: jnp.linalg.solve(well(x), b), solve,
        lambda ts, y, x, b: jnp.linalg.solve(well(x), ts[1] - d(x, ts[0]) @ y),
        {
            "not transposed": lambda g, y, x, b: solve(g, y, x, b, of=lambda a: a),
            "sign of the matrix": lambda g, y, x, b: solve(g, y, x, b, sign=-1),
            "b for the solution": lambda g, y, x, b: solve(g, b, x, b),
        },
    )  # fmt: skip


def inverse(r: Rng, s: Shape) -> Op | None:
    """The inverse or the logarithm of the determinant of a matrix that is well conditioned."""
    if len(s) != 2 or s[0] != s[1]:
        return None
    eye = np.eye(s[0]) * (s[0] + 2)

    def well(x: Any) -> Any:
        return jnp.sin(x) + jnp.asarray(eye, x.dtype)

    def inv(x: Any) -> Any:
        return jnp.linalg.inv(well(x))

    if r.random() < 0.5:
        return Op(
            "inverse", inv, lambda g, y, x: (-(y.T @ g @ y.T) * jnp.cos(x),),
            lambda ts, y, x: -y @ (ts[0] * jnp.cos(x)) @ y,
            {"not transposed": lambda g, y, x: (-(y @ g @ y) * jnp.cos(x),)},
        )  # fmt: skip
    return Op(
        "log det", lambda x: jnp.linalg.slogdet(well(x))[1], lambda g, y, x: (g * inv(x).T * jnp.cos(x),),
        lambda ts, y, x: jnp.sum(inv(x).T * jnp.cos(x) * ts[0]),
        {"not transposed": lambda g, y, x: (g * inv(x) * jnp.cos(x),)},
    )  # fmt: skip


def _convolution(r: Rng, n: int, m: int) -> Op:
    def adjoint(g: Any, y: Any, x: Any, w: Any) -> Any:
        return (
            jnp.stack([jnp.sum(g[k : k + m] * w) for k in range(n)]),
            jnp.stack([jnp.sum(g[k : k + n] * x) for k in range(m)]),
        )

    faults = {"kernel reversed": lambda g, y, x, w: adjoint(g, y, x, w[::-1])}
    return Op(
        "convolve", jnp.convolve, adjoint, lambda ts, y, x, w: jnp.convolve(ts[0], w) + jnp.convolve(x, ts[1]), faults
    )


def loop(r: Rng, s: Shape, t: Shape) -> Op | None:
    """A recurrence over the rows: with gates, or with a matrix and tanh."""
    if not s or not s[0] > 1:
        return None
    if s == t:
        return _gates()
    return _recurrent() if len(s) == 2 and t == (s[1], s[1]) else None


def _before(hs: Any) -> Any:
    return jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])


def _gates() -> Op:
    def f(x: Any, a: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jax.nn.sigmoid(row[1]) * h + row[0]
            return h, h

        return lax.scan(step, jnp.zeros_like(x[0] + a[0]), (x, a))[1]

    def adjoint(g: Any, y: Any, x: Any, a: Any, states: Function = _before, shift: bool = True) -> Any:
        s = jax.nn.sigmoid(a)
        factor = jnp.concatenate([s[1:], jnp.zeros_like(s[:1])]) if shift else s

        def step(later: Any, row: Any) -> Any:
            total = row[0] + row[1] * later
            return total, total

        total = lax.scan(step, jnp.zeros_like(g[0]), (g, factor), reverse=True)[1]
        return total, total * states(y) * s * (1 - s)

    faults = {
        "state of the same step": lambda g, y, x, a: adjoint(g, y, x, a, states=lambda y: y),
        "gate of the wrong step": lambda g, y, x, a: adjoint(g, y, x, a, shift=False),
        "not through time": lambda g, y, x, a: (g, g * _before(y) * jax.nn.sigmoid(a) * jax.nn.sigmoid(-a)),
    }
    return Op("gated scan", f, adjoint, None, faults)


def _recurrent() -> Op:
    def f(x: Any, w: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(h @ w / 2 + row)
            return h, h

        return lax.scan(step, jnp.zeros_like(x[0] @ w), x)[1]

    def adjoint(
        g: Any, y: Any, x: Any, w: Any, states: Function = _before, back: Function = lambda w: w.T, carry: float = 1
    ) -> Any:
        def step(later: Any, row: Any) -> Any:
            d = (row[0] + carry * later) * (1 - row[1] ** 2)
            return d @ back(w) / 2, d

        d = lax.scan(step, jnp.zeros_like(g[0]), (g, y), reverse=True)[1]
        return d, states(y).T @ d / 2

    faults = {
        "state of the same step": lambda g, y, x, w: adjoint(g, y, x, w, states=lambda y: y),
        "weights not transposed": lambda g, y, x, w: adjoint(g, y, x, w, back=lambda w: w),
        "not through time": lambda g, y, x, w: adjoint(g, y, x, w, carry=0),
        "first step alone": lambda g, y, x, w: (adjoint(g, y, x, w)[0], adjoint(g, y, x, w)[1] / x.shape[0]),
    }
    return Op("recurrent scan", f, adjoint, None, faults)
