"""From a configuration's records to the network and the optimizer that they describe."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import optax

from mlp_jax.errors import InputError
from mlp_jax.mlp.hidden_units import MADE
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.mlp.params import Params, init
from mlp_jax.mlp.penalties import Penalty
from mlp_jax.mlp.structure import MLP
from mlp_jax.sections import Section
from mlp_jax.tables import preparation
from mlp_jax.tables.preparation import Prepared, class_counts
from mlp_jax.training.config import Config, Network
from mlp_jax.training.step.program import Program


def prepare(config: Config, arrays: Any = None) -> Prepared:
    """The examples of a configuration, from `arrays` (x, y) if that is their source, ready for network and batch size.

    Raises:
        InputError: the data cannot be read, or do not fit the network or the batch size.
    """
    prepared = preparation.prepare(config.data, build_network(config.network), config.network.dtype, arrays)
    n, training = len(prepared.parts["train"].x), config.training
    size = batch_size(config, n)
    if size > n:
        raise InputError(
            f"training.batch_size is {size}, more than the {n} training examples of {prepared.table.name}; "
            f"set it to {n} or less"
        )
    if training.microbatches > size:
        parts = training.microbatches
        raise InputError(f"training.microbatches is {parts}, more than the {size} examples of a minibatch")
    return prepared


def batch_size(config: Config, n: int) -> int:
    """How many of n training examples a step uses."""
    given: Any = config.training.batch_size
    return n if given == "all" else int(given)


def build_network(network: Network, prepared: Prepared | None = None) -> MLP:
    """The `mlp_jax.MLP` of a `network` section.

    Balanced class weights are made of the training examples; without these they are ones, and predictions do not
    depend on them.

    Raises:
        InputError: a combination that no network can have.
    """
    weights: Any = network.class_weights
    if weights == "balanced":
        # without data equal weights, so that a network that can have none is refused all the same
        classes = max(2, network.widths[-1])
        counts = class_counts(prepared.parts["train"].y, network.widths[-1]) if prepared else [1] * classes
        weights = balanced(counts)
    hidden = network.hidden if isinstance(network.hidden, tuple) else (network.hidden,) * (len(network.widths) - 2)
    try:
        return MLP(
            widths=network.widths,
            hidden=[_unit(unit, MADE) for unit in hidden],
            output=_unit(network.output, OUTPUT_UNITS),
            cost=network.cost,
            penalty=Penalty(**network.penalty.given()) if network.penalty else None,
            bias=network.bias,
            skip=network.skip,
            label_smoothing=network.label_smoothing,
            class_weights=weights,
            products=network.products,
        )
    except ValueError as error:
        raise InputError(f"network: {error}") from None


def initial_params(network: Network, net: MLP, seed: Any, stacked: bool = False) -> Params:
    """The parameters with which a training of a `network` section begins, a function of the seed."""
    key, bias, dtype = jax.random.key(seed), network.initial_bias, network.dtype
    return init(net, key, initializer=network.initializer, bias=bias, dtype=dtype, stacked=stacked)


def balanced(class_counts: Any) -> list[float]:
    """The weights n / (classes · examples of the class), as in scikit-learn; 0 for a class without examples.

    >>> balanced([30, 10])
    [0.6666666666666666, 2.0]
    """
    n, classes = sum(class_counts), len(class_counts)
    return [n / (classes * count) if count else 0.0 for count in class_counts]


def _unit(unit: Any, makers: Mapping[str, Any]) -> Any:
    """A name, or the unit that a section with arguments describes."""
    if isinstance(unit, str):
        return unit
    arguments = unit.given(without="name")
    return makers[unit.name](**arguments) if arguments else unit.name


def build_program(config: Config, net: MLP) -> Program:
    """The training program of a configuration for its network.

    Raises:
        InputError: a frozen layer that the network lacks, or arguments that optax refuses.
    """
    training = config.training
    layers = len(net.shapes)
    if beyond := [k for k in training.frozen if k >= layers]:
        raise InputError(f"training.frozen names layer {beyond[0]}; the network has {layers}, counted from 0")
    if len(training.frozen) == layers:
        raise InputError("training.frozen names all layers: nothing would be trained")
    optimizer = build_optimizer(config.optimizer, training.clip_norm)
    return Program(net, optimizer, training.frozen, training.microbatches, training.ema, training.watch)


@cache  # equal optimizers are one object, so that a second training of the same kind is not compiled again
def build_optimizer(optimizer: Any, clip_norm: float | None = None) -> optax.GradientTransformation:
    """The optax optimizer of an `optimizer` section, with its schedule; before it, if asked for, clipping by norm.

    Raises:
        InputError: optax refuses the combination of arguments.
    """
    arguments = optimizer.given(without="name")
    rate = getattr(optimizer, "learning_rate", None)
    try:
        if isinstance(rate, Section):
            schedule = getattr(optax, rate.schedule)  # type: ignore[attr-defined]
            arguments["learning_rate"] = schedule(**rate.given(without="schedule"))
        transformation: optax.GradientTransformation = getattr(optax, optimizer.name)(**arguments)
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"optimizer: optax refuses these arguments together: {error}") from None
    if clip_norm is not None:
        transformation = optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
    return transformation
