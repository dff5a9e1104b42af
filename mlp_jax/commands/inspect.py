"""`mlp-jax inspect CONFIG`: what a configuration is about to do: data, network, cost of a step, memory; no training."""

from argparse import Namespace
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.filesize import decimal

from mlp_jax.mlp import network
from mlp_jax.mlp.params import param_types, pays_as_one_loop
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.categories import Category
from mlp_jax.tables.dates import Date
from mlp_jax.tables.numbers import Number
from mlp_jax.tables.packed import Packed
from mlp_jax.tables.preparation import Examples, Prepared, class_counts
from mlp_jax.tables.schema import Dropped, Schema
from mlp_jax.tables.text import listed
from mlp_jax.terminal import put
from mlp_jax.training.build import batch_size, build_network, build_program, initial_params, prepare, resolve
from mlp_jax.training.config import Config, choices
from mlp_jax.training.environment import processors
from mlp_jax.training.progress import Reporter
from mlp_jax.training.step import initial_state

_LONGEST = 24  # letters of a category
_SHOWN = 12  # classes or columns listed one by one


def run(config: Config, options: Namespace) -> None:
    """Print the findings."""
    for subject, finding in inspect(config):
        put(f"{subject:12}{finding}")


def inspect(config: Config) -> list[tuple[str, str]]:
    """Findings about a configuration, each with what it is about; the training step is compiled, and not run.

    Raises:
        InputError: the data cannot be read, or do not fit the network or the batch size.
    """
    prepared = prepare(config, progress=Reporter(0))
    config = resolve(config, prepared)
    net = build_network(config.network, prepared)
    return [*_about_data(prepared, net), *_about_network(net, config), *_about_step(net, config, prepared)]


def _about_data(prepared: Prepared, net: MLP) -> list[tuple[str, str]]:
    parts = prepared.parts
    sizes = ", ".join(f"{part} {len(examples.x):,}" for part, examples in parts.items())
    lines = [("data", f"{prepared.name}: {sum(len(part.x) for part in parts.values()):,} examples ({sizes})")]
    lines += [("", finding) for finding in prepared.said]
    if prepared.schema and prepared.schema.columns:
        lines += [("column", line) for line in _about_columns(prepared.schema)]
    else:
        lines += _about_inputs(prepared)
    return [*lines, *_about_targets(parts["train"], prepared, net)]


def _about_inputs(prepared: Prepared) -> list[tuple[str, str]]:
    """Of arrays: how many there are, their range, and those that do not vary."""
    low, high = (
        prepared.inputs.undo(np.array([getattr(part.x, which)(axis=0) for part in prepared.parts.values()]))
        for which in ("min", "max")
    )
    low, high = low.min(axis=0), high.max(axis=0)
    lines = [("inputs", f"{len(low)}, from {low.min():.4g} to {high.max():.4g}")]
    constant = np.flatnonzero(low == high)
    if len(constant):
        names = [prepared.input_names[k] if prepared.input_names else str(k) for k in constant]
        lines.append(("constant", f"{len(constant)} inputs have one value only: {listed(names, _SHOWN)}"))
    return lines


def _about_columns(schema: Schema) -> list[str]:
    """A line for each column: what it was taken for and why, and what it holds."""
    names = [listed([column.name]) for column in schema.columns]
    lines, width = [], max(map(len, names))
    dropped = Counter(column.why for column in schema.columns if isinstance(column, Dropped))
    for name, column in zip(names, schema.columns, strict=True):
        if isinstance(column, Dropped) and dropped[column.why] > _SHOWN:
            continue  # which is said above in one line for all
        if isinstance(column, Category):
            words = [f"{w[:_LONGEST]}{'…' * (len(w) > _LONGEST)} {n:,}" for w, n in column.categories.items()]
            what = f"{len(words)} categories: {listed(words, 6)}" if words else "no category that is not rare"
            what += f"; {len(column.rare)} rare ones as one" if column.rare else ""
            what += "; looked up" if column.looked_up else ""
        elif isinstance(column, Date):
            days = np.array([column.days.smallest, column.days.largest]).astype("datetime64[D]")
            what = f"{days[0]} to {days[1]}, with the place in {', '.join(column.cycles) or 'no cycle'}"
        elif isinstance(column, Number):
            what = f"{_shown(column.smallest)} to {_shown(column.largest)}, median {_shown(column.median)}"
        else:
            what = ""
        missing = f"; {column.missing:,} missing" if column.missing and what else ""
        lines.append(f"{name:{width}}  {column.kind:8}  {what}{missing}{'  ' * bool(what)}({column.why})")
    return lines


def _shown(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.6g}"


def _about_targets(train: Examples, prepared: Prepared, net: MLP) -> list[tuple[str, str]]:
    k, kind, names = net.widths[-1], net.output_unit.kind, prepared.target_names
    y = np.asarray(train.y)
    if kind == "classes" or (kind in ("probabilities", "margins") and k == 1):
        counts = class_counts(y, k)
        labels = names if len(names) == len(counts) else tuple(map(str, range(len(counts))))
        shares = [f"{label} {count / len(y):.1%}" for label, count in zip(labels, counts, strict=True)]
        empty = [label for label, count in zip(labels, counts, strict=True) if not count]
        missing = f"; no training example of {listed(empty, _SHOWN)}" if empty else ""
        return [("classes", listed(shares, _SHOWN) + missing)]
    raw = prepared.targets.undo(y)
    return [("targets", f"{k}, from {raw.min():.4g} to {raw.max():.4g}, standard deviation {raw.std():.4g}")]


def _about_network(net: MLP, config: Config) -> list[tuple[str, str]]:
    parameters = param_types(net)
    units = dict.fromkeys(unit.name for unit in net.hidden_units)
    return [
        ("network", "-".join(map(str, net.widths)) if len(net.widths) <= _SHOWN else f"{len(net.widths) - 1} layers"),
        ("units", f"{', '.join(units) or 'no hidden layer'}; {net.output_unit.name} output, cost {net.cost}"),
        ("parameters", f"{sum(leaf.size for leaf in jax.tree.leaves(parameters)):,} of {config.network.dtype}"),
    ]


def _about_step(net: MLP, config: Config, prepared: Prepared) -> list[tuple[str, str]]:
    y = np.asarray(prepared.parts["train"].y)
    dtype, batch = config.network.dtype, batch_size(config, len(y))
    program = build_program(config, net)
    params = jax.eval_shape(lambda: initial_params(config.network, net, 0, pays_as_one_loop(net)))
    state = jax.eval_shape(lambda params: initial_state(program, params), params)
    at_once = -(-batch // program.microbatches)
    x = jax.ShapeDtypeStruct((at_once, net.inputs), dtype)
    targets = jax.ShapeDtypeStruct((at_once, *y.shape[1:]), jnp.int32 if y.ndim == 1 else dtype)
    compiled = jax.jit(network.loss_and_grad, static_argnums=0).lower(net, params, x, targets).compile()
    cost: Any = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    steps = -(-len(y) // batch)
    side_by_side = min(processors(), len(choices(config.axes)))
    held = (_bytes(params) * 2 + _bytes(state)) * side_by_side  # parameters, gradient, optimizer
    on_device = sum(part.size for examples in prepared.parts.values() for part in examples)
    activations = f", {decimal(memory.temp_size_in_bytes)} of activations in a step" if memory else ""
    lines = [("steps", f"{steps:,} an epoch, {steps * config.training.epochs:,} in all, of {batch} examples")]
    if flops := cost.get("flops"):
        by_xla = f"{flops * program.microbatches:.3g} flops for cost and gradient, by XLA's count"
        lines.append(("one step", by_xla))
    where = "data in a file" if isinstance(prepared.parts["train"].x, Packed) else "data"
    data = f"{decimal(on_device * jnp.dtype(dtype).itemsize)} of {where}"
    return [*lines, ("memory", f"{data}, {decimal(held)} of parameters, gradient and optimizer{activations}")]


def _bytes(tree: Any) -> int:
    return int(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))
