"""Training on examples that stay in a file: the same steps to the same bits, in memory for some of them at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mlp_jax.mlp.params import Params
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.packed import Packed
from mlp_jax.tables.preparation import Examples, Prepared
from mlp_jax.training.batches import Batches, Layout, filled_up
from mlp_jax.training.config import Config
from mlp_jax.training.devices import everywhere, here, spread
from mlp_jax.training.metrics import measured_of, output_of
from mlp_jax.training.moment import Moment
from mlp_jax.training.step import Outcome, State
from mlp_jax.training.step.early_stopping import Best
from mlp_jax.training.step.epochs import judged
from mlp_jax.training.step.values import Values
from mlp_jax.training.trainer import Trainer
from mlp_jax.training.windows import Windows
from mlp_jax.training.xla import jitted

_NUMBERS = 1 << 21  # of the inputs of a window, of which there are three at most


def trainer_of(config: Config, prepared: Prepared, compiled: dict[Any, Any] | None = None) -> Trainer:
    """The trainer that suits where the examples are; arguments as of `Trainer`."""
    if isinstance(prepared.parts["train"].x, Packed):
        return StreamedTrainer(config, prepared)  # one training after another, for each reads its own
    return Trainer(config, prepared, compiled)


class StreamedTrainer(Trainer):
    """A `Trainer` whose program takes the examples of some steps; parts are measured in blocks, after each epoch."""

    def batches(self, seed: int) -> Batches:
        return Windows(self._layout, seed, self.config.training.shuffle, self._gathered, self._ready)

    def _placed(self) -> tuple[dict[str, Examples], dict[str, Any]]:
        given, parts = self.prepared.weights or {}, self.prepared.parts
        return parts, {part: given.get(part, np.broadcast_to(1.0, len(y))) for part, (_, y) in parts.items()}

    def _cut(self, layout: Layout) -> Layout:
        _, slots, width = layout.table
        fitting = max(1, _NUMBERS // (width * self.parts["train"].x.shape[1]))
        return layout._replace(table=(1, min(slots, fitting), width))

    def _gathered(self, rows: NDArray[Any]) -> tuple[NDArray[Any], tuple[Any, ...]]:
        """Where each of these rows of the training part is in arrays of one size, and these, in the file's order."""
        order, x = self.parts["train"].x.in_order(rows)
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        chosen = rows[order]
        kept = [self.parts["train"].y, *([self._weights["train"]] if self.prepared.weights else [])]
        size = self._layout.table[1] * self._layout.table[2]
        return places, (x.filled_up(size), *(_filled_up(values[chosen], size) for values in kept))

    def _ready(self, arrays: tuple[NDArray[Any], ...]) -> Any:
        x, y, *weights = (self._as_used(values) for values in arrays)
        return everywhere((Examples(x, y) if not weights else (x, y, *weights)), self._devices)

    def _as_used(self, values: Any) -> jax.Array:
        return jnp.asarray(values, None if values.dtype.kind == "i" else self.config.network.dtype)

    def _examples(self, rows: NDArray[Any]) -> Examples:
        x, y = self.parts["train"]
        return Examples(self._as_used(np.asarray(x[rows])), self._as_used(y[rows]))

    def _next_stop(self, epoch: int, first: int) -> int:
        slots = self._layout.table[1]
        return min(super()._next_stop(epoch, first), first - first % slots + slots)

    def _call(self, moment: Moment, batches: Any, first: int, stop: int) -> tuple[State, Best | None, Outcome]:
        window = batches.window(moment.step // self.steps, first)
        start, end = np.int32(first - window.first), np.int32(stop - window.first)
        table = spread(window.table, self._devices)
        arguments: tuple[Any, ...] = moment.state, None, window.examples, {}, table, start, end, None
        state, _, outcome = self._ran((self._open, self._measure), arguments, {"values": self._values})

        def of_epoch(table: NDArray[Any]) -> NDArray[Any]:
            whole = np.zeros((1, self.steps, *table.shape[2:]), table.dtype)
            whole[0, first:stop] = table[0, start:end]
            return whole

        outcome = outcome._replace(steps=jax.tree.map(of_epoch, outcome.steps), measures={})
        if stop < self.steps:
            return state, moment.best, outcome
        chosen = self.program.chosen(state)
        now = {
            name: jax.device_get(self._measures(chosen, part, self._rankings)[0])
            for name, part in self._watched.items()
        }
        best = moment.best
        if best is not None:
            cost = self._cost_before(moment, first) + np.sum(outcome.steps.cost[0, first:] * self._shares[first:])
            best = jitted(judged, ("program",), self._open.net)(
                self._open, best, state, now, np.float32(cost), self._patience
            )
        return state, best, outcome._replace(measures=jax.tree.map(lambda value: value[None], now))

    def _measuring(self, params: Params) -> list[Any]:
        return []  # of blocks, compiled when the first is there

    def _predicted(self, params: Params, part: str) -> tuple[Any, Any]:
        return self._measures(params, part)

    def _measures(self, params: Params, part: str, rankings: tuple[str, ...] = ()) -> tuple[Any, Any]:
        """The measures of a part, and ŷ: logits are computed in blocks, and all of them are judged together."""
        x, y = self.parts[part]
        params, scale = here((params, self._scale))
        net = self._open.net.penalised_by(None)
        program = jitted(output_of, ("net",), net)
        kinds = jax.eval_shape(program, net, params, jax.ShapeDtypeStruct(x.shape, self.config.network.dtype))
        z, y_hat = (np.empty(kind.shape, kind.dtype) for kind in kinds)
        done = 0
        for block in x.blocks():
            rows = slice(done, done + len(block))
            z[rows], y_hat[rows] = (
                values[: len(block)] for values in program(net, params, filled_up(block, self.config.network.dtype))
            )
            done += len(block)
        of_rows = z, y_hat, self._as_used(y), scale, self._as_used(self._weights[part])
        found: tuple[Any, Any] = jitted(_measured_of, ("net", "rankings"), self._open.net)(
            self._open.net, self._values, params, of_rows, rankings=rankings
        )
        return found


def _filled_up(values: NDArray[Any], size: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])


def _measured_of(
    net: MLP, values: Values, params: Params, of_rows: Any, rankings: tuple[str, ...]
) -> tuple[dict[str, jax.Array], jax.Array]:
    z, y_hat, y, scale, weights = of_rows
    return measured_of(values.put_into_net(net), params, z, y_hat, y, scale, weights, rankings)
