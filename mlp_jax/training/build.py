"""From a configuration's records to the network and the optimizer that they describe."""

from functools import cache
from typing import Any

import optax

from mlp_jax.mlp import hidden_units
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.mlp.penalties import Penalty
from mlp_jax.mlp.structure import MLP
from mlp_jax.training import config
from mlp_jax.training.errors import InputError
from mlp_jax.training.program import Program


def build_network(network: config.Network, class_counts: Any = None) -> MLP:
    """The `mlp_jax.MLP` of a `network` section.

    Args:
        network: the section.
        class_counts: how many training examples each class has, for balanced class weights; None: all the same.

    Raises:
        InputError: a combination that no network can have.
    """
    weights: Any = network.class_weights
    if weights == "balanced":
        classes = max(2, network.widths[-1])
        weights = balanced([1] * classes if class_counts is None else class_counts)
    hidden = network.hidden if isinstance(network.hidden, tuple) else (network.hidden,) * (len(network.widths) - 2)
    try:
        return MLP(
            widths=network.widths,
            hidden=[_unit(unit, hidden_units) for unit in hidden],
            output=_unit(network.output, OUTPUT_UNITS),
            cost=network.cost,
            penalty=_penalty(network.penalty),
            bias=network.bias,
            skip=network.skip,
            label_smoothing=network.label_smoothing,
            class_weights=weights,
            products=network.products,
        )
    except ValueError as error:
        raise InputError(f"network: {error}") from None


def balanced(class_counts: Any) -> list[float]:
    """The weights n / (classes · examples of the class), as in scikit-learn; 0 for a class without examples.

    >>> balanced([30, 10])
    [0.6666666666666666, 2.0]
    """
    n, classes = sum(class_counts), len(class_counts)
    return [n / (classes * count) if count else 0.0 for count in class_counts]


def _unit(unit: Any, makers: Any) -> Any:
    """A name, or the unit that a section with arguments describes."""
    if isinstance(unit, str):
        return unit
    if not _given(unit, without="name"):
        return unit.name
    make = makers[unit.name] if isinstance(makers, dict) else getattr(makers, unit.name)
    return make(**_given(unit, without="name"))


def build_program(configuration: config.Config, net: MLP) -> Program:
    """The training program of a configuration for its network.

    Raises:
        InputError: a frozen layer that the network lacks, or arguments that optax refuses.
    """
    training = configuration.training
    layers = len(net.shapes)
    if beyond := [k for k in training.frozen if k >= layers]:
        raise InputError(f"training.frozen names layer {beyond[0]}; the network has {layers}, counted from 0")
    if len(training.frozen) == layers:
        raise InputError("training.frozen names all layers: nothing would be trained")
    return Program(
        net,
        build_optimizer(configuration.optimizer, training.clip_norm),
        training.frozen,
        training.microbatches,
        training.ema,
        training.watch,
    )


@cache  # equal optimizers are one object, so that a second training of the same kind is not compiled again
def build_optimizer(optimizer: Any, clip_norm: float | None = None) -> optax.GradientTransformationExtraArgs:
    """The optax optimizer of an `optimizer` section, with its schedule; before it, if asked for, clipping by norm.

    Raises:
        InputError: optax refuses the combination of arguments.
    """
    arguments = _given(optimizer, without="name")
    rate = getattr(optimizer, "learning_rate", None)
    try:
        if isinstance(rate, config.Section):
            schedule = getattr(optax, rate.schedule)  # type: ignore[attr-defined]
            arguments["learning_rate"] = schedule(**_given(rate, without="schedule"))
        transformation: optax.GradientTransformation = getattr(optax, optimizer.name)(**arguments)
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"optimizer: optax refuses these arguments together: {error}") from None
    if clip_norm is not None:
        transformation = optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
    return optax.with_extra_args_support(transformation)


def _penalty(penalty: config.Penalty | None) -> Penalty | None:
    if penalty is None:
        return None
    return Penalty(penalty.l2 or 0.0, penalty.l1 or 0.0, penalty.on, penalty.layers)


def _given(section: config.Section, without: str) -> dict[str, Any]:
    """The arguments that are set; optax has defaults for the others."""
    return {key: value for key, value in section if value is not None and key != without}
