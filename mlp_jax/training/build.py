"""From a configuration's records to the network and the optimizer that they describe."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_jax.errors import InputError
from mlp_jax.exchange.weights.files import checksum, from_safetensors, weights_file
from mlp_jax.mlp.hidden_units import MADE
from mlp_jax.mlp.output_units import OUTPUT_UNITS, OutputUnit
from mlp_jax.mlp.params import Params, init
from mlp_jax.mlp.penalties import Penalty
from mlp_jax.mlp.structure import MLP
from mlp_jax.sections import Section
from mlp_jax.tables.arrays import prepare_arrays
from mlp_jax.tables.cache import is_whole, prepare_cached
from mlp_jax.tables.preparation import Prepared, Wanted, class_counts
from mlp_jax.tables.sources import Columns, TableData
from mlp_jax.tables.stored import Progress
from mlp_jax.tables.table import prepare_table
from mlp_jax.training.config import Config, Network
from mlp_jax.training.config.records import StartFrom
from mlp_jax.training.devices import AXIS, devices_of, parts_of
from mlp_jax.training.metrics import HIGHER_IS_BETTER
from mlp_jax.training.progress import Reporter
from mlp_jax.training.step.program import Program
from mlp_jax.training.step.values import Values

_USUAL_BATCH = 32
# Arguments of optimizers that are values of the compiled program, and not fixed in it.
OPEN = ("learning_rate", "momentum", "weight_decay")
# In so few hidden layers that are counted for a table, weights begin smaller than suits relu in deep networks: R² of
# five regressions of a few hundred rows, over five seeds, rises by 0.01 to 0.08 (docs/tables.md).
_FEW_LAYERS = 3


def prepare(config: Config, examples: Any = None, progress: Progress | None = None) -> Prepared:
    """The examples of a configuration, from arrays or a frame if that is their source, ready for training.

    `progress` is told of what takes long; without it nothing is written, and a cache is used if it is there.

    Raises:
        InputError: the data cannot be read, or do not fit the network or the batch size.
    """
    prepared = read(config, examples, progress)
    require_suited(config, prepared)
    return prepared


def wanted(config: Config) -> tuple[Any, Wanted]:
    """All that `read` is a function of: the data, and what the network wants of them."""
    network, data = config.network, config.data
    widths = network.widths
    output = network.output or ("linear" if widths and not isinstance(data, Columns) else None)
    unit = None if output is None else output_unit(output)
    return data, Wanted(unit, widths[0] if widths else None, widths[-1] if widths else None, network.dtype)


def read(config: Config, examples: Any = None, progress: Progress | None = None) -> Prepared:
    """The examples, whatever the training does with them.

    Raises:
        InputError: they cannot be read, or do not fit the network.
    """
    network = config.network
    if network.widths and (network.output or not isinstance(config.data, Columns)):
        build_network(network)  # which refuses what no network can be, before data are read
    data, wants = wanted(config)
    if isinstance(data, TableData) and data.cache and (progress or is_whole(data, wants)):
        return prepare_cached(data, wants, progress or Reporter(0))
    return (prepare_table if isinstance(data, Columns) else prepare_arrays)(data, wants, examples)


def require_suited(config: Config, prepared: Prepared) -> None:
    """Raise an InputError if the training cannot use the examples: too few for a minibatch, or for what it watches."""
    training = config.training
    n = len(prepared.parts["train"].x)
    size = batch_size(config, n)
    if size > n:
        raise InputError(
            f"training.batch_size is {size}, more than the {n} training examples of {prepared.name}; "
            f"set it to {n} or less"
        )
    if config.watches_validation and "validation" not in prepared.parts:
        raise InputError("training.early_stopping watches the validation part, and data.split leaves none")
    if training.microbatches > size:
        parts = training.microbatches
        raise InputError(f"training.microbatches is {parts}, more than the {size} examples of a minibatch")
    parts_of(training, size)


def resolve(config: Config, prepared: Prepared) -> Config:
    """The configuration with what the data say where it says nothing: widths, output, batch size.

    Raises:
        InputError: a combination that no network can have.
    """
    ends, network, data = prepared.ends, config.network, config.data
    widths = network.widths or (ends.inputs, *(network.hidden_widths or ()), ends.outputs)
    found: dict[str, Any] = {"widths": widths, "hidden_widths": None, "output": network.output or ends.output}
    found["categories"] = ends.categories or None
    found["start_from"] = _identified(network.start_from)
    if network.dtype == "bfloat16" and max(ends.categories, default=0) > 256:
        raise InputError("network.dtype: bfloat16 does not tell the numbers of categories apart; use float32")
    if (
        isinstance(data, Columns)
        and network.hidden_widths
        and len(network.hidden_widths) <= _FEW_LAYERS
        and not network.skip
    ):
        found["initializer"] = network.initializer or "glorot"
    size = batch_size(config, len(prepared.parts["train"].x))
    processes = jax.process_count() if jax.process_count() > 1 else None
    config = config.model_copy(
        update={
            "network": network.model_copy(update=found),
            "data": data.model_copy(update={"standardize_targets": ends.standardize_targets}),
            "training": config.training.model_copy(
                update={"batch_size": config.training.batch_size or size, "processes": processes}
            ),
        }
    )
    Config.model_validate(config.model_dump(exclude_none=True))  # the rules that the output makes
    return config


def output_unit(output: Any) -> OutputUnit:
    """The output unit of a name, or of a section with arguments."""
    unit = _unit(output, OUTPUT_UNITS)
    return OUTPUT_UNITS[unit]() if isinstance(unit, str) else unit


def batch_size(config: Config, n: int) -> int:
    """How many of n training examples a step uses."""
    given: Any = config.training.batch_size
    return min(_USUAL_BATCH, n) if given is None else n if given == "all" else int(given)


def build_network(network: Network, prepared: Prepared | None = None) -> MLP:
    """The `mlp_jax.MLP` of a `network` section that says its widths.

    Balanced class weights are made of the training examples; without these they are ones, and predictions do not
    depend on them.

    Raises:
        InputError: a combination that no network can have.
    """
    weights: Any = network.class_weights
    widths = network.widths or ()
    if weights == "balanced":
        # without data equal weights, so that a network that can have none is refused all the same
        classes = max(2, widths[-1])
        counts = class_counts(prepared.parts["train"].y, widths[-1]) if prepared else [1] * classes
        weights = balanced(counts)
    hidden = network.hidden if isinstance(network.hidden, tuple) else (network.hidden,) * (len(widths) - 2)
    try:
        return MLP(
            widths=widths,
            hidden=[_unit(unit, MADE) for unit in hidden],
            output=_unit(network.output or "linear", OUTPUT_UNITS),
            cost=network.cost,
            penalty=Penalty(**network.penalty.given()) if network.penalty else None,
            bias=network.bias,
            skip=network.skip,
            label_smoothing=network.label_smoothing,
            class_weights=weights,
            products=network.products,
            categories=network.categories or (),
        )
    except ValueError as error:
        raise InputError(f"network: {error}") from None


def initial_params(network: Network, net: MLP, seed: Any, stacked: bool = False) -> Params:
    """The parameters with which a training of a `network` section begins, a function of the seed."""
    key, bias, dtype = jax.random.key(seed), network.initial_bias, network.dtype
    return init(net, key, initializer=network.initializer, bias=bias, dtype=dtype, stacked=stacked)


def given_params(network: Network, net: MLP) -> Params | None:
    """The parameters of `network.start_from`, with which a training begins in place of initial ones.

    Raises:
        InputError: the file is not there, or its weights do not fit the network.
    """
    if network.start_from is None:
        return None
    try:
        return from_safetensors(network.start_from.path, net, network.dtype)
    except InputError as error:
        raise InputError(f"network.start_from: {error}") from None


def _identified(start: StartFrom | None) -> StartFrom | None:
    """With the checksum of the file, which it must have if one was given."""
    if start is None:
        return None
    try:
        found = checksum(weights_file(start.path))
    except InputError as error:
        raise InputError(f"network.start_from: {error}") from None
    if start.sha256 not in (None, found):
        raise InputError(
            f"network.start_from: {start.path} has changed: its SHA-256 is {found}, it was {start.sha256}; put the "
            "file back, or leave sha256 out"
        )
    return start.model_copy(update={"sha256": found})


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
    stopping = training.early_stopping
    criterion = None if stopping and stopping.on == "training" else (stopping and stopping.metric) or "loss"
    criterion = f"-{criterion}" if criterion in HIGHER_IS_BETTER else criterion
    ways = training.frozen, training.microbatches, training.ema, training.watch
    parts, devices = parts_of(training), devices_of(training)
    spread = parts, AXIS if devices > 1 else None, training.reproducible_over is not None
    return Program(net, optimizer, *ways, criterion, training.clip_examples, *spread)


def leave_open(program: Program, config: Config) -> tuple[Program, Values]:
    """The program of a configuration but for the numbers that those of others may share it with; and these numbers."""
    numbers = {name: value for name in OPEN if isinstance(value := getattr(config.optimizer, name, None), float)}
    section = config.optimizer.model_copy(update=dict.fromkeys(numbers, 1.0))
    penalty = program.net.penalty or Penalty()
    net = program.net.penalised_by(program.net.penalty and penalty.with_coefficients(1.0, 1.0))
    optimizer: Any = OpenOptimizer(section, config.training.clip_norm)
    return program._replace(net=net, optimizer=optimizer), Values(numbers, penalty.l2, penalty.l1)


def program_of(config: Config) -> Config:
    """A resolved configuration without what its compiled program leaves open: equal ones share a `Trainer`."""
    numbers = {name: 1.0 for name in OPEN if isinstance(getattr(config.optimizer, name, None), float)}
    penalty = config.network.penalty
    terms = {name: 1.0 if penalty and getattr(penalty, name) else None for name in ("l2", "l1")}
    penalty = penalty.model_copy(update=terms) if penalty and any(terms.values()) else None
    stopping = config.training.early_stopping
    stopping = stopping and stopping.model_copy(update={"patience": 1, "min_delta": 0.0})
    free = {"epochs": 1, "checkpoint_seconds": 0.0, "tensorboard": False, "early_stopping": stopping}
    return config.model_copy(
        update={
            "seed": 0,
            "network": config.network.model_copy(update={"penalty": penalty}),
            "optimizer": config.optimizer.model_copy(update=numbers),
            "training": config.training.model_copy(update=free),
        }
    )


class OpenOptimizer(NamedTuple):
    """An optimizer that leaves the numbers `OPEN` of its section open, a function of these."""

    section: Any
    clip_norm: float | None

    def __call__(self, **numbers: Any) -> optax.GradientTransformation:
        """The optimizer with these numbers."""
        return build_optimizer(self.section, self.clip_norm, **numbers)


def build_optimizer(optimizer: Any, clip_norm: float | None = None, **numbers: Any) -> optax.GradientTransformation:
    """The optax optimizer of an `optimizer` section, with its schedule, and what makes its steps smaller on a plateau.

    Before it, if asked for, the gradient is clipped by its norm.

    `numbers` stand in the place of those of the section, and may be scalars of a trace.

    Raises:
        InputError: optax refuses the combination of arguments.
    """
    arguments = optimizer.given(without="name") | numbers
    rate, plateau = getattr(optimizer, "learning_rate", None), arguments.pop("reduce_on_plateau", None)
    try:
        if isinstance(rate, Section):
            name: str = rate.schedule  # type: ignore[attr-defined]
            schedule = inverse_power_decay if name == inverse_power_decay.__name__ else getattr(optax, name)
            arguments["learning_rate"] = schedule(**rate.given(without="schedule"))
        transformation: optax.GradientTransformation = getattr(optax, optimizer.name)(**arguments)
        if plateau is not None:
            transformation = optax.chain(transformation, _reduce_on_plateau(**plateau.given()))
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"optimizer: optax refuses these arguments together: {error}") from None
    if clip_norm is not None:
        transformation = optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
    return transformation


def inverse_power_decay(
    init_value: float, decay_rate: float, power: float, transition_steps: int = 1
) -> Callable[[Any], Any]:
    """The schedule init_value / (1 + decay_rate · ⌊step / transition_steps⌋)^power.

    >>> rate = inverse_power_decay(0.1, decay_rate=1.0, power=0.5, transition_steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 9, 10, 30)]
    [0.1, 0.1, 0.0707, 0.05]
    """
    return lambda step: init_value / (1 + decay_rate * (step // transition_steps)) ** power


def _reduce_on_plateau(**arguments: Any) -> optax.GradientTransformationExtraArgs:
    """optax's, but the best before the first value is finite: an infinite one would look like divergence."""
    found = optax.contrib.reduce_on_plateau(**arguments)

    def init(params: Any) -> Any:
        state = found.init(params)
        return state._replace(best_value=jnp.nan_to_num(state.best_value))  # the largest number in its place

    return optax.GradientTransformationExtraArgs(init, found.update)
