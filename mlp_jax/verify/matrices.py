"""Jacobians and products with a Hessian that somebody wrote by hand."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.verify import policy
from mlp_jax.verify.arguments import AnyFunction, Argnums, name_of
from mlp_jax.verify.by_hand import is_traceable
from mlp_jax.verify.checks import prepared_by_hand, report_on, require_seed
from mlp_jax.verify.interpreter import trace, without_rules
from mlp_jax.verify.report import CannotCheck, Report
from mlp_jax.verify.slopes import slopes, times


def check_jacobian(
    f: AnyFunction,
    jac_f: AnyFunction,
    *args: Any,
    reference: AnyFunction | None = None,
    argnums: Argnums = None,
    seed: int = 0,
) -> Report:
    """Check a hand-written Jacobian of f, entry by entry, as `check_grad` checks a gradient.

    J[j, i] = ∂y_j / ∂x_i, in the layout of `jax.jacobian`: the axes of the output, then those of the argument.

    Args:
        f: the function; it returns one array.
        jac_f: called like f; it returns the Jacobian for the first argument, or a tuple for the first few.
        args: the arguments of both, of JAX or of numpy.
        reference: a function whose Jacobian is the truth, instead of f.
        argnums: for which arguments jac_f returns Jacobians; found by their shapes if None.
        seed: of directions.

    Returns:
        The report, true if it passed: a verdict for each floating-point leaf of those arguments.

    Raises:
        CannotCheck: f raises, does not return one array, or there is nothing to check.

    >>> report = check_jacobian(lambda x: x**2, lambda x: np.diag(3 * x), np.array([1.0, 2.0]))
    >>> report.passed, report.causes
    (False, ('x: yours = 1.5 × reference in every entry: a constant factor.',))
    """
    started = time.perf_counter()
    checked = prepared_by_hand(f, jac_f, args, reference, argnums, seed, jacobian=True)
    return report_on(f"check_jacobian({name_of(f)}, {name_of(jac_f)})", checked, seed, started)


def check_hvp(f: AnyFunction, hvp_f: AnyFunction, *args: Any, seed: int = 0) -> Report:
    """Check a hand-written product of the Hessian of a scalar function with a vector, entry by entry.

    H v = ∇_x ⟨∇f(x), v⟩. The slope ⟨∇f, v⟩ is that of f without any rules inside, in forward mode; of numpy's functions
    it is taken from values, and its own derivative is then known to a few digits only.

    Args:
        f: the function; it returns one number.
        hvp_f: called with the arguments of f and v; it returns what is like v.
        args: the arguments of f, and v last: like the first argument, or a tuple like the first few.
        seed: of directions.

    Returns:
        The report, true if it passed: a verdict for each floating-point leaf of those arguments.

    Raises:
        CannotCheck: f raises, does not return one number, or v is not like its argument.

    >>> x, v = jnp.array([1.0, 2.0]), jnp.array([1.0, -1.0])
    >>> check_hvp(lambda x: jnp.sum(x**3), lambda x, v: 6 * x * v, x, v).passed
    True
    """
    started = time.perf_counter()
    require_seed(seed)
    *inputs, v = args if len(args) > 1 else (None, None)
    several = isinstance(v, tuple) and not isinstance(inputs[0], tuple)
    chosen = tuple(inputs[: len(v)]) if several else (inputs[0],)
    shapes = [jax.tree.map(np.shape, tree) for tree in (chosen, tuple(v) if several else (v,))]
    if shapes[0] != shapes[1]:
        raise CannotCheck(
            f"v must be like its argument, shapes {shapes[0]}, got {shapes[1]}: check_hvp(f, hvp_f, x, v)"
        )
    v = v if several else (v,)
    on_jax = is_traceable(lambda *first: f(*first, *inputs[len(v) :]), inputs[: len(v)])
    along = _in_forward_mode(f, v) if on_jax else _from_values(f, v)
    argnums = tuple(range(len(v))) if several else 0
    product = lambda *xs: hvp_f(*xs, v if several else v[0])  # noqa: E731
    checked = prepared_by_hand(along, product, tuple(inputs), None, argnums, seed)
    return report_on(f"check_hvp({name_of(f)}, {name_of(hvp_f)})", checked, seed, started)


def _in_forward_mode(f: AnyFunction, v: tuple[Any, ...]) -> AnyFunction:
    """⟨∇f, v⟩ for the first arguments, whatever rules f has."""

    @functools.wraps(f, updated=())
    def along(*args: Any) -> Any:
        def plain(*first: Any) -> Any:
            program = trace(lambda *xs: f(*xs, *args[len(v) :]), *first)
            return without_rules(program)(*jax.tree.leaves(first))[0]

        first = jax.tree.map(jnp.asarray, args[: len(v)])
        tangents = jax.tree.map(lambda t, x: jnp.asarray(t, x.dtype), v, first)
        slope: Any = jax.jvp(plain, first, tangents)[1]
        return slope

    return along


def _from_values(f: AnyFunction, v: tuple[Any, ...]) -> AnyFunction:
    """The same by slopes from values, in steps as large as the arguments."""

    @functools.wraps(f, updated=())
    def along(*args: Any) -> Any:
        first = args[: len(v)]
        sizes = [np.linalg.norm(np.concatenate([np.ravel(t) for t in jax.tree.leaves(tree)])) for tree in (first, v)]
        step = float(sizes[0] or 1) / float(sizes[1] or 1)
        lines = [jax.tree.map(lambda x, d, t=t: x + t * step * d, first, v) for t in times(policy.STEPS)]
        values = np.array([float(f(*moved, *args[len(v) :])) for moved in lines])[None, :, None]
        noise = policy.VALUE_NOISE * policy.FLOAT64.eps
        found = slopes(policy.STEPS, values, np.abs(values), noise, staircase=policy.STAIRCASE_OF_CALLS)
        return float(found.middle[0, 0]) / step

    return along
