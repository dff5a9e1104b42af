"""What the tape knows beside jax.vmap of jax.grad and other libraries: time, and the memory by XLA's account.

Peers that are not installed are left out. Two do not run beside JAX 0.10.2: neural-tangents 0.6.5 (it imports
jax.core.Jaxpr) and kfac-jax 0.0.8 (its tracer, at any jit or custom_jvp). curvlinops and BackPACK are PyTorch's.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import mlp_jax
from benchmarks.timing import Row, Table, compare, seconds

Program = Callable[..., Any]


class Problem:
    """A network with its parameters and a batch; programs are functions of params, x and y."""

    def __init__(self, widths: tuple[int, ...], n: int, hidden: str = "relu", output: str = "softmax") -> None:
        self.name = f"{'-'.join(map(str, widths))}, batch {n}"
        self.net = mlp_jax.MLP(widths, hidden, output)
        self.params = mlp_jax.init(self.net, jax.random.key(0))
        self.x = jax.random.normal(jax.random.key(1), (n, widths[0]))
        self.y = jax.random.randint(jax.random.key(2), (n,), 0, widths[-1])

    def compare(
        self, what: str, programs: Mapping[str, Program | None], calls: int = 3, rounds: int = 7
    ) -> list[Table]:
        """Tables of the time and of the memory of those programs that there are."""
        given = self.params, self.x, self.y
        compiled = {
            name: jax.jit(program).lower(*given).compile() for name, program in programs.items() if program is not None
        }
        memory = {name: megabytes(of_it.memory_analysis()) for name, of_it in compiled.items()}
        ours = next(iter(memory.values()))
        rows = [Row(name, size, *[size / ours] * 3) for name, size in memory.items()]
        sizes = Table(f"MB beside the arguments, {what}, {self.name}", rows)
        print(f"\n{sizes}", flush=True)
        runs: dict[str, Callable[[], float]] = {
            name: partial(seconds, partial(of_it, *given), calls) for name, of_it in compiled.items()
        }
        return [compare(f"ms, {what}, {self.name}", 1e-3, runs, rounds), sizes]

    def loss_of_one(self, params: Any, x: Any, y: Any) -> Any:
        """An example's own cost."""
        return mlp_jax.loss(self.net, params, x[None], y[None])

    def logits_of_one(self, params: Any, x: Any) -> Any:
        """An example's logits."""
        return mlp_jax.forward(self.net, params, x[None]).a[-1][0]

    def gradients(self, params: Any, x: Any, y: Any) -> Any:
        """Those of all examples, by vmap."""
        return jax.vmap(jax.grad(self.loss_of_one), (None, 0, 0))(params, x, y)


def megabytes(analysis: Any) -> float:
    """What a program needs beside its arguments: its temporary memory and its results."""
    return float(analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / 1e6


def squares_of(grads: Any) -> Any:
    """Squared norms over all but the first axis."""
    return sum(jnp.sum(jnp.square(leaf).reshape(len(leaf), -1), axis=1) for leaf in jax.tree.leaves(grads))


def module(name: str) -> Any:
    """A library, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def norms() -> list[Table]:
    """Gradient norms beside a training step."""
    at = Problem((5120, 2560, 1280), 32)

    def step(params: Any, x: Any, y: Any) -> Any:
        J, grads = mlp_jax.loss_and_grad(at.net, params, x, y)
        updates, _ = optax.sgd(0.1).update(grads, optax.sgd(0.1).init(params))
        return optax.apply_updates(params, updates), J

    programs: dict[str, Program | None] = {
        "gradient_norms": partial(mlp_jax.gradient_norms, at.net),
        "a step of SGD": step,
        "vmap(grad)": lambda params, x, y: jnp.sqrt(squares_of(at.gradients(params, x, y))),
    }
    return at.compare("gradient norms", programs)


def clipped() -> list[Table]:
    """The clipped gradient beside the plain one."""
    at = Problem((784, 512, 512, 10), 128)
    privacy = module("jax_privacy.clipping")

    def by_vmap(params: Any, x: Any, y: Any) -> Any:
        grads = at.gradients(params, x, y)
        s = jnp.minimum(1, 1 / jnp.sqrt(squares_of(grads)))
        return jax.tree.map(lambda leaf: jnp.tensordot(s, leaf, 1), grads)

    programs: dict[str, Program | None] = {
        "clipped_gradient": lambda params, x, y: mlp_jax.clipped_gradient(at.net, params, x, y, 1.0),
        "the plain gradient": partial(mlp_jax.loss_and_grad, at.net),
        "vmap(grad)": by_vmap,
        "jax-privacy": privacy
        and privacy.clipped_grad(
            partial(mlp_jax.loss, at.net), argnums=0, batch_argnums=(1, 2), l2_clip_norm=1.0, keep_batch_dim=True
        ),
    }
    return at.compare("clipped gradient", programs)


def curvature() -> list[Table]:
    """The Gauss-Newton matrix's diagonal and factors."""
    at = Problem((784, 512, 512, 10), 32)

    def diagonal_by_vmap(params: Any, x: Any, y: Any) -> Any:
        z = mlp_jax.forward(at.net, params, x).a[-1]
        p = jax.nn.softmax(z)
        H = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None]
        J = jax.vmap(jax.jacrev(at.logits_of_one), (None, 0))(params, x)
        return jax.tree.map(lambda leaf: jnp.einsum("ic...,icd,id...->...", leaf, H, leaf) / len(x), J)

    programs: dict[str, Program | None] = {
        "ggn_diagonal": partial(mlp_jax.ggn_diagonal, at.net),
        "vmap(jacrev)": diagonal_by_vmap,
    }
    factors: dict[str, Program | None] = {
        "kfac_factors": partial(mlp_jax.kfac_factors, at.net),
        "the plain gradient": partial(mlp_jax.loss_and_grad, at.net),
    }
    return [*at.compare("diagonal", programs), *at.compare("KFAC factors", factors)]


def laplacians() -> list[Table]:
    """The Laplacian for inputs of 100 numbers."""
    at = Problem((100, 128, 128, 128, 128, 1), 256, "tanh", "linear")
    folx = module("folx")

    def of_one(params: Any, x: Any) -> Any:
        return mlp_jax.predict(at.net, params, x[None])[0, 0]

    def traced(params: Any, x: Any, y: Any) -> Any:
        return jax.vmap(lambda x: jnp.trace(jax.hessian(of_one, 1)(params, x)))(x)

    def by_folx(params: Any, x: Any, y: Any) -> Any:
        def plain(x: Any) -> Any:
            for W, b in params[:-1]:
                x = jnp.tanh(x @ W + b)
            return (x @ params[-1].W + params[-1].b)[0]

        return jax.vmap(lambda x: folx.forward_laplacian(plain)(x).laplacian)(x)

    programs: dict[str, Program | None] = {
        "laplacian": lambda params, x, y: mlp_jax.laplacian(at.net, params, x),
        "trace of jax.hessian": traced,
        "folx": folx and by_folx,
    }
    return at.compare("Laplacian", programs)


def kernels() -> list[Table]:
    """The trace of the neural tangent kernel; the peer takes one logit after the other, for it holds n × P numbers."""
    at = Problem((784, 512, 512, 10), 1000)

    def by_vmap(params: Any, x: Any, y: Any) -> Any:
        def of_logit(c: Any) -> Any:
            grads = jax.vmap(jax.grad(lambda params, x: at.logits_of_one(params, x)[c]), (None, 0))(params, x)
            return sum(leaf.reshape(len(x), -1) @ leaf.reshape(len(x), -1).T for leaf in jax.tree.leaves(grads))

        return jax.lax.fori_loop(0, 10, lambda c, total: total + of_logit(c), jnp.zeros((len(x), len(x))))

    programs: dict[str, Program | None] = {
        "ntk": lambda params, x, y: mlp_jax.ntk(at.net, params, x, x, trace=True),
        "vmap(grad), logit by logit": by_vmap,
    }
    return at.compare("trace of the NTK of 1,000 × 1,000", programs, calls=1, rounds=3)


def tables() -> list[Table]:
    """All."""
    return [*norms(), *clipped(), *curvature(), *laplacians(), *kernels()]
