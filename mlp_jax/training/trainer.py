"""The training program of a configuration on its data, called a quarter of a second at a time."""

import time
from bisect import bisect
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.params import Params, pays_as_one_loop, stack, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.preparation import Examples, Prepared
from mlp_jax.training.batches import Batches, Layout, filled_up
from mlp_jax.training.build import (
    batch_size,
    build_network,
    build_program,
    given_params,
    initial_params,
    leave_open,
)
from mlp_jax.training.config import Config, Network
from mlp_jax.training.devices import devices_of, everywhere, run_steps_on
from mlp_jax.training.environment import environment, processors
from mlp_jax.training.failure import diagnose
from mlp_jax.training.judgement import baseline, by_class, class_names
from mlp_jax.training.metrics import (
    RANKINGS,
    evaluate,
    is_ranking,
    measure_with,
    measured,
    metrics_of,
    names_of,
)
from mlp_jax.training.moment import Moment
from mlp_jax.training.prediction import target_names
from mlp_jax.training.step import Outcome, Program, State, initial_state
from mlp_jax.training.step.early_stopping import Best, Patience
from mlp_jax.training.step.health import of_epoch
from mlp_jax.training.step.values import Values
from mlp_jax.training.xla import SOONER_COMPILED, jitted, options_for_steps, threads_pay

_SECONDS_PER_CALL = 0.25  # of the compiled program: how soon Ctrl-C is heard and the bar moves
_LARGE_TARGET = 30.0  # beyond which the first gradients are large by the targets alone
# optax's optimizers that take the norm of each layer: a stack of layers is another layer to them.
_BY_LAYER = ("fromage", "lamb", "lars", "novograd")


class Trainer:
    """The compiled program of a configuration, but for its seed: the trainings of a sweep share one.

    Attributes:
        program: network, optimizer and ways of training; what is compiled leaves its `Values` open.
        parts: the examples on the device: train, and where asked for, validation and test.
        size: how many examples an epoch has.
        steps: how many steps an epoch has.
        names: of what is evaluated: loss, and the metrics.
        steps_per_call: how many steps the next call takes, by what the last ones took.
        at_once: how many trainings of a sweep to run side by side, each in a thread.
        compile_seconds: what compiling the training program took.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        self.config = config
        self.prepared = prepared
        self.net = build_network(config.network, prepared)
        self.program = build_program(config, self.net)
        self._devices = devices_of(config.training)
        self._open, self._values = leave_open(self.program, config)
        dtype = config.network.dtype
        self.parts = {
            part: everywhere(Examples(filled_up(x, dtype), filled_up(y, None if y.ndim == 1 else dtype)), self._devices)
            for part, (x, y) in prepared.parts.items()
        }
        given = prepared.weights or {}  # rows that fill up have weight 0
        self._weights = {
            part: everywhere(filled_up(given.get(part, np.ones(len(y))), dtype), self._devices)
            for part, (_, y) in prepared.parts.items()
        }
        self.size = len(prepared.parts["train"].x)
        size = batch_size(config, self.size)
        self._layout = Layout.of(self.size, size, self.program.microbatches * self.program.parts)
        self.steps = self._layout.steps
        self.names = names_of(self.net, target_names(self.net, prepared.target_names))
        self.steps_per_call = 1
        self.compile_seconds = 0.0
        stopping = config.training.early_stopping
        self._patience = Patience(np.int32(stopping.patience), np.float32(stopping.min_delta)) if stopping else None
        self._measure: Any = evaluate
        if stopping and stopping.metric in RANKINGS and is_ranking(self.net):
            self._measure = measure_with(stopping.metric)
        elif stopping and stopping.metric not in (None, *self.names):
            known = (*self.names, *(RANKINGS if is_ranking(self.net) else ()))
            raise InputError(f"training.early_stopping.metric: {stopping.metric} is none of {', '.join(known)}")
        self._scale = jnp.asarray(prepared.targets.scale, "float64" if dtype == "float64" else "float32")
        watched = {"training": "train"} if config.training.watch else {}
        watched |= {"validation": "validation"} if "validation" in self.parts else {}
        self._watched = {name: self._measured(part) for name, part in watched.items()}
        last = self.size - size * (self.steps - 1)
        self._shares = np.array([size] * (self.steps - 1) + [last]) / self.size  # of each step in an epoch
        self._run = jitted(
            run_steps_on(self._devices), ("program", "measure"), self._open.net, options_for_steps(self.net, size)
        )
        in_threads = config.seeds and self._devices == 1 and threads_pay(self.net, size)
        self.at_once = min(processors(), len(config.seeds or ())) if in_threads else 1
        self._compiled: Any = None
        self._no_steps: Any = None

    @cached_property
    def environment(self) -> dict[str, Any]:
        """In which these trainings run: asked once, for all of them."""
        return environment()

    def batches(self, seed: int) -> Batches:
        """The minibatches of the training with this seed."""
        return Batches(self._layout, seed, self.config.training.shuffle)

    def start(self, seed: int, start_from: State | None = None) -> Moment:
        """The moment before the first step; the first time, compile the training program, by taking no step.

        It starts from the initial parameters of the seed, or from a state of this network and optimizer; where that
        has no optimizer's memory, from its parameters.
        """
        state, best = jax.block_until_ready(self._initial(seed, start_from))  # if memory does not suffice, fail here
        if self._no_steps is None:
            started = time.perf_counter()
            _, _, outcome = self._call(Moment(state, best, 0, None), self.batches(seed).table(0, 0), 0, 0)
            self.compile_seconds = time.perf_counter() - started
            self._no_steps = jax.tree.map(lambda table: table[0, : self.steps], outcome.steps)
        return Moment(state, best, 0, self._no_steps)

    def advance(self, moment: Moment, batches: Batches) -> tuple[Moment, list[dict[str, Any]]]:
        """Train for about a quarter of a second: several short epochs, or a part of a long one.

        Returns:
            The moment after some steps, and a record for each epoch completed: `loss` is the mean of J over the
            examples, each at the step that used it. The same moment, if in its next step something is not finite.
        """
        epoch, first = divmod(moment.step, self.steps)
        stop = self._next_stop(epoch, first)
        started = time.perf_counter()
        table = batches.table(epoch, -(-stop // self.steps))
        state, best, outcome = self._call(moment, table, first, stop)
        self._set_pace(stop - first, time.perf_counter() - started)
        if not self._is_finite(outcome, first, stop):
            # Keep the steps before it; found by halving, for parameters are looked at after epochs only.
            def is_bad(stop: int) -> bool:
                return not self._is_finite(self._call(moment, table, first, stop)[2], first, stop)

            stop = first + bisect(range(first + 1, stop), False, key=is_bad)
            if stop == first:
                return moment, []
            state, best, outcome = self._call(moment, table, first, stop)
        if not outcome.ran.all():
            stop = min(stop, int(np.argmin(outcome.ran)) * self.steps)

        def with_earlier(before: NDArray[Any], now: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([before[:first], now[first:]])

        def of_epoch(e: int) -> Any:
            now = jax.tree.map(lambda table: table[e, : self.steps], outcome.steps)
            return now if e else jax.tree.map(with_earlier, moment.under_way, now)

        completed, further = divmod(stop, self.steps)
        records = [self._record(epoch + e + 1, of_epoch(e), outcome, e) for e in range(completed)]
        under_way = of_epoch(completed) if further else self._no_steps
        return Moment(state, best, epoch * self.steps + stop, under_way), records

    def has_ended(self, moment: Moment) -> bool:
        """Whether all epochs are done, or early stopping has run out of patience."""
        patience, best = self._patience, moment.best
        no_better = patience is not None and best is not None and int(best.stalled) >= patience.epochs
        return no_better or moment.step >= self.config.training.epochs * self.steps

    def chosen(self, moment: Moment) -> Params:
        """The parameters that a training gives: with early stopping the best; else the average, or the last."""
        if moment.best and moment.best.params and np.isfinite(moment.best.loss):
            return moment.best.params
        return self.program.chosen(moment.state)

    def evaluate(self, params: Params) -> dict[str, dict[str, float]]:
        """Cost and metrics on each part of the data."""
        results = {}
        for part, (_, y) in self.parts.items():
            values, y_hat = self._predicted(params, part)
            results[part] = self._named(jax.device_get(values))
            if is_ranking(self.net):
                w = np.asarray(self._weights[part], np.float64)
                with np.errstate(invalid="ignore"):  # there may be one class only
                    results[part] |= {
                        name: float(of(np.asarray(y_hat, np.float64), np.asarray(y, np.float64), w, np))
                        for name, of in RANKINGS.items()
                    }
        return results

    def predict(self, params: Params, part: str) -> NDArray[Any]:
        """ŷ for one part of the data, as the network gives it."""
        return np.asarray(self._predicted(params, part)[1], np.float64)[: len(self.prepared.parts[part].x)]

    def _predicted(self, params: Params, part: str) -> tuple[Any, Any]:
        """What `measured` returns of a part: one program for results and predictions."""
        found: tuple[Any, Any] = jitted(_measured, ("net",), self._open.net)(
            self._open.net, self._values, params, *self._measured(part)
        )
        return found

    def judgement(self, params: Params) -> dict[str, Any]:
        """On the part least trained on: each class, and what the best constant prediction would reach."""
        part, (_, y) = list(self.prepared.parts.items())[-1]
        weights = (self.prepared.weights or {}).get(part)
        names = class_names(self.net, self.prepared.target_names, self.prepared.schema)
        judged = {}
        if names:
            judged["classes"] = by_class(self.net, y, self.predict(params, part), names, weights)
        train = self.prepared.parts["train"].y
        targets = target_names(self.net, self.prepared.target_names)
        weights_of = self.prepared.weights or {}
        constant = baseline(self.net, train, y, names, targets, self.prepared.targets, weights_of, part)
        return judged | ({"baseline": constant} if constant else {})

    def remedy(self) -> str:
        """What helps where training diverged, by its cause."""
        y = np.asarray(self.prepared.parts["train"].y)
        if y.dtype.kind == "f" and self.net.output_unit.kind == "quantities" and np.abs(y).max() > _LARGE_TARGET:
            return f"targets go up to {np.abs(y).max():.3g}: data.standardize_targets: true brings them to unit size"
        return "a smaller optimizer.learning_rate or training.clip_norm is the usual remedy"

    def diagnosis(self, moment: Moment, batches: Batches) -> str:
        """What is not finite in the next step, and why."""
        epoch, k = divmod(moment.step, self.steps)
        found = diagnose(self.program, moment.state, self.parts["train"], batches.of_step(epoch, k))
        return f"epoch {epoch + 1}, step {k + 1} of {self.steps}: " + (
            found
            or "a number is not finite in the compiled step, while in the same step taken operation by operation all "
            "are: it happens at the edge of the dtype's range"
        )

    def _named(self, values: dict[str, Any]) -> dict[str, float]:
        """What `evaluate` gave, in order and by name, also of several targets."""
        numbers = np.concatenate([np.atleast_1d(values[name]) for name in ("loss", *metrics_of(self.net))])
        rankings = {name: float(values[name]) for name in RANKINGS if name in values}
        return dict(zip(self.names, map(float, numbers), strict=True)) | rankings

    def _measured(self, part: str) -> tuple[Any, ...]:
        """What `evaluate` takes of a part."""
        return (*self.parts[part], self._scale, self._weights[part])

    def _initial(self, seed: int, start_from: State | None) -> tuple[State, Best | None]:
        treats_layers_alike = self.config.optimizer.name not in _BY_LAYER and not self.program.frozen
        stacked = pays_as_one_loop(self.net) and treats_layers_alike
        given = given_params(self.config.network, self.net)
        state = start_from or (State(given, None) if given else None)
        if state is None:
            initial = jitted(_initial, ("program", "network", "stacked"), self._open.net, SOONER_COMPILED)
            network = self.config.network.model_copy(update={"penalty": None})  # without effect, and so one program
            state = initial(self._open, self._values, network, np.uint32(seed), stacked)
        elif state.optimizer is None:
            params = (stack if stacked else unstack)(self.net, state.params)
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf, self.config.network.dtype), params)
            state = jitted(_before_steps, ("program",), self._open.net, SOONER_COMPILED)(
                self._open, self._values, params
            )
        elif not self._fits(state):
            raise InputError("start_from is a run of another optimizer, or way of training: give run.params")
        if self._patience is None:
            return state, None
        return state, Best.start(state.params if self.config.watches_validation else ())

    def _fits(self, state: State) -> bool:
        """Whether it has what this program's states have."""
        own = jax.eval_shape(lambda params: initial_state(self.program, params), state.params)
        found, needed = (str(jax.tree.structure(each)) for each in (state, own))
        return found == needed

    def _call(self, moment: Moment, table: NDArray[np.int32], first: int, stop: int) -> tuple[Any, Any, Outcome]:
        static = self._open, self._measure
        train = (*self.parts["train"], self._weights["train"]) if self.prepared.weights else self.parts["train"]
        steps = np.int32(first), np.int32(stop), self._patience
        arguments = moment.state, moment.best, train, self._watched, table, *steps
        earlier = np.sum(moment.under_way.cost[:first] * self._shares[:first]) if first else 0.0
        named = {"steps": np.int32(self.steps), "earlier": np.float32(earlier), "values": self._values}
        if self.at_once > 1 and self._compiled is None:
            # At the first call, and not in a thread: JAX's settings are those of a thread, and may differ in others.
            self._compiled = self._run.lower(*static, *arguments, **named).compile()
        run = self._compiled or partial(self._run, *static)
        state, best, outcome = run(*arguments, **named)
        return state, best, jax.device_get(outcome)

    def _next_stop(self, epoch: int, first: int) -> int:
        """Where to stop, at the end of an epoch if one is near enough, never beyond the last."""
        epochs = min(self._layout.table[0], self.config.training.epochs - epoch)
        stop = min(first + self.steps_per_call, epochs * self.steps)
        return stop if stop < self.steps else stop - stop % self.steps

    def _set_pace(self, steps: int, seconds: float) -> None:
        at_this_speed = int(steps * _SECONDS_PER_CALL / max(seconds, 1e-9))
        self.steps_per_call = max(1, min(at_this_speed, 8 * steps))

    def _is_finite(self, outcome: Outcome, first: int, stop: int) -> bool:
        costs = outcome.steps.cost[:, : self.steps]
        return bool(np.isfinite(costs.reshape(-1)[first:stop]).all() and outcome.finite.all())

    def _record(self, epoch: int, steps: Any, outcome: Outcome, e: int) -> dict[str, Any]:
        record: dict[str, Any] = {"epoch": epoch, "loss": float(np.sum(steps.cost.astype(np.float64) * self._shares))}
        for part in self._watched:
            record[part] = self._named({name: values[e] for name, values in outcome.measures[part].items()})
        if steps.health is not None:
            record["layers"] = of_epoch(steps.health)
        return record


def _measured(net: MLP, values: Values, params: Params, *examples: Any) -> tuple[Any, Any]:
    return measured(values.put_into_net(net), params, *examples)


def _initial(program: Program, values: Values, network: Network, seed: Any, stacked: bool) -> State:
    """The state before the first step, a function of the seed."""
    return _before_steps(program, values, initial_params(network, program.net, seed, stacked))


def _before_steps(program: Program, values: Values, params: Params) -> State:
    """The state, each number of the type that a step gives it: of a weak type, as some of L-BFGS, it compiled twice."""
    state = initial_state(values.put_into(program), params)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)
