"""Random programs with a gradient rule by hand, right and with one fault, to measure the error rates of a checker.

`draw(seed)` gives twins: the same program of 3 to 12 operations of `suite`, as a `jax.custom_vjp` or `custom_jvp`
function whose rule is put together from adjoints by hand, once right and once with one random change. It knows
nothing of any checker. Whether a rule is right is decided by `jax.vjp` of the plain program in float64:

- T is its gradient for a random cotangent, at 16 points within 1e-7 of the arguments; an entry's range is that of T
  there, which is wider than rounding only where something is not differentiable, a tie or a kink.
- The right twin is within these ranges, whatever its convention at a tie: in float64 up to 1e-5 of the leaf's largest
  entry, in its own dtype up to 1e-5 (float16 2e-2, bfloat16 1e-1) of it. So are its values.
- The wrong twin, in float64, leaves the range of some entry by more than that range is wide and by 5e-5 (float16 4e-3,
  bfloat16 3e-2) of the leaf's largest entry; or, in float32, by 1 % of that entry and 30 times what rounding does to
  the right twin there. Or it does so with a value, or has a NaN. Leaves below a tenth of the largest count as that.

All else is drawn anew.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import suite
from benchmarks.suite import Function, Op, Rng, Shape


class Generated(NamedTuple):
    """A function with a rule, its arguments, whether the rule is right, and what is wrong with it."""

    name: str
    f: Function
    args: tuple[Any, ...]
    correct: bool
    kind: str
    program: str  # to be read
    at_tie: bool  # whether the truth is a choice among subgradients, in some entry


class Node(NamedTuple):
    """An operation on earlier values, which are counted from the leaves of the arguments on."""

    op: Op
    inputs: tuple[int, ...]


class Change(NamedTuple):
    """A fault: what becomes of the cotangent at a value, of the rule of a node, or of the outputs."""

    kind: str
    cotangent: tuple[int, Function] | None = None  # at which value; (g, value)
    rule: tuple[int, Function] | None = None  # of the node with which value; (rule, g, y, xs, values)
    outputs: Function = lambda out: out


class Program(NamedTuple):
    """A program, and how its arguments and its outputs are packed."""

    leaves: list[Any]
    nodes: list[Node]
    outputs: list[int]
    tree: Any
    packed: str

    def run(self, leaves: Any) -> list[Any]:
        """All values."""
        values = list(leaves)
        for op, inputs in self.nodes:
            values.append(op.f(*[values[k] for k in inputs]))
        return values

    def pack(self, outs: list[Any]) -> Any:
        """The outputs as the program returns them."""
        if self.packed == "dict":
            return {f"out{k}": out for k, out in enumerate(outs)}
        return outs[0] if len(outs) == 1 else tuple(outs)

    def plain(self, *args: Any) -> Any:
        """The program alone."""
        values = self.run(jax.tree.leaves(args))
        return self.pack([values[k] for k in self.outputs])

    def __str__(self) -> str:
        """One line for each leaf and operation."""
        n = len(self.leaves)
        lines = [f"v{k}: {x.dtype}{list(x.shape)}" for k, x in enumerate(self.leaves)]
        for k, (op, inputs) in enumerate(self.nodes, n):
            lines.append(f"v{k} = {op.name}({', '.join(f'v{i}' for i in inputs)})")
        return "\n".join([*lines, f"outputs {', '.join(f'v{k}' for k in self.outputs)}"])


def backward(program: Program, values: list[Any], gs: list[Any], change: Change) -> list[Any]:
    """The cotangents of the leaves, by hand."""
    n = len(program.leaves)
    arrived: list[Any] = [None] * len(values)
    for k, g in zip(program.outputs, gs, strict=True):
        arrived[k] = g
    for k in reversed(range(len(values))):
        g = arrived[k]
        if g is None and k < n and is_float(values[k]):
            g = jnp.zeros_like(values[k])
        if change.cotangent and change.cotangent[0] == k:
            g = change.cotangent[1](g, values[k]).astype(values[k].dtype)
        if k < n:
            arrived[k] = g
            continue
        op, inputs = program.nodes[k - n]
        xs = [values[i] for i in inputs]
        if change.rule and change.rule[0] == k:
            cotangents = change.rule[1](op.adjoint, g, values[k], xs, values)
        else:
            cotangents = op.adjoint(g, values[k], *xs)
        for i, c in zip(inputs, cotangents, strict=True):
            if c is not None:
                c = c.astype(values[i].dtype)
                arrived[i] = c if arrived[i] is None else arrived[i] + c
    return arrived[:n]


def forward(program: Program, leaves: list[Any], tangents: list[Any], change: Change) -> tuple[list[Any], list[Any]]:
    """The outputs and their tangents, by hand."""
    values, n = program.run(leaves), len(leaves)
    ts = [t if is_float(x) else None for x, t in zip(leaves, tangents, strict=True)]
    for k in range(len(values)):
        if k >= n:
            op, inputs = program.nodes[k - n]
            assert op.tangent
            xs, t = [values[i] for i in inputs], [ts[i] for i in inputs]
            if change.rule and change.rule[0] == k:
                t_out = change.rule[1](lambda g, y, *xs, op=op: op.tangent(g, y, *xs), t, values[k], xs, values)
            else:
                t_out = op.tangent(t, values[k], *xs)
            ts.append(t_out.astype(values[k].dtype))
        if change.cotangent and change.cotangent[0] == k:
            ts[k] = change.cotangent[1](ts[k], values[k]).astype(values[k].dtype)
    return [values[k] for k in program.outputs], [ts[k] for k in program.outputs]


def with_vjp(program: Program, change: Change, recompute: bool) -> Function:
    """The program with its backward pass as its rule."""

    def f(*args: Any) -> Any:
        return program.plain(*args)

    def fwd(*args: Any) -> Any:
        values = program.run(jax.tree.leaves(args))
        out = program.pack(change.outputs([values[k] for k in program.outputs]))
        return out, args if recompute else values

    def bwd(residuals: Any, g: Any) -> Any:
        values = program.run(jax.tree.leaves(residuals)) if recompute else residuals
        return jax.tree.unflatten(program.tree, backward(program, values, jax.tree.leaves(g), change))

    function = jax.custom_vjp(f)
    function.defvjp(fwd, bwd)
    return function


def with_jvp(program: Program, change: Change) -> Function:
    """The program with its forward pass of tangents as its rule."""

    def f(*args: Any) -> Any:
        return program.plain(*args)

    def jvp(primals: Any, tangents: Any) -> Any:
        outs, ts = forward(program, jax.tree.leaves(primals), jax.tree.leaves(tangents), change)
        return program.pack(change.outputs(outs)), program.pack(ts)

    function = jax.custom_jvp(f)
    function.defjvp(jvp)
    return function


def is_float(x: Any) -> bool:
    """Whether it can have a cotangent."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


# --- drawing -------------------------------------------------------------------------------------------------

BUILDERS: list[tuple[Function, int, float]] = [
    (suite.pointwise, 1, 5), (suite.pointwise, 2, 5), (suite.pointwise, 3, 1), (suite.reduction, 1, 2),
    (suite.normalisation, 1, 2), (suite.movement, 1, 3), (suite.joining, 2, 2), (suite.product, 2, 4),
    (suite.matrix, 2, 1), (suite.inverse, 1, 0.4), (suite.loop, 2, 1), (suite.with_constant, 1, 2),
]  # fmt: skip
WEIGHTS = np.array([weight for _, _, weight in BUILDERS]) / sum(weight for _, _, weight in BUILDERS)
DTYPES = (*["float32"] * 17, "float16", "bfloat16", "mixed")


def draw_program(r: Rng) -> Program:
    """A program and its leaves."""
    dtype = str(r.choice(DTYPES))
    low, high = [(1, 6), (2, 30), (2, 7)][r.choice(3, p=[0.15, 0.1, 0.75])]
    n, m = (int(k) for k in r.integers(low, high, 2))
    shapes: list[Shape] = [(), (n,), (n, n), (n, m), (m, n), (m,), (2, n, m), (1, m)]
    ties, scale = r.random() < 0.15, float(np.exp(r.uniform(-1, 0.7)))
    leaves: list[Any] = []
    for _ in range(r.integers(1, 5)):
        shape = tuple(shapes[r.choice(len(shapes), p=np.array([1, 3, 3, 5, 2, 2, 1, 1]) / 18)])
        x = r.integers(-2, 3, shape) if ties else scale * r.normal(size=shape)
        kind = str(r.choice(["float32", "bfloat16"])) if dtype == "mixed" else dtype
        leaves.append(jnp.asarray(x, kind))
    floats = len(leaves)
    constants: list[Any] = []
    nodes: list[Node] = []
    wanted = int(r.integers(3, 13))
    # Values are counted with the constants, which are leaves, behind the others: they get their places at the end.
    known = [jax.eval_shape(lambda x=x: x) for x in leaves]
    for _ in range(20 * wanted):
        build, arity, _ = BUILDERS[r.choice(len(BUILDERS), p=WEIGHTS)]
        used = {i for _, inputs in nodes for i in inputs}
        fresh = [i for i in range(len(known)) if i not in used]
        pool = [fresh if fresh and r.random() < 0.7 else range(len(known)) for _ in range(arity)]
        inputs: tuple[Any, ...] = tuple(int(r.choice(p)) for p in pool)
        op = build(r, *[known[i].shape for i in inputs])
        if isinstance(op, tuple) and not isinstance(op, Op):
            constant, make = op
            if r.random() < 0.5:
                op, inputs = suite.as_argument(make, constant), (*inputs, ~len(constants))
                constants.append(jnp.asarray(constant))
            else:
                op = make(jnp.asarray(constant) if r.random() < 0.5 else constant)
                op = op._replace(name=f"{op.name}, {getattr(constant, 'dtype', '')}")
        if op is None or (op.name in NO_HALF and any(known[i].dtype.itemsize < 4 for i in inputs[:2])):
            continue
        of = functools.partial(jax.eval_shape, op.f)
        result = of(*[constants[~i] if i < 0 else known[i] for i in inputs])
        if 0 < result.size <= suite.LARGEST:
            known.append(result)
            nodes.append(Node(op, inputs))
        if len(nodes) == wanted:
            break

    def place(i: int) -> int:
        return i if 0 <= i < floats else floats + ~i if i < 0 else i + len(constants)

    nodes = [Node(op, tuple(place(i) for i in inputs)) for op, inputs in nodes]
    leaves += constants
    used = {i for _, inputs in nodes for i in inputs}
    outputs = [k for k in range(len(leaves), len(leaves) + len(nodes)) if k not in used]
    if r.random() < 0.4 and outputs:
        shapes = [known[k - len(constants)].shape for k in outputs]
        nodes.append(Node(suite.cost(r, *shapes), tuple(outputs)))
        outputs = [len(leaves) + len(nodes) - 1]
    elif len(outputs) < 3 and r.random() < 0.2:  # a value that is used, too
        outputs.insert(0, len(leaves) + int(r.integers(len(nodes))))
    return Program(leaves, nodes, list(dict.fromkeys(outputs)), _pack(r, len(leaves)), str(r.choice(["tuple", "dict"])))


NO_HALF = {"solve", "triangular solve", "inverse", "log det"}


def _pack(r: Rng, n: int) -> Any:
    """How n leaves are spread over arguments: each alone, a dict of the first ones, or lists of two."""
    marks = list(range(n))
    how, m = r.integers(3), int(r.integers(1, n + 1))
    args: tuple[Any, ...] = tuple(marks)
    if how == 1:
        args = ({f"p{k:02}": k for k in marks[:m]}, *marks[m:])
    elif how == 2:
        args = ([tuple(marks[k : k + 2]) for k in range(0, m, 2)], *marks[m + m % 2 :])
    return jax.tree.structure(args)


def changes(r: Rng, shape: Shape, linear: bool) -> dict[str, Function]:
    """What can go wrong with a cotangent c at a value x."""
    sign, i = r.choice([-1, 1]), int(r.integers(max(math.prod(shape), 1)))

    def at(c: Any, factor: float) -> Any:
        return c * jnp.where(np.arange(c.size) == i, factor, 1).astype(c.dtype).reshape(c.shape)

    def without_a_row(c: Any) -> Any:
        return jnp.where((np.arange(shape[0]) == i % shape[0]).reshape(-1, *[1] * (c.ndim - 1)), 0, c)

    found: dict[str, Function] = {
        "sign": lambda c, x: -c,
        "a factor of 2": lambda c, x: 2 * c,
        "a factor of 1/2": lambda c, x: c / 2,
        "1 % off": lambda c, x: c * (1 + sign * 1e-2),
        "0.1 % off": lambda c, x: c * (1 + sign * 1e-3),
        "0.01 % off": lambda c, x: c * (1 + sign * 1e-4),
        "left out": lambda c, x: 0 * c,
        "rounded to bfloat16": lambda c, x: c.astype(jnp.bfloat16).astype(c.dtype),
        "twice where x is negative": lambda c, x: jnp.where(x < 0, 2 * c, c),
        "nothing where x is above 1": lambda c, x: jnp.where(x > 1, 0, c),
    }
    if math.prod(shape) > 1:
        found |= {
            "one entry left out": lambda c, x: at(c, 0),
            "one entry 10 % off": lambda c, x: at(c, 1.1),
            "rows shifted": lambda c, x: jnp.roll(c, 1, 0),
            "order reversed": lambda c, x: jnp.flip(c),
            "the last row for all": lambda c, x: jnp.broadcast_to(c[-1:], c.shape),
            "averaged over the rows": lambda c, x: jnp.broadcast_to(jnp.mean(c, 0, keepdims=True), c.shape),
            "divided by its size": lambda c, x: c / c.size,
            "a row left out": lambda c, x: without_a_row(c),
        }
    if len(shape) > 1 and shape[-2] == shape[-1] > 1:
        found["transposed"] = lambda c, x: jnp.swapaxes(c, -1, -2)
    if not linear:
        found |= {
            "clipped": lambda c, x: jnp.clip(c, -1, 1),
            "squared": lambda c, x: c * c,
            "absolute": lambda c, x: jnp.abs(c),
            "ignored": lambda c, x: jnp.ones_like(c),
            "0.01 added": lambda c, x: c + 0.01,
            "NaN in one entry": lambda c, x: at(c, jnp.nan),
            "flushed below 0.1": lambda c, x: jnp.where(jnp.abs(c) < 0.1, 0, c),
            "the first entry's for all": lambda c, x: jnp.full_like(c, c.ravel()[0]),
        }
    return found


def draw_change(r: Rng, program: Program, shapes: list[Shape], linear: bool) -> Change | None:
    """A fault that the program can have; None if the sort that was drawn does not fit."""
    n = len(program.leaves)
    k = int(r.integers(n, len(shapes)))
    op, inputs = program.nodes[k - n]
    j = int(r.integers(len(inputs)))
    sort = r.choice(["fault", "term", "residual", "cotangent", "leaf", "outputs"], p=[0.4, 0.21, 0.16, 0.1, 0.1, 0.03])
    if sort == "outputs":
        factor, shift = [(2, 0), (1, 0.05), (1.01, 0), (-1, 0)][r.integers(4)]
        return Change("value off", outputs=lambda outs: [(factor * out + shift).astype(out.dtype) for out in outs])
    if sort in ("cotangent", "leaf"):
        k = k if sort == "cotangent" else int(r.choice([k for k in range(n) if is_float(program.leaves[k])]))
        kind, change = _choice(r, changes(r, shapes[k], linear))
        where = "argument" if sort == "leaf" else "output" if k in program.outputs else "value between"
        return Change(f"{where}: {kind}", cotangent=(k, change))
    if sort == "fault":
        if linear or not op.faults:
            return None
        kind, faulty = _choice(r, op.faults)
        return Change(f"rule: {kind}", rule=(k, lambda rule, g, y, xs, values: faulty(g, y, *xs)))
    if inputs[j] < n and not is_float(program.leaves[inputs[j]]):
        return None
    if sort == "term":
        kind, change = _choice(r, changes(r, shapes[inputs[j]], linear))
        if linear:  # of the tangent that goes in
            return Change(f"term: {kind}", rule=(k, lambda rule, ts, y, xs, values: rule(
                [change(t, xs[j]) if i == j else t for i, t in enumerate(ts)], y, *xs)))  # fmt: skip
        return Change(f"term: {kind}", rule=(k, lambda rule, g, y, xs, values: [
            change(c, xs[j]) if i == j else c for i, c in enumerate(rule(g, y, *xs))]))  # fmt: skip
    others = [
        i
        for i, s in enumerate(shapes)
        if s == shapes[inputs[j]] and i != inputs[j] and (i >= n or is_float(program.leaves[i]))
    ]
    stale = int(r.choice(others)) if others else None
    residuals: dict[str, Function] = {"sign": lambda x, v: -x, "ones": lambda x, v: jnp.ones_like(x)}
    if math.prod(shapes[inputs[j]]) > 1:
        residuals |= {"rows shifted": lambda x, v: jnp.roll(x, 1, 0), "reversed": lambda x, v: jnp.flip(x)}
    if stale is not None:
        residuals |= {"another value": lambda x, v: v[stale].astype(x.dtype)} | (
            {"the output": lambda x, v: v[k].astype(x.dtype)} if shapes[k] == shapes[inputs[j]] else {}
        )
    kind, residual = _choice(r, residuals)
    return Change(f"residual: {kind}", rule=(k, lambda rule, g, y, xs, values: rule(
        g, y, *[residual(x, values) if i == j else x for i, x in enumerate(xs)])))  # fmt: skip


def _choice(r: Rng, options: dict[str, Any]) -> tuple[str, Any]:
    name = str(r.choice(list(options)))
    return name, options[name]


# --- the truth -----------------------------------------------------------------------------------------------

POINTS = 16
RIGHT = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}
WRONG = {"float32": 5e-5, "float16": 4e-3, "bfloat16": 3e-2}


def of_floats(f: Function, program: Program) -> Callable[[list[Any]], list[Any]]:
    """The function of the leaves that are floating-point numbers; its outputs as a list."""

    def function(floats: list[Any]) -> list[Any]:
        rest = iter(floats)
        leaves = [next(rest) if is_float(x) else x for x in program.leaves]
        return jax.tree.leaves(f(*jax.tree.unflatten(program.tree, leaves)))

    return function


def value_and_gradient(f: Function, program: Program) -> Function:
    """(floats, gs) → the outputs and the gradients, as one list."""

    def function(floats: list[Any], gs: list[Any]) -> list[Any]:
        outs, pull = jax.vjp(of_floats(f, program), floats)
        return outs + pull([g.astype(out.dtype) for g, out in zip(gs, outs, strict=True)])[0]

    return function


class Truth(NamedTuple):
    """Of each output and each gradient: the range around the arguments, the size, and what rounding does."""

    low: list[Any]
    high: list[Any]
    size: list[float]
    noise: list[float]


def arrays(xs: Any) -> list[Any]:
    """As numpy has them, in float64."""
    return [np.asarray(x, np.float64) for x in xs]


def outside(xs: list[Any], truth: Truth, widths: float = 0) -> list[Any]:
    """By how much each entry leaves its range, which is made wider by some of its widths; infinite for a NaN."""
    found = []
    for x, low, high in zip(xs, truth.low, truth.high, strict=True):
        width = widths * (high - low)
        off = np.maximum(np.maximum(low - width - x, x - high - width), 0)
        found.append(np.where(np.isnan(x), np.inf, off))
    return found


class Bench:
    """Evaluates rules of a program in float64 and in its own dtype, for one random cotangent."""

    def __init__(self, r: Rng, program: Program) -> None:
        self.program = program
        self.own = [x for x in program.leaves if is_float(x)]
        self.dtype = min((str(x.dtype) for x in self.own), key=lambda d: (d == "float32", d == "float16"))
        outs = jax.eval_shape(of_floats(program.plain, program), self.own)
        self.gs = [r.normal(size=out.shape).astype(out.dtype) for out in outs]
        self.noises = [1e-7 * r.uniform(-1, 1, (POINTS, *x.shape)) * np.maximum(np.abs(x), 1) for x in arrays(self.own)]

    @contextlib.contextmanager
    def x64(self) -> Iterator[None]:
        """JAX in float64; an index of int64 breaks what JAX has cached of the other precision."""
        clear = jax.clear_caches if any("int64" in op.name for op, _ in self.program.nodes) else lambda: None
        clear()
        with jax.enable_x64(True):
            yield
        clear()

    def exact(self, f: Function) -> list[Any]:
        """Values and gradients in float64."""
        with self.x64():
            floats, gs = [[jnp.asarray(x) for x in arrays(xs)] for xs in (self.own, self.gs)]
            return arrays(_fast(value_and_gradient(f, self.program))(floats, gs))

    def rounded(self, f: Function) -> list[Any]:
        """Values and gradients in their own dtype."""
        return arrays(_fast(value_and_gradient(f, self.program))(self.own, [jnp.asarray(g) for g in self.gs]))

    def around(self) -> list[Any]:
        """Values and gradients of the plain program, by jax.vjp in float64, at points around the arguments."""
        with self.x64():
            floats = [jnp.asarray(x + noise) for x, noise in zip(arrays(self.own), self.noises, strict=True)]
            gs = [jnp.asarray(x) for x in arrays(self.gs)]
            of = jax.vmap(value_and_gradient(self.program.plain, self.program), (0, None))
            return arrays(_fast(of)(floats, gs))

    def truth(self, right: Function) -> Truth | None:
        """The truth, if the rule is right and the program sensible."""
        points = self.around()
        sizes = [float(np.max(np.abs(x), initial=0)) for x in points]
        limit = 1e4 if self.dtype == "float32" else 1e2
        if not all(np.isfinite(x).all() for x in points) or not 1e-3 < max(sizes) < limit:
            return None
        truth = Truth([x.min(0) for x in points], [x.max(0) for x in points], sizes, [])
        allowed = RIGHT[self.dtype]
        noise = [float(np.max(off, initial=0)) for off in outside(self.rounded(right), truth)]
        exact = [float(np.max(off, initial=0)) for off in outside(self.exact(right), truth)]
        if any(n > allowed * size or e > 1e-5 * size for n, e, size in zip(noise, exact, sizes, strict=True)):
            return None
        return truth._replace(noise=noise)

    @staticmethod
    def at_tie(truth: Truth) -> bool:
        """Whether some range is wider than smooth functions have it."""
        widths = [np.max(high - low, initial=0) for low, high in zip(truth.low, truth.high, strict=True)]
        return any(width > 1e-4 * size for width, size in zip(widths, truth.size, strict=True))

    def is_wrong(self, f: Function, truth: Truth) -> bool:
        """Whether a rule is wrong beyond doubt."""
        offs = outside(self.exact(f), truth, widths=1)
        largest = max(truth.size)
        for off, low, high, size, noise in zip(offs, *truth, strict=True):
            entry = np.maximum(np.abs(low), np.abs(high))
            obvious = (off > 0.01 * entry) & (off > 30 * noise) & (off > 1e-7 * largest) & (self.dtype == "float32")
            if np.any(obvious | (off > WRONG[self.dtype] * max(size, 0.1 * largest))):
                return True
        return False


def _fast(f: Function) -> Any:
    """Compiled in a hurry."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})


@functools.lru_cache(maxsize=4)
def draw(seed: int) -> tuple[Generated, Generated]:
    """The right rule and its wrong twin."""
    jax.clear_caches()  # so that nothing depends on what was run before
    for attempt in range(200):
        r = np.random.default_rng([seed, attempt])
        program = draw_program(r)
        if not program.nodes:
            continue
        linear = bool(r.random() < 0.2) and all(op.tangent for op, _ in program.nodes)
        recompute = bool(r.random() < 0.3)

        def rule(
            change: Change, program: Program = program, linear: bool = linear, again: bool = recompute
        ) -> Function:
            return with_jvp(program, change) if linear else with_vjp(program, change, again)

        bench = Bench(r, program)
        right = rule(Change("right"))
        truth = bench.truth(right)
        if truth is None:
            continue
        shapes = [x.shape for x in jax.eval_shape(program.run, program.leaves)]
        for _ in range(12):
            change = draw_change(r, program, shapes, linear)
            if change is not None and bench.is_wrong(wrong := rule(change), truth):
                return tuple(
                    Generated(f"seed {seed}: {kind}", f, args, correct, kind, str(program), bench.at_tie(truth))
                    for f, correct, kind in ((right, True, "right"), (wrong, False, change.kind))
                    for args in [jax.tree.unflatten(program.tree, program.leaves)]
                )  # type: ignore[return-value]
    raise RuntimeError(f"no program for seed {seed}")
