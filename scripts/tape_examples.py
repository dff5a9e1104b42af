#!/usr/bin/env python
"""The two worked examples of docs/tape.md: Newton's method by conjugate gradients, and a differential equation.

scripts/run python scripts/tape_examples.py
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

import mlp_jax

# --- Newton-CG on a regression, beside L-BFGS and Adam --------------------------------------------

REGRESSION = mlp_jax.MLP((1, 16, 16, 1), "tanh")
X = jnp.linspace(-1, 1, 200)[:, None]
Y = jnp.sin(8 * X)
GOAL = 1e-4  # of J
INNER = 20  # steps of conjugate gradients


def newton(params: Any) -> tuple[int, float]:
    """Passes over the data, forwards or backwards, until J is below the goal; and J."""

    @jax.jit
    def step(params: Any, damping: Any) -> Any:
        J, grads = mlp_jax.loss_and_grad(REGRESSION, params, X, Y)

        def damped(v: Any) -> Any:
            product = mlp_jax.ggn_product(REGRESSION, params, X, Y, v)
            return jax.tree.map(lambda Gv, v: Gv + damping * v, product, v)

        direction, _ = cg(damped, jax.tree.map(jnp.negative, grads), maxiter=INNER)
        tried = jax.tree.map(jnp.add, params, direction)
        return J, tried, mlp_jax.loss(REGRESSION, tried, X, Y)

    damping, passes, J = 1e-2, 0, jnp.inf
    while J > GOAL and passes < 20_000:
        J_before, tried, J_tried = step(params, damping)
        passes += 2 + 3 * INNER + 1
        better = J_tried < J_before
        params, J = (tried, J_tried) if better else (params, J_before)
        damping = damping / 3 if better else damping * 3
    return passes, float(J)


def by_optax(optimizer: Any, params: Any, passes_a_step: int) -> tuple[int, float]:
    """The same of an optimizer of optax; of L-BFGS, the least: its line search may take more."""
    loss = partial(mlp_jax.loss, REGRESSION, x=X, y=Y)
    state, passes, J = optimizer.init(params), 0, jnp.inf

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        J, grads = mlp_jax.loss_and_grad(REGRESSION, params, X, Y)
        updates, state = optax.with_extra_args_support(optimizer).update(
            grads, state, params, value=J, grad=grads, value_fn=loss
        )
        return optax.apply_updates(params, updates), state, J

    while J > GOAL and passes < 20_000:
        params, state, J = step(params, state)
        passes += passes_a_step
    return passes, float(J)


def newton_beside_others() -> None:
    """Five starts each."""
    runs: dict[str, Callable[[Any], tuple[int, float]]] = {
        "Newton-CG": newton,
        "optax.lbfgs": lambda params: by_optax(optax.lbfgs(), params, 2),
        "optax.adam(1e-2)": lambda params: by_optax(optax.adam(1e-2), params, 2),
    }
    for name, run in runs.items():
        found = [run(mlp_jax.init(REGRESSION, jax.random.key(seed))) for seed in range(5)]
        print(f"{name}: passes {sorted(passes for passes, _ in found)}, J {[f'{J:.1e}' for _, J in found]}", flush=True)


# --- −Δu = f on the unit square, u = 0 on its boundary ---------------------------------------------

PINN = mlp_jax.MLP((2, 32, 32, 1), "tanh")
STEPS = 3000


def solution(x: jax.Array) -> jax.Array:
    """The known one, sin πx₁ sin πx₂, (n, 1)."""
    return jnp.prod(jnp.sin(jnp.pi * x), axis=1, keepdims=True)


def by_hessian(params: Any, x: jax.Array) -> jax.Array:
    """The same Laplacian by jax.hessian."""
    return jax.vmap(lambda x: jnp.trace(jax.hessian(lambda x: mlp_jax.predict(PINN, params, x[None])[0, 0])(x)))(x)


def differential_equation() -> None:
    """Train on 1,000 points inside and 200 on the boundary, and state the error on a grid."""
    inside = jax.random.uniform(jax.random.key(1), (1000, 2))
    side, place = jax.random.randint(jax.random.key(2), (200,), 0, 4), jax.random.uniform(jax.random.key(3), (200,))
    edge = (side % 2).astype(float)
    boundary = jnp.where((side < 2)[:, None], jnp.stack([edge, place], 1), jnp.stack([place, edge], 1))

    def cost(params: Any, laplacian: Callable[..., Any]) -> Any:
        residual = laplacian(params, inside).reshape(-1) + 2 * jnp.pi**2 * solution(inside)[:, 0]
        return jnp.mean(residual**2) + 100 * jnp.mean(mlp_jax.predict(PINN, params, boundary) ** 2)

    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))
    start = mlp_jax.init(PINN, jax.random.key(0))
    for name, laplacian in (("laplacian", partial(mlp_jax.laplacian, PINN)), ("jax.hessian", by_hessian)):

        def train(params: Any, steps: Any, laplacian: Callable[..., Any] = laplacian) -> Any:
            def step(_: Any, carry: Any) -> Any:
                params, state = carry
                updates, state = optimizer.update(jax.grad(cost)(params, laplacian), state)
                return optax.apply_updates(params, updates), state

            return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]

        run = jax.jit(train)
        jax.block_until_ready(run(start, 1))
        started = time.perf_counter()
        params = jax.block_until_ready(run(start, STEPS))
        taken = time.perf_counter() - started
        grid = jnp.stack(jnp.meshgrid(*[jnp.linspace(0, 1, 101)] * 2), -1).reshape(-1, 2)
        error = mlp_jax.predict(PINN, params, grid) - solution(grid)
        relative = jnp.linalg.norm(error) / jnp.linalg.norm(solution(grid))
        print(f"{name}: {taken:.1f} s for {STEPS} steps, relative error {relative:.1e}, largest {abs(error).max():.1e}")


if __name__ == "__main__":
    newton_beside_others()
    differential_equation()
