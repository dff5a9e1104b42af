"""A public set of planted faults, and of right rules that look suspicious, to hold a gradient checker to.

Each case is a function with a hand-written `jax.custom_vjp` rule and arguments for it. `faults()` must be found;
`right()` must pass. They use JAX alone, so any checker can be run on them; `scripts/compare_checkers.py` runs several.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Planted(NamedTuple):
    """A case: what it is called, the function with its rule, and its arguments."""

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]


class Size(NamedTuple):
    """A network to plant faults in; its first two hidden layers have equally many units."""

    widths: tuple[int, ...]
    batch: int
    unit: str
    dtype: str = "float32"
    scalar: bool = True  # the mean cost with its penalty, or the outputs themselves


SIZES = {
    "shallow": Size((6, 5, 5, 3), 7, "tanh"),
    "deep": Size((8,) * 11, 6, "sigmoid"),
    "wide": Size((64, 512, 512, 10), 32, "relu"),
    "outputs": Size((6, 5, 5, 4), 7, "sigmoid", scalar=False),
    "half": Size((8, 8, 8, 4), 5, "tanh", "float16"),
    "bfloat": Size((8, 8, 8, 4), 5, "tanh", "bfloat16"),
}
UNITS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (jnp.tanh, lambda a: 1 - jnp.tanh(a) ** 2),
    "sigmoid": (jax.nn.sigmoid, lambda a: jax.nn.sigmoid(a) * (1 - jax.nn.sigmoid(a))),
    "relu": (jax.nn.relu, lambda a: (a > 0).astype(a.dtype)),
}
PENALTY = 1e-3

Params = list[tuple[Any, Any]]


class Parts(NamedTuple):
    """What a backward pass by hand is made of. A fault is one part in place of the right one.

    Layers are counted from 1; `pre` and `post` have the pre-activations and, behind the input, the activations.
    """

    output: Callable[..., Any] = lambda out: out  # of the forward rule
    arriving: Callable[..., Any] = lambda g: g
    examples: Callable[..., Any] = lambda n: n  # by how many a mean divides
    error: Callable[..., Any] = lambda p, y: p - y  # of the cost for the logits
    at_outputs: Callable[..., Any] = lambda g, z: g  # where there is no cost
    rows: Callable[..., Any] = lambda delta: delta
    h: Callable[..., Any] = lambda pre, post: post[1]  # what the gradient for W of layer 2 is multiplied with
    penalty: float = 2.0
    first: Callable[..., Any] = lambda W, b, delta: (W, b)  # the gradients for layer 1
    second: Callable[..., Any] = lambda W: W  # the gradient for W of layer 2
    back: Callable[..., Any] = lambda W: W.T  # W of layer 2 on the way back
    slope: Callable[..., Any] = lambda f, pre, post: f(pre[0])  # f' of hidden layer 1, f being that function
    biases: Callable[..., Any] = lambda b1, b2: (b1, b2)  # the gradients for those of layers 1 and 2
    input: Callable[..., Any] = lambda x: x  # the gradient for x


RIGHT = Parts()
KINDS = {
    "first layer zero": Parts(first=lambda W, b, delta: (0 * W, 0 * b)),
    "first layer's sign": Parts(first=lambda W, b, delta: (-W, -b)),
    "one entry dropped": Parts(first=lambda W, b, delta: (W.at[1, 2].set(0), b)),
    "one entry 10 % off": Parts(first=lambda W, b, delta: (W.at[2, 1].multiply(1.1), b)),
    "one row dropped": Parts(first=lambda W, b, delta: (W.at[2].set(0), b)),
    "one column dropped": Parts(first=lambda W, b, delta: (W.at[:, 3].set(0), b)),
    "one bias dropped": Parts(first=lambda W, b, delta: (W, b.at[1].set(0))),
    "bias of the first example alone": Parts(first=lambda W, b, delta: (W, delta[0])),
    "bias averaged": Parts(first=lambda W, b, delta: (W, jnp.mean(delta, axis=0))),
    "rows permuted": Parts(first=lambda W, b, delta: (jnp.roll(W, 1, axis=0), b)),
    "1 % off": Parts(first=lambda W, b, delta: (1.01 * W, b)),
    "not a number": Parts(first=lambda W, b, delta: (W.at[0, 0].set(jnp.nan), b)),
    "twice": Parts(second=lambda W: 2 * W),
    "transposed": Parts(second=lambda W: W.T),
    "cotangent ignored": Parts(arriving=jnp.ones_like),
    "sum instead of mean": Parts(examples=lambda n: 1),
    "targets left out": Parts(error=lambda p, y: p, at_outputs=lambda g, z: g * z),
    "one example dropped": Parts(rows=lambda delta: delta.at[1].set(0)),
    "next layer's activation": Parts(h=lambda pre, post: post[2]),
    "pre-activation instead of activation": Parts(h=lambda pre, post: pre[0]),
    "penalty left out": Parts(penalty=0.0),
    "penalty halved": Parts(penalty=1.0),
    "weights not transposed": Parts(back=lambda W: W),
    "biases swapped": Parts(biases=lambda b1, b2: (b2, b1)),
    "input gradient zero": Parts(input=jnp.zeros_like),
    "f' taken at the activation": Parts(slope=lambda f, pre, post: f(post[1])),
    "f' left out": Parts(slope=lambda f, pre, post: jnp.ones_like(post[1])),
    "f' of the next layer": Parts(slope=lambda f, pre, post: f(pre[1])),
    "f' squared": Parts(slope=lambda f, pre, post: f(pre[0]) ** 2),
    "forward rule returns twice the value": Parts(output=lambda out: 2 * out),
    "forward rule adds a little": Parts(output=lambda out: out + jnp.asarray(0.05, out.dtype)),
}
# For relu, f' at the activation is f' at the pre-activation, and its square is itself: no fault.
NO_FAULT = {"relu": {"f' taken at the activation", "f' squared"}}
COST_ONLY = {"penalty left out", "penalty halved"}


def network(size: Size, kind: str | None = None, seed: int = 0) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A network with its backward pass written by hand, right but for the named fault, and arguments for it."""
    f, slope = UNITS[size.unit]
    parts = KINDS[kind] if kind else RIGHT

    def run(params: Params, x: Any) -> tuple[list[Any], list[Any]]:
        pre, post = [], [x]
        for k, (W, b) in enumerate(params):
            pre.append(post[-1] @ W + b[None])
            post.append(pre[-1] if k == len(params) - 1 else f(pre[-1]))
        return pre, post

    def value(params: Params, z: Any, y: Any) -> Any:
        if not size.scalar:
            return z
        penalty = sum(jnp.sum(W**2) for W, _ in params)
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * y, axis=-1)) + PENALTY * penalty

    @jax.custom_vjp
    def cost(params: Params, x: Any, y: Any) -> Any:
        return value(params, run(params, x)[1][-1], y)

    def forward(params: Params, x: Any, y: Any) -> Any:
        pre, post = run(params, x)
        return parts.output(value(params, post[-1], y)), (params, pre, post, y)

    def backward(residuals: Any, g: Any) -> Any:
        params, pre, post, y = residuals
        n, z = len(y), post[-1]
        if size.scalar:
            p = jax.nn.softmax(z) * jnp.sum(y, axis=-1, keepdims=True)
            delta = parts.arriving(g) * parts.error(p, y) / parts.examples(n)
            y_grad = -g * jax.nn.log_softmax(z) / n
        else:
            delta = parts.at_outputs(parts.arriving(g), z) * (n / parts.examples(n))
            y_grad = jnp.zeros_like(y)
        delta = parts.rows(delta)
        grads: Params = []
        for k in reversed(range(len(params))):
            h = parts.h(pre, post) if k == 1 else post[k]
            W, b = h.T @ delta, jnp.sum(delta, axis=0)
            if size.scalar:
                W = W + g * parts.penalty * PENALTY * params[k][0]
            if k == 0:
                W, b = parts.first(W, b, delta)
            if k == 1:
                W = parts.second(W)
            grads.insert(0, (W.astype(delta.dtype), b.astype(delta.dtype)))
            delta = delta @ (parts.back(params[k][0]) if k == 1 else params[k][0].T)
            if k > 0:
                delta = delta * (parts.slope(slope, pre, post) if k == 1 else slope(pre[k - 1]))
        (W1, b1), (W2, b2), *others = grads
        b1, b2 = parts.biases(b1, b2)
        return [(W1, b1), (W2, b2), *others], parts.input(delta), y_grad

    cost.defvjp(forward, backward)
    return cost, _arguments(size, seed)


def _arguments(size: Size, seed: int) -> tuple[Any, ...]:
    random = np.random.default_rng([seed, len(size.widths)])
    params = [
        (
            jnp.asarray(random.normal(size=(m, n)) * np.sqrt((2 if size.unit == "relu" else 1) / m), size.dtype),
            jnp.asarray(0.1 * random.normal(size=n), size.dtype),
        )
        for m, n in zip(size.widths, size.widths[1:], strict=False)
    ]
    x = jnp.asarray(random.normal(size=(size.batch, size.widths[0])), size.dtype)
    y = jnp.asarray(np.eye(size.widths[-1])[random.integers(0, size.widths[-1], size.batch)], size.dtype)
    return params, x, y


def faults() -> Iterator[Planted]:
    """Every fault in every network that can have it."""
    for where, size in SIZES.items():
        for kind in KINDS:
            if kind in NO_FAULT.get(size.unit, ()) or (kind in COST_ONLY and not size.scalar):
                continue
            yield Planted(f"{kind}, {where}", *network(size, kind))


# --- right rules ---------------------------------------------------------------------------------------------


def _with_rule(plain: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """The function with a rule that is given the arguments and the gradient."""
    f = jax.custom_vjp(plain)
    f.defvjp(lambda *args: (plain(*args), args), lambda args, g: backward(*args, g))
    return f


def right() -> Iterator[Planted]:
    """Right rules that a checker may take for wrong ones."""
    random = np.random.default_rng(0)

    def normal(*shape: int, dtype: str = "float32", scale: float = 1.0) -> Any:
        return jnp.asarray(scale * random.normal(size=shape), dtype)

    for where, size in SIZES.items():
        yield Planted(f"network, {where}", *network(size))
    relu = _with_rule(lambda x: jnp.maximum(x, 0), lambda x, g: (jnp.where(x > 0, g, 0),))
    yield Planted("relu at 0, with slope 0", relu, (jnp.array([-1.0, 0.0, 2.0]),))
    yield Planted(
        "relu at 0, with slope 1",
        _with_rule(lambda x: jax.nn.relu(x), lambda x, g: (jnp.where(x >= 0, g, 0),)),
        (jnp.array([-1.0, 0.0, 2.0]),),
    )
    yield Planted(
        "abs at 0, with slope 0", _with_rule(jnp.abs, lambda x, g: (g * jnp.sign(x),)), (jnp.array([0.0, 0.0, -3.0]),)
    )
    yield Planted(
        "maximum of a tie, to the first",
        _with_rule(lambda x: jnp.max(x), lambda x, g: (g * jax.nn.one_hot(jnp.argmax(x), x.size, dtype=x.dtype),)),
        (jnp.array([1.0, 3.0, 3.0, 0.0]),),
    )
    yield Planted(
        "norm at 0, with gradient 0",
        _with_rule(
            lambda x: jnp.sqrt(jnp.sum(x**2)),
            lambda x, g: (g * x / jnp.where(jnp.any(x != 0), jnp.sqrt(jnp.sum(x**2)), 1),),
        ),
        (jnp.zeros(3),),
    )
    network_relu, (params, x, y) = network(Size((4, 6, 3), 5, "relu"))
    yield Planted(
        "relu network whose units all sit at 0",
        network_relu,
        ([(W, jnp.zeros_like(b)) for W, b in params], x.at[1:4].set(0), y),
    )
    for dtype in ("float16", "bfloat16"):
        tanh = _with_rule(jnp.tanh, lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))
        yield Planted(f"tanh in {dtype}", tanh, (normal(50, dtype=dtype),))
        product = _with_rule(jnp.matmul, lambda a, b, g: (g @ b.T, a.T @ g))
        yield Planted(f"a long product in {dtype}", product, (normal(3, 400, dtype=dtype), normal(400, 5, dtype=dtype)))
    yield Planted(
        "a tiny gradient",
        _with_rule(lambda x: 1e-25 * jnp.sum(jnp.sin(x)), lambda x, g: (g * 1e-25 * jnp.cos(x),)),
        (normal(9),),
    )
    yield Planted(
        "a huge gradient",
        _with_rule(lambda x: jnp.sum(1e15 * x**2), lambda x, g: (g * 2e15 * x,)),
        (normal(9, scale=1e3),),
    )
    yield Planted(
        "a sum that cancels",
        _with_rule(lambda s, x: s * jnp.sum(x), lambda s, x, g: (g * jnp.sum(x), g * jnp.full_like(x, s))),
        (jnp.float32(0.5), jnp.concatenate([jnp.arange(1.0, 500), -jnp.arange(1.0, 500), jnp.array([1e-3])])),
    )
    yield Planted(
        "a shift that changes nothing",
        _with_rule(
            lambda z, c: jax.nn.logsumexp(z + c) - jnp.mean(z + c),
            lambda z, c, g: (
                g * (jax.nn.softmax(z + c) - 1 / z.size),
                jnp.sum(g * (jax.nn.softmax(z + c) - 1 / z.size)),
            ),
        ),
        (normal(20), jnp.float32(0.3)),
    )
    yield Planted(
        "sigmoid far out", _with_rule(jax.nn.sigmoid, lambda x, g: (g * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x),)),
        (jnp.array([-80.0, -20.0, 20.0, 60.0]),),
    )  # fmt: skip
    yield Planted(
        "log(1 + exp x), whose plain form overflows",
        _with_rule(lambda x: jnp.log(1 + jnp.exp(x)), lambda x, g: (g * (1 - 1 / (1 + jnp.exp(x))),)),
        (jnp.array([1.0, 50.0, 100.0]),),
    )
    yield Planted(
        "softmax cross-entropy with class numbers",
        _with_rule(
            lambda z, y: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1)),
            lambda z, y, g: (
                g * (jax.nn.softmax(z) - jax.nn.one_hot(y, z.shape[1])) / len(y),
                np.zeros(y.shape, jax.dtypes.float0),
            ),
        ),
        (normal(6, 4), jnp.array([0, 1, 2, 3, 0, 1])),
    )
    yield Planted(
        "softmax minus target, right for targets that sum to 1",
        _with_rule(
            lambda z, q: -jnp.sum(q * jax.nn.log_softmax(z)),
            lambda z, q, g: (g * (jax.nn.softmax(z) - q), -g * jax.nn.log_softmax(z)),
        ),
        (normal(6, 4), jnp.eye(4)[jnp.array([0, 1, 2, 3, 0, 1])]),
    )
    yield Planted(
        "a target behind stop_gradient",
        _with_rule(
            lambda x, t: jnp.sum((x - jax.lax.stop_gradient(t)) ** 2),
            lambda x, t, g: (2 * g * (x - t), jnp.zeros_like(t)),
        ),
        (normal(5), normal(5)),
    )
    yield Planted(
        "scatter by .at[] in the rule",
        _with_rule(lambda x: x[2] * x[0], lambda x, g: (jnp.zeros_like(x).at[2].add(g * x[0]).at[0].add(g * x[2]),)),
        (normal(4),),
    )
    yield Planted("the square root by Newton's method", *_newton())
    yield Planted(
        "dropout with a key",
        _with_rule(
            lambda x, key: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0),
            lambda x, key, g: (jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * g, 0), None),
        ),
        (normal(30), jax.random.key(1)),
    )
    yield Planted(
        "a dict with None and whole numbers",
        _with_rule(
            lambda p: jnp.sum(p["w"] ** 2) * p["n"],
            lambda p, g: ({"w": 2 * g * p["w"] * p["n"], "b": None, "n": None},),
        ),
        ({"w": normal(3), "b": None, "n": 4},),
    )


def _newton() -> tuple[Any, tuple[Any, ...]]:
    """A loop that reverse mode cannot go through, with the rule of the implicit function."""

    def root(x: Any) -> Any:
        def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
            y, _ = state
            return 0.5 * (y + x / y), y

        return jax.lax.while_loop(lambda s: jnp.any(jnp.abs(s[0] - s[1]) > 1e-6 * s[0]), step, (x, x + 1))[0]

    return _with_rule(root, lambda x, g: (g / (2 * root(x)),)), (jnp.array([0.5, 2.0, 9.0]),)
