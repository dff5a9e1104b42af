"""optax's optimizers and schedules by their names, with their arguments and the ranges of these.

By hand, and not from optax's signatures: those know no ranges, and importing optax takes longer than all the rest of
checking a configuration. To add one, write its line here; if it takes the norm of each layer, as lamb does, name it in
`Trainer`, too, so that equal layers are not stacked.
"""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from mlp_jax.sections import Count, Fraction, Index, NotNegative, Positive, Section, either, variants

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

# optax's schedules by their names and arguments, and one of ours; they count optimizer steps, not epochs.
SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine_decay_schedule": {
        "init_value": _Rate, "decay_steps": _Steps, "alpha": NotNegative, "exponent": Positive,
    },
    "cosine_onecycle_schedule": _OneCycle,
    "exponential_decay": {"init_value": _Rate, **_Decay},
    "inverse_power_decay": {
        "init_value": _Rate, "decay_rate": (Positive, ...), "power": (NotNegative, ...), "transition_steps": Count,
    },
    "linear_onecycle_schedule": {**_OneCycle, "pct_final": _Part},
    "linear_schedule": _Slope,
    "polynomial_schedule": {**_Slope, "power": (Positive, ...)},
    "warmup_constant_schedule": _WarmUp,
    "warmup_cosine_decay_schedule": {
        **_WarmUp, "decay_steps": _Steps, "end_value": NotNegative, "exponent": Positive,
    },
    "warmup_exponential_decay_schedule": {**_WarmUp, **_Decay},
}  # fmt: skip

LearningRate: Any = either(Positive, dict | Section, variants("schedule", SCHEDULES))

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


class ReduceOnPlateau(Section):
    """Arguments of `optax.contrib.reduce_on_plateau`, which watches the mean cost of `accumulation_size` steps."""

    accumulation_size: Count  # as many as an epoch has
    factor: _Part | None = None  # by which a step becomes smaller
    patience: Count | None = None  # of how many such means in a row none was better
    rtol: NotNegative | None = None  # by how much one must be better, relative to the best
    atol: NotNegative | None = None  # likewise, absolute
    cooldown: Index | None = None  # such means after a change that are not looked at
    min_scale: NotNegative | None = None  # steps become no smaller than this times the learning rate


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

_Slowed = {name: {**arguments, "reduce_on_plateau": ReduceOnPlateau} for name, arguments in OPTIMIZERS.items()}
Optimizer: Any = Annotated[
    variants("name", _Slowed, _Optimizer, learning_rate=(LearningRate, ...)) | variants("name", LBFGS),
    Field(discriminator="name"),
]
