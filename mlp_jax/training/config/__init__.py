"""The configuration of a training run."""

from mlp_jax.training.config.loading import as_values, fingerprint, flat, free_to_change, from_values, load
from mlp_jax.training.config.records import Config, Network

__all__ = ["Config", "Network", "as_values", "fingerprint", "flat", "free_to_change", "from_values", "load"]
