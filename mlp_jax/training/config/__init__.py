"""The configuration of a training run."""

from mlp_jax.training.config.axes import choices
from mlp_jax.training.config.loading import as_values, fingerprint, flat, free_to_change, from_values, load, members
from mlp_jax.training.config.records import Config, Network

__all__ = [
    "Config", "Network", "as_values", "choices", "fingerprint", "flat", "free_to_change", "from_values", "load",
    "members",
]  # fmt: skip
