"""The same rule under the transformations of JAX, in other precisions and at other sizes: a table."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import ours, subject, tolerance
from mlp_jax.verify.checks import case_of_vjp, check_vjp
from mlp_jax.verify.comparison import Arrays, Comparison
from mlp_jax.verify.judgement import AS_THE_REFERENCE
from mlp_jax.verify.precision import float64, largest
from mlp_jax.verify.references import as_numbers
from mlp_jax.verify.report import CannotCheck, Leaf, Report, Verdict
from mlp_jax.verify.subject import Leaves, Rule

# In float64 a transformation changes the order of sums, and no more.
ALIKE = 1e-9


def check_transforms(
    f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    seed: int = 0,
) -> Report:
    """Check that the rule of f gives the same gradient whatever JAX does with it.

    A row each for: jit, vmap over each argument, a body of scan, the second derivative, a cotangent of zeros, every
    dtype, and a batch of 1 and of 0 examples. What a rule does not support is a row and no failure; a number that
    differs is. Arguments that share their first length with the first output, or the last argument, are the batch.

    Args:
        f: as for `check_vjp`, with its arguments.
        args: its arguments.
        reference: as for `check_vjp`.
        argnums: as for `check_vjp`.
        seed: of cotangents.

    Returns:
        A report whose leaves are the rows.

    Raises:
        CannotCheck: as for `check_vjp`.

    >>> @jax.custom_vjp
    ... def double(x):
    ...     return 2 * x
    >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
    >>> report = check_transforms(double, jnp.ones(3))
    >>> report.passed, [row.name for row in report.leaves][:3]
    (True, ['jit', 'vmap over x', 'scan'])
    """
    started = time.perf_counter()
    case = case_of_vjp(f, args, reference, argnums, seed)
    comparison = Comparison(case)
    g = comparison.cotangents[0]
    rows = [_row("jit", lambda: _jitted(comparison, g))]
    rows += [
        _row(f"vmap over {name}", lambda places=places: _mapped(comparison, g, places))  # type: ignore[misc]
        for name, places in _top_level(f, case.arguments, args).items()
    ]
    rows.append(_row("scan", lambda: _scanned(comparison, g)))
    if comparison.reference:
        rows.append(_row("second order", lambda: _second(comparison, g)))
    rows.append(_row("zero cotangent", lambda: _zero(comparison, g)))
    others = {"reference": reference, "argnums": argnums, "seed": seed}
    for dtype in ("float32", "bfloat16", "float16"):
        rows.append(_checked(dtype, f, lambda dtype=dtype: _cast(args, dtype), others))  # type: ignore[misc]
    for n in (1, 0):
        rows.append(_checked(f"batch of {n}", f, lambda n=n: subject.first_rows(args, case.values[0], n), others))  # type: ignore[misc]
    title = f"check_transforms({subject.name_of(f)})"
    return Report(
        title,
        tuple(rows),
        reproduce=f"verify.{title[:-1]}, ..., seed={seed})",
        seed=seed,
        seconds=time.perf_counter() - started,
        policy=tolerance.VERSION,
    )


def _row(name: str, compute: Callable[[], tuple[Arrays, Arrays]]) -> Leaf:
    """A row that compares two lists of arrays; what raises is not supported."""
    try:
        with float64():
            yours, expected = compute()
    except Exception as error:  # whatever the user's rule raises under the transformation
        return Leaf(
            name, None, "", Verdict.UNSUPPORTED, reason=f"{type(error).__name__}: {subject.first_lines(error, 100)}"
        )
    worst = 0.0
    for a, b in zip(yours, expected, strict=True):
        if a.shape != b.shape:
            return Leaf(name, None, "", Verdict.STRUCTURE, reason=f"a gradient of shape {a.shape}, not {b.shape}")
        with np.errstate(all="ignore"):
            off, size = largest(np.where(a == b, 0, a - b)), largest(b)
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return Leaf(name, None, "", Verdict.NONFINITE, reason="entries that are not finite")
        worst = max(worst, float(off / size) if size else float(off > 0))
    return Leaf(name, None, "", Verdict.OK if worst <= ALIKE else Verdict.WRONG, error=worst)


def _jitted(c: Comparison, g: Arrays) -> tuple[Arrays, Arrays]:
    return _numbers(jax.jit(c.case.rule)(c.leaves, _arrays(g))[1]), _numbers(c.case.rule(c.leaves, _arrays(g))[1])


def _mapped(c: Comparison, g: Arrays, places: set[int]) -> tuple[Arrays, Arrays]:
    """Two values of one argument at once, beside one after the other."""
    pair = [jnp.stack([x, 0.9 * x]) if k in places else x for k, x in enumerate(c.leaves)]
    axes = [0 if k in places else None for k in range(len(c.leaves))]
    grads = jax.jit(jax.vmap(lambda leaves: c.case.rule(leaves, _arrays(g))[1], in_axes=(axes,)))(pair)
    each = [c.fast_rule([x[i] if k in places else x for k, x in enumerate(pair)], _arrays(g))[1] for i in range(2)]
    return _numbers(grads), [np.stack([as_numbers(a), as_numbers(b)]) for a, b in zip(*each, strict=True)]


def _scanned(c: Comparison, g: Arrays) -> tuple[Arrays, Arrays]:
    """Σ_t f(t x) in a loop, beside the sum of its two terms' gradients."""
    times = (1.0, 0.5)

    def loop(leaves: Leaves) -> Any:
        def body(total: Any, t: Any) -> tuple[Any, None]:
            outs = _outputs(c.case.rule, [t * x for x in leaves], g)
            return total + sum(jnp.sum(a * z) for a, z in zip(_arrays(g), outs, strict=True)), None

        return jax.lax.scan(body, jnp.zeros(()), jnp.asarray(times))[0]

    def term(t: float) -> Arrays:
        return [t * as_numbers(x) for x in c.fast_rule([t * x for x in c.leaves], _arrays(g))[1]]

    return _numbers(jax.jit(jax.grad(loop))(c.leaves)), [
        a + b for a, b in zip(term(times[0]), term(times[1]), strict=True)
    ]


def _outputs(rule: Rule, leaves: Leaves, g: Arrays) -> Leaves:
    return rule(leaves, _arrays(g))[0]


def _second(c: Comparison, g: Arrays) -> tuple[Arrays, Arrays]:
    """The gradient of the gradient along a random direction, of yours and of the reference."""
    assert c.reference
    rng = np.random.default_rng([c.case.seed, 5])
    v = [jnp.asarray(rng.normal(size=np.shape(x))) for x in c.leaves]

    def along(rule: Rule) -> Arrays:
        def projected(leaves: Leaves) -> Any:
            return sum(jnp.sum(d * x) for d, x in zip(v, rule(leaves, _arrays(g))[1], strict=True))

        return _numbers(jax.jit(jax.grad(projected))(c.leaves))

    source, _ = c.reference
    return along(c.case.rule), along(dict(c.case.references)[source])  # as it is: it is compiled here


def _zero(c: Comparison, g: Arrays) -> tuple[Arrays, Arrays]:
    grads = _numbers(c.fast_rule(c.leaves, [jnp.zeros(np.shape(z)) for z in g])[1])
    return grads, [np.zeros_like(x) for x in grads]


def _checked(
    name: str, f: Callable[..., Any], arguments: Callable[[], tuple[Any, ...]], others: dict[str, Any]
) -> Leaf:
    """A row that checks f anew at other arguments."""
    try:
        report = check_vjp(f, *arguments(), **others)
    except CannotCheck as error:
        return Leaf(name, None, "", Verdict.UNSUPPORTED, reason=subject.first_lines(error, 120))
    worst = max((leaf.error or 0.0 for leaf in report.leaves if leaf.verdict is not Verdict.KINK), default=0.0)
    if report.passed:
        return Leaf(name, None, "", Verdict.OK, error=worst)
    bad = next(leaf for leaf in report.leaves if not leaf.passed)
    if bad.verdict is Verdict.NONFINITE and AS_THE_REFERENCE in bad.reason:
        return Leaf(name, None, "", Verdict.UNSUPPORTED, reason="the function itself is not finite there")
    if bad.verdict is Verdict.RAISED:
        return Leaf(name, None, "", Verdict.UNSUPPORTED, reason=bad.reason[:120])
    return Leaf(name, None, "", bad.verdict, error=worst, reason=f"{bad.name}: {bad.reason or bad.verdict.value}")


def _cast(args: tuple[Any, ...], dtype: str) -> tuple[Any, ...]:
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x, args
    )


def _top_level(f: Callable[..., Any], arguments: subject.Arguments, args: tuple[Any, ...]) -> dict[str, set[int]]:
    """For each argument with leaves to differentiate for: their numbers among those."""
    ends = np.cumsum([len(jax.tree.leaves(x)) for x in args])
    names = ours.input_names(f, tuple(0 for _ in args))
    found: dict[str, set[int]] = {}
    for k, place in enumerate(arguments.places):
        found.setdefault(names[int(np.searchsorted(ends, place, side="right"))], set()).add(k)
    return found


def _arrays(g: Arrays) -> Leaves:
    return [jnp.asarray(z) for z in g]


def _numbers(leaves: Leaves) -> Arrays:
    return [as_numbers(x) for x in leaves]
