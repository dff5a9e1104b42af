"""From a configuration's records to the network and the optimizer that they describe."""

from typing import Any

import optax

from mlp_jax.mlp.network import MLP
from mlp_jax.mlp.penalties import L1, L2, Penalty
from mlp_jax.training import config
from mlp_jax.training.errors import InputError


def build_network(network: config.Network) -> MLP:
    """The `mlp_jax.MLP` of a `network` section."""
    return MLP(
        widths=network.widths,
        hidden=network.hidden,
        output=network.output,
        cost=network.cost,
        penalty=_penalty(network.penalty),
        bias=network.bias,
    )


def build_optimizer(optimizer: Any) -> optax.GradientTransformation:
    """The optax optimizer of an `optimizer` section, with its schedule.

    Raises:
        InputError: optax refuses the combination of arguments.
    """
    arguments = _given(optimizer, without="name")
    rate = optimizer.learning_rate
    try:
        if isinstance(rate, config.Section):
            schedule = getattr(optax, rate.schedule)  # type: ignore[attr-defined]
            arguments["learning_rate"] = schedule(**_given(rate, without="schedule"))
        transformation: optax.GradientTransformation = getattr(optax, optimizer.name)(**arguments)
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"optimizer: optax refuses these arguments together: {error}") from None
    return transformation


def _penalty(penalty: config.Penalty | None) -> Penalty | None:
    if penalty is None:
        return None
    return L1(penalty.l1) if penalty.l2 is None else L2(penalty.l2)  # type: ignore[arg-type]


def _given(section: config.Section, without: str) -> dict[str, Any]:
    """The arguments that are set; optax has defaults for the others."""
    return {key: value for key, value in section if value is not None and key != without}
