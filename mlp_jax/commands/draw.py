"""`mlp-jax draw CONFIG`: the graph of a network's cost, and of its gradient."""

from argparse import Namespace

from mlp_jax.errors import InputError
from mlp_jax.files import is_stream, written_where_told
from mlp_jax.mlp.network import cost_graph
from mlp_jax.terminal import put
from mlp_jax.training.build import batch_size, build_network, prepare, resolve
from mlp_jax.training.config import Config

_FORMATS = {".svg": "to_svg", ".dot": "to_dot", ".mmd": "to_mermaid", ".txt": "to_text"}


def run(config: Config, options: Namespace) -> None:
    """Write the drawing to a file, whose name says in which form; or as text to standard output."""
    suffix = options.output.suffix if options.output and not is_stream(options.output) else ".txt"
    if suffix not in _FORMATS:
        raise InputError(f"--output must end in one of {', '.join(_FORMATS)}; got {options.output}")
    if config.network.widths is None:
        config = resolve(config, prepare(config))  # which counts them
    graph = cost_graph(build_network(config.network), batch_size(config, n=1), config.network.dtype)
    if options.gradient:
        graph = graph.gradient(wrt=graph.inputs[:-2])  # for the parameters, not for x and y
    drawing = getattr(graph, _FORMATS[suffix])()
    if options.output:
        with written_where_told(options.output) as file:
            file.write(drawing.encode())
        put(f"{options.output}: {len(graph.variables)} variables")
    else:
        put(drawing)
