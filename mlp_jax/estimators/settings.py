"""Arguments by scikit-learn's names as a configuration of this package."""

import math
from typing import Any

import numpy as np

from mlp_jax.tables.preparation import Prepared

# scikit-learn's names for four of our hidden units; its initial weights suit these.
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_SMALLEST_ADAPTIVE_RATE = 1e-6
_DIVISOR_OF_ADAPTIVE_RATE = 5
_TINY = 1e-30  # in the place of no tolerance at all, which optax refuses


def configuration(
    estimator: Any, examples: Prepared, output: Any, criterion: str | None, seed: int, epochs: int
) -> dict[str, Any]:
    """The configuration of a training of so many epochs.

    Args:
        estimator: whose arguments are meant.
        examples: what it trains on.
        output: the output unit, as a configuration gives it.
        criterion: the metric that early stopping watches; None for the cost.
        seed: of initial weights and shuffling.
        epochs: how many.

    Raises:
        ValueError: arguments that cannot be together.
    """
    (x, _), weights = examples.parts["train"], (examples.weights or {}).get("train", np.ones(1))
    rows, held_out = len(x), {"split": {"validation": float(estimator.validation_fraction)}}
    size, stopping = batch_size(estimator, rows), _early_stopping(estimator, criterion)
    return {
        "seed": seed,
        "data": held_out if watches_validation(estimator) else {},
        "network": {
            "widths": [examples.ends.inputs, *_hidden_widths(estimator), examples.ends.outputs],
            "output": output,
            # scikit-learn divides its penalty by the sum of the weights of a minibatch
            "penalty": {"l2": float(estimator.alpha / (2 * size * weights.mean()))},
            "dtype": x.dtype.name,
            **_hidden(estimator.activation),
        },
        "optimizer": _optimizer(estimator, rows, -(-rows // size)),
        "training": {
            "epochs": epochs,
            "batch_size": "all" if size == rows else size,
            "shuffle": bool(estimator.shuffle),
            **({"early_stopping": stopping} if stopping else {}),
        },
    }


def is_lbfgs(estimator: Any) -> bool:
    """Whether each step takes all examples, and finds its own size."""
    return _solver_name(estimator) == "lbfgs"


def _solver_name(estimator: Any) -> str:
    """The name of the optimizer."""
    name = estimator.solver.get("name") if isinstance(estimator.solver, dict) else estimator.solver
    if not isinstance(name, str):
        raise ValueError(
            f"solver must have a name, as in {{'name': 'adamw', 'weight_decay': 0.01}}, got {estimator.solver}"
        )
    return name


def watches_validation(estimator: Any) -> bool:
    """Whether examples are held out for early stopping; as in scikit-learn, not with lbfgs."""
    return bool(estimator.early_stopping) and not is_lbfgs(estimator)


def _hidden_widths(estimator: Any) -> list[int]:
    """The numbers of hidden units.

    Raises:
        ValueError: one of them is not at least 1.
    """
    widths = np.atleast_1d(np.asarray(estimator.hidden_layer_sizes)).tolist()
    if any(not isinstance(width, int) or width <= 0 for width in widths):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return widths


def batch_size(estimator: Any, rows: int) -> int:
    """How many examples a step uses."""
    if is_lbfgs(estimator):
        return rows
    return min(200 if estimator.batch_size == "auto" else int(estimator.batch_size), rows)


def plain(value: Any) -> Any:
    """Numbers of numpy as those of Python, also in sections and lists: a configuration takes no others."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _hidden(activation: Any) -> dict[str, Any]:
    units = activation if isinstance(activation, list | tuple) else [activation]
    as_in_sklearn = all(isinstance(unit, str) and unit in ACTIVATIONS for unit in units)
    named = [ACTIVATIONS.get(unit, unit) if isinstance(unit, str) else plain(unit) for unit in units]
    hidden = named if isinstance(activation, list | tuple) else named[0]
    return {"hidden": hidden} | ({"initializer": "glorot"} if as_in_sklearn else {})


def _early_stopping(estimator: Any, criterion: str | None) -> dict[str, Any] | None:
    """scikit-learn's rule: more than n_iter_no_change epochs in a row, none of which was better by tol."""
    patience = estimator.n_iter_no_change
    if math.isinf(patience):
        if not watches_validation(estimator):
            return None
        patience = estimator.max_iter
    patience = int(patience) + 1
    if _solver_name(estimator) == "sgd" and estimator.learning_rate == "adaptive":
        patience *= _divisions(estimator) + 1
    rule = {"patience": patience, "min_delta": float(estimator.tol)}
    return rule | ({"on": "validation", "metric": criterion} if watches_validation(estimator) else {"on": "training"})


def _optimizer(estimator: Any, rows: int, steps: int) -> dict[str, Any]:
    name, rate = _solver_name(estimator), plain(estimator.learning_rate_init)
    given = plain(estimator.solver) if isinstance(estimator.solver, dict) else {"name": name}
    if name == "lbfgs":
        return given
    arguments: dict[str, Any] = {"learning_rate": rate}
    if name == "sgd":
        arguments |= {"momentum": float(estimator.momentum), "nesterov": bool(estimator.nesterovs_momentum)}
        arguments |= _slowing_down(estimator, rate, rows, steps)
    if name == "adam":
        betas = {"b1": float(estimator.beta_1), "b2": float(estimator.beta_2)}
        arguments |= betas | {"eps": float(estimator.epsilon)}
    return arguments | given


def _slowing_down(estimator: Any, rate: Any, rows: int, steps: int) -> dict[str, Any]:
    """What makes the steps of sgd smaller.

    Raises:
        ValueError: two things would.
    """
    if estimator.learning_rate == "constant":
        return {}
    if isinstance(rate, dict):
        raise ValueError(
            f"learning_rate={estimator.learning_rate!r} and a schedule of learning_rate_init: give one of them"
        )
    if estimator.learning_rate == "invscaling":  # after an epoch, rate / (1 + examples seen)^power_t
        decay = {"init_value": rate, "power": float(estimator.power_t), "transition_steps": steps, "decay_rate": rows}
        return {"learning_rate": {"schedule": "inverse_power_decay", **decay}}
    if watches_validation(estimator):
        raise ValueError("learning_rate='adaptive' watches the cost of training: it cannot be with early_stopping=True")
    if math.isinf(estimator.n_iter_no_change):
        return {}
    plateau = {
        "factor": 1 / _DIVISOR_OF_ADAPTIVE_RATE, "patience": int(estimator.n_iter_no_change) + 1, "rtol": 0.0,
        "atol": float(estimator.tol) or _TINY, "accumulation_size": steps,
        "min_scale": float(_DIVISOR_OF_ADAPTIVE_RATE) ** -_divisions(estimator),
    }  # fmt: skip
    return {"reduce_on_plateau": plateau}


def _divisions(estimator: Any) -> int:
    """How often an adaptive rate is divided until it is as small as it gets."""
    ratio = plain(estimator.learning_rate_init) / _SMALLEST_ADAPTIVE_RATE
    return max(0, math.ceil(math.log(ratio, _DIVISOR_OF_ADAPTIVE_RATE)))
