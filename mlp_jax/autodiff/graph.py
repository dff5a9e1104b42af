"""A computational graph and what can be made of it: its gradient, an account of its cost, a simpler graph, drawings."""

from mlp_jax.autodiff import accounting, backprop, drawing, simplification
from mlp_jax.autodiff.dag import DAG


class Graph(DAG):
    """What a function computes. `trace` makes one; its methods beyond those of a `DAG` are functions of other files."""

    gradient = backprop.gradient
    account = accounting.account
    simplify = simplification.simplify
    to_text = __str__ = __repr__ = drawing.to_text
    to_mermaid = drawing.to_mermaid
    to_dot = drawing.to_dot
    to_svg = _repr_svg_ = drawing.to_svg  # the second is the name by which a notebook shows it
