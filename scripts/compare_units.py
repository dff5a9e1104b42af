"""How exact costs and units are at any logit, and how well each distribution predicts, beside their peers.

    scripts/run python scripts/compare_units.py [--output docs/units.md]

Errors are in units of the last place (ulp) of the exact number, by mpmath with 60 digits, the largest over logits
from −1e4 to 1e4; below the smallest normal number an ulp is that number. Millions of them (in float32; 128 in
bfloat16) are all digits of a number far below 1, lost in a difference of numbers near 1. Derivatives are by our
rules, in both orders, and by `jax.grad`. Held-out log-likelihoods are means over all examples of ten folds, of the
targets in their own units, beside the nearest model of scikit-learn on the same folds; of hinge the accuracy, of
quantiles the quantile error, negative. The network without a hidden layer has the penalty of its peer; that with one
chooses its weight decay on a fifth of the first fold's training examples.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
from rich.progress import track
from scipy import stats
from sklearn import datasets
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, QuantileRegressor
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.svm import LinearSVC

import mlp_jax
from mlp_jax import MLP
from mlp_jax.autodiff import ops
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, gelu
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.verify.policy import Precision

DTYPES = ("float32", "bfloat16", "float16")
LOGITS = np.concatenate([-np.geomspace(1e4, 1e-3, 60), [0.0], np.geomspace(1e-3, 1e4, 60)])
FOLDS = 10
HIDDEN = 32

Function = Callable[[Any], Any]


# --- exactness ------------------------------------------------------------------------------------


class Exactness(NamedTuple):
    """A function, its peer, and the exact one; our derivative is our rule's."""

    name: str
    ours: Function
    peer: Function
    exact: Function


def functions() -> list[Exactness]:
    """Costs of one logit for y = 1, and hidden units."""
    one = jnp.ones((1, 1))

    def cost(unit: str, z: Any, *others: Any) -> Any:
        logits = ops.expand_dims(ops.stack([z, *others]), 0)
        y = (one if unit == "sigmoid" else jnp.eye(2)[:1]).astype(z.dtype)
        return OUTPUT_UNITS[unit]().cost("cross_entropy")(logits, y)[0]

    def softmax_by_optax(z: Any) -> Any:
        return optax.softmax_cross_entropy(jnp.stack([z, jnp.zeros_like(z)]), jnp.eye(2)[0].astype(z.dtype))

    def negative_log_sigmoid(z: Any) -> Any:
        return mpmath.log1p(mpmath.exp(-z))

    costs = [
        Exactness(
            "sigmoid cross-entropy; optax",
            partial(cost, "sigmoid"),
            lambda z: optax.sigmoid_binary_cross_entropy(z, jnp.ones_like(z)),
            negative_log_sigmoid,
        ),
        Exactness(
            "softmax cross-entropy; optax",
            lambda z: cost("softmax", z, ops.zeros_like(z)),
            softmax_by_optax,
            negative_log_sigmoid,
        ),
    ]
    units: dict[str, tuple[Function, Function]] = {
        "sigmoid": (jax.nn.sigmoid, lambda z: 1 / (1 + mpmath.exp(-z))),
        "softplus": (jax.nn.softplus, lambda z: mpmath.log1p(mpmath.exp(z))),
        "tanh": (jnp.tanh, mpmath.tanh),
        "elu": (jax.nn.elu, lambda z: z if z > 0 else mpmath.expm1(z)),
        "exact gelu": (partial(jax.nn.gelu, approximate=False), lambda z: z * mpmath.ncdf(z)),
        "silu": (jax.nn.silu, lambda z: z / (1 + mpmath.exp(-z))),
    }
    ours = {**HIDDEN_UNITS, "exact gelu": gelu(approximate=False)}
    return costs + [Exactness(f"{name}; jax.nn", ours[name], peer, exact) for name, (peer, exact) in units.items()]


def by_rule(f: Function) -> Function:
    """The derivative by our own bprop rule."""
    return lambda z: mlp_jax.autodiff.grad(f)(z)


def exactness_table() -> Iterator[str]:
    """A row for each function and derivative."""
    yield "| function; peer | derivative | " + " | ".join(f"{d}: ours | peer" for d in DTYPES) + " |"
    yield "|---|---|" + "---|---|" * len(DTYPES)
    mpmath.mp.dps = 60
    worse: list[str] = []
    for f in track(functions(), "exactness"):
        ours = [f.ours, by_rule(f.ours), by_rule(by_rule(f.ours))]
        peers = [f.peer, jax.grad(f.peer), jax.grad(jax.grad(f.peer))]
        for order, name in enumerate(("value", "first", "second")):
            cells = []
            for dtype in DTYPES:
                z = jnp.asarray(LOGITS, dtype)
                exact = [float(mpmath.diff(f.exact, mpmath.mpf(float(v)), order)) for v in z if v or order < 2]
                z = z if order < 2 else z[z != 0]  # where elu has none
                mine, theirs = (ulps(jax.jit(jax.vmap(g[order]))(z), exact) for g in (ours, peers))
                cells += [f"{mine:.3g}", f"{theirs:.3g}"]
                if mine > 1.01 * theirs:
                    worse.append(f"{f.name.partition(';')[0]}, {name}, {dtype}: {mine:.3g} against {theirs:.3g}")
            yield f"| {f.name} | {name} | " + " | ".join(cells) + " |"
    yield ""
    yield summary(worse)


def summary(worse: list[str]) -> str:
    """Where ours is worse than the peer."""
    return f"Ours is worse than the peer in: {'; '.join(worse)}." if worse else "Ours is nowhere worse than the peer."


def ulps(got: jax.Array, exact: list[float]) -> float:
    """The largest error in ulp; infinite where a number is not finite though the exact one is in range."""
    info = Precision.of(got.dtype)
    truth = np.asarray(exact)
    unit = np.maximum(np.abs(truth) * float(info.eps), float(info.tiny))
    error = np.abs(np.asarray(got, np.float64) - truth) / unit
    in_range = np.abs(truth) < float(info.max)
    return float(np.max(np.where(np.isfinite(error), error, np.inf), where=in_range, initial=0.0))


# --- held-out log-likelihood -------------------------------------------------------------------------


class Task(NamedTuple):
    """A data set, the output unit for it, a score per example, and a peer: (x, y, x held out, y held out) -> scores."""

    data: str
    output: str
    peer_name: str
    peer: Callable[..., np.ndarray]


@partial(jax.jit, static_argnums=(0, 3))
def fit(net: MLP, x: jax.Array, y: jax.Array, steps: int = 2000) -> Any:
    """Parameters after so many full-batch steps of Adam, its rate decaying to 0."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))

    def step(carry: Any, _: Any) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimizer.update(mlp_jax.loss_and_grad(net, params, x, y)[1], state, params)
        return (optax.apply_updates(params, updates), state), None

    params = mlp_jax.init(net, jax.random.key(0))
    return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0]


def logistic(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    model = LogisticRegression(C=1.0, max_iter=5000).fit(x, np.ravel(y))
    return model.predict_log_proba(x_out)[np.arange(len(y_out)), np.ravel(y_out).astype(int)]


def linear(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    model = LinearRegression().fit(x, y)
    sd = np.sqrt(np.mean((y - model.predict(x)) ** 2))
    return stats.norm.logpdf(y_out, model.predict(x_out), sd)[:, 0]


def median(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    model = QuantileRegressor(quantile=0.5, alpha=0).fit(x, y[:, 0])
    scale = np.mean(np.abs(y[:, 0] - model.predict(x)))
    return stats.laplace.logpdf(y_out[:, 0], model.predict(x_out), scale)


def poisson(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    model = PoissonRegressor(alpha=0, max_iter=5000).fit(x, y[:, 0])
    return stats.poisson.logpmf(y_out[:, 0], model.predict(x_out))


def quantiles(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    levels = OUTPUT_UNITS["quantiles"]().levels  # type: ignore[attr-defined]
    fitted = [QuantileRegressor(quantile=level, alpha=0).fit(x, y[:, 0]).predict(x_out) for level in levels]
    errors = [
        [mean_pinball_loss([t], [p], alpha=level) for t, p in zip(y_out[:, 0], q, strict=True)]
        for level, q in zip(levels, fitted, strict=True)
    ]
    return -np.sum(errors, axis=0)


def svm(x: Any, y: Any, x_out: Any, y_out: Any) -> np.ndarray:
    model = LinearSVC(loss="hinge", C=1.0, max_iter=200_000).fit(x, y[:, 0])
    return (model.predict(x_out) == y_out[:, 0]).astype(float)


TASKS = [
    Task("breast_cancer", "sigmoid", "LogisticRegression", logistic),
    Task("wine", "softmax", "LogisticRegression", logistic),
    Task("digits", "softmax", "LogisticRegression", logistic),
    Task("breast_cancer", "hinge", "LinearSVC; accuracy", svm),
    Task("diabetes", "gaussian", "LinearRegression, ML variance", linear),
    Task("diabetes", "heteroscedastic", "LinearRegression, ML variance", linear),
    Task("diabetes", "full_gaussian", "LinearRegression, ML variance", linear),
    Task("diabetes", "mixture", "LinearRegression, ML variance", linear),
    Task("diabetes", "laplace", "QuantileRegressor, ML scale", median),
    Task("diabetes", "poisson", "PoissonRegressor", poisson),
    Task("diabetes", "quantiles", "QuantileRegressor; −quantile error", quantiles),
]


def held_out(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of each example when held out: of a network without a hidden layer, of one with one, of the peer."""
    bunch = getattr(datasets, f"load_{task.data}")()
    x, y = bunch.data, bunch.target.reshape(-1, 1)
    unit = OUTPUT_UNITS[task.output]()
    if unit.kind == "classes":
        y = y[:, 0]
    classes = unit.kind in ("classes", "probabilities", "margins")
    splitter = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=0)
    scores = np.zeros((3, len(x)))
    hidden: MLP | None = None
    for train, out in splitter.split(x, y):
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        x_in, x_out = ((x[rows] - mean) / np.where(sd > 0, sd, 1) for rows in (train, out))
        k = len(bunch.target_names) if unit.kind == "classes" else 1
        # scikit-learn's C = 1, and no penalty for its regressions
        linear = MLP((x.shape[1], k), output=task.output, penalty=mlp_jax.L2(1 / (2 * len(train)) if classes else 0))
        scores[0, out] = _scores(linear, x_in, y[train], x_out, y[out])
        hidden = hidden or _chosen(task, x_in, y[train], k)
        scores[1, out] = _scores(hidden, x_in, y[train], x_out, y[out])
        scores[2, out] = task.peer(x_in, y[train], x_out, y[out])
    return scores[0], scores[1], scores[2]


def _chosen(task: Task, x: np.ndarray, y: np.ndarray, k: int) -> MLP:
    """The network with one hidden layer whose weight decay does best on a fifth of the training examples."""
    nets = [
        MLP((x.shape[1], HIDDEN, k), "tanh", task.output, penalty=mlp_jax.L2(decay))
        for decay in (1e-3, 1e-2, 3e-2, 0.1)
    ]
    n = len(x) // 5
    return max(nets, key=lambda net: _scores(net, x[n:], y[n:], x[:n], y[:n]).mean())


def _scores(net: MLP, x: np.ndarray, y: np.ndarray, x_out: np.ndarray, y_out: np.ndarray) -> np.ndarray:
    """Log-density; quantile error, negative; or whether the class is right."""
    kind, name = net.output_unit.kind, net.output_unit.name
    scaled = kind in ("quantities", "quantiles") and name != "poisson"
    shift, scale = (y.mean(axis=0), y.std(axis=0)) if scaled else (np.zeros(1), np.ones(1))
    as_target: Callable[[Any], Any] = lambda y: (y - shift) / scale if scaled else y  # noqa: E731
    params = fit(net, jnp.asarray(x, jnp.float32), jnp.asarray(as_target(y)))
    held_out = jnp.asarray(x_out, jnp.float32)
    if kind == "margins":
        return np.asarray((mlp_jax.predict(net, params, held_out) > 0) == y_out)[:, 0].astype(float)
    target = jnp.asarray(as_target(y_out))
    if kind == "quantiles":
        per_example: Any = jax.vmap(
            lambda x, y: mlp_jax.loss(MLP(net.widths, net.hidden, net.output), params, x[None], y[None])
        )
        return -np.asarray(per_example(held_out, target)) * scale[0]
    density = np.asarray(mlp_jax.log_density(net, params, held_out, target), np.float64)
    if name == "laplace":  # scale 1 in standardised units is no fit: that of the training errors
        width = float(jnp.mean(jnp.abs(as_target(y) - mlp_jax.predict(net, params, jnp.asarray(x, jnp.float32)))))
        density = -np.log(2 * width) + (density + np.log(2)) / width
    return density - (np.log(scale).sum() if scaled else 0)


def held_out_table() -> Iterator[str]:
    """A row for each task: the mean score, with its standard error."""
    yield f"| data | output | no hidden layer | {HIDDEN} tanh units | scikit-learn | its model |"
    yield "|---|---|---|---|---|---|"
    for task in track(TASKS, "held out"):
        cells = [f"{s.mean():.4g} ± {s.std() / np.sqrt(len(s)):.2g}" for s in held_out(task)]
        yield f"| {task.data} | {task.output} | " + " | ".join(cells) + f" | {task.peer_name} |"


def main() -> None:
    """Print both tables, and write them as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/units.md"))
    options = parser.parse_args()
    assert __doc__
    text = "\n".join(
        [
            "# Costs and units beside their peers",
            "",
            *__doc__.splitlines()[2:],
            "",
            "## Error in ulp",
            "",
            *exactness_table(),
            "",
            "## Held-out log-likelihood, ten-fold",
            "",
            *held_out_table(),
            "",
        ]
    )
    sys.stdout.write(text)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
