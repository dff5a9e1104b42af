"""Draws graphs of the book's section 6.5 from code: `scripts/run python scripts/gallery.py` writes docs/gallery.md."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mlp_jax import autodiff as ad
from mlp_jax.autodiff import ops

DOCS = Path(__file__).parent.parent / "docs"

INTRODUCTION = """# Graphs of section 6.5, drawn from code

Each picture is `graph.to_svg()` of the function above it; `scripts/run python scripts/gallery.py` makes this page.
A box has a variable's name, dtype and shape, and the operation that made it. Inputs are round, outputs have a double
frame. What `graph.gradient()` added is dashed and leads back up, ∂J/∂v beside v. Dotted edges are values of the forward
graph that a bprop rule reads. `graph.to_mermaid()` and `graph.to_dot()` draw the same with other programs.
"""


def product(x: Any, y: Any) -> Any:
    return ad.named(x * y, "z")


def logistic_regression(x: Any, w: Any, b: Any) -> Any:
    u1 = ad.named(x @ w, "u⁽¹⁾")
    u2 = ad.named(u1 + b, "u⁽²⁾")
    return ad.named(ops.sigmoid(u2), "ŷ")


def relu_layer(X: Any, W: Any, b: Any) -> Any:
    U1 = ad.named(X @ W, "U⁽¹⁾")
    U2 = ad.named(U1 + b, "U⁽²⁾")
    return ad.named(ops.relu(U2), "H")


def weight_decay(x: Any, w: Any, λ: Any) -> Any:
    u1 = ad.named(ops.square(w), "u⁽¹⁾")
    u2 = ad.named(ops.sum(u1), "u⁽²⁾")
    return ad.named(x @ w, "ŷ"), ad.named(λ * u2, "u⁽³⁾")


def mlp(X: Any, y: Any, W1: Any, W2: Any) -> Any:
    U1 = ad.named(X @ W1, "U⁽¹⁾")
    H = ad.named(ops.relu(U1), "H")
    U2 = ad.named(H @ W2, "U⁽²⁾")
    J_MLE = ad.named(ops.mean(ops.softmax_cross_entropy(U2, y)), "J_MLE")
    return J_MLE + 0.01 * (ops.sum(ops.square(W1)) + ops.sum(ops.square(W2)))


def mlp_gradient(*args: Any) -> ad.Graph:
    graph = ad.trace(mlp, *args)
    _, _, W1, W2 = graph.inputs
    return graph.gradient(wrt=(W1, W2))


def deep_gradient(*args: Any) -> ad.Graph:
    def J(X: Any, y: Any, W1: Any, W2: Any, W3: Any, W4: Any) -> Any:
        h = X
        for W in (W1, W2, W3):
            h = ops.tanh(h @ W)
        return ops.mean(ops.squared_error(h @ W4, y))

    return ad.trace(J, *args).gradient()


def second_derivative(x: Any) -> ad.Graph:
    graph = ad.trace(lambda x: x * ops.sin(x), x)
    first = graph.gradient(wrt=graph.inputs[0])
    return first.gradient(wrt=first.inputs[0])


# What is drawn, the function that is traced or that makes a graph itself, and the shapes of its arguments.
FIGURES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "Figure 6.8a: z = xy": (product, [(), ()]),
    "Figure 6.8b: ŷ = σ(xᵀw + b)": (logistic_regression, [(3,), (3,), ()]),
    "Figure 6.8c: H = max{0, XW + b}": (relu_layer, [(5, 2), (2, 4), (1, 4)]),
    "Figure 6.8d: ŷ = xᵀw, and weight decay λ Σ w²": (weight_decay, [(3,), (3,), ()]),
    "Figure 6.11: the MLP of section 6.5.7": (mlp, [(5, 2), (5, 3), (2, 4), (4, 3)]),
    "The same with its gradient, by Algorithm 6.5": (mlp_gradient, [(5, 2), (5, 3), (2, 4), (4, 3)]),
    "A network of four layers with its gradient": (deep_gradient, [(9, 2), (9, 1), (2, 8), (8, 8), (8, 8), (8, 1)]),
    "A gradient of a gradient: the second derivative of x sin x": (second_derivative, [()]),
}


def pages() -> dict[Path, str]:
    """What each file of the gallery contains."""
    files, text = {}, INTRODUCTION
    for title, (f, shapes) in FIGURES.items():
        args = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
        graph = f(*args) if inspect.signature(f).return_annotation is ad.Graph else ad.trace(f, *args)
        figure = f"figures/{f.__name__}.svg"
        files[DOCS / figure] = graph.to_svg()
        text += f"\n## {title}\n\n```python\n{inspect.getsource(f)}```\n\n![{title}]({figure})\n"
    return files | {DOCS / "gallery.md": text}


if __name__ == "__main__":
    for path, content in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
