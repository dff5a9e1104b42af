"""What the estimators have in common: a fit that hands its examples to `mlp_jax.training.fit`, and the way back."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from numbers import Real
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from mlp_jax.errors import TrainingDiverged
from mlp_jax.estimators.examples import prepare, split
from mlp_jax.estimators.inputs import read, read_again
from mlp_jax.estimators.settings import batch_size, configuration, is_lbfgs, plain, watches_validation
from mlp_jax.guest import as_guest
from mlp_jax.mlp.params import Layer, LayerWithTheta, Params, stack, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.preparation import Prepared
from mlp_jax.tables.schema import Schema
from mlp_jax.training.batches import filled_up
from mlp_jax.training.fitting import fit
from mlp_jax.training.metrics import output_of
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.step import State
from mlp_jax.training.xla import jitted

Array = NDArray[Any]
# Arguments that take more than scikit-learn's do.
WIDER: dict[str, Any] = {
    "activation": [str, dict, list, tuple],
    "solver": [str, dict],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither"), dict],
}
# What scikit-learn calls the function of an output unit.
_OUT_ACTIVATIONS = {"linear": "identity", "sigmoid": "logistic", "poisson": "exp"}


class TrainedHere(BaseEstimator):  # type: ignore[misc]
    """Stands before one of scikit-learn's estimators, whose arguments it has, and trains and predicts in its place."""

    _criterion: str | None = None  # the metric that early stopping watches; None watches the cost
    _schema: Schema | None = None  # of a frame that `tables` reads
    _memory: Any = None  # of the optimizer
    _memory_of: Any = None  # which optimizer that is

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on inputs X (n, d) and targets y, (n,) or (n, k), each of which counts sample_weight (n,) times.

        Raises:
            ValueError: an argument or the examples are wrong, or training diverged.
        """
        # Each iteration of L-BFGS evaluates the cost once at least.
        epochs = min(self.max_iter, self.max_fun) if is_lbfgs(self) else self.max_iter
        run = self._train(X, y, sample_weight, epochs, goes_on=False)
        if self.n_iter_ == epochs and "stopped early" not in run.summary.get("early_stopping", ""):
            words = f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet."
            warnings.warn(words, ConvergenceWarning, stacklevel=2)
        return self

    def _has_epochs(self) -> bool:
        if is_lbfgs(self):
            raise AttributeError("partial_fit needs an optimizer of minibatches; lbfgs is none")
        return True

    @available_if(_has_epochs)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go on for one epoch on these examples, with the optimizer's memory of those before; else as `fit`."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._train(X, y, sample_weight, 1, goes_on=True)
        return self

    def _train(self, X: Any, y: Any, sample_weight: Any, epochs: int, goes_on: bool) -> Run:
        begins = not hasattr(self, "coefs_") or not (goes_on or self.warm_start)
        inputs, y = read(self, X, y, None if begins else self._schema, reset=begins)
        weights = self._weights(y, sample_weight, goes_on)
        targets, outputs = self._targets(y, begins, goes_on)
        random = check_random_state(self.random_state)
        held_out = self.validation_fraction if watches_validation(self) else None
        rows = split(targets, weights, held_out, is_classifier(self), random)
        if begins:
            self._schema, self.t_ = inputs.learned(rows["train"]), 0
        output = plain(self._output())
        examples = prepare(inputs, self._schema, targets, outputs, output, rows, weights)
        n = len(rows["train"])
        if self.batch_size != "auto" and batch_size(self, n) < self.batch_size and not is_lbfgs(self):
            warnings.warn(f"batch_size={self.batch_size} is clipped to {n}, the number of examples", stacklevel=4)
        seed = (int(random.randint(2**31)) + self.t_) % 2**32  # what goes on shuffles anew
        settings = configuration(self, examples, output, self._criterion, seed, epochs)
        # What its memory looks like follows from the arguments that it has, not from their numbers.
        kind = {
            key: value if key == "name" else isinstance(value, dict) for key, value in settings["optimizer"].items()
        }
        start = None if begins else self._state(goes_on and kind == self._memory_of)
        run, self._memory_of = self._run(settings, examples, start), kind
        self._keep(run, begins, targets.shape[1] if targets.ndim == 2 else outputs)
        return run

    def _weights(self, y: Array, sample_weight: Any, goes_on: bool) -> Array | None:
        """How often each example counts, (n,), if that is said."""
        if sample_weight is None:
            return None
        weights: Array = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
        return weights

    def _targets(self, y: Array, begins: bool, goes_on: bool) -> tuple[Array, int]:
        """Targets as the output unit takes them, (n,) class numbers or (n, k), and their k."""
        raise NotImplementedError

    def _output(self) -> Any:
        """The output unit, as a configuration gives it."""
        raise NotImplementedError

    def _run(self, settings: dict[str, Any], examples: Prepared, start_from: State | None) -> Run:
        reporter = _Iterations if self.verbose else Reporter
        try:
            with computing_in(examples.parts["train"].x.dtype):
                return fit(settings, examples, start_from=start_from, reporter=reporter)
        except TrainingDiverged as error:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                f"preprocessed. {error}"
            ) from error

    def _state(self, goes_on: bool) -> State:
        """Where a training starts that does not begin anew: these coefficients, and the memory if it goes on."""
        params, memory = self._params, self._memory if goes_on else None
        return State(params if memory is None or not self._is_stacked else stack(self._net, params), memory)

    @property
    def _params(self) -> Params:
        """The parameters as the attributes have them, which are the model."""

        def array(leaf: Any) -> Any:
            return np.asarray(leaf, self._dtype)

        thetas = getattr(self, "thetas_", [None] * len(self.coefs_))
        return tuple(
            Layer(array(W), array(b)) if theta is None else LayerWithTheta(array(W), array(b), array(theta))
            for W, b, theta in zip(self.coefs_, self.intercepts_, thetas, strict=True)
        )

    @property
    def _dtype(self) -> Any:
        return np.float64 if self.coefs_[0].dtype == np.float64 else np.float32

    def _keep(self, run: Run, begins: bool, outputs: int) -> None:
        """What a run gives, as attributes."""
        layers, state = jax.tree.map(np.array, unstack(run.net, run.params)), run.state
        assert state is not None
        self._net: MLP = run.net.penalised_by(None)
        self._memory = jax.tree.map(np.asarray, state.optimizer)
        self._is_stacked = len(state.params) < len(layers)
        self.coefs_, self.intercepts_ = [layer.W for layer in layers], [layer.b for layer in layers]
        self.__dict__.pop("thetas_", None)
        if any(len(layer) > 2 for layer in layers):
            self.thetas_ = [layer.theta if len(layer) > 2 else None for layer in layers]
        name = run.net.output_unit.name
        self.n_layers_, self.n_outputs_, self.out_activation_ = (
            len(layers) + 1,
            outputs,
            _OUT_ACTIVATIONS.get(name, name),
        )
        self.n_iter_ = len(run.history)
        self.t_ += run.summary["examples"]["train"] * self.n_iter_
        earlier = ([], []) if begins else (getattr(self, "loss_curve_", []), getattr(self, "validation_scores_", None))
        self.loss_curve_ = earlier[0] + [record["loss"] for record in run.history]
        scores = (earlier[1] or []) + [
            _score(record, self._criterion) for record in run.history if "validation" in record
        ]
        self.loss_, self.validation_scores_ = self.loss_curve_[-1], scores or None
        self.best_validation_score_ = max(scores, default=None)
        self.best_loss_ = None if scores else min(self.loss_curve_)

    def _logits_and_predictions(self, X: Any) -> tuple[Array, Array]:
        """z (n, k') and ŷ (n, k) of the network."""
        check_is_fitted(self)
        x = read_again(self, X, self._schema)
        with as_guest(), computing_in(self._dtype):
            found = jitted(output_of, ("net",), self._net)(self._net, self._params, filled_up(x, self._dtype))
        z, y_hat = (np.array(values)[: len(x)] for values in found)
        return z, y_hat


class _Iterations(Reporter):
    """A line for each epoch, as scikit-learn prints it."""

    def advanced(self, done: float, records: list[dict[str, Any]]) -> None:
        for record in records:
            print(f"Iteration {record['epoch']}, loss = {record['loss']:.8f}")


def computing_in(dtype: Any) -> AbstractContextManager[Any]:
    """Where JAX computes in float64 if that is the dtype; the process stays as it is."""
    return jax.enable_x64(True) if dtype == np.float64 else nullcontext()


def takes(parent: type, without: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """Make an `__init__` show the arguments that it hands on to its parent's, which are an estimator's parameters."""

    def shown(init: Any) -> Any:
        own = [p for p in signature(init).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names = {p.name for p in own}
        theirs = [p for name, p in signature(parent).parameters.items() if name not in (*without, *names)]
        init.__signature__ = signature(init).replace(parameters=sorted([*own, *theirs], key=lambda p: p.kind))
        return init

    return shown


def _score(record: dict[str, Any], criterion: str | None) -> float:
    measures: dict[str, float] = record["validation"]
    return -measures["loss"] if criterion is None else measures[criterion]
