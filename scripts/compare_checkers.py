#!/usr/bin/env python
"""Run gradient checkers on the public set of planted faults and right rules in benchmarks/planted.py.

    scripts/run python scripts/compare_checkers.py [--json FILE]

For each checker: how many of the faults it finds, how many of the right rules it rejects, and its time. An error that
is not the checker's own verdict (a TypeError on whole numbers, say) finds no fault, but rejects a right rule.

- jax.test_util.check_grads(f, args, order=1, modes=["rev"]), whose default modes refuse every custom_vjp.
- chex.assert_numerical_grads(f, (vector,), order=1, modes=("rev",)), of one vector, for it takes no trees.
- torch.autograd.gradcheck in float32 and float64 (the extra `benchmark`), of a torch.autograd.Function that calls JAX
  with the same numbers; not of cases with more than 1,000 entries, where it takes hours.
- mlp_jax.verify.check_vjp.
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import planted
from benchmarks.planted import Planted
from jax.test_util import check_grads

from mlp_jax import verify


class TooLargeError(Exception):
    """The case has more entries than the checker can be given in minutes: it is not counted for it."""


def ours(case: Planted) -> None:
    """mlp_jax.verify.check_vjp."""
    verify.check_vjp(case.f, *case.args).check()


def jax_check_grads(case: Planted) -> None:
    """jax.test_util.check_grads."""
    check_grads(case.f, case.args, order=1, modes=["rev"])


def chex_assert(case: Planted) -> None:
    """chex.assert_numerical_grads."""
    f, leaves = of_leaves(case)
    sizes = [x.size for x in leaves]
    dtype = jnp.result_type(*leaves)

    def of_vector(vector: jax.Array) -> Any:
        parts = jnp.split(vector, np.cumsum(sizes)[:-1])
        return f([part.reshape(x.shape).astype(x.dtype) for part, x in zip(parts, leaves, strict=True)])

    vector = jnp.concatenate([jnp.ravel(x).astype(dtype) for x in leaves])
    chex.assert_numerical_grads(of_vector, (vector,), order=1, modes=("rev",))


def torch_gradcheck(dtype: str) -> Callable[[Planted], None]:
    """torch.autograd.gradcheck in a dtype."""
    import torch

    def check(case: Planted) -> None:
        with jax.enable_x64(dtype == "float64"):
            f, leaves = of_leaves(case)
            if sum(x.size for x in leaves) > 1000:
                raise TooLargeError
            inputs = [jnp.asarray(x, dtype) for x in leaves]
            forward = jax.jit(lambda xs: jax.vjp(f, xs)[0])
            backward = jax.jit(lambda xs, g: jax.vjp(f, xs)[1](g)[0])

            class Function(torch.autograd.Function):  # type: ignore[misc]
                @staticmethod
                def forward(context: Any, *tensors: Any) -> Any:
                    context.xs = [jnp.asarray(t.detach().numpy()) for t in tensors]
                    outs = forward(context.xs)
                    context.dtypes = [z.dtype for z in outs]
                    return tuple(torch.tensor(np.asarray(z)) for z in outs)

                @staticmethod
                def backward(context: Any, *gs: Any) -> Any:
                    g = [jnp.asarray(t.numpy(), d) for t, d in zip(gs, context.dtypes, strict=True)]
                    return tuple(torch.tensor(np.asarray(x)) for x in backward(context.xs, g))

            tensors = [torch.tensor(np.asarray(x), requires_grad=True) for x in inputs]
            if not torch.autograd.gradcheck(Function.apply, tensors, raise_exception=False):
                raise AssertionError("gradcheck is false")

    return check


def of_leaves(case: Planted) -> tuple[Callable[..., Any], list[Any]]:
    """The case as a function of its floating-point leaves."""
    leaves, tree = jax.tree.flatten(case.args)
    places = [k for k, x in enumerate(leaves) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)]

    def f(chosen: list[Any]) -> list[Any]:
        full = list(leaves)
        for k, x in zip(places, chosen, strict=True):
            full[k] = x
        return jax.tree.leaves(case.f(*jax.tree.unflatten(tree, full)))

    return f, [leaves[k] for k in places]


def verdict(check: Callable[[Planted], None], case: Planted) -> str:
    """Whether a checker passes a case, rejects it, or breaks on it."""
    try:
        check(case)
    except AssertionError:
        return "rejected"
    except TooLargeError:
        return "too large"
    except Exception as error:
        return f"broke: {type(error).__name__}"
    return "passed"


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every verdict")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of torch, on float32
    checkers: dict[str, Callable[[Planted], None]] = {
        "jax.test_util.check_grads": jax_check_grads,
        "chex.assert_numerical_grads": chex_assert,
    }
    if importlib.util.find_spec("torch"):
        checkers["torch gradcheck, float32"] = torch_gradcheck("float32")
        checkers["torch gradcheck, float64"] = torch_gradcheck("float64")
    checkers["mlp_jax.verify.check_vjp"] = ours
    found: dict[str, dict[str, dict[str, str]]] = {}
    print("| checker | faults found | right rules rejected | seconds a case |\n|---|---|---|---|")
    for name, check in checkers.items():
        started = time.perf_counter()
        faults = {case.name: verdict(check, case) for case in planted.faults()}
        right = {case.name: verdict(check, case) for case in planted.right()}
        seconds = (time.perf_counter() - started) / (len(faults) + len(right))
        caught = sum(v == "rejected" for v in faults.values())
        alarms = sum(v not in ("passed", "too large") for v in right.values())
        tried, tried_right = (sum(v != "too large" for v in verdicts.values()) for verdicts in (faults, right))
        print(f"| {name} | {caught} of {tried} | {alarms} of {tried_right} | {seconds:.2f} |", flush=True)
        found[name] = {"faults": faults, "right": right}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
