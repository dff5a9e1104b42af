"""The training program of a configuration on its data, called a quarter of a second at a time."""

import math
import time
from bisect import bisect
from copy import copy
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import InputError
from mlp_jax.mlp.params import Params, pays_as_one_loop, stack, unstack
from mlp_jax.mlp.structure import MLP
from mlp_jax.processes.together import everyones
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
from mlp_jax.training.devices import devices_of, everywhere, here, on_devices, run_steps_on, spread
from mlp_jax.training.environment import environment
from mlp_jax.training.failure import diagnose
from mlp_jax.training.judgement import baseline, by_class, class_names
from mlp_jax.training.metrics import (
    RANKINGS,
    Spread,
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
from mlp_jax.training.xla import SOONER_COMPILED, compiling, is_debugging, jitted, options_for_steps, threads_pay

_SECONDS_PER_CALL = 0.25  # of the compiled program: how soon Ctrl-C is heard and the bar moves
# Of a slow processor, which no first call should keep longer than that: operations a second, and seconds that a step
# takes however small it is.
_SLOW, _LEAST = 1e9, 1e-4
_LARGE_TARGET = 30.0  # beyond which the first gradients are large by the targets alone
# optax's optimizers that take the norm of each layer: a stack of layers is another layer to them.
_BY_LAYER = ("fromage", "lamb", "lars", "novograd")


class Trainer:
    """The compiled program of a configuration, and its values; those that differ in values alone share the program.

    Attributes:
        config: the configuration.
        net: its network.
        program: network, optimizer and ways of training; what is compiled leaves its `Values` open.
        parts: the examples on the device: train, and where asked for, validation and test.
        parameters: how many the network has, once a training has started.
        size: how many examples an epoch has.
        steps: how many steps an epoch has.
        names: of what is evaluated: loss, and the metrics.
        steps_per_call: how many steps the next call takes, by what the last ones took.
        in_threads: whether it is called in several threads, so that trainings run side by side.
        compile_seconds: what compiling the training program took.
    """

    def __init__(self, config: Config, prepared: Prepared, compiled: dict[Any, Any] | None = None) -> None:
        """For trainings one after another; or with a place for `compiled` programs, where it pays, in threads."""
        self.prepared = prepared
        self._devices = devices_of(config.training)
        self._take(config)
        dtype = config.network.dtype
        program = self.program
        self._spread = Spread(program.parts, program.axis) if program.axis or program.parts > 1 else None
        self.parts, self._weights = self._placed()
        self.parameters = 0
        self.size = len(prepared.parts["train"].x)
        size = batch_size(config, self.size)
        self._layout = self._cut(Layout.of(self.size, size, self.program.microbatches * self.program.parts))
        self.steps = self._layout.steps
        self.names = names_of(self.net, target_names(self.net, prepared.target_names))
        self.compile_seconds = 0.0
        stopping = config.training.early_stopping
        self._rankings: tuple[str, ...] = ()
        if stopping and stopping.metric in RANKINGS and is_ranking(self.net):
            self._rankings = (stopping.metric,)
        elif stopping and stopping.metric not in (None, *self.names):
            known = (*self.names, *(RANKINGS if is_ranking(self.net) else ()))
            raise InputError(f"training.early_stopping.metric: {stopping.metric} is none of {', '.join(known)}")
        self._measure: Any = measure_with(self._rankings, self._spread)
        scale = jnp.asarray(prepared.targets.scale, "float64" if dtype == "float64" else "float32")
        self._scale = everywhere(scale, self._devices)
        self._watched = {"training": "train"} if config.training.watch else {}
        self._watched |= {"validation": "validation"} if "validation" in self.parts else {}
        self.steps_per_call = self._first_pace()
        last = self.size - size * (self.steps - 1)
        self._shares = np.array([size] * (self.steps - 1) + [last]) / self.size  # of each step in an epoch
        self._run = jitted(
            run_steps_on(self._devices), ("program", "measure"), self._open.net, options_for_steps(self.net, size)
        )
        self.in_threads = compiled is not None and self._devices == 1 and threads_pay(self.net, size)
        self._compiled = compiled if compiled is not None else {}
        self._no_steps: Any = None

    def _take(self, config: Config) -> None:
        """Take from a configuration what its program leaves open."""
        self.config = config
        self.net = build_network(config.network, self.prepared)
        self.program = build_program(config, self.net)
        self._open, self._values = leave_open(self.program, config)
        stopping = config.training.early_stopping
        self._patience = Patience(np.int32(stopping.patience), np.float32(stopping.min_delta)) if stopping else None

    def of(self, config: Config) -> "Trainer":
        """The trainer of a configuration with the same `program_of`: it shares examples and program."""
        self.environment  # which both share  # noqa: B018
        other = copy(self)
        other._take(config)
        return other

    def _placed(self) -> tuple[dict[str, Examples], dict[str, Any]]:
        """The examples of each part where they are trained on, and their weights."""
        dtype, given = self.config.network.dtype, self.prepared.weights or {}  # rows that fill up have weight 0
        fill = partial(filled_up, parts=self.program.parts)
        parts = {
            part: everywhere(Examples(fill(x, dtype), fill(y, None if y.ndim == 1 else dtype)), self._devices)
            for part, (x, y) in self.prepared.parts.items()
        }
        weights = {
            part: everywhere(fill(given.get(part, np.ones(len(y))), dtype), self._devices)
            for part, (_, y) in self.prepared.parts.items()
        }
        return parts, weights

    def _cut(self, layout: Layout) -> Layout:
        """How the epochs are cut into tables, of which a call takes one."""
        return layout

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
        initial = everywhere(self._initial(seed, start_from), self._devices)
        state, best = jax.block_until_ready(initial)  # if memory does not suffice, fail here
        if self._no_steps is None:
            started = time.perf_counter()
            with compiling(*self._measuring(self.program.chosen(state))):
                _, _, outcome = self._call(Moment(state, best, 0, None), self.batches(seed), 0, 0)
            self.compile_seconds = time.perf_counter() - started
            self._no_steps = jax.tree.map(lambda table: table[0, : self.steps], outcome.steps)
            self.parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        return Moment(state, best, 0, self._no_steps)

    def placed(self, moment: Moment) -> Moment:
        """A moment that was read, on the devices."""
        state, best = everywhere((moment.state, moment.best), self._devices)
        return Moment(state, best, int(moment.step), moment.under_way)

    def advance(self, moment: Moment, batches: Batches) -> tuple[Moment, list[dict[str, Any]]]:
        """Train for about a quarter of a second: several short epochs, or a part of a long one.

        Returns:
            The moment after some steps, and a record for each epoch completed: `loss` is the mean of J over the
            examples, each at the step that used it. The same moment, if in its next step something is not finite.
        """
        epoch, first = divmod(moment.step, self.steps)
        stop = self._next_stop(epoch, first)
        started = time.perf_counter()
        state, best, outcome = self._call(moment, batches, first, stop)
        self._set_pace(stop - first, time.perf_counter() - started)
        if not self._is_finite(outcome, first, stop):
            # Keep the steps before it; found by halving, for parameters are looked at after epochs only.
            def is_bad(stop: int) -> bool:
                return not self._is_finite(self._call(moment, batches, first, stop)[2], first, stop)

            stop = first + bisect(range(first + 1, stop), False, key=is_bad)
            if stop == first:
                return moment, []
            state, best, outcome = self._call(moment, batches, first, stop)
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
        return {part: self._results(part, *self._predicted(params, part)) for part in self.parts}

    def summary(self, params: Params) -> dict[str, Any]:
        """What a summary says of parameters: results on each part, and a judgement on the one least trained on."""
        predicted = {part: self._predicted(params, part) for part in self.parts}
        results = {part: self._results(part, *found) for part, found in predicted.items()}
        last, (_, y_hat) = [*predicted.items()][-1]
        return {"results": results, **self._judgement(last, self._rows(last, y_hat))}

    def _results(self, part: str, values: dict[str, Any], y_hat: Any) -> dict[str, float]:
        """Of what `measured` gave of a part, all by name, and how two classes are ranked."""
        named = self._named(jax.device_get(values))
        if not is_ranking(self.net):
            return named
        y, w = (np.asarray(of, np.float64) for of in (self.parts[part].y, self._weights[part]))
        with np.errstate(invalid="ignore"):  # there may be one class only
            return named | {name: float(of(np.asarray(y_hat, np.float64), y, w, np)) for name, of in RANKINGS.items()}

    def predict(self, params: Params, part: str) -> NDArray[Any]:
        """ŷ for one part of the data, as the network gives it."""
        return self._rows(part, self._predicted(params, part)[1])

    def _rows(self, part: str, y_hat: Any) -> NDArray[Any]:
        """Without those that fill up."""
        return np.asarray(y_hat, np.float64)[: len(self.prepared.parts[part].x)]

    def _predicted(self, params: Params, part: str) -> tuple[Any, Any]:
        """What `measured` returns of a part: one program for results and predictions."""
        found: tuple[Any, Any] = self._measuring_program(*self._measuring_takes(params, part))
        return found

    @property
    def _measuring_program(self) -> Any:
        return jitted(_measured, ("net", "spread", "devices"), self._open.net)

    def _measuring(self, params: Params) -> list[Any]:
        """The programs of `_predicted`, one for parts of one size, to be compiled."""
        sizes = {len(examples.x): part for part, examples in self.parts.items()}
        return [self._measuring_program.lower(*self._measuring_takes(params, part)) for part in sizes.values()]

    def _measuring_takes(self, params: Params, part: str) -> tuple[Any, ...]:
        static = self._open.net, self._spread, self._devices
        return *static, self._values, everywhere(params, self._devices), *self._measured(part)

    def _judgement(self, part: str, y_hat: NDArray[Any]) -> dict[str, Any]:
        """Each class, and what the best constant prediction would reach."""
        y = self.prepared.parts[part].y
        weights = (self.prepared.weights or {}).get(part)
        names = class_names(self.net, self.prepared.target_names, self.prepared.schema)
        judged = {}
        if names:
            judged["classes"] = by_class(self.net, y, y_hat, names, weights)
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
        found = diagnose(self.program, here(moment.state), self._examples(batches.of_step(epoch, k)))
        return f"epoch {epoch + 1}, step {k + 1} of {self.steps}: " + (
            found
            or "a number is not finite in the compiled step, while in the same step taken operation by operation all "
            "are: it happens at the edge of the dtype's range"
        )

    def _named(self, values: dict[str, Any]) -> dict[str, float]:
        """What `measured` gave, in order and by name, also of several targets."""
        numbers = np.concatenate([np.atleast_1d(values[name]) for name in ("loss", *metrics_of(self.net))])
        rankings = {name: float(values[name]) for name in RANKINGS if name in values}
        return dict(zip(self.names, map(float, numbers), strict=True)) | rankings

    def _examples(self, rows: NDArray[Any]) -> Examples:
        """Of the training part."""
        return Examples(*(of[rows] for of in here(self.parts["train"])))

    def _measured(self, part: str) -> tuple[Any, ...]:
        """What `measured` takes of a part."""
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

    def _call(self, moment: Moment, batches: Batches, first: int, stop: int) -> tuple[Any, Any, Outcome]:
        """Take steps from the moment on, counted from the first of its epoch, `first`, to the one before `stop`."""
        table = batches.table(moment.step // self.steps, -(-stop // self.steps))
        static = self._open, self._measure
        train = (*self.parts["train"], self._weights["train"]) if self.prepared.weights else self.parts["train"]
        steps = np.int32(first), np.int32(stop), self._patience
        watched = {name: self._measured(part) for name, part in self._watched.items()}
        arguments = moment.state, moment.best, train, watched, spread(table, self._devices), *steps
        named = {"steps": np.int32(self.steps), "earlier": self._cost_before(moment, first), "values": self._values}
        return self._ran(static, arguments, named)

    def _cost_before(self, moment: Moment, first: int) -> Any:
        """What the steps before this one add to the mean cost of their epoch."""
        return np.float32(np.sum(moment.under_way.cost[:first] * self._shares[:first]) if first else 0.0)

    def _ran(self, static: tuple[Any, ...], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the compiled program gives."""
        run = partial(self._run, *static)
        if self.in_threads:
            leaves, structure = jax.tree.flatten((arguments, named))
            key = static, structure, *((np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves)
            if key not in self._compiled:
                # at the first call, and not in a thread: JAX's settings are those of a thread, and may differ in others
                self._compiled[key] = self._run.lower(*static, *arguments, **named).compile()
            run = self._compiled[key]
        state, best, outcome = run(*arguments, **named)
        return state, best, jax.device_get(outcome)

    def _next_stop(self, epoch: int, first: int) -> int:
        """Where to stop, at the end of an epoch if one is near enough, never beyond the last."""
        epochs = min(self._layout.table[0], self.config.training.epochs - epoch)
        stop = min(first + self.steps_per_call, epochs * self.steps)
        return stop if stop < self.steps else stop - stop % self.steps

    def _first_pace(self) -> int:
        """How many steps are in time wherever it runs: three products for each weight and example, one to measure."""
        if is_debugging():  # when a step may take a thousand times as long
            return 1
        weights = sum(map(math.prod, self.net.shapes))
        watched = sum(len(self.prepared.parts[part].x) for part in self._watched.values())
        operations = weights * (6 * self.size + 2 * watched) / self.steps
        return max(1, int(_SECONDS_PER_CALL / (_LEAST + operations / _SLOW)))

    def _set_pace(self, steps: int, seconds: float) -> None:
        at_this_speed = int(steps * _SECONDS_PER_CALL / max(seconds, 1e-9))
        self.steps_per_call = everyones(max(1, min(at_this_speed, 8 * steps)))[0]

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


def _measured(
    net: MLP, spread: Spread | None, devices: int, values: Values, params: Params, *examples: Any
) -> tuple[Any, Any]:
    def on_each(values: Values, params: Params, examples: Any) -> tuple[Any, Any]:
        return partial(measured, spread=spread)(values.put_into_net(net), params, *examples)

    found: tuple[Any, Any] = on_devices(on_each, devices)(values, params, examples)
    return found


def _initial(program: Program, values: Values, network: Network, seed: Any, stacked: bool) -> State:
    """The state before the first step, a function of the seed."""
    return _before_steps(program, values, initial_params(network, program.net, seed, stacked))


def _before_steps(program: Program, values: Values, params: Params) -> State:
    """The state, each number of the type that a step gives it: of a weak type, as some of L-BFGS, it compiled twice."""
    state = initial_state(values.put_into(program), params)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)
