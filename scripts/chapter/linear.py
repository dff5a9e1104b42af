"""Sections 6.1 and 6.2: linear models by gradient descent end where closed forms and scikit-learn's solvers do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn import datasets
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import mlp_jax
from chapter.claim import Claim, Numbers
from chapter.drawing import BLUE, GREEN, GREY, ORANGE, array, decades, panels, percent
from chapter.fitting import decaying, fit, norm

C = 0.1
STEPS, EVERY = 20_000, 200
SVM_RATE = 0.1
MODELS = {
    "regression": ("least squares", BLUE, "o"),
    "svm": ("SVM, as SVC", ORANGE, "s"),
    "svm with bias": ("SVM, as LinearSVC", GREEN, "D"),
}


def measure() -> Numbers:
    """The distance to scikit-learn's solution over training, and both solutions, in double precision."""
    with jax.enable_x64(True):
        return {"steps": list(range(0, STEPS + 1, EVERY)), **regression(), **machines()}


def regression() -> Numbers:
    """Squared error on diabetes, at the largest safe rate; also the distance to the normal equations."""
    x, y = standard(datasets.load_diabetes)
    y = y / y.std()
    augmented = np.c_[x, np.ones(len(x))]
    closed = np.linalg.solve(augmented.T @ augmented, augmented.T @ y)[:, 0]
    rate = len(x) / np.linalg.eigvalsh(augmented.T @ augmented)[-1]
    theirs = LinearRegression().fit(x, y)
    numbers = compare(mlp_jax.MLP((10, 1)), x, y, theirs, rate, optax.sgd)
    numbers["to the closed form"] = float(np.linalg.norm(numbers["ours"] - closed) / np.linalg.norm(closed))
    return {"regression": numbers}


def machines() -> Numbers:
    """Hinge cost and L2 on breast_cancer, at a rate that falls to 0; C = 1/(2λn)."""
    x, y = standard(datasets.load_breast_cancer)
    λ = 1 / (2 * C * len(x))
    optimizer = decaying(optax.sgd, STEPS)
    free = mlp_jax.MLP((30, 1), output="hinge", penalty=mlp_jax.L2(λ))
    bound = mlp_jax.MLP((30, 1), output="hinge", penalty=mlp_jax.L2(λ, on=("W", "b")))
    svc = SVC(kernel="linear", C=C, tol=1e-8).fit(x, y[:, 0])
    linear_svc = LinearSVC(loss="hinge", C=C, tol=1e-9, max_iter=1_000_000, random_state=0).fit(x, y[:, 0])
    return {
        "svm": compare(free, x, y, svc, SVM_RATE, optimizer),
        "svm with bias": compare(bound, x, y, linear_svc, SVM_RATE, optimizer),
    }


def standard(source: Any) -> tuple[Any, Any]:
    """Inputs of mean 0 and variance 1, and targets in a column."""
    x, y = source(return_X_y=True)
    return StandardScaler().fit_transform(x), y[:, None].astype(float)


def compare(net: mlp_jax.MLP, x: Any, y: Any, theirs: Any, rate: float, optimizer: Any) -> Numbers:
    """Train; the distance to their parameters over training, both parameters, and the difference of the costs."""
    solution = (mlp_jax.Layer(jnp.array(theirs.coef_).reshape(-1, 1), jnp.array(theirs.intercept_).reshape(1)),)

    def distance(net: mlp_jax.MLP, params: Any, x: Any, y: Any) -> Any:
        return norm(jax.tree.map(jnp.subtract, params, solution)) / norm(solution)

    start = mlp_jax.init(net, jax.random.key(0), dtype=jnp.float64)
    params, distances = fit(net, start, x, y, rate, steps=STEPS, optimizer=optimizer, every=EVERY, measure=distance)
    excess = mlp_jax.loss(net, params, x, y) - mlp_jax.loss(net, solution, x, y)
    return {
        "distance": distances.tolist(),
        "ours": flat(params),
        "theirs": flat(solution),
        "excess cost": float(excess),
    }


def flat(params: Any) -> list[float]:
    """Weights, and the bias last."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).tolist()


def draw(numbers: Numbers) -> Figure:
    """The distance over training, and both solutions against each other."""
    figure, ((left, right),) = panels(1, 2, height=3.6)
    for name, (label, colour, marker) in MODELS.items():
        found = numbers[name]
        left.semilogy(numbers["steps"], found["distance"], color=colour, label=label)
        right.plot(found["theirs"], found["ours"], marker, color=colour, label=label, alpha=0.8)
    every = [value for name in MODELS for value in numbers[name]["theirs"]]
    right.plot([min(every), max(every)], [min(every), max(every)], color=GREY, linewidth=1, zorder=0, label="equal")
    left.set(xlabel="steps of gradient descent", ylabel="relative distance to scikit-learn's")
    left.set_xticks(range(0, STEPS + 1, 5000))
    left.set_title("Gradient descent comes to the parameters\nof scikit-learn's solvers")
    right.set(xlabel="parameter of scikit-learn", ylabel="parameter of mlp_jax")
    right.set_title("Weight for weight, bias for bias,\nthe solutions are the same")
    decades(left.yaxis)
    left.legend(loc="lower left")
    right.legend()
    return figure


def result(numbers: Numbers) -> str:
    """The numbers in words."""
    last = {name: numbers[name]["distance"][-1] for name in MODELS}
    svc, linear_svc = (array(numbers[name]["theirs"]) for name in ("svm", "svm with bias"))
    apart = float(np.linalg.norm(svc - linear_svc) / np.linalg.norm(svc))
    return (
        f"After {STEPS:,} steps, the parameters differ, relative to their norm, by {last['regression']:.1e} from "
        f"LinearRegression's and by {numbers['regression']['to the closed form']:.1e} from the normal equations', by "
        f"{last['svm']:.1e} from SVC's, and with the bias under the penalty by {last['svm with bias']:.1e} from "
        f"LinearSVC's. The costs differ by {numbers['svm']['excess cost']:.1e} and "
        f"{numbers['svm with bias']['excess cost']:.1e}. SVC and LinearSVC are two problems: the second has its "
        f"intercept under the penalty, and their solutions are {percent(apart, 1)} apart."
    )


def statements(numbers: Numbers) -> dict[str, bool]:
    """What should be seen."""
    last = {name: numbers[name]["distance"][-1] for name in MODELS}
    closed = numbers["regression"]["to the closed form"]
    return {
        "least squares by gradient descent is the closed form to 1e-8": closed < 1e-8,
        "it is LinearRegression's solution to 1e-8": last["regression"] < 1e-8,
        "hinge cost and L2 reach SVC's solution to 1e-3": last["svm"] < 1e-3,
        "with the bias under the penalty, LinearSVC's to 1e-3": last["svm with bias"] < 1e-3,
    }


CLAIM = Claim(
    name="linear",
    title="Linear models by gradient descent reach the known solutions",
    section="6.1, 6.2",
    says="Linear regression has a closed form, and a linear support vector machine is a convex problem: gradient-based "
    "training of such a model reaches the global optimum.",
    setting="Networks without hidden layer in float64, all examples a step. Linear unit on diabetes (standardised), at "
    f"the rate 1/L; hinge unit on breast_cancer, penalty λ = 1/(2Cn) with C = {C}, at a rate that falls from "
    f"{SVM_RATE} to 0.",
    measure=measure,
    draw=draw,
    result=result,
    statements=statements,
    commands=("scripts/run mlp-jax train configs/chapter/svm.yaml",),
)
