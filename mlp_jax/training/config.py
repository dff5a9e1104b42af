"""The configuration of a training run: one strict record per section, read before JAX is imported.

Precedence, lowest first: the defaults below, the file, `--set KEY=VALUE` in the order given. Nothing is
coerced: 0.5 is no whole number, "1" is no number, 1 is no boolean, NaN and infinity are refused.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from mlp_jax.training import config_problems, strict_yaml
from mlp_jax.training.errors import InputError

_LARGEST = 2**31 - 1  # what an int32 holds, as optax and XLA count
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Index = Annotated[int, Field(ge=0, le=_LARGEST)]
_MOST_SEEDS = 1000

HiddenName = Literal[
    "relu", "absolute", "leaky_relu", "parametric_relu", "maxout", "sigmoid", "tanh", "hard_tanh", "softplus", "rbf",
    "softmax", "cosine", "linear", "elu", "gelu", "silu",
]  # fmt: skip
OutputName = Literal[
    "linear", "laplace", "gaussian", "heteroscedastic", "full_gaussian", "mixture", "quantiles", "sigmoid", "softmax",
    "poisson", "hinge",
]  # fmt: skip
CostName = Literal[
    "squared_error", "absolute_error", "nll", "quantile_error", "cross_entropy", "poisson_error", "hinge"
]
Initializer = Literal["normal", "unit_normal", "glorot", "he", "lecun", "orthogonal"]
SklearnSet = Literal["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"]


def _one_or_each(kind: Any) -> Any:
    """One value for all layers, or a list with one for each."""
    return Annotated[
        Annotated[kind, Tag("one for all")] | Annotated[tuple[kind, ...], Tag("one each")],
        Discriminator(lambda value: "one each" if isinstance(value, tuple) else "one for all"),
    ]


class Section(BaseModel):
    """Immutable; an unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _variants(tag: str, table: dict[str, dict[str, Any]], base: type[Section] = Section, **shared: Any) -> Any:
    """A union of sections told apart by the key `tag`; arguments without a default are required."""
    sections: list[type[Section]] = []
    for name, arguments in table.items():
        fields: dict[str, Any] = {tag: (Literal[name], ...), **shared}
        for key, kind in arguments.items():
            fields[key] = kind if isinstance(kind, tuple) else (kind | None, None)
        sections.append(create_model(name, __base__=base, **fields))
    union: Any = sections[0]
    for section in sections[1:]:
        union |= section
    return Annotated[union, Field(discriminator=tag)]


class Split(Section):
    """Fractions of the examples held out, drawn by a permutation from the seed; the rest is for training."""

    validation: Fraction = 0.15
    test: Fraction = 0.15
    seed: Seed = 0

    @field_validator("test")
    @classmethod
    def _something_left(cls, test: float, info: ValidationInfo) -> float:
        if info.data.get("validation", 0) + test >= 1:
            raise ValueError(f"validation + test must be below 1, got {info.data['validation']} + {test}")
        return test


class _Data(Section):
    split: Split = Split()
    standardize_inputs: bool = True  # by mean and standard deviation of the training examples
    standardize_targets: bool = False


class SklearnData(_Data):
    """A data set that scikit-learn brings along."""

    source: SklearnSet


class CSVData(_Data):
    """A CSV file with a header; every cell a number. `target` names one column or several."""

    source: Literal["csv"]
    path: Path = Field(strict=False)
    target: _one_or_each(str)  # type: ignore[valid-type]

    @field_validator("target")
    @classmethod
    def _different(cls, target: Any) -> Any:
        if isinstance(target, tuple) and len(set(target)) != max(1, len(target)):
            raise ValueError(f"must name one column or several different ones; got {list(target)}")
        return target


class NPZData(_Data):
    """Two arrays of one .npz file."""

    source: Literal["npz"]
    path: Path = Field(strict=False)
    x: str = "x"
    y: str = "y"


class NPYData(_Data):
    """Two .npy files."""

    source: Literal["npy"]
    x: Path = Field(strict=False)
    y: Path = Field(strict=False)


class ArrayData(_Data):
    """Arrays x and y that `mlp_jax.training.fit` is given in Python."""

    source: Literal["arrays"]


Data = Annotated[SklearnData | CSVData | NPZData | NPYData | ArrayData, Field(discriminator="source")]


# The costs that output units can have, the one by maximum likelihood first.
COSTS: dict[str, tuple[str, ...]] = {
    "linear": ("squared_error", "absolute_error"),
    "laplace": ("absolute_error",),
    **dict.fromkeys(("gaussian", "heteroscedastic", "full_gaussian", "mixture"), ("nll",)),
    "quantiles": ("quantile_error",),
    **dict.fromkeys(("sigmoid", "softmax"), ("cross_entropy", "squared_error")),
    "poisson": ("poisson_error",),
    "hinge": ("hinge",),
}
# Output units whose targets are quantities, which may be standardised.
QUANTITIES = ("linear", "laplace", "gaussian", "heteroscedastic", "full_gaussian", "mixture", "quantiles")

# Units that have arguments.
HIDDEN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "leaky_relu": {"slope": float},
    "elu": {"slope": float},
    "maxout": {"pieces": Count},
}
OUTPUT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "gaussian": {"floor": NotNegative},
    "heteroscedastic": {"floor": NotNegative},
    "full_gaussian": {"floor": NotNegative},
    "mixture": {"components": Count, "floor": NotNegative},
    "quantiles": {"levels": tuple[Annotated[float, Field(gt=0, lt=1)], ...]},
}


def _name_or_section(names: Any, arguments: dict[str, dict[str, Any]]) -> Any:
    """A name, or a section with `name` and the arguments of what it names, if it has any."""
    arguments = {name: arguments.get(name, {}) for name in get_args(names)}
    return Annotated[
        Annotated[names, Tag("a name")] | Annotated[_variants("name", arguments), Tag("a section")],
        Discriminator(lambda value: "a section" if isinstance(value, dict | Section) else "a name"),
    ]


HiddenUnit: Any = _name_or_section(HiddenName, HIDDEN_ARGUMENTS)
OutputUnit: Any = _name_or_section(OutputName, OUTPUT_ARGUMENTS)


class Penalty(Section):
    """λ of penalties: l2: λΣW², l1: λΣ|W| or both; on the weights of all layers, or on what is listed."""

    l2: NotNegative | None = None
    l1: NotNegative | None = None
    on: tuple[Literal["W", "b", "theta"], ...] = ("W",)
    layers: tuple[Index, ...] | None = None  # counted from 0

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.l2 is None and self.l1 is None:
            raise ValueError("give l2, l1 or both")
        return self


class Network(Section):
    """The arguments of `mlp_jax.MLP` and `mlp_jax.init`."""

    widths: Annotated[tuple[Count, ...], Field(min_length=2)]
    hidden: _one_or_each(HiddenUnit) = "relu"  # type: ignore[valid-type]
    output: OutputUnit = "linear"
    cost: CostName | None = None
    penalty: Penalty | None = None
    bias: _one_or_each(bool) = True  # type: ignore[valid-type]
    skip: _one_or_each(bool) = False  # type: ignore[valid-type]
    label_smoothing: Fraction = 0.0
    class_weights: Literal["balanced"] | tuple[NotNegative, ...] | None = None
    initializer: Initializer | None = None
    initial_bias: float = 0.0
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    products: Literal["bfloat16"] | None = None  # round the factors of matrix products; sums stay in dtype

    @field_validator("cost")
    @classmethod
    def _cost_fits_output(cls, cost: str | None, info: ValidationInfo) -> str | None:
        if cost is not None and "output" in info.data:
            output = name_of(info.data["output"])
            if cost not in COSTS[output]:
                raise ValueError(f"a {output} output unit has the cost {' or '.join(COSTS[output])}, not {cost}")
        return cost

    @field_validator("products")
    @classmethod
    def _products_of_float32(cls, products: str | None, info: ValidationInfo) -> str | None:
        if products is not None and info.data.get("dtype", "float32") != "float32":
            raise ValueError(f"products: {products} is for dtype float32; got dtype {info.data['dtype']}")
        return products

    @field_validator("hidden", "bias", "skip")
    @classmethod
    def _one_for_each_layer(cls, value: Any, info: ValidationInfo) -> Any:
        layers = len(info.data.get("widths", ())) - (1 if info.field_name == "bias" else 2)
        if isinstance(value, tuple) and "widths" in info.data and len(value) != layers:
            raise ValueError(f"must be one value, or a list of {layers} for these widths; got {len(value)}")
        return value


_Steps = (Count, ...)
_Rate = (NotNegative, ...)
_Part = Annotated[float, Field(gt=0, lt=1)]
_WarmUp: dict[str, Any] = {"init_value": _Rate, "peak_value": _Rate, "warmup_steps": _Steps}
_Decay: dict[str, Any] = {
    "transition_steps": _Steps, "decay_rate": (Positive, ...), "transition_begin": Index,
    "staircase": bool, "end_value": NotNegative,
}  # fmt: skip
_OneCycle: dict[str, Any] = {
    "transition_steps": _Steps, "peak_value": _Rate,
    "pct_start": _Part, "div_factor": Positive, "final_div_factor": Positive,
}  # fmt: skip
_Slope: dict[str, Any] = {
    "init_value": _Rate, "end_value": _Rate, "transition_steps": _Steps, "transition_begin": Index,
}  # fmt: skip

# optax's schedules by their names and arguments; they count optimizer steps, not epochs.
SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine_decay_schedule": {
        "init_value": _Rate, "decay_steps": _Steps, "alpha": NotNegative, "exponent": Positive,
    },
    "cosine_onecycle_schedule": _OneCycle,
    "exponential_decay": {"init_value": _Rate, **_Decay},
    "linear_onecycle_schedule": {**_OneCycle, "pct_final": _Part},
    "linear_schedule": _Slope,
    "polynomial_schedule": {**_Slope, "power": (Positive, ...)},
    "warmup_constant_schedule": _WarmUp,
    "warmup_cosine_decay_schedule": {
        **_WarmUp, "decay_steps": _Steps, "end_value": NotNegative, "exponent": Positive,
    },
    "warmup_exponential_decay_schedule": {**_WarmUp, **_Decay},
}  # fmt: skip

LearningRate: Any = Annotated[
    Annotated[Positive, Tag("a number")] | Annotated[_variants("schedule", SCHEDULES), Tag("a schedule")],
    Discriminator(lambda value: "a schedule" if isinstance(value, dict | Section) else "a number"),
]

_Adam = {"b1": Fraction, "b2": Fraction, "eps": NotNegative}
_AdamRoot = {**_Adam, "eps_root": NotNegative}
_WeightDecay = {"weight_decay": NotNegative}
_Nesterov = {"nesterov": bool}

# optax's optimizers by their names and arguments; every one of them takes learning_rate.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adabelief": {**_AdamRoot, **_Nesterov},
    "adadelta": {"rho": Fraction, "eps": NotNegative, **_WeightDecay},
    "adagrad": {"initial_accumulator_value": NotNegative, "eps": NotNegative},
    "adam": {**_AdamRoot, **_Nesterov},
    "adamax": _Adam,
    "adamaxw": {**_Adam, **_WeightDecay},
    "adamw": {**_AdamRoot, **_WeightDecay, **_Nesterov},
    "adan": {"b1": Fraction, "b2": Fraction, "b3": Fraction, "eps": NotNegative, **_WeightDecay},
    "amsgrad": _AdamRoot,
    "fromage": {"min_norm": NotNegative},
    "lamb": {**_AdamRoot, **_WeightDecay},
    "lars": {
        "trust_coefficient": NotNegative, "eps": NotNegative, "momentum": Fraction, **_WeightDecay, **_Nesterov,
    },
    "lion": {"b1": Fraction, "b2": Fraction, **_WeightDecay},
    "nadam": _AdamRoot,
    "nadamw": {**_AdamRoot, **_WeightDecay},
    "novograd": {**_AdamRoot, **_WeightDecay},
    "radam": {**_AdamRoot, "threshold": NotNegative, **_Nesterov},
    "rmsprop": {
        "decay": Fraction, "eps": NotNegative, "initial_scale": NotNegative, "centered": bool,
        "momentum": Fraction, **_Nesterov,
    },
    "sgd": {"momentum": Fraction, **_Nesterov},
    "yogi": _Adam,
}  # fmt: skip


class _Optimizer(Section):
    @field_validator("nesterov", check_fields=False)
    @classmethod
    def _nesterov_has_momentum(cls, nesterov: bool | None, info: ValidationInfo) -> bool | None:
        # optax would ignore it in silence; its other optimizers have a momentum by default
        if nesterov and info.data.get("name") in ("sgd", "rmsprop") and info.data.get("momentum") is None:
            raise ValueError("nesterov: true needs a momentum, such as momentum: 0.9")
        return nesterov


# For small problems: the whole training part in each step, whose size a search along the line finds.
LBFGS: dict[str, dict[str, Any]] = {"lbfgs": {"memory_size": Count, "scale_init_precond": bool}}

Optimizer: Any = Annotated[
    _variants("name", OPTIMIZERS, _Optimizer, learning_rate=(LearningRate, ...)) | _variants("name", LBFGS),
    Field(discriminator="name"),
]


class EarlyStopping(Section):
    """Stop after `patience` epochs in which no validation cost was lower by more than min_delta; keep the best."""

    patience: Count
    min_delta: Annotated[float, Field(ge=0, le=1e30)] = 0.0


BatchSize: Any = Annotated[
    Annotated[Count, Tag("a number")] | Annotated[Literal["all"], Tag("a word")],
    Discriminator(lambda value: "a word" if isinstance(value, str) else "a number"),
]


class Training(Section):
    """How long, how many examples a step, and in which way."""

    epochs: Count
    batch_size: BatchSize
    early_stopping: EarlyStopping | None = None
    clip_norm: Positive | None = None  # of the whole gradient
    microbatches: Count = 1  # the gradient of a minibatch in so many parts, for less memory
    frozen: tuple[Index, ...] = ()  # layers that keep their initial parameters, counted from 0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the average of the parameters that is given
    watch: bool = False  # record the health of each layer, and the metrics on the training part
    checkpoint_seconds: NotNegative = 10.0  # the most that a killed run loses
    tensorboard: bool = False

    @field_validator("frozen")
    @classmethod
    def _different_layers(cls, frozen: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(frozen)) != len(frozen):
            raise ValueError(f"must name different layers; got {list(frozen)}")
        return frozen


def _as_seeds(value: Any) -> Any:
    """Each seed of a range such as 0..9."""
    if isinstance(value, str) and (ends := re.fullmatch(r"(\d{1,10})\.\.(\d{1,10})", value.strip())):
        first, last = map(int, ends.groups())
        if not 0 < last - first < _MOST_SEEDS:
            raise ValueError(f"must be a range FIRST..LAST of 2 to {_MOST_SEEDS} seeds; got {value}")
        return tuple(range(first, last + 1))
    are_numbers = isinstance(value, tuple) and all(isinstance(seed, int) for seed in value)
    if not are_numbers or len(set(value)) != len(value) or not 2 <= len(value) <= _MOST_SEEDS:
        raise ValueError(f"must be a range such as 0..9 or a list of 2 to {_MOST_SEEDS} different seeds; got {value!r}")
    return value


class Config(Section):
    """A whole run. `seed` determines initial weights and shuffling; `data.split.seed` who is held out."""

    seed: Seed = 0
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_as_seeds)] | None = None  # several networks, side by side
    data: Data
    network: Network
    optimizer: Optimizer
    training: Training

    @field_validator("network")
    @classmethod
    def _targets_are_quantities(cls, network: Network, info: ValidationInfo) -> Network:
        if "data" in info.data and info.data["data"].standardize_targets and name_of(network.output) not in QUANTITIES:
            raise ValueError(
                f"data.standardize_targets needs an output of quantities ({', '.join(QUANTITIES)}), "
                f"got {name_of(network.output)}"
            )
        return network

    @field_validator("seeds")
    @classmethod
    def _one_way_to_give_seeds(cls, seeds: Any, info: ValidationInfo) -> Any:
        if seeds is not None and info.data.get("seed"):
            raise ValueError(f"give seed or seeds, not both; got seed {info.data['seed']}")
        return seeds

    @field_validator("training")
    @classmethod
    def _lbfgs_takes_all(cls, training: Training, info: ValidationInfo) -> Training:
        optimizer = info.data.get("optimizer")
        if optimizer is not None and optimizer.name == "lbfgs":
            if training.batch_size != "all":
                raise ValueError(f"lbfgs needs the same cost in every step: batch_size: all; got {training.batch_size}")
            if training.clip_norm is not None:
                raise ValueError("lbfgs finds the size of its steps itself; leave clip_norm out")
        return training

    @field_validator("training")
    @classmethod
    def _early_stopping_has_validation(cls, training: Training, info: ValidationInfo) -> Training:
        if training.early_stopping and "data" in info.data and not info.data["data"].split.validation:
            raise ValueError("early_stopping watches the validation cost; it needs data.split.validation above 0")
        return training


def name_of(unit: Any) -> str:
    """The name of a unit that is given by its name or as a section."""
    name: str = unit if isinstance(unit, str) else unit.name
    return name


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file, apply overrides, and check everything.

    Args:
        path: a YAML file. Paths of data in it are taken from its own folder.
        overrides: assignments such as `optimizer.learning_rate=0.05`, applied in order.

    Returns:
        The configuration with all defaults filled in and paths made absolute.

    Raises:
        InputError: with every problem found, each with its place and the nearest valid key.
    """
    path = Path(path)
    config = _checked(strict_yaml.read(path, overrides), path)
    return _with_absolute_paths(config, path.parent.absolute())


def as_values(config: Config) -> dict[str, Any]:
    """The configuration as plain values, for writing; what optax leaves to its own defaults is left out."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    if config.seeds:
        del values["seed"]
    return values


# Keys of `training` that do not change what a step computes.
FREE_TO_CHANGE = ("epochs", "checkpoint_seconds", "tensorboard")


def fingerprint(config: Config) -> str:
    """A SHA-256 of what determines each step."""
    values = as_values(config)
    values["training"] = {key: value for key, value in values["training"].items() if key not in FREE_TO_CHANGE}
    values["data"] = {key: value for key, value in values["data"].items() if key not in ("path", "x", "y")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def from_values(values: Any) -> Config:
    """The configuration of a dict as a file would give it, lists included; paths start at the current folder.

    Raises:
        InputError: with every problem found, each with its key and the nearest valid one.
    """
    document = strict_yaml.Document.of_values(values)
    return _with_absolute_paths(_checked(document, "the configuration"), Path.cwd())


def _checked(document: strict_yaml.Document, name: str | Path) -> Config:
    problems, config = document.problems, None
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        problems = problems + config_problems.in_words(error, Config, document)
    if config is None or problems:
        raise InputError(config_problems.listed(name, problems, document))
    return config


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    files = {key: folder / os.path.expanduser(value) for key, value in config.data if isinstance(value, Path)}
    return config.model_copy(update={"data": config.data.model_copy(update=files)})
