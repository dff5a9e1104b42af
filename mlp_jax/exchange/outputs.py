"""The outputs of a program: the columns that `training.prediction` has, by name, as code for each."""

from collections.abc import Iterable
from typing import Any

from mlp_jax.mlp.output_units import Quantiles
from mlp_jax.mlp.structure import MLP
from mlp_jax.tables.targets import Target
from mlp_jax.training.prediction import target_names
from mlp_jax.training.store.weights import Model


def outputs_of(net: MLP, model: Model, results: Iterable[str]) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """The code of each output by its name, of what the network returns; and the classes of those that are numbers."""
    names, unit = target_names(net, model.target_names), net.output_unit
    targets = model.schema.targets if model.schema else ()
    if unit.kind == "quantities":
        return _quantities(names, model, "sd" in results, getattr(unit, "components", 0)), {}
    if isinstance(unit, Quantiles):
        levels = [(j, level) for j in range(len(names)) for level in unit.levels]
        return {f"{names[j]}@{level:g}": _in_units(f"y[:, {k}]", model, j) for k, (j, level) in enumerate(levels)}, {}
    each = {name: f"y[:, {j}]" for j, name in enumerate(names)}
    if unit.kind == "classes":
        chosen, classes = _chosen(targets, "np.argmax(y, axis=1)")
        return chosen | {f"p({name})": code for name, code in each.items()}, classes
    what = "margin" if unit.kind == "margins" else "p"
    of_classes = {f"{what}({name})": code for name, code in each.items()}
    if len(targets) == 1 and targets[0].classes:
        chosen, classes = _chosen(targets, f"np.where(y[:, 0] {'> 0' if what == 'margin' else '>= 0.5'}, 1, 0)")
        first = {f"p({targets[0].classes[0]})": "1 - y[:, 0]"} if what == "p" else {}
        return chosen | first | of_classes, classes
    return of_classes, {}


def _chosen(targets: tuple[Target, ...], code: str) -> tuple[dict[str, str], dict[str, list[Any]]]:
    if len(targets) == 1 and targets[0].classes:
        return {targets[0].name: code}, {targets[0].name: targets[0].values}
    return {"class": code}, {}


def _quantities(names: list[str], model: Model, have_sd: bool, components: int) -> dict[str, str]:
    found = {name: _in_units(f"y[:, {j}]", model, j) for j, name in enumerate(names)}
    if have_sd and not components:
        found |= {f"sd({name})": _in_units(f"sd[:, {j}]", model, j, 0) for j, name in enumerate(names)}
    for k in range(components):
        found[f"weight {k}"] = f"weights[:, {k}]"
        found |= {f"mean {k}({name})": _in_units(f"mean[:, {k}, {j}]", model, j) for j, name in enumerate(names)}
        found |= {f"sd {k}({name})": _in_units(f"sd[:, {k}, {j}]", model, j, 0) for j, name in enumerate(names)}
    return found


def _in_units(code: str, model: Model, j: int, moved: int = 1) -> str:
    """A quantity in the units of target j; one that is only scaled, and not moved, is a deviation."""
    scale, mean = (values[j].item() for values in (model.targets.scale, model.targets.mean))
    return code + f" * {scale!r}" * (scale != 1) + f" + {mean!r}" * (mean != 0) * moved
