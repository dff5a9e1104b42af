"""The configuration of a training run: one strict record per section, checked before JAX is imported.

Precedence, lowest first: the defaults below, the file, `--set KEY=VALUE` in the order given. Nothing is
coerced: 0.5 is no whole number, "1" is no number, 1 is no boolean, NaN and infinity are refused.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, MADE
from mlp_jax.mlp.initializers import INITIALIZERS
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.mlp.output_units import OutputUnit as OutputRecord
from mlp_jax.mlp.penalties import LEAVES
from mlp_jax.mlp.structure import PRODUCTS
from mlp_jax.sections import (
    Count,
    Fraction,
    Index,
    NotNegative,
    Positive,
    Section,
    Seed,
    either,
    name_or_section,
    one_of,
    one_or_each,
)
from mlp_jax.tables.sources import Data
from mlp_jax.training.config.axes import FOLD, as_axis, choices, require_sane
from mlp_jax.training.config.optimizers import Optimizer

HiddenUnit: Any = name_or_section(HIDDEN_UNITS, MADE)
OutputUnit: Any = name_or_section(OUTPUT_UNITS, OUTPUT_UNITS)
Cost: Any = one_of(dict.fromkeys(cost for unit in OUTPUT_UNITS.values() for cost in unit.costs))
Initializer: Any = one_of(INITIALIZERS)
Leaf: Any = one_of(LEAVES)
Products: Any = one_of(PRODUCTS)
# Output units whose targets may be standardised: those that refuse no finite number.
STANDARDIZABLE = [name for name, unit in OUTPUT_UNITS.items() if unit.outside is OutputRecord.outside]


class Penalty(Section):
    """λ of penalties: l2: λΣW², l1: λΣ|W| or both; on the weights of all layers, or on what is listed."""

    l2: NotNegative | None = None  # λ of λ Σ W²
    l1: NotNegative | None = None  # λ of λ Σ |W|
    on: tuple[Leaf, ...] = ("W",)  # of which parameters; theta: those that units have of their own
    layers: tuple[Index, ...] | None = None  # counted from 0; by default all

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.l2 is None and self.l1 is None:
            raise ValueError("give l2, l1 or both")
        return self


class StartFrom(Section):
    """Weights with which a training begins: a .safetensors file or the directory of a run, and what it must be."""

    path: Annotated[Path, Field(strict=False)]  # of weights, ours or of PyTorch, or of a run
    sha256: str | None = None  # found: of the file


def _as_start(value: Any) -> Any:
    if not isinstance(value, str | Path | dict | StartFrom):
        raise ValueError(f"must be a .safetensors file or the directory of a run; got {value!r}")
    return {"path": value} if isinstance(value, str | Path) else value


class Network(Section):
    """The arguments of `mlp_jax.MLP` and `mlp_jax.init`."""

    widths: Annotated[tuple[Count, ...], Field(min_length=2, max_length=1002)] | None = None  # inputs, hidden, outputs
    hidden_widths: Annotated[tuple[Count, ...], Field(max_length=1000)] | None = None  # in its place: those alone
    hidden: one_or_each(HiddenUnit) = "relu"  # type: ignore[valid-type]  # the hidden unit, or one for each layer
    output: OutputUnit | None = None  # by default what suits the targets of a table; else linear
    cost: Cost | None = None  # by default the one by maximum likelihood
    penalty: Penalty | None = None  # by default none
    bias: one_or_each(bool) = True  # type: ignore[valid-type]  # whether layers have one
    skip: one_or_each(bool) = False  # type: ignore[valid-type]  # h + f(a), but for the first layer
    label_smoothing: Fraction = 0.0  # ε of soft labels, for softmax and sigmoid outputs
    class_weights: Literal["balanced"] | tuple[NotNegative, ...] | None = None  # balanced: by inverse frequency
    initializer: Initializer | None = None  # by default what suits the hidden unit
    initial_bias: float = 0.0  # of all layers
    start_from: Annotated[StartFrom, BeforeValidator(_as_start)] | None = None  # in place of initial weights
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"  # of parameters and computation
    categories: tuple[Count, ...] | None = None  # found: of those last inputs that are numbers of categories
    products: Products | None = None  # round the factors of matrix products; sums stay in dtype

    @model_validator(mode="after")
    def _one_way_to_give_widths(self) -> Self:
        if (self.widths is None) == (self.hidden_widths is None):
            raise ValueError(
                "give hidden_widths, as in [64, 32], and inputs and outputs are counted; or widths, with them"
            )
        return self

    @field_validator("cost")
    @classmethod
    def _cost_fits_output(cls, cost: str | None, info: ValidationInfo) -> str | None:
        if cost is not None and info.data.get("output") is not None:
            output = name_of(info.data["output"])
            known = OUTPUT_UNITS[output].costs
            if cost not in known:
                raise ValueError(f"a {output} output unit has the cost {' or '.join(known)}, not {cost}")
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
        widths, between = info.data.get("widths"), info.data.get("hidden_widths")
        hidden = len(widths) - 2 if widths else len(between or ())
        layers = hidden + (info.field_name == "bias")
        if isinstance(value, tuple) and (widths or between is not None) and len(value) != layers:
            raise ValueError(f"must be one value, or a list of {layers} for these widths; got {len(value)}")
        return value


class EarlyStopping(Section):
    """Stop after `patience` epochs in a row none of which was better than the best before by more than min_delta."""

    patience: Count  # epochs
    on: Literal["validation", "training"] = "validation"  # of validation the best weights are kept, else the last
    metric: str | None = None  # what is watched there: one of the metrics; by default the cost
    min_delta: Annotated[float, Field(ge=0, le=1e30)] = 0.0  # by how much an epoch must be better

    @field_validator("metric")
    @classmethod
    def _metric_of_validation(cls, metric: str | None, info: ValidationInfo) -> str | None:
        if metric is not None and info.data.get("on") == "training":
            raise ValueError(f"of the training part the cost is watched; leave metric: {metric} out")
        return metric


BatchSize: Any = either(Count, str, Literal["all"])
Devices: Any = either(Count, str, Literal["all"])
Processes: Any = either(Count, str, Literal["auto"])


class Training(Section):
    """How long, how many examples a step, and in which way."""

    epochs: Count = 100  # passes over the training part
    batch_size: BatchSize | None = None  # by default 32, or all where there are fewer
    shuffle: bool = True  # the examples anew in each epoch; else in the order of the training part
    early_stopping: EarlyStopping | None = None  # by default none
    clip_norm: Positive | None = None  # of the whole gradient
    clip_examples: Positive | None = None  # of each example's gradient, before their mean is taken
    devices: Devices = 1  # of each process, on which the rows of a minibatch are divided
    processes: Processes | None = None  # by default one; auto: as Slurm or Open MPI say
    reproducible_over: Count | None = None  # the same bits on each number of devices, in all, that divides this
    microbatches: Count = 1  # the gradient of a minibatch in so many parts, for less memory
    frozen: tuple[Index, ...] = ()  # layers that keep their initial parameters, counted from 0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the average of the parameters that is given
    watch: bool = False  # record the health of each layer, and the metrics on the training part
    checkpoint_seconds: NotNegative = 10.0  # the most that a killed run loses
    tensorboard: bool = False  # records for it, too: needs the extra of that name

    @field_validator("frozen")
    @classmethod
    def _different_layers(cls, frozen: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(frozen)) != len(frozen):
            raise ValueError(f"must name different layers; got {list(frozen)}")
        return frozen


class Config(Section):
    """A whole run. `seed` determines initial weights and shuffling; `data.split.seed` who is held out."""

    seed: Seed = 0  # of initial weights and shuffling
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(as_axis)] | None = None  # a sweep of seed, 0..4
    sweep: dict[str, Annotated[tuple[Any, ...], BeforeValidator(as_axis)]] | None = None  # lists or ranges, by key
    data: Data  # where examples come from
    network: Network  # what is trained
    optimizer: Optimizer = Field(default={"name": "adam", "learning_rate": 1e-3}, validate_default=True)  # of optax
    training: Training = Training()  # how long, and in which way

    def __reduce__(self) -> Any:
        """By its plain values: the classes of its sections are made when this module is imported, and have no name."""
        return Config.model_validate, (self.model_dump(exclude_none=True),)

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The keys that vary, and their values: of a sweep, of seeds, of folds; none for a single run."""
        folds = {FOLD: tuple(range(self.data.folds))} if self.data.folds else {}
        return {**folds, **(self.sweep or {}), **({"seed": self.seeds} if self.seeds else {})}

    @property
    def several(self) -> tuple[str, tuple[int, ...]] | None:
        """Of what this is several runs, seeds, folds or others, and their numbers; None for a single run."""
        axes = self.axes
        if len(axes) == 1 and (kind := {"seed": "seed", FOLD: "fold"}.get(next(iter(axes)))):
            return kind, next(iter(axes.values()))
        return ("run", tuple(range(len(choices(axes))))) if axes else None

    @property
    def watches_validation(self) -> bool:
        """Whether early stopping watches the validation part."""
        stopping = self.training.early_stopping
        return stopping is not None and stopping.on == "validation"

    @field_validator("network")
    @classmethod
    def _targets_are_quantities(cls, network: Network, info: ValidationInfo) -> Network:
        if (
            "data" in info.data
            and info.data["data"].standardize_targets
            and network.output is not None
            and name_of(network.output) not in STANDARDIZABLE
        ):
            raise ValueError(
                f"data.standardize_targets needs an output of quantities ({', '.join(STANDARDIZABLE)}), "
                f"got {name_of(network.output)}"
            )
        return network

    @field_validator("seeds")
    @classmethod
    def _one_way_to_give_seeds(cls, seeds: Any, info: ValidationInfo) -> Any:
        if seeds is not None and info.data.get("seed"):
            raise ValueError(f"give seed or seeds, not both; got seed {info.data['seed']}")
        if seeds is not None:
            require_sane({"seed": seeds})
        return seeds

    @field_validator("sweep")
    @classmethod
    def _so_many_runs(cls, sweep: Any, info: ValidationInfo) -> Any:
        if sweep is not None:
            seeds = info.data.get("seeds")
            if seeds and "seed" in sweep:
                raise ValueError("give seeds or sweep.seed, not both")
            require_sane(sweep | ({"seed": seeds} if seeds else {}))
        return sweep

    @model_validator(mode="after")
    def _not_too_many_runs(self) -> Self:
        if self.axes:
            require_sane(self.axes)
        return self

    @field_validator("training")
    @classmethod
    def _suits_optimizer_and_data(cls, training: Training, info: ValidationInfo) -> Training:
        optimizer, data = info.data.get("optimizer"), info.data.get("data")
        if optimizer is not None and optimizer.name == "lbfgs":
            if training.batch_size != "all":
                raise ValueError(f"lbfgs needs the same cost in every step: batch_size: all; got {training.batch_size}")
            if training.clip_norm is not None:
                raise ValueError("lbfgs finds the size of its steps itself; leave clip_norm out")
            if training.clip_examples is not None:
                raise ValueError("lbfgs needs the gradient of the cost itself; leave clip_examples out")
        watched = training.early_stopping and training.early_stopping.on == "validation"
        if watched and data is not None and not data.split.has_validation:
            raise ValueError("early_stopping watches the validation cost; it needs data.split.validation above 0")
        return training


def name_of(unit: Any) -> str:
    """The name of a unit that is given by its name or as a section."""
    name: str = unit if isinstance(unit, str) else unit.name
    return name
