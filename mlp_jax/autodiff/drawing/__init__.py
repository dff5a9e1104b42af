"""Drawings of a graph: as text, as a Mermaid flowchart, in the language of Graphviz, and as a picture in SVG.

A drawing has a box for each variable: its name, dtype and shape, and the operation that made it with its arguments.
Inputs are round, outputs have a double frame. What a gradient added is in orange and dashed; an edge is dotted where a
bprop rule reads a value of the forward graph.
"""

from mlp_jax.autodiff.drawing.dot import to_dot as to_dot
from mlp_jax.autodiff.drawing.mermaid import to_mermaid as to_mermaid
from mlp_jax.autodiff.drawing.svg import to_svg as to_svg
from mlp_jax.autodiff.drawing.text import to_text as to_text
