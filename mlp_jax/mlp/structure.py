"""The structure of a multilayer perceptron: what is fixed before there are parameters (section 6.4)."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from typing import Any

from mlp_jax.mlp.checks import finite, require_known, require_made
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS, HiddenUnit
from mlp_jax.mlp.output_units import OUTPUT_UNITS, OutputUnit
from mlp_jax.mlp.penalties import LEAVES, Penalty

PRODUCTS = ("bfloat16",)  # to what the factors of a layer's matrix products may be rounded


@dataclass(frozen=True, init=False)
class MLP:
    """The structure of a multilayer perceptron: hashable, without parameters, static under jit.

    Args:
        widths: numbers of inputs, of units of each hidden layer, and of targets (of classes, for a softmax unit).
        hidden: the hidden unit of all hidden layers, or one for each: a name in `hidden_units`, or a unit such as
            `hidden_units.maxout(3)`.
        output: the output unit: a name in `output_units`, or a unit such as `output_units.Mixture(components=3)`.
        cost: squared_error, cross_entropy, …; None takes the unit's cost by maximum likelihood.
        penalty: L1, L2 or ElasticNet on parameters, or None.
        bias: whether layers have biases, for all layers or one for each.
        skip: whether h^(k) = f(a^(k)) + h^(k−1): for every hidden layer but the first, or one for each hidden layer.
            Such a layer has as many units as the one before.
        label_smoothing: ε of soft labels (1 − ε) y + ε u, u uniform over the classes; for sigmoid and softmax units.
        class_weights: a weight for each class, which multiplies those of its examples; two for a single
            sigmoid or hinge unit.
        products: "bfloat16" to round the factors of each layer's matrix products, forwards and backwards, to
            bfloat16; sums and all else stay in the parameters' dtype. None rounds nothing.
        categories: how many categories each of the last columns of x has, which are given by their numbers, −1 for
            none. Each category is an input of its own, one-hot, and counts in widths[0], but x holds the number alone.

    Raises:
        ValueError: an unknown name, a width below 1, a wrong number of entries, or a cost, skip connection, label
            smoothing or class weight that the network cannot have.

    >>> net = MLP(widths=(2, 3, 3, 1), hidden="tanh", output="sigmoid")
    >>> net.hidden, net.cost
    (('tanh', 'tanh'), 'cross_entropy')
    """

    widths: tuple[int, ...]
    hidden: tuple[str | HiddenUnit, ...]
    output: str | OutputUnit
    cost: str
    penalty: Penalty | None
    bias: tuple[bool, ...]
    skip: tuple[bool, ...]
    label_smoothing: float
    class_weights: tuple[float, ...] | None
    products: str | None
    categories: tuple[int, ...]

    def __init__(
        self,
        widths: Sequence[int],
        hidden: str | HiddenUnit | Sequence[str | HiddenUnit] = "relu",
        output: str | OutputUnit = "linear",
        cost: str | None = None,
        penalty: Penalty | None = None,
        bias: bool | Sequence[bool] = True,
        skip: bool | Sequence[bool] = False,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        products: str | None = None,
        categories: Sequence[int] = (),
    ) -> None:
        """Check the arguments and give every layer an entry of its own."""
        widths = _as_widths(widths)
        layers = len(widths) - 2
        hidden_given = hidden
        hidden = _one_each("hidden", hidden, str | HiddenUnit, layers, "name or unit")
        for unit in hidden or ((hidden_given,) if isinstance(hidden_given, str) else ()):
            require_known("hidden unit", unit, HIDDEN_UNITS, HiddenUnit)
        require_known("output unit", output, OUTPUT_UNITS, OutputUnit)
        unit = _output_unit(output)
        cost = _ByDefault(unit.costs[0]) if cost is None or isinstance(cost, _ByDefault) else cost
        require_known(f"cost of a {unit.name} output unit", cost, unit.costs)
        if not isinstance(penalty, Penalty | None):
            raise ValueError(f"penalty must be mlp_jax.L2(λ), L1(λ), ElasticNet(λ₁, λ₂) or None, got {penalty!r}")
        fields = {
            "widths": widths,
            "hidden": hidden,
            "output": output,
            "cost": cost,
            "penalty": penalty if penalty and (penalty.l1 or penalty.l2) else None,  # λ = 0 costs nothing
            "bias": _one_each("bias", bias, bool, layers + 1, "bool"),
            "skip": _skips(skip, widths),
            "label_smoothing": _smoothing(label_smoothing, unit),
            "class_weights": _class_weights(class_weights, unit, widths[-1]),
            "products": products,
            "categories": tuple(categories),
        }
        if products is not None:
            require_known("kind of products", products, PRODUCTS)
        if categories:
            _require_lookup(fields, hidden, widths)
        _require_penalised(fields["penalty"], fields["bias"], hidden, unit)
        for field, value in fields.items():
            object.__setattr__(self, field, value)  # past the guard of a frozen record

    @property
    def inputs(self) -> int:
        """How many columns x has: widths[0], but one for all categories of a column.

        >>> MLP(widths=(4003, 8, 1), categories=(4000,)).inputs
        4
        """
        return self.widths[0] - sum(self.categories) + len(self.categories)

    @property
    def hidden_units(self) -> tuple[HiddenUnit, ...]:
        """The hidden units, as records."""
        return tuple(HIDDEN_UNITS[unit] if isinstance(unit, str) else unit for unit in self.hidden)

    @property
    def output_unit(self) -> OutputUnit:
        """The output unit, as a record."""
        return _output_unit(self.output)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shape of W of each layer.

        >>> MLP(widths=(2, 3, 1), output="heteroscedastic").shapes
        ((2, 3), (3, 2))
        """
        columns = [unit.pieces * n for unit, n in zip(self.hidden_units, self.widths[1:-1], strict=True)]
        return tuple(zip(self.widths[:-1], (*columns, self.output_unit.logits(self.widths[-1])), strict=True))

    def penalised_by(self, penalty: Penalty | None) -> "MLP":
        """The same network with another penalty, on the same parameters."""
        other = copy(self)
        object.__setattr__(other, "penalty", penalty)
        return other

    def runs(self) -> list[range]:
        """The layers, counted from 0, in runs of equal neighbours, which may compute as one loop."""
        runs: list[range] = []
        keys = [self._kind(k) for k in range(len(self.shapes))]
        for k, key in enumerate(keys):
            if runs and key is not None and key == keys[k - 1]:
                runs[-1] = range(runs[-1].start, k + 1)
            else:
                runs.append(range(k, k + 1))
        return runs

    def _kind(self, k: int) -> Any:
        """What layers of one run have in common; None for one that is alone."""
        n_in, n_out = self.widths[k : k + 2]
        if k == len(self.hidden) or n_in != n_out or (k == 0 and self.categories):
            return None
        penalised = self.penalty and tuple(self.penalty.touches(k, leaf) for leaf in LEAVES)
        return n_in, self.hidden[k], self.bias[k], self.skip[k], penalised


class _ByDefault(str):
    """A cost that nobody asked for, so that with `dataclasses.replace(net, output=…)` it is the new unit's."""


def _require_lookup(fields: dict[str, Any], hidden: Any, widths: tuple[int, ...]) -> None:
    """Raise a ValueError for what a first layer that looks categories up cannot be."""
    categories = fields["categories"]
    if not all(isinstance(k, int) and k >= 1 for k in categories) or sum(categories) > widths[0]:
        raise ValueError(f"categories must be whole numbers that add up to widths[0] at most, got {categories}")
    if hidden and (HIDDEN_UNITS[hidden[0]] if isinstance(hidden[0], str) else hidden[0]).radial:
        raise ValueError("a radial unit measures distances and cannot look categories up; use another first unit")
    if fields["products"] is not None or (fields["skip"] and fields["skip"][0]):
        raise ValueError("products and a skip connection of the first hidden layer do not go with categories")


def _require_penalised(penalty: Any, bias: Any, hidden: Any, output: OutputUnit) -> None:
    """Raise a ValueError for a part of a penalty that no parameter has."""
    if penalty is None:
        return
    layers = len(bias)
    if beyond := [k for k in penalty.layers or () if k >= layers]:
        raise ValueError(f"a penalty is on layer {beyond[0]}, but there are {layers}, counted from 0")
    chosen = range(layers) if penalty.layers is None else penalty.layers
    units = [HIDDEN_UNITS[unit] if isinstance(unit, str) else unit for unit in hidden]
    has = {
        "W": True,
        "b": any(bias[k] for k in chosen),
        "theta": any((output.theta(1) if k == len(units) else units[k].theta) is not None for k in chosen),
    }
    if not any(has[leaf] for leaf in penalty.on):
        raise ValueError(f"a penalty is on {', '.join(penalty.on)}, but none of its layers has one")


def _output_unit(output: str | OutputUnit) -> OutputUnit:
    return _called(output) if isinstance(output, str) else output


@cache  # one for each name: its costs are operations, which are kept for each unit
def _called(name: str) -> OutputUnit:
    return OUTPUT_UNITS[name]()


def _as_widths(widths: Any) -> tuple[int, ...]:
    entries = tuple(widths) if isinstance(widths, Iterable) else ()
    whole = all(isinstance(width, Integral) and not isinstance(width, bool) and int(width) >= 1 for width in entries)
    if len(entries) < 2 or not whole:
        raise ValueError(f"widths must be at least two whole numbers of at least 1, got {widths}")
    return tuple(int(width) for width in entries)


def _one_each(field: str, value: Any, kind: Any, count: int, what: str) -> tuple[Any, ...]:
    require_made(field, value)
    entries = tuple(value) if isinstance(value, Iterable) else ()
    values = (value,) * count if isinstance(value, kind) else entries
    if len(values) != count or not all(isinstance(entry, kind) for entry in values):
        raise ValueError(f"{field} must be one {what}, or one for each of {count} layers, got {value!r}")
    return values


def _skips(skip: Any, widths: tuple[int, ...]) -> tuple[bool, ...]:
    hidden = len(widths) - 2
    skips = tuple(k > 0 for k in range(hidden)) if skip is True else _one_each("skip", skip, bool, hidden, "bool")
    for k, (skips_here, before, after) in enumerate(zip(skips, widths, widths[1:], strict=False)):
        if skips_here and before != after:
            raise ValueError(
                f"a skip connection adds h^({k}) to h^({k + 1}): both need the same number of units, got {before} and "
                f"{after}; make them equal, or set skip to False for hidden layer {k + 1}"
            )
    return skips


def _smoothing(epsilon: Any, unit: OutputUnit) -> float:
    if finite("label_smoothing", epsilon, least=0) >= 1:
        raise ValueError(f"label_smoothing must be below 1, got {epsilon!r}")
    if epsilon and unit.kind not in ("classes", "probabilities"):
        raise ValueError(f"label_smoothing needs a sigmoid or softmax output unit, got {unit.name}")
    return float(epsilon)


def _class_weights(weights: Any, unit: OutputUnit, k: int) -> tuple[float, ...] | None:
    if weights is None:
        return None
    classes = k if unit.kind == "classes" else 2 if unit.kind in ("probabilities", "margins") and k == 1 else 0
    if not classes:
        raise ValueError(
            f"class_weights need a softmax output unit, or one sigmoid or hinge unit, got {k} {unit.name} "
            f"output{'s' * (k != 1)}"
        )
    given = tuple(weights) if isinstance(weights, Iterable) else ()
    if len(given) != classes:
        raise ValueError(f"class_weights must be {classes} numbers, one per class, got {weights!r}")
    if not any(given):
        raise ValueError(f"class_weights must not all be 0, got {weights!r}: no example would count")
    return tuple(finite("each of class_weights", weight, least=0) for weight in given)
